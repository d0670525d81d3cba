import { BytesError, concat } from '../bytes/bytes.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { limits } from './limits.ts'
import type { Position } from './position.ts'
import type { Lost } from './settlement.ts'

/**
 * docs/spec/mailbox.md, "Wire": what the plaintext of a data frame holds, one item after another. A message is one
 * or more fragments, in order; `more` says that another follows. An acknowledgement covers everything before its
 * position.
 */
export type Item =
  | { readonly kind: 'fragment'; readonly number: number; readonly more: boolean; readonly bytes: Uint8Array }
  | { readonly kind: 'acknowledgement'; readonly position: Position }
  /** The end that sends it has given these up, by its own count of ways; `noted`: it is on record here, too. */
  | { readonly kind: 'lost' | 'noted'; readonly lost: Lost }
  /** The end that sends it goes on as after an amendment. */
  | { readonly kind: 'settled' }

const fragmentKind = 1
const acknowledgementKind = 2
const lostKind = 3
const notedKind = 4
const settledKind = 5
const lostBytes = 1 + 1 + 8 + 8
const fragmentHeadBytes = 1 + 1 + 8 + 4
const acknowledgementBytes = 1 + 8 + 32
/** What a frame's writer begins with: most frames hold an acknowledgement and little else. */
const firstBytes = 512

/** @throws BytesError */
export function parseItems(plaintext: Uint8Array): Item[] {
  const reader = new Reader(plaintext)
  const items: Item[] = []
  while (reader.left > 0) {
    const kind = reader.u8()
    if (kind === fragmentKind) {
      const flags = reader.u8()
      if (flags > 1) throw new BytesError('unknown fragment flags')
      const number = reader.u64()
      items.push({ kind: 'fragment', number, more: flags === 1, bytes: reader.bytes(reader.u32()) })
    } else if (kind === acknowledgementKind) {
      const next = reader.u64()
      items.push({ kind: 'acknowledgement', position: { next, head: Uint8Array.from(reader.bytes(32)) } })
    } else if (kind === lostKind || kind === notedKind) {
      items.push({ kind: kind === lostKind ? 'lost' : 'noted', lost: readLost(reader) })
    } else if (kind === settledKind) items.push({ kind: 'settled' })
    else throw new BytesError('unknown mailbox item')
  }
  if (items.length === 0) throw new BytesError('a data frame without items')
  return items
}

function readLost(reader: Reader): Lost {
  const flags = reader.u8()
  const [first, last] = [reader.u64(), reader.u64()]
  if (flags > 3 || first < 1 || last < first) throw new BytesError('not what was lost')
  return { way: (flags & 1) === 0 ? 'sent' : 'received', arrived: (flags & 2) !== 0, first, last }
}

/** Packs items into plaintexts of at most one frame each, in order; small messages share a frame. */
export class FramePacker {
  readonly #frameBytesMax: number
  #writer = new Writer(firstBytes)
  readonly #frames: Uint8Array[] = []

  constructor(frameBytesMax: number) {
    this.#frameBytesMax = frameBytesMax
  }

  message(number: number, message: Uint8Array): void {
    let offset = 0
    do {
      if (this.#room() < fragmentHeadBytes + Math.min(limits.fragmentBytesMin, message.length - offset))
        this.#cut()
      const length = Math.min(message.length - offset, this.#room() - fragmentHeadBytes)
      const more = offset + length < message.length
      this.#writer
        .u8(fragmentKind)
        .u8(more ? 1 : 0)
        .u64(number)
        .u32(length)
      this.#writer.bytes(message.subarray(offset, offset + length))
      offset += length
    } while (offset < message.length)
  }

  acknowledgement(position: Position): void {
    if (this.#room() < acknowledgementBytes) this.#cut()
    this.#writer.u8(acknowledgementKind).u64(position.next).bytes(position.head)
  }

  settled(): void {
    if (this.#room() < 1) this.#cut()
    this.#writer.u8(settledKind)
  }

  lost(kind: 'lost' | 'noted', { way, arrived, first, last }: Lost): void {
    if (this.#room() < lostBytes) this.#cut()
    this.#writer
      .u8(kind === 'lost' ? lostKind : notedKind)
      .u8((way === 'sent' ? 0 : 1) + (arrived ? 2 : 0))
      .u64(first)
      .u64(last)
  }

  /** Every frame so far; the packer starts anew. */
  take(): Uint8Array[] {
    this.#cut()
    return this.#frames.splice(0)
  }

  #room(): number {
    return this.#frameBytesMax - this.#writer.length
  }

  #cut(): void {
    if (this.#writer.length === 0) return
    this.#frames.push(this.#writer.done())
    this.#writer = new Writer(firstBytes)
  }
}

/** Puts fragments together again. @throws BytesError on a gap, a repeat or a message over its limit */
export class Assembler {
  #expected: number
  #parts: Uint8Array[] = []
  #bytes = 0

  constructor(expected: number) {
    this.#expected = expected
  }

  /** The whole message once its last fragment is in. */
  take(fragment: Item & { readonly kind: 'fragment' }): Uint8Array | undefined {
    if (fragment.number !== this.#expected)
      throw new BytesError(`message ${fragment.number} where ${this.#expected} was due`)
    this.#bytes += fragment.bytes.length
    if (this.#bytes > limits.messageBytesMax) throw new BytesError('message over its limit')
    // Bounds how many pieces a message can be held in.
    if (fragment.more && fragment.bytes.length < limits.fragmentBytesMin)
      throw new BytesError('fragment too small')
    // Copied: a view would keep the whole frame alive, however little of it is ours.
    this.#parts.push(new Uint8Array(fragment.bytes))
    if (fragment.more) return undefined
    const [only] = this.#parts
    const message = this.#parts.length === 1 && only !== undefined ? only : concat(...this.#parts)
    this.#parts = []
    this.#bytes = 0
    this.#expected++
    return message
  }
}
