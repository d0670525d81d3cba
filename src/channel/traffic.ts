import { equal } from '../bytes/bytes.ts'
import { type Aead, SealError } from '../crypto/aead.ts'
import type { Secret } from '../crypto/secret.ts'
import { encodeHeader, type Frame, type FrameType, nonceOf, tagBytes } from './frame.ts'
import { refusal } from './reasons.ts'

/** One direction of one epoch: its key, and how far it has come. Plain data; each value seals at most once. */
export type Traffic = {
  readonly key: Secret
  readonly sessionId: Uint8Array
  readonly epoch: number
  /** Of the last frame sent or accepted; 0 before the first. */
  readonly seq: number
  readonly blocks: number
}

export function newTraffic(key: Secret, sessionId: Uint8Array, epoch: number, seq: number): Traffic {
  return { key, sessionId, epoch, seq, blocks: 0 }
}

const sealed = new WeakSet<Traffic>()

/**
 * Seals the next frame, in parts that belong one behind the other: what is sealed is not copied. A `Traffic` that is used twice would repeat a (key, nonce): that is a mistake of the program,
 * and an assertion.
 */
export function seal(
  aead: Aead,
  traffic: Traffic,
  type: FrameType,
  plaintext: Uint8Array,
): { readonly parts: readonly Uint8Array[]; readonly traffic: Traffic } {
  if (sealed.has(traffic)) throw new TypeError('a state of the channel was used twice')
  const { key, sessionId, epoch } = traffic
  const seq = traffic.seq + 1
  const header = encodeHeader({ type, sessionId, epoch, seq, payloadBytes: plaintext.length + tagBytes })
  const nonce = nonceOf(epoch, seq)
  sealed.add(traffic)
  const parts = [header, ...aead.sealParts(key, nonce, header, plaintext)]
  return { parts, traffic: { ...traffic, seq, blocks: traffic.blocks + blocksOf(plaintext.length) } }
}

/** Whether a frame is the next one here, before any key is used. @throws ChannelError 10, 30, 21, 14 */
export function admit(traffic: Traffic, frame: Frame): void {
  if (!equal(frame.sessionId, traffic.sessionId)) throw refusal(10, 'a frame of another session')
  if (frame.epoch !== traffic.epoch)
    throw refusal(30, `a frame of epoch ${frame.epoch} in epoch ${traffic.epoch}`)
  if (frame.seq <= traffic.seq) throw refusal(21, `frame ${frame.seq} again`)
  if (frame.seq !== traffic.seq + 1)
    throw refusal(14, `frame ${frame.seq} where ${traffic.seq + 1} comes next`)
}

/** Opens an admitted frame. @throws ChannelError 13, 20 */
export function open(
  aead: Aead,
  traffic: Traffic,
  frame: Frame,
): { readonly plaintext: Uint8Array; readonly traffic: Traffic } {
  if (frame.payload.length < tagBytes) throw refusal(13, 'a sealed frame shorter than its tag')
  try {
    const nonce = nonceOf(frame.epoch, frame.seq)
    const plaintext = aead.open(traffic.key, nonce, frame.header, frame.payload)
    const blocks = traffic.blocks + blocksOf(plaintext.length)
    return { plaintext, traffic: { ...traffic, seq: frame.seq, blocks } }
  } catch (cause) {
    if (cause instanceof SealError) throw refusal(20, `frame ${frame.seq} is not what was sealed`, cause)
    throw cause
  }
}

/** Blocks of the cipher that a frame costs: its plaintext, and one for the tag. */
export function blocksOf(plaintextBytes: number): number {
  return Math.ceil(plaintextBytes / 16) + 1
}
