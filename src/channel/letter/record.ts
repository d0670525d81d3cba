import { BytesError } from '../../bytes/bytes.ts'
import {
  asArray,
  asBytes,
  asCount,
  asMap,
  type CborMap,
  decodeCborMap,
  encodeCbor,
} from '../../bytes/cbor.ts'
import { Secret } from '../../crypto/secret.ts'
import type { Suite } from '../../crypto/suite.ts'
import { sessionIdBytes } from '../frame.ts'
import { channelLimits } from '../limits.ts'
import { saltBytes } from './frames.ts'
import type { ClientHello, ServerHello } from './handshake.ts'
import { letterLimits } from './limits.ts'
import type { LetterState, Opening, Promised } from './session.ts'
import { decodeOpened, encodeOpened } from './window.ts'

/**
 * What is kept of a letter session (S1; docs/spec/letter.md section 6): canonical CBOR, of one length but for the
 * numbers in it. Secrets that come out are the caller's to wipe. All decoders: @throws BytesError
 */
export type Kept = {
  readonly state: LetterState
  /** What the session's mark was known to have reached when this was written. */
  readonly confirmed: number
  /** How many amendments the store had then. */
  readonly amendments: number
}

const format = 1

export function encodeSession({ state, confirmed, amendments }: Kept): Uint8Array {
  const { suite, role, id, sessionId, markKey, send, receive, peerHeard, sealed, proof, turnedBack } = state
  return encodeCbor({
    format,
    amendments,
    confirmed,
    id,
    markKey: markKey.bytes,
    peerHeard,
    proof: proof ?? null,
    receive: {
      ahead: receive.ahead.bytes,
      current: encodeOpening(receive.current),
      epoch: receive.epoch,
      previous: encodeOpening(receive.previous),
    },
    role,
    sealed,
    send: { ahead: send.ahead.bytes, epoch: send.epoch },
    session: sessionId,
    suite: suite.id,
    turnedBack: turnedBack ?? null,
  })
}

export function decodeSession(bytes: Uint8Array, suites: readonly Suite[]): Kept {
  const names = [
    'amendments',
    'confirmed',
    'id',
    'markKey',
    'peerHeard',
    'proof',
    'receive',
    'role',
    'sealed',
    'send',
  ]
  const map = decodeCborMap(bytes, ['format', ...names, 'session', 'suite', 'turnedBack'])
  const { role } = map
  if (map.format !== format || (role !== 'client' && role !== 'server'))
    throw new BytesError('a letter session of an unknown format')
  const suite = suiteOf(map, suites)
  const root = (value: CborMap[string] | undefined) => secret(value, suite.kdf.hashBytes)
  const send = asMap(map.send, ['ahead', 'epoch'])
  const receive = asMap(map.receive, ['ahead', 'current', 'epoch', 'previous'])
  const receiveEpoch = asCount(receive.epoch, letterLimits.epochMax)
  const state: LetterState = {
    suite,
    role,
    id: asBytes(map.id, 32),
    sessionId: asBytes(map.session, sessionIdBytes),
    markKey: secret(map.markKey, 32),
    send: { epoch: asCount(send.epoch, letterLimits.epochMax), ahead: root(send.ahead) },
    receive: {
      epoch: receiveEpoch,
      ahead: root(receive.ahead),
      current: decodeOpening(receive.current, receiveEpoch, suite),
      previous: decodeOpening(receive.previous, receiveEpoch - 1, suite),
    },
    peerHeard: asCount(map.peerHeard, letterLimits.epochMax),
    sealed: asCount(map.sealed),
    proof: map.proof === null ? undefined : asBytes(map.proof, 32),
    turnedBack: decodePromised(map.turnedBack),
  }
  return { state, confirmed: asCount(map.confirmed), amendments: asCount(map.amendments) }
}

function decodePromised(value: CborMap[string] | undefined): Promised | undefined {
  if (value === null) return undefined
  const map = asMap(value, ['receive', 'send'])
  // What a peer claims: it is bounded where it is used.
  return { send: asCount(map.send), receive: asCount(map.receive, letterLimits.epochMax) }
}

/** A handshake that waits for the other end, and how many amendments the store had when it was written. */
export type KeptHello<Waiting> = { readonly waiting: Waiting; readonly amendments: number }

export function encodeClientHello({ waiting, amendments }: KeptHello<ClientHello>): Uint8Array {
  const { suite, seed, hello } = waiting
  return encodeCbor({ format, amendments, hello, seed: seed.bytes, suite: suite.id })
}

export function decodeClientHello(bytes: Uint8Array, suites: readonly Suite[]): KeptHello<ClientHello> {
  const map = decodeCborMap(bytes, ['format', 'amendments', 'hello', 'seed', 'suite'])
  const suite = suiteOf(map, suites)
  const amendments = asCount(map.amendments)
  const waiting = { suite, seed: secret(map.seed, suite.kem.seedBytes), hello: asBytes(map.hello) }
  return { waiting, amendments }
}

export function encodeServerHello({ waiting, amendments }: KeptHello<ServerHello>): Uint8Array {
  const { suite, sessionId, transcript, hs, clientKey, clientFinished } = waiting
  const secrets = { clientFinished: clientFinished.bytes, clientKey: clientKey.bytes, hs: hs.bytes }
  return encodeCbor({ format, amendments, ...secrets, session: sessionId, suite: suite.id, transcript })
}

export function decodeServerHello(bytes: Uint8Array, suites: readonly Suite[]): KeptHello<ServerHello> {
  const names = ['amendments', 'clientFinished', 'clientKey', 'hs', 'session', 'suite', 'transcript']
  const map = decodeCborMap(bytes, ['format', ...names])
  const suite = suiteOf(map, suites)
  const amendments = asCount(map.amendments)
  const waiting = {
    suite,
    sessionId: asBytes(map.session, sessionIdBytes),
    transcript: asArray(map.transcript, 8).map(message => asBytes(message)),
    hs: secret(map.hs, suite.kdf.hashBytes),
    clientKey: secret(map.clientKey, 32),
    clientFinished: secret(map.clientFinished, suite.kdf.hashBytes),
  }
  return { waiting, amendments }
}

function encodeOpening(opening: Opening | undefined): CborMap | null {
  if (opening === undefined) return null
  const { epoch, salt, chain, window } = opening
  const opened = encodeOpened(window.opened)
  return { base: window.base, chain: chain.bytes, epoch, opened, salt: salt ?? null }
}

function decodeOpening(value: CborMap[string] | undefined, due: number, suite: Suite): Opening | undefined {
  if (value === null) return undefined
  const map = asMap(value, ['base', 'chain', 'epoch', 'opened', 'salt'])
  const epoch = asCount(map.epoch, letterLimits.epochMax)
  const base = asCount(map.base, channelLimits.seqMax + 1)
  if (epoch !== due || epoch < 1 || base < 1) throw new BytesError('an epoch out of place')
  return {
    epoch,
    salt: map.salt === null ? undefined : asBytes(map.salt, saltBytes),
    chain: secret(map.chain, suite.kdf.hashBytes),
    window: { base, opened: decodeOpened(asBytes(map.opened)) },
  }
}

function suiteOf(map: CborMap, suites: readonly Suite[]): Suite {
  const suite = suites.find(({ id }) => id === map.suite)
  if (map.format !== format || suite === undefined)
    throw new BytesError('kept of a format or suite that this version does not know')
  return suite
}

/** A copy with a lifetime of its own. */
function secret(value: CborMap[string] | undefined, length: number): Secret {
  return new Secret(Uint8Array.from(asBytes(value, length)))
}
