import { createHash } from 'node:crypto'

/** Bytes that look random and are the same in every run: SHA-256 of a seed and a counter. */
export function randomFrom(seed: string) {
  let counter = 0
  const bytes = (length: number): Uint8Array => {
    const out = new Uint8Array(length)
    for (let offset = 0; offset < length; offset += 32) {
      const block = createHash('sha256').update(`${seed} ${counter++}`).digest()
      out.set(block.subarray(0, Math.min(32, length - offset)), offset)
    }
    return out
  }
  /** An integer from 0 to `max`, both included. */
  const upTo = (max: number): number => new DataView(bytes(4).buffer).getUint32(0) % (max + 1)
  return { bytes, upTo }
}

/** A copy with one bit turned over. */
export function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(bytes)
  const at = Math.floor(bit / 8)
  copy.set([(copy[at] ?? 0) ^ (1 << (bit % 8))], at)
  return copy
}
