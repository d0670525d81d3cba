import { concat, equal } from '../bytes/bytes.ts'
import { KemError } from '../crypto/kem.ts'
import { equalSecrets, type Secret } from '../crypto/secret.ts'
import type { Suite } from '../crypto/suite.ts'
import { closedByPeer, end, parseClose, refuse, unexpected } from './close.ts'
import { type Frame, frameTypes, isPlain, noSession } from './frame.ts'
import { checkSignature, encodeProof } from './proof.ts'
import { type CloseReason, refusal } from './reasons.ts'
import { handshakeKeys, transcriptHash } from './schedule.ts'
import type {
  ClientSigning,
  CommonEvent,
  HandshakeEvent,
  Handshaking,
  Keyed,
  Next,
  Proving,
  Role,
  ServerSigning,
  Step,
} from './state.ts'
import { admit, newTraffic, open, seal, type Traffic } from './traffic.ts'

/** What both roles do alike before a session stands. */
export type KeyedState = Extract<Handshaking, Keyed>

/** Every event that a handshaking state does not wait for. */
export function otherwise(state: Handshaking, event: HandshakeEvent): Step {
  switch (event.kind) {
    case 'frame-arrived':
      return 'send' in state ? peerSpoke(state, event.frame) : unexpected(state)
    case 'frame-refused':
      return refuse(state, event.reason, 'a frame refused by its header')
    case 'close-requested':
    case 'wire-ended':
    case 'timeout':
      return common(state, event)
    case 'signed':
    case 'verified':
    case 'decided':
    case 'positions-judged':
    case 'committed':
      throw new TypeError(`${event.kind} in ${state.name}: nobody asked`)
  }
}

function common(state: Handshaking, event: CommonEvent): Step {
  switch (event.kind) {
    case 'close-requested':
      return refuse(state, event.reason, event.text, event.text)
    case 'wire-ended': {
      const ending = { reason: 23, by: 'wire', trusted: false, text: 'the stream ended' } as const
      return end(
        state,
        state.name === 'client-waits-hello' ? { ...ending, code: 'channel/NO_ANSWER' } : ending,
      )
    }
    case 'timeout': {
      if (event.timer !== 'handshake') throw new TypeError(`timer ${event.timer} in ${state.name}`)
      const text = `no progress: ${state.name}`
      if (state.name !== 'client-waits-hello') return refuse(state, 81, text)
      return end(state, { reason: 81, by: 'us', trusted: true, text, code: 'channel/NO_ANSWER' })
    }
  }
}

/** The messages of a plain frame. @throws ChannelError 10, 30, 21, 14 */
export function plainPayload(frame: Frame): Uint8Array {
  if (!equal(frame.sessionId, noSession)) throw refusal(10, 'a frame of a session before there is one')
  if (frame.epoch !== 0) throw refusal(30, `a frame of epoch ${frame.epoch} before there is a key`)
  if (frame.seq < 1) throw refusal(21, 'frame 0')
  if (!isPlain(frame) || frame.type !== frameTypes.handshake) throw refusal(14, 'not the first flight')
  return frame.payload
}

/** A flight that is due, opened; a CLOSE or anything else is decided here. */
export function receive(
  state: KeyedState,
  frame: Frame,
  take: (plaintext: Uint8Array, receive: Traffic) => Step,
): Step {
  if (frame.type !== frameTypes.handshake) return peerSpoke(state, frame)
  admit(state.receive, frame)
  const opened = open(state.suite.aead, state.receive, frame)
  return take(opened.plaintext, opened.traffic)
}

function peerSpoke(state: KeyedState, frame: Frame): Step {
  admit(state.receive, frame)
  if (frame.type !== frameTypes.close) return unexpected(state)
  const { plaintext } = open(state.suite.aead, state.receive, frame)
  return closedByPeer(state, parseClose(plaintext), state.authenticated)
}

export function sealFlight(state: KeyedState, flight: readonly Uint8Array[]) {
  return seal(state.suite.aead, state.send, frameTypes.handshake, concat(...flight))
}

