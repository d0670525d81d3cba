import { concat, equal, utf8 } from '../../bytes/bytes.ts'
import { sha256 } from '../../crypto/hash.ts'
import { Secret } from '../../crypto/secret.ts'
import type { Suite } from '../../crypto/suite.ts'
import type { Entropy } from '../../host/entropy.ts'
import type { Identity } from '../../signature/identity.ts'
import { type Frame, frameTypes, noSession, plainFrame, sessionIdBytes } from '../frame.ts'
import { FrameReader } from '../frame-reader.ts'
import { checkMac, plainPayload, withShare } from '../handshaking.ts'
import {
  encodeClientHello,
  encodeServerHello,
  isForServer,
  parseClientHello,
  parseServerHello,
  randomBytes,
  version,
} from '../hello.ts'
import { parseFlight } from '../message.ts'
import { checkSignature, encodeIdentity, encodeProof, parseIdentityMessage } from '../proof.ts'
import { refusal } from '../reasons.ts'
import {
  type HandshakeKeys,
  handshakeKeys,
  mainSecret,
  modeLetter,
  type Purpose,
  purposes,
  transcriptHash,
} from '../schedule.ts'
import type { Role } from '../state.ts'
import { newTraffic, open, seal } from '../traffic.ts'
import { openFrame, proofSeq, type Sealed, saltBytes, sealFrame } from './frames.ts'
import { firstRoots, proofKey } from './ratchet.ts'
import type { LetterState } from './session.ts'

/**
 * The handshake of mode `letter` (docs/spec/letter.md section 2): two flights, and a proof that rides in front of
 * letters. Pure: what signs and verifies is the caller's, who then calls `go`. Each flight may take days, so what an
 * end waits with is data that it keeps.
 */
export type Signing<Next> = {
  readonly purpose: Purpose
  readonly payload: Uint8Array
  go(signature: Uint8Array): Next
}

export type Verifying<Next> = {
  readonly identity: Identity
  readonly purpose: Purpose
  readonly payload: Uint8Array
  readonly signature: Uint8Array
  /** Once identity and signature are verified, and this is who is wanted. */
  go(): Next
}

export type HelloConfig = { readonly suites: readonly Suite[]; readonly entropy: Entropy }

/** A client between flights 1 and 2. `seed` makes the key pair again. */
export type ClientHello = { readonly suite: Suite; readonly seed: Secret; readonly hello: Uint8Array }

/** A server between flight 2 and the proof. None of these secrets seals. */
export type ServerHello = {
  readonly suite: Suite
  readonly sessionId: Uint8Array
  readonly transcript: readonly Uint8Array[]
  readonly hs: Secret
  readonly clientKey: Secret
  readonly clientFinished: Secret
}

/** `server` is the identity that is called, 32 bytes. */
export function beginLetters(
  { suites, entropy }: HelloConfig,
  server: Uint8Array,
): { readonly waiting: ClientHello; readonly flight: Uint8Array } {
  const [suite] = suites
  if (suite === undefined) throw new TypeError('a client offers a suite')
  const seed = new Secret(entropy.bytes(suite.kem.seedBytes))
  const { publicKey } = suite.kem.fromSeed(seed)
  const random = entropy.bytes(randomBytes)
  const offer = { versions: [version], suites: [suite.id], modes: [modeLetter], random, publicKey }
  const hello = encodeClientHello(offer, server)
  return { waiting: { suite, seed, hello }, flight: plainFrame(hello) }
}

