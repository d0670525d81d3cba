import { refuse } from './close.ts'
import { hashOf, proven, withShare } from './handshaking.ts'
import { channelLimits } from './limits.ts'
import { encodeIdentity } from './proof.ts'
import { refusal } from './reasons.ts'
import { ageAnew, dueFlight, encodeRekey, nextEpoch, parseRekey, readProof, sealRekey } from './rekey.ts'
import { purposes, rekeyKeys } from './schedule.ts'
import { stepStanding, takeFrame } from './standing.ts'
import type {
  Action,
  ClientCommittingRekey,
  ClientRekeying,
  ClientSigningAck,
  ClientVerifyingCommit,
  ClientWaitsCommit,
  ClientWaitsInit,
  Established,
  SessionEvent,
  Step,
} from './state.ts'
import { newTraffic } from './traffic.ts'

/** The client's half of a rekey (docs/spec/rekey.md section 3). */
export function askForRekey(state: Established): Step {
  if (state.send.epoch >= channelLimits.epochMax) return refuse(state, 31, 'no epoch is left')
  const please = encodeRekey('RKPLEASE', state.send.epoch + 1)
  const { state: asked, actions } = sealRekey({ ...state, name: 'client-waits-init' as const }, [please])
  return { state: asked, actions: [...actions, ...timed(state)] }
}

/** The server begins: a share for it, and the proof that it is us. */
export function readInit(state: Established | ClientWaitsInit, plaintext: Uint8Array): Step {
  const { suite, chain, config, receive } = state
  const epoch = receive.epoch + 1
  const { whole: init, body } = dueFlight(plaintext, 'RKINIT')('RKINIT')
  const publicKey = parseRekey('RKINIT', body, epoch)
  const { ciphertext, shared } = withShare(() => suite.kem.encapsulate(publicKey), 40)
  const ack = encodeRekey('RKACK', epoch, ciphertext)
  const transcript = [chain.hash, init]
  const keys = rekeyKeys(suite.kdf, chain, shared, hashOf({ suite, transcript }, ack))
  const flight = [ack, encodeIdentity('CIDENT', config.identity)]
  return {
    state: { ...state, name: 'client-signing-ack', transcript, keys, flight },
    actions: [
      ...(state.name === 'established' ? timed(state) : []),
      {
        kind: 'sign',
        purpose: purposes.rekeyClient,
        payload: hashOf({ suite, transcript }, ...flight),
      },
    ],
  }
}

export function stepClientRekeying(state: ClientRekeying, event: SessionEvent): Step {
  if (event.kind === 'frame-arrived') {
    switch (state.name) {
      case 'client-waits-init':
        return takeFrame(state, event.frame, readInit)
      case 'client-waits-commit':
        return takeFrame(state, event.frame, readCommit)
      case 'client-verifying-commit':
        throw new TypeError('a frame behind COMMIT before it is verified')
      default:
        return takeFrame(state, event.frame, nothingDue)
    }
  }
  if (event.kind === 'timeout' && event.timer === 'rekey')
    return refuse(state, 41, `no progress: ${state.name}`)
  switch (state.name) {
    case 'client-signing-ack':
      if (event.kind === 'signed') return sendAck(state, event.signature)
      break
    case 'client-verifying-commit':
      if (event.kind === 'verified') return event.good ? askCommit(state) : unverified()
      break
    case 'client-committing-rekey':
      if (event.kind === 'committed') return sendSwitch(state)
      break
  }
  return stepStanding(state, event)
}

function nothingDue(state: ClientRekeying): never {
  throw refusal(14, `a REKEY that ${state.name} does not take`)
}

function sendAck(state: ClientSigningAck, signature: Uint8Array): Step {
  const { flight: _, ...rest } = state
  const flight = proven(state, signature, state.keys.clientFinished, ['CSIG', 'CFIN'])
  return sealRekey(
    { ...rest, name: 'client-waits-commit', transcript: [...state.transcript, ...flight] },
    flight,
  )
}

function readCommit(state: ClientWaitsCommit, plaintext: Uint8Array): Step<ClientVerifyingCommit> {
  const { keys, transcript, ...rest } = state
  const { suite, peer } = state
  const epoch = state.receive.epoch + 1
  const flight = dueFlight(plaintext, 'RKCOMMIT', 'SIDENT', 'SSIG', 'SFIN')
  const said = flight('RKCOMMIT')
  parseRekey('RKCOMMIT', said.body, epoch)
  const proving = { suite, transcript, keys, peer }
  const claim = { named: flight('SIDENT'), signed: flight('SSIG'), mac: flight('SFIN') }
  const { shown, payload, signature, flight: proof } = readProof(proving, said, claim, keys.serverFinished)
  const { next, secret } = nextEpoch(proving, epoch, proof)
  return {
    state: {
      ...rest,
      name: 'client-verifying-commit',
      next,
      commit: { peer: shown, proved: state.secretId, secret, firstEpoch: epoch },
    },
    actions: [{ kind: 'verify', identity: shown, purpose: purposes.rekeyServer, payload, signature }],
  }
}

function unverified(): never {
  throw refusal(50, 'the server did not prove its identity in a rekey')
}

/** From here on the server is heard in the new epoch. It has committed, so the secret before is not needed any more. */
function askCommit(state: ClientVerifyingCommit): Step<ClientCommittingRekey> {
  const { commit, ...rest } = state
  const { sessionId } = state.receive
  state.receive.key[Symbol.dispose]()
  return {
    state: {
      ...rest,
      name: 'client-committing-rekey',
      receive: newTraffic(state.next.serverKey, sessionId, state.next.epoch, 0),
    },
    actions: [{ kind: 'commit-rekey', alone: true, ...commit }],
  }
}

/** The last frame that it seals in the epoch before. */
function sendSwitch(state: ClientCommittingRekey): Step<Established> {
  const { next, ...rest } = state
  const { actions } = sealRekey(state, [encodeRekey('RKSWITCH', next.epoch)])
  const { sessionId } = state.send
  for (const secret of [state.send.key, state.exporter, state.chain.secret]) secret[Symbol.dispose]()
  return {
    state: {
      ...rest,
      name: 'established',
      send: newTraffic(next.clientKey, sessionId, next.epoch, 0),
      exporter: next.exporter,
      chain: next.chain,
      secretId: next.id,
    },
    actions: [...actions, ...ageAnew(state), { kind: 'rekeyed', epoch: next.epoch }],
  }
}

function timed({ config }: Established): readonly Action[] {
  return [
    { kind: 'stop-timer', timer: 'age' },
    { kind: 'start-timer', timer: 'rekey', ms: config.limits.rekeyMsMax },
  ]
}
