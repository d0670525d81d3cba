import { timingSafeEqual } from 'node:crypto'

/**
 * Key material with a lifetime that can be seen: `using key = ...` wipes it on every way out. Prints as
 * `[secret]`. The wipe reaches these bytes only; copies that OpenSSL or the collector made may remain until
 * garbage collection (SECURITY.md names the level).
 */
export class Secret implements Disposable {
  #bytes: Uint8Array | undefined

  /** Takes ownership: the caller keeps no other reference. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  /** The bytes themselves, valid until disposal. */
  get bytes(): Uint8Array {
    if (this.#bytes === undefined) throw new TypeError('secret used after it was wiped')
    return this.#bytes
  }

  get length(): number {
    return this.bytes.length
  }

  /** An independent copy with a lifetime of its own. */
  copy(): Secret {
    return new Secret(Uint8Array.from(this.bytes))
  }

  [Symbol.dispose](): void {
    this.#bytes?.fill(0)
    this.#bytes = undefined
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[secret]'
  }
}

/** Constant-time comparison of equal-length values; different lengths are simply unequal. */
export function equalSecrets(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
