import type { Wire } from '../host/wire.ts'

/** Below what a program that serves wires takes of them all the same. */
export const strangersMax = 48

/**
 * Wires whose other end has not proved who it is. Who is honest has done so within a few round trips; so when there
 * are too many the oldest is dropped, and idle ones, renewed as often as they may be, keep nobody out.
 */
export class Strangers {
  readonly #wires = new Map<Wire, () => void>()

  /** Takes one in; `dropped` is called when it has to make room. */
  add(wire: Wire, dropped: () => void): void {
    const [oldest] = this.#wires
    if (oldest !== undefined && this.#wires.size >= strangersMax) {
      const [wire, dropped] = oldest
      this.#wires.delete(wire)
      wire.abort()
      dropped()
    }
    this.#wires.set(wire, dropped)
  }

  delete(wire: Wire): void {
    this.#wires.delete(wire)
  }
}
