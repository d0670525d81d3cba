import { BytesError } from './bytes.ts'

/** A bounded cursor over network-order bytes. Every read checks what is left; `end` refuses what remains. */
export class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #offset = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get offset(): number {
    return this.#offset
  }

  get left(): number {
    return this.#bytes.length - this.#offset
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1))
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2))
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4))
  }

  /** A u64 that fits a JavaScript integer; larger ones are refused, never rounded. */
  u64(): number {
    const at = this.#take(8)
    const value = this.#view.getUint32(at) * 0x1_0000_0000 + this.#view.getUint32(at + 4)
    if (!Number.isSafeInteger(value)) throw new BytesError('number above 2^53 - 1')
    return value
  }

  /** A view, not a copy: the caller copies what must outlive the buffer. */
  bytes(length: number): Uint8Array {
    const at = this.#take(length)
    return this.#bytes.subarray(at, at + length)
  }

  rest(): Uint8Array {
    return this.bytes(this.left)
  }

  end(): void {
    if (this.left !== 0) throw new BytesError(`${this.left} bytes left over`)
  }

  #take(length: number): number {
    // A negative length comes of arithmetic on lengths in the input; it must not turn the cursor back.
    if (!Number.isInteger(length) || length < 0) throw new BytesError(`${length} is not a length`)
    if (length > this.left) throw new BytesError(`wanted ${length} bytes, ${this.left} left`)
    const at = this.#offset
    this.#offset += length
    return at
  }
}
