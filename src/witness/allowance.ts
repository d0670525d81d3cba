import type { Clock } from '../host/clock.ts'

export type AllowanceLimits = {
  /** So many at once, and so many a second after that. */
  readonly burst: number
  readonly perSecond: number
  /** Who is remembered; beyond it those who were away longest have a whole burst again. */
  readonly clientsMax: number
}

type Bucket = { left: number; at: number }

/** How often each client may ask, bounded in memory whoever comes. */
export class Allowance {
  readonly #limits: AllowanceLimits
  readonly #clock: Clock
  /** Least recently seen first. */
  readonly #buckets = new Map<string, Bucket>()

  constructor(limits: AllowanceLimits, clock: Clock) {
    this.#limits = limits
    this.#clock = clock
  }

  /** Whether one more is allowed; then it is counted. */
  take(client: string): boolean {
    const { burst, perSecond, clientsMax } = this.#limits
    const now = this.#clock.monotonic()
    const known = this.#buckets.get(client) ?? { left: burst, at: now }
    this.#buckets.delete(client)
    known.left = Math.min(burst, known.left + ((now - known.at) / 1000) * perSecond)
    known.at = now
    this.#buckets.set(client, known)
    if (this.#buckets.size > clientsMax) {
      const [longestAway] = this.#buckets.keys()
      if (longestAway !== undefined) this.#buckets.delete(longestAway)
    }
    if (known.left < 1) return false
    known.left--
    return true
  }

  get clients(): number {
    return this.#buckets.size
  }
}
