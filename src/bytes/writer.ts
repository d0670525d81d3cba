import { BytesError } from './bytes.ts'

/**
 * Small writers share an allocation: one of their own costs more than what most of them hold. So what `done` answers
 * with may keep some kilobytes alive: copy what is kept for long.
 */
const sharedBytes = 8192
const smallBytesMax = 512
let shared = new Uint8Array(0)

function zeroed(capacity: number): Uint8Array {
  if (capacity > smallBytesMax) return new Uint8Array(capacity)
  if (capacity > shared.length) shared = new Uint8Array(sharedBytes)
  const taken = shared.subarray(0, capacity)
  shared = shared.subarray(capacity)
  return taken
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

/** Builds network-order bytes; numbers that do not fit are refused, never masked. */
export class Writer {
  #bytes: Uint8Array
  #view: DataView
  #length = 0

  constructor(capacity = 256) {
    this.#bytes = zeroed(capacity)
    this.#view = viewOf(this.#bytes)
  }

  get length(): number {
    return this.#length
  }

  u8(value: number): this {
    const at = this.#grow(1, value, 0xff)
    this.#view.setUint8(at, value)
    return this
  }

  u16(value: number): this {
    const at = this.#grow(2, value, 0xffff)
    this.#view.setUint16(at, value)
    return this
  }

  u32(value: number): this {
    const at = this.#grow(4, value, 0xffff_ffff)
    this.#view.setUint32(at, value)
    return this
  }

  u64(value: number): this {
    const at = this.#grow(8, value, Number.MAX_SAFE_INTEGER)
    this.#view.setUint32(at, Math.floor(value / 0x1_0000_0000))
    this.#view.setUint32(at + 4, value % 0x1_0000_0000)
    return this
  }

  bytes(value: Uint8Array): this {
    const at = this.#grow(value.length, 0, 0)
    this.#bytes.set(value, at)
    return this
  }

  /** Text whose characters are one byte each. */
  ascii(value: string): this {
    const at = this.#grow(value.length, 0, 0)
    for (let i = 0; i < value.length; i++) this.#bytes[at + i] = value.charCodeAt(i)
    return this
  }

  zeros(count: number): this {
    this.#grow(count, 0, 0)
    return this
  }

  /** What was written so far, as a view into the writer. */
  done(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  #grow(bytes: number, value: number, max: number): number {
    if (!Number.isInteger(value) || value < 0 || value > max) throw new BytesError(`${value} does not fit`)
    if (!Number.isInteger(bytes) || bytes < 0) throw new BytesError(`${bytes} is not a length`)
    const at = this.#length
    const need = at + bytes
    if (need > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(need, 2 * this.#bytes.length))
      larger.set(this.#bytes.subarray(0, at))
      this.#bytes = larger
      this.#view = viewOf(larger)
    }
    this.#length = need
    return at
  }
}
