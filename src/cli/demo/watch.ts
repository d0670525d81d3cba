import { realClock } from '../../node/clock.ts'

/** Something did not come about in its time. */
export class TooLate extends Error {
  override readonly name = 'TooLate'
}

const waitMsMax = 25_000

/** Waiting for what other processes do: every wait has an end, and all of them can be ended at once. */
export class Watch {
  readonly #looks = new Set<() => void>()
  #stopped: Error | undefined

  /** Something happened: whoever waits looks again. */
  changed(): void {
    for (const look of [...this.#looks]) look()
  }

  /** Every wait from now on fails with this. */
  stop(reason: Error): void {
    this.#stopped ??= reason
    this.changed()
  }

  get stopped(): Error | undefined {
    return this.#stopped
  }

  /** What `find` gives once it gives something. @throws TooLate, or what it was stopped with */
  until<T>(what: string, find: () => T | undefined, msMax = waitMsMax): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = () => {
        this.#looks.delete(look)
        cancel()
      }
      const look = () => {
        const found = this.#stopped === undefined ? find() : undefined
        if (this.#stopped === undefined && found === undefined) return
        end()
        if (this.#stopped !== undefined) reject(this.#stopped)
        else if (found !== undefined) resolve(found)
      }
      const cancel = realClock.after(msMax, () => {
        end()
        reject(new TooLate(`${what} did not happen within ${msMax / 1000} s`))
      })
      this.#looks.add(look)
      look()
    })
  }

  /** @throws what it was stopped with */
  async pause(ms: number): Promise<void> {
    let over = false
    const cancel = realClock.after(ms, () => {
      over = true
      this.changed()
    })
    try {
      await this.until('a pause', () => over || undefined, ms + waitMsMax)
    } finally {
      cancel()
    }
  }
}
