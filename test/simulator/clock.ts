import type { Clock } from '../../src/host/clock.ts'
import { Random } from './random.ts'

type Timer = {
  readonly due: number
  readonly rank: number
  readonly order: number
  readonly then: () => void
}

export type ClockOptions = {
  /** Wall-clock time at the start. */
  readonly startMs?: number
  /** Timers due at one instant fire in an order drawn from it. Without a seed: in the order set. */
  readonly seed?: number
  /** Time passes by itself, to the next timer, whenever the program has nothing left to do. */
  readonly auto?: boolean
}

/** Time that passes only when told to, or, with `auto`, as soon as everybody waits for it. */
export class VirtualClock implements Clock {
  readonly #random: Random | undefined
  readonly #isAuto: boolean
  #monotonic = 0
  #wall: number
  #order = 0
  #timers: Timer[] = []
  #isPumping = false

  constructor(options: ClockOptions = {}) {
    this.#wall = options.startMs ?? Date.UTC(2026, 0, 1)
    this.#random = options.seed === undefined ? undefined : new Random(options.seed)
    this.#isAuto = options.auto ?? false
  }

  now(): number {
    return this.#wall
  }

  monotonic(): number {
    return this.#monotonic
  }

  after(ms: number, then: () => void): () => void {
    const timer = {
      due: this.#monotonic + Math.max(0, ms),
      rank: this.#random?.word() ?? 0,
      order: this.#order++,
      then,
    }
    this.#timers.push(timer)
    this.#timers.sort((a, b) => a.due - b.due || a.rank - b.rank || a.order - b.order)
    if (this.#isAuto) this.#pump()
    return () => {
      this.#timers = this.#timers.filter(other => other !== timer)
    }
  }

  /** Timers that are set and have not fired. */
  get waiting(): number {
    return this.#timers.length
  }

  /** The wall clock is set, forward or back; monotonic time and timers do not notice. */
  jump(ms: number): void {
    this.#wall += ms
  }

  /** Lets time pass. Timers fire at their instants, and what they set off runs before the next one. */
  async advance(ms: number): Promise<void> {
    const end = this.#monotonic + ms
    await settled()
    for (let next = this.#timers[0]; next !== undefined && next.due <= end; next = this.#timers[0]) {
      this.#fire(next)
      await settled()
    }
    this.#pass(end - this.#monotonic)
  }

  #fire(timer: Timer): void {
    this.#timers = this.#timers.filter(other => other !== timer)
    this.#pass(timer.due - this.#monotonic)
    timer.then()
  }

  #pass(ms: number): void {
    this.#monotonic += Math.max(0, ms)
    this.#wall += Math.max(0, ms)
  }

  #pump(): void {
    if (this.#isPumping) return
    this.#isPumping = true
    setImmediate(() => {
      this.#isPumping = false
      const next = this.#timers[0]
      if (next === undefined) return
      this.#fire(next)
      if (this.#timers.length > 0) this.#pump()
    })
  }
}

/** Resolves when everything that could run without time passing has run. */
export function settled(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}
