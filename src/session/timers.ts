import type { Clock } from '../host/clock.ts'

/** Timers by name; one that is started again starts anew. */
export class Timers<Name> {
  readonly #clock: Clock
  readonly #cancels = new Map<Name, () => void>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  start(name: Name, ms: number, fired: () => void): void {
    this.stop(name)
    this.#cancels.set(name, this.#clock.after(ms, fired))
  }

  stop(name: Name): void {
    this.#cancels.get(name)?.()
    this.#cancels.delete(name)
  }

  stopAll(): void {
    for (const name of [...this.#cancels.keys()]) this.stop(name)
  }
}
