import { refuse } from './close.ts'
import { hashOf, proven, withShare } from './handshaking.ts'
import { channelLimits } from './limits.ts'
import { encodeIdentity } from './proof.ts'
import { refusal } from './reasons.ts'
import {
  ageAnew,
  dueFlight,
  encodeRekey,
  nextEpoch,
  parseRekey,
  readProof,
  sealRekey,
  startsWith,
} from './rekey.ts'
import { purposes, rekeyKeys } from './schedule.ts'
import { stepStanding, takeFrame } from './standing.ts'
import type {
  Established,
  ServerCommittingRekey,
  ServerRekeying,
  ServerSigningCommit,
  ServerVerifyingAck,
  ServerWaitsAck,
  ServerWaitsSwitch,
  SessionEvent,
  Step,
} from './state.ts'
import { newTraffic } from './traffic.ts'

/** The server's half of a rekey (docs/spec/rekey.md section 3). It begins, so that two never cross. */
export function beginRekey(state: Established): Step {
  const { config, suite, chain, send } = state
  if (send.epoch >= channelLimits.epochMax) return refuse(state, 31, 'no epoch is left')
  const pair = suite.kem.generate()
  const init = encodeRekey('RKINIT', send.epoch + 1, pair.publicKey)
  const begun: ServerWaitsAck = { ...state, name: 'server-waits-ack', pair, transcript: [chain.hash, init] }
  const sealed = sealRekey(begun, [init])
  return {
    state: sealed.state,
    actions: [
      ...sealed.actions,
      { kind: 'stop-timer', timer: 'age' },
      { kind: 'start-timer', timer: 'rekey', ms: config.limits.rekeyMsMax },
    ],
  }
}

/** The client asks for one. */
export function readPlease(state: Established, plaintext: Uint8Array): Step {
  readEmpty(state, plaintext, 'RKPLEASE')
  return beginRekey(state)
}

export function stepServerRekeying(state: ServerRekeying, event: SessionEvent): Step {
  if (event.kind === 'frame-arrived') {
    switch (state.name) {
      case 'server-waits-ack':
        return takeFrame(state, event.frame, orPlease(readAck))
      case 'server-waits-switch':
        return takeFrame(state, event.frame, orPlease(readSwitch), countInFlight)
      default:
        return takeFrame(state, event.frame, orPlease(nothingDue))
    }
  }
  if (event.kind === 'timeout' && event.timer === 'rekey')
    return refuse(state, 41, `no progress: ${state.name}`)
  switch (state.name) {
    case 'server-verifying-ack':
      if (event.kind === 'verified') return event.good ? askSignature(state) : unverified()
      break
    case 'server-signing-commit':
      if (event.kind === 'signed') return askCommit(state, event.signature)
      break
    case 'server-committing-rekey':
      if (event.kind === 'committed') return sendCommit(state)
      break
  }
  return stepStanding(state, event)
}

/** A client that asked while the rekey began. */
function orPlease<S extends ServerRekeying>(read: (state: S, plaintext: Uint8Array) => Step) {
  return (state: S, plaintext: Uint8Array): Step => {
    if (!startsWith(plaintext, 'RKPLEASE')) return read(state, plaintext)
    readEmpty(state, plaintext, 'RKPLEASE')
    return { state, actions: [] }
  }
}

function readEmpty(
  state: Established | ServerRekeying,
  plaintext: Uint8Array,
  name: 'RKPLEASE' | 'RKSWITCH',
): void {
  parseRekey(name, dueFlight(plaintext, name)(name).body, state.receive.epoch + 1)
}

function nothingDue(state: ServerRekeying): never {
  throw refusal(14, `a REKEY that ${state.name} does not take`)
}

