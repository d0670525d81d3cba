/** Time. `now` is wall-clock milliseconds since 1970 and may jump; `monotonic` never goes back. */
export interface Clock {
  now(): number
  monotonic(): number
  /** Calls `then` once after `ms`; the answer cancels it. */
  after(ms: number, then: () => void): () => void
}
