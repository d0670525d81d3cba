import { BytesError, concat, equal } from '../bytes/bytes.ts'
import { Writer } from '../bytes/writer.ts'
import type { Secret } from '../crypto/secret.ts'
import type { Identity } from '../signature/identity.ts'
import type { Held } from './continuity.ts'
import { frameTypes } from './frame.ts'
import { checkMac, finished, hashOf } from './handshaking.ts'
import { channelLimits } from './limits.ts'
import {
  decode,
  encodeMessage,
  type Message,
  type MessageName,
  messageTypes,
  parseFlight,
} from './message.ts'
import { checkSignature, parseIdentityMessage } from './proof.ts'
import { refusal } from './reasons.ts'
import { epochKeys, mainSecret, secretId } from './schedule.ts'
import type { Action, Proving, Rekeyed, Standing } from './state.ts'
import { seal } from './traffic.ts'

/** What both roles do alike in a rekey (C6; docs/spec/rekey.md). */
export type RekeyMessage = Extract<MessageName, `RK${string}`>

/** What a rekey adds to an epoch number, where it is absent: the QKD fields. Its bytes are zeros. */
const absent = { RKINIT: 4, RKACK: 2, RKCOMMIT: 2, RKSWITCH: 0, RKPLEASE: 0 } as const

export function encodeRekey(
  name: RekeyMessage,
  epoch: number,
  share: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const body = new Writer(64).u32(epoch)
  if (hasShare(name)) body.u16(share.length).bytes(share)
  return encodeMessage(name, body.bytes(new Uint8Array(absent[name])).done())
}

/** The key share in it, if it has one. @throws ChannelError 13, 40 */
export function parseRekey(name: RekeyMessage, body: Uint8Array, epoch: number): Uint8Array {
  const said = decode(body, reader => {
    const stated = reader.u32()
    const share = hasShare(name) ? reader.bytes(reader.u16()) : new Uint8Array(0)
    if (reader.bytes(absent[name]).some(byte => byte !== 0)) throw new BytesError('a QKD field')
    return { stated, share }
  })
  if (said.stated !== epoch) throw refusal(40, `a rekey to epoch ${said.stated} where ${epoch} comes next`)
  return said.share
}

function hasShare(name: RekeyMessage): boolean {
  return name === 'RKINIT' || name === 'RKACK'
}

/** Whether a REKEY begins with that message. */
export function startsWith(plaintext: Uint8Array, name: RekeyMessage): boolean {
  return plaintext[0] === messageTypes[name]
}

/** A flight that is due. @throws ChannelError 14 if it is another, 13 if it is malformed */
export function dueFlight<First extends RekeyMessage, Rest extends MessageName = never>(
  plaintext: Uint8Array,
  ...names: readonly [First, ...Rest[]]
) {
  if (!startsWith(plaintext, names[0])) throw refusal(14, `a REKEY that is no ${names[0]}`)
  return parseFlight<First | Rest>(plaintext, names)
}

/** The next frame of this end's current epoch. @throws ChannelError 31 */
export function sealRekey<S extends Standing>(
  state: S,
  flight: readonly Uint8Array[],
): { readonly state: S; readonly actions: readonly Action[] } {
  if (state.send.seq >= channelLimits.seqMax) throw refusal(31, 'no seq is left for a rekey')
  const { parts, traffic } = seal(state.suite.aead, state.send, frameTypes.rekey, concat(...flight))
  return { state: { ...state, send: traffic }, actions: [{ kind: 'send', parts }] }
}

/** Identity, signature and MAC, as they end ACK and COMMIT. */
type Claim = { readonly named: Message; readonly signed: Message; readonly mac: Message }

/**
 * Checks the MAC of a proof and whose it is; its signature is the driver's to verify. `said` is what stands before it
 * in its flight. Refused, the keys of this rekey are wiped.
 * @throws ChannelError 13, 42, 50
 */
export function readProof(
  state: Proving & { readonly peer: Identity },
  said: Message,
  { named, signed, mac }: Claim,
  key: Secret,
) {
  try {
    const signature = checkSignature(signed.body)
    checkMac(finished(state, key, said.whole, named.whole, signed.whole), mac.body, 'the MAC of a rekey', 42)
    const shown = parseIdentityMessage(named.body)
    if (!equal(shown.id, state.peer.id)) throw refusal(50, 'a rekey by another identity')
    const payload = hashOf(state, said.whole, named.whole)
    return { shown, payload, signature, flight: [said.whole, named.whole, signed.whole, mac.whole] }
  } catch (error) {
    wipe(state.keys)
    throw error
  }
}

/** The keys of the epoch to come. `commit` is the flight of COMMIT, whole; what proved it is wiped. */
export function nextEpoch(
  { suite, transcript, keys }: Proving,
  epoch: number,
  commit: readonly Uint8Array[],
): { readonly next: Rekeyed; readonly secret: Held<Secret> } {
  const { kdf } = suite
  const [first] = commit
  if (first === undefined) throw new TypeError('a flight without a message')
  using main = mainSecret(kdf, keys.hs, undefined, hashOf({ suite, transcript }, first))
  const { res, ...derived } = epochKeys(kdf, main, hashOf({ suite, transcript }, ...commit))
  wipe(keys)
  const id = secretId(kdf, res)
  return { next: { ...derived, epoch, id }, secret: { id, res } }
}

function wipe({ hs, clientFinished, serverFinished }: Proving['keys']): void {
  for (const secret of [hs, clientFinished, serverFinished]) secret[Symbol.dispose]()
}

/** A rekey is over: the age of the new epoch begins. */
export function ageAnew(state: Standing): readonly Action[] {
  return [
    { kind: 'stop-timer', timer: 'rekey' },
    { kind: 'start-timer', timer: 'age', ms: state.config.limits.epochMsMax },
  ]
}
