import type { Clock } from '../host/clock.ts'
import type { Outbox } from './outbox.ts'

/** Something waits, and no acknowledgement comes for so long: the connection is dead, and another one is tried. */
const stallMsMax = 60_000
/** What a connection has to bring one in all the same, however little time is left. */
const graceMs = 2_000

/**
 * How long a sender goes on without an acknowledgement. Handshakes are none: a way that takes everything behind them
 * stands again and again. While nothing waits to be acknowledged, any contact will do.
 */
export class Patience {
  readonly #clock: Clock
  readonly #outbox: Outbox
  readonly #giveUpMs: number
  readonly #stallMs: number
  readonly #unwatch: () => void
  #since: number
  #acknowledged: number
  #waits: boolean
  #look: () => void = () => {}

  constructor(clock: Clock, outbox: Outbox, giveUpMs: number) {
    this.#clock = clock
    this.#outbox = outbox
    this.#giveUpMs = giveUpMs
    this.#stallMs = Math.max(graceMs, Math.min(stallMsMax, Math.ceil(giveUpMs / 3)))
    this.#since = clock.monotonic()
    this.#acknowledged = outbox.acknowledged.next
    this.#waits = outbox.sending.next > this.#acknowledged
    this.#unwatch = outbox.watch(() => this.#changed())
  }

  /** Until it is time to give up. */
  get leftMs(): number {
    return this.#since + this.#giveUpMs - this.#clock.monotonic()
  }

  /** An acknowledgement has come, of something new or not. */
  heard(): void {
    this.#since = this.#clock.monotonic()
  }

  /** A connection stands, or has until now. */
  reached(): void {
    if (!this.#waits) this.heard()
  }

  /** Calls back once a connection that stands from now on is dead, or its time is over; the answer forgets it. */
  whenOver(then: () => void): () => void {
    const clock = this.#clock
    const stands = clock.monotonic()
    let cancel: (() => void) | undefined
    const woken = () => {
      cancel = undefined
      this.#look()
    }
    this.#look = () => {
      // A timer that is set comes too early at worst, and is set again then.
      if (cancel !== undefined || !this.#waits) return
      const dead = Math.max(this.#since, stands) + this.#stallMs
      const over = Math.max(this.#since + this.#giveUpMs, stands + graceMs)
      const leftMs = Math.min(dead, over) - clock.monotonic()
      if (leftMs > 0) cancel = clock.after(leftMs, woken)
      else then()
    }
    this.#look()
    return () => {
      this.#look = () => {}
      cancel?.()
    }
  }

  dispose(): void {
    this.#unwatch()
  }

  #changed(): void {
    const { sending, acknowledged } = this.#outbox
    const hasMoved = acknowledged.next > this.#acknowledged
    const begins = sending.next > acknowledged.next && !this.#waits
    this.#acknowledged = acknowledged.next
    this.#waits = sending.next > acknowledged.next
    if (hasMoved || begins) this.heard()
    if (begins) this.#look()
  }
}
