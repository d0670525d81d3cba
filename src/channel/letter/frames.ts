import { BytesError, concat } from '../../bytes/bytes.ts'
import { Reader } from '../../bytes/reader.ts'
import { type Aead, SealError } from '../../crypto/aead.ts'
import type { Secret } from '../../crypto/secret.ts'
import {
  encodeHeader,
  type FrameType,
  frameTypes,
  type Header,
  headerBytes,
  nonceOf,
  sessionIdBytes,
  tagBytes,
} from '../frame.ts'
import { refusal } from '../reasons.ts'
import { letterLimits } from './limits.ts'

/** The bytes of a letter (docs/spec/letter.md section 3): its writer's proof in front at first, then the letter itself. */
export const saltBytes = 32
export const proofSeq = 2

export type Sealed = {
  readonly sessionId: Uint8Array
  readonly epoch: number
  readonly seq: number
  readonly salt: Uint8Array
  /** Header and salt: the associated data. */
  readonly associated: Uint8Array
  readonly ciphertext: Uint8Array
  readonly whole: Uint8Array
}

export type Letter = { readonly proof: Sealed | undefined; readonly data: Sealed }

/** What a letter says under its seal before its body: its kind and what was heard. */
export const contentBytesMin = 5

const payloadMost = {
  proof: letterLimits.proofBytesMax,
  data: contentBytesMin + letterLimits.bodyBytesMax + saltBytes + tagBytes,
} as const

/** @throws ChannelError 10, 13, 15; before any key is used, and nothing is copied */
export function parseLetter(bytes: Uint8Array): Letter {
  try {
    const reader = new Reader(bytes)
    const first = readSealed(reader)
    if (first.type === frameTypes.data) {
      reader.end()
      return { proof: undefined, data: first.sealed }
    }
    if (first.sealed.epoch !== 0 || first.sealed.seq !== proofSeq) throw refusal(10, 'a proof out of place')
    const second = readSealed(reader)
    reader.end()
    if (second.type !== frameTypes.data) throw refusal(10, 'a proof without a letter')
    return { proof: first.sealed, data: second.sealed }
  } catch (cause) {
    if (cause instanceof BytesError) throw refusal(13, `not a letter: ${cause.message}`, cause)
    throw cause
  }
}

function readSealed(reader: Reader): { readonly type: FrameType; readonly sealed: Sealed } {
  const header = reader.bytes(headerBytes)
  const fields = new Reader(header)
  const type = fields.u8()
  if (type !== frameTypes.handshake && type !== frameTypes.data) throw refusal(10, `a frame of type ${type}`)
  if (fields.u8() !== 0) throw refusal(10, 'flags')
  const [sessionId, epoch, seq] = [fields.bytes(sessionIdBytes), fields.u32(), fields.u32()]
  const length = fields.u32()
  if (length > (type === frameTypes.data ? payloadMost.data : payloadMost.proof))
    throw refusal(15, `a payload of ${length} bytes`)
  if (length < saltBytes + tagBytes) throw refusal(13, 'a payload shorter than its salt and tag')
  const payload = reader.bytes(length)
  const salt = payload.subarray(0, saltBytes)
  const sealed = {
    sessionId,
    epoch,
    seq,
    salt,
    associated: concat(header, salt),
    ciphertext: payload.subarray(saltBytes),
    whole: concat(header, payload),
  }
  return { type, sealed }
}

/** The key is used once: it is of this salt, epoch and seq alone. */
export function sealFrame(
  aead: Aead,
  key: Secret,
  frame: Pick<Header, 'type' | 'sessionId' | 'epoch' | 'seq'> & { readonly salt: Uint8Array },
  plaintext: Uint8Array,
): Uint8Array {
  const { salt, ...place } = frame
  const payloadBytes = saltBytes + plaintext.length + tagBytes
  const associated = concat(encodeHeader({ ...place, payloadBytes }), salt)
  return concat(associated, aead.seal(key, nonceOf(frame.epoch, frame.seq), associated, plaintext))
}

/** @throws ChannelError 20 */
export function openFrame(aead: Aead, key: Secret, sealed: Sealed): Uint8Array {
  try {
    return aead.open(key, nonceOf(sealed.epoch, sealed.seq), sealed.associated, sealed.ciphertext)
  } catch (cause) {
    if (cause instanceof SealError) throw refusal(20, 'a letter that is not what was sealed', cause)
    throw cause
  }
}