/** @throws ChannelError 10 to 15, 11, 12, 50 */
export function answerHello(
  { suites, entropy }: HelloConfig,
  own: { readonly identity: Identity; readonly calledAs: Uint8Array },
  flight: Uint8Array,
): Signing<{ readonly waiting: ServerHello; readonly flight: Uint8Array }> {
  const [frame] = framesOf(flight, 1)
  const payload = plainPayload(frame)
  if (!isForServer(payload, own.calledAs)) throw refusal(13, 'not a hello for this identity')
  const message = parseFlight(payload, ['CHLO'])('CHLO')
  const hello = parseClientHello(message.body)
  if (!hello.versions.includes(version)) throw refusal(11, 'no version in common')
  const suite = suites.find(
    ({ id, kem }) => hello.suites.includes(id) && kem.publicBytes === hello.publicKey.length,
  )
  if (suite === undefined || !hello.modes.includes(modeLetter))
    throw refusal(12, 'no suite or mode in common')
  const { ciphertext, shared } = withShare(() => suite.kem.encapsulate(hello.publicKey))
  const sessionId = entropy.bytes(sessionIdBytes)
  if (equal(sessionId, noSession)) throw new TypeError('entropy gave eight zero bytes')
  const random = entropy.bytes(randomBytes)
  const said = { version, suite: suite.id, mode: modeLetter, random, sessionId, ciphertext }
  const answer = encodeServerHello(said)
  const hellos = [message.whole, answer]
  const keys = handshakeKeys(suite.kdf, suite.id, shared, transcriptHash(suite.kdf, hellos), modeLetter)
  const named = encodeIdentity('SIDENT', own.identity)
  return {
    purpose: purposes.server,
    payload: transcriptHash(suite.kdf, [...hellos, named]),
    go(signature) {
      using finished = keys.serverFinished
      using key = keys.serverKey
      const signed = encodeProof('SSIG', checkSignature(signature))
      const mac = suite.kdf.mac(finished, transcriptHash(suite.kdf, [...hellos, named, signed]))
      const proof = [named, signed, encodeProof('SFIN', mac)]
      const traffic = newTraffic(key, sessionId, 0, 1)
      const { parts } = seal(suite.aead, traffic, frameTypes.handshake, concat(...proof))
      const { hs, clientKey, clientFinished } = keys
      return {
        waiting: { suite, sessionId, transcript: [...hellos, ...proof], hs, clientKey, clientFinished },
        flight: concat(plainFrame(answer), ...parts),
      }
    },
  }
}

/** What stands once the client has signed: a session, and the proof that rides in front of its letters. */
export type Proved = { readonly state: LetterState; readonly proof: Uint8Array }

/** @throws ChannelError 10 to 15, 20, 50, 52 */
export function readAnswer(
  { suite, seed, hello }: ClientHello,
  own: { readonly identity: Identity; readonly entropy: Entropy },
  flight: Uint8Array,
): Verifying<Signing<Proved>> {
  const { kdf, kem, aead } = suite
  const [first, second] = framesOf(flight, 2)
  const answer = parseFlight(plainPayload(first), ['SHLO'])('SHLO')
  const said = parseServerHello(answer.body)
  if (said.version !== version || said.mode !== modeLetter || said.suite !== suite.id)
    throw refusal(52, 'an answer that was not offered')
  const { sessionId } = said
  const hellos = [hello, answer.whole]
  const shared = withShare(() => kem.decapsulate(kem.fromSeed(seed), said.ciphertext))
  const keys = handshakeKeys(kdf, suite.id, shared, transcriptHash(kdf, hellos), modeLetter)
  try {
    return answered(keys)
  } catch (error) {
    for (const secret of [keys.hs, keys.clientKey, keys.clientFinished]) secret[Symbol.dispose]()
    throw error
  }

  function answered(keys: HandshakeKeys): Verifying<Signing<Proved>> {
    if (second === undefined || second.epoch !== 0 || second.seq !== 2) throw refusal(14, 'no second frame')
    if (second.type !== frameTypes.handshake || !equal(second.sessionId, sessionId))
      throw refusal(14, 'a second frame of something else')
    using serverKey = keys.serverKey
    using serverFinished = keys.serverFinished
    const { plaintext } = open(aead, newTraffic(serverKey, sessionId, 0, 1), second)
    const proof = parseFlight(plaintext, ['SIDENT', 'SSIG', 'SFIN'])
    const [named, signed, mac] = [proof('SIDENT'), proof('SSIG'), proof('SFIN')]
    const shown = [...hellos, named.whole]
    checkMac(kdf.mac(serverFinished, transcriptHash(kdf, [...shown, signed.whole])), mac.body, 'SFIN')
    return {
      identity: parseIdentityMessage(named.body),
      purpose: purposes.server,
      payload: transcriptHash(kdf, shown),
      signature: checkSignature(signed.body),
      go() {
        const mine = encodeIdentity('CIDENT', own.identity)
        const transcript = [...shown, signed.whole, mac.whole]
        return {
          purpose: purposes.client,
          payload: transcriptHash(kdf, [...transcript, mine]),
          go(signature) {
            using finished = keys.clientFinished
            using clientKey = keys.clientKey
            const csig = encodeProof('CSIG', checkSignature(signature))
            const cmac = kdf.mac(finished, transcriptHash(kdf, [...transcript, mine, csig]))
            const proved = [mine, csig, encodeProof('CFIN', cmac)]
            // The handshake's key comes of what is kept, so a restore gives it again: the salt makes this one's own.
            const salt = own.entropy.bytes(saltBytes)
            using key = proofKey(kdf, clientKey, salt)
            const frame = { type: frameTypes.handshake, sessionId, epoch: 0, seq: proofSeq, salt }
            const bytes = sealFrame(aead, key, frame, concat(...proved))
            using hs = keys.hs
            const state = established('client', suite, sessionId, hs, [...transcript, ...proved], bytes)
            return { state, proof: bytes }
          },
        }
      },
    }
  }
}

