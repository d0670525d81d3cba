import type { Wire } from '../host/wire.ts'

/** Sealed and not yet taken by the wire; a sender waits beyond it. */
const unwrittenBytesMax = 192 * 1024

/** What is given to a wire while it still takes what came before. How the wire ends is told by its reader. */
export class Outgoing {
  readonly #wire: Wire
  readonly #taken: () => void
  #bytes = 0

  /** `taken` is called whenever the wire has taken something. */
  constructor(wire: Wire, taken: () => void) {
    this.#wire = wire
    this.#taken = taken
  }

  get isFull(): boolean {
    return this.#bytes > unwrittenBytesMax
  }

  async write(parts: readonly Uint8Array[]): Promise<void> {
    const bytes = parts.reduce((sum, { length }) => sum + length, 0)
    this.#bytes += bytes
    await this.#wire.write(...parts).catch(() => undefined)
    this.#bytes -= bytes
    this.#taken()
  }
}