/** From SHLO on there are keys. Takes ownership of `shared`. */
export function keyedBy(
  role: Role,
  suite: Suite,
  transcript: readonly Uint8Array[],
  shared: Secret,
  sessionId: Uint8Array,
): Keyed {
  const hellos = transcriptHash(suite.kdf, transcript)
  const { clientKey, serverKey, ...keys } = handshakeKeys(suite.kdf, suite.id, shared, hellos)
  const client = newTraffic(clientKey, sessionId, 0, 1)
  const server = newTraffic(serverKey, sessionId, 0, 1)
  const [send, receive] = role === 'client' ? [client, server] : [server, client]
  return { suite, transcript, keys, send, receive, authenticated: false }
}

/** A flight that its signature and its MAC complete, sealed; and what its sender has said with it. */
export function prove(
  state: ClientSigning | ServerSigning,
  signature: Uint8Array,
  key: Secret,
  names: ProofNames,
) {
  const whole = proven(state, signature, key, names)
  const { parts, traffic } = sealFlight(state, whole)
  return { parts, send: traffic, transcript: [...state.transcript, ...whole] }
}

type ProofNames = readonly ['CSIG', 'CFIN'] | readonly ['SSIG', 'SFIN']

/** The flight with its signature and its MAC. */
export function proven(
  state: Proving & { readonly flight: readonly Uint8Array[] },
  signature: Uint8Array,
  key: Secret,
  [signed, mac]: ProofNames,
): readonly Uint8Array[] {
  const said = [...state.flight, encodeProof(signed, checkSignature(signature))]
  return [...said, encodeProof(mac, finished(state, key, ...said))]
}

export function hashOf(
  { suite, transcript }: Pick<Proving, 'suite' | 'transcript'>,
  ...more: readonly Uint8Array[]
): Uint8Array {
  return transcriptHash(suite.kdf, [...transcript, ...more])
}

/** SFIN or CFIN over the transcript so far. */
export function finished(
  state: Pick<Proving, 'suite' | 'transcript'>,
  key: Secret,
  ...more: readonly Uint8Array[]
): Uint8Array {
  return state.suite.kdf.mac(key, hashOf(state, ...more))
}

export function checkMac(
  right: Uint8Array,
  claimed: Uint8Array,
  what: string,
  reason: CloseReason = 50,
): void {
  if (!equalSecrets(right, claimed)) throw refusal(reason, `${what} is wrong`)
}

/** A key share of the other end that cannot be used is refused. */
export function withShare<T>(use: () => T, reason: CloseReason = 50): T {
  try {
    return use()
  } catch (cause) {
    if (cause instanceof KemError) throw refusal(reason, 'a key share that cannot be used', cause)
    throw cause
  }
}

/** The end of the handshake: its keys are wiped, but for what a server needs to hear that it is refused. */
export function establish(
  state: KeyedState & { readonly next: Next },
  send: readonly Uint8Array[] | undefined,
): Step {
  const { config, next, keys } = state
  const isServer = state.name === 'server-committing'
  for (const secret of [keys.hs, keys.clientFinished, keys.serverFinished, state.send.key])
    secret[Symbol.dispose]()
  if (!isServer) state.receive.key[Symbol.dispose]()
  const { sessionId } = state.send
  const epoch = next.made.firstEpoch
  const client = newTraffic(next.clientKey, sessionId, epoch, 0)
  const server = newTraffic(next.serverKey, sessionId, epoch, 0)
  return {
    state: {
      name: 'established',
      config,
      role: isServer ? 'server' : 'client',
      suite: next.suite,
      peer: next.peer,
      peerDataBytesMax: next.peerDataBytesMax,
      send: isServer ? server : client,
      receive: isServer ? client : server,
      previous: isServer ? state.receive : undefined,
      exporter: next.exporter,
      chain: next.chain,
      secretId: next.made.id,
      heard: false,
    },
    actions: [
      ...(send ? [{ kind: 'send', parts: send } as const] : []),
      { kind: 'stop-timer', timer: 'handshake' },
      { kind: 'start-timer', timer: 'age', ms: config.limits.epochMsMax },
      {
        kind: 'established',
        peer: next.peer,
        epoch,
        sessionId,
        dataBytesMax: Math.min(next.peerDataBytesMax, config.limits.dataBytesMax),
      },
    ],
  }
}