/** What the server makes of the proof in front of a letter. @throws ChannelError 10, 13, 20, 50 */
export function readProof(waiting: ServerHello, proof: Sealed): Verifying<LetterState> {
  const { suite, sessionId, transcript, hs, clientKey, clientFinished } = waiting
  const { kdf, aead } = suite
  if (!equal(proof.sessionId, sessionId)) throw refusal(10, 'a proof for another session')
  using key = proofKey(kdf, clientKey, proof.salt)
  const plaintext = openFrame(aead, key, proof)
  const flight = parseFlight(plaintext, ['CIDENT', 'CSIG', 'CFIN'])
  const [named, signed, mac] = [flight('CIDENT'), flight('CSIG'), flight('CFIN')]
  const shown = [...transcript, named.whole]
  checkMac(kdf.mac(clientFinished, transcriptHash(kdf, [...shown, signed.whole])), mac.body, 'CFIN')
  return {
    identity: parseIdentityMessage(named.body),
    purpose: purposes.client,
    payload: transcriptHash(kdf, shown),
    signature: checkSignature(signed.body),
    go: () => established('server', suite, sessionId, hs, [...shown, signed.whole, mac.whole], proof.whole),
  }
}

function established(
  role: Role,
  suite: Suite,
  sessionId: Uint8Array,
  hs: Secret,
  transcript: readonly Uint8Array[],
  proof: Uint8Array,
): LetterState {
  const { kdf } = suite
  const all = transcriptHash(kdf, transcript)
  using main = mainSecret(kdf, hs, undefined, all, new Uint8Array(0))
  const { client, server, markKey } = firstRoots(kdf, main, all)
  const [mine, theirs] = role === 'client' ? [client, server] : [server, client]
  return {
    suite,
    role,
    id: sha256(utf8('pawl v1 letter session'), all),
    sessionId: Uint8Array.from(sessionId),
    markKey,
    send: { epoch: 0, ahead: mine },
    receive: { epoch: 0, ahead: theirs, current: undefined, previous: undefined },
    peerHeard: 0,
    sealed: 0,
    proof: proofDigest(proof),
    turnedBack: undefined,
  }
}

export function proofDigest(proof: Uint8Array): Uint8Array {
  return sha256(proof)
}

/** The frames of a flight, all of it and no more. */
function framesOf(flight: Uint8Array, count: 1 | 2): [Frame, Frame | undefined] {
  const reader = new FrameReader()
  const frames: Frame[] = []
  for (const event of reader.feed(flight)) {
    if (event.kind === 'frame-refused') throw refusal(event.reason, 'a flight refused by its header')
    frames.push(event.frame)
  }
  const [first, second] = frames
  if (first === undefined || frames.length !== count || reader.held !== 0)
    throw refusal(13, 'not one whole flight')
  return [first, second]
}