function readAck(state: ServerWaitsAck, plaintext: Uint8Array): Step {
  const { suite, chain, peer, receive } = state
  const flight = dueFlight(plaintext, 'RKACK', 'CIDENT', 'CSIG', 'CFIN')
  const said = flight('RKACK')
  const share = parseRekey('RKACK', said.body, receive.epoch + 1)
  const { pair, transcript, ...rest } = state
  const shared = withShare(() => suite.kem.decapsulate(pair, share), 40)
  const keys = rekeyKeys(suite.kdf, chain, shared, hashOf({ suite, transcript }, said.whole))
  const proving = { suite, transcript, keys, peer }
  const claim = { named: flight('CIDENT'), signed: flight('CSIG'), mac: flight('CFIN') }
  const { shown, payload, signature, flight: proof } = readProof(proving, said, claim, keys.clientFinished)
  return {
    state: {
      ...rest,
      name: 'server-verifying-ack',
      keys,
      transcript: [...transcript, ...proof],
      shown,
    },
    actions: [{ kind: 'verify', identity: shown, purpose: purposes.rekeyClient, payload, signature }],
  }
}

function unverified(): never {
  throw refusal(50, 'the client did not prove its identity in a rekey')
}

function askSignature(state: ServerVerifyingAck): Step<ServerSigningCommit> {
  const flight = [
    encodeRekey('RKCOMMIT', state.send.epoch + 1),
    encodeIdentity('SIDENT', state.config.identity),
  ]
  return {
    state: { ...state, name: 'server-signing-commit', flight },
    actions: [{ kind: 'sign', purpose: purposes.rekeyServer, payload: hashOf(state, ...flight) }],
  }
}

/** Durable before COMMIT commits the client. */
function askCommit(state: ServerSigningCommit, signature: Uint8Array): Step<ServerCommittingRekey> {
  const { keys, transcript, shown, ...rest } = state
  const proving = { suite: state.suite, transcript, keys }
  const flight = proven(state, signature, keys.serverFinished, ['SSIG', 'SFIN'])
  const { next, secret } = nextEpoch(proving, state.send.epoch + 1, flight)
  return {
    state: { ...rest, name: 'server-committing-rekey', next, flight },
    actions: [
      {
        kind: 'commit-rekey',
        peer: shown,
        alone: false,
        proved: state.secretId,
        secret,
        firstEpoch: next.epoch,
      },
    ],
  }
}

/** The last frame that it seals in the epoch; what it hears of that one, it still takes. */
function sendCommit(state: ServerCommittingRekey): Step<ServerWaitsSwitch> {
  const { next, flight, ...rest } = state
  const { actions } = sealRekey(state, flight)
  const { sessionId } = state.send
  for (const secret of [state.send.key, state.exporter, state.chain.secret]) secret[Symbol.dispose]()
  return {
    state: {
      ...rest,
      name: 'server-waits-switch',
      send: newTraffic(next.serverKey, sessionId, next.epoch, 0),
      following: newTraffic(next.clientKey, sessionId, next.epoch, 0),
      exporter: next.exporter,
      chain: next.chain,
      secretId: next.id,
      inFlight: 0,
    },
    actions,
  }
}

function countInFlight(state: ServerWaitsSwitch): Step {
  const inFlight = state.inFlight + 1
  if (inFlight > state.config.limits.inFlightFramesMax)
    throw refusal(40, 'too many frames of the epoch before')
  return { state: { ...state, inFlight }, actions: [] }
}

/** The client has committed: all that comes is of the new epoch, and only its secret counts. */
function readSwitch(state: ServerWaitsSwitch, plaintext: Uint8Array): Step<Established> {
  readEmpty(state, plaintext, 'RKSWITCH')
  const { following, inFlight: _, ...rest } = state
  state.receive.key[Symbol.dispose]()
  return {
    state: { ...rest, name: 'established', receive: following },
    actions: [
      { kind: 'peer-heard', secretId: state.secretId },
      ...ageAnew(state),
      { kind: 'rekeyed', epoch: following.epoch },
    ],
  }
}
