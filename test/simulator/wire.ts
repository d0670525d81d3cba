import { concat } from '../../src/bytes/bytes.ts'
import type { Clock } from '../../src/host/clock.ts'
import type { Wire } from '../../src/host/wire.ts'
import { Random } from './random.ts'

/** What the network does to each chunk, as probabilities from 0 to 1. All zero: a faithful one. */
export type Weather = {
  /** Held up for up to `delayMsMax`, and those behind it with it. Needs a clock. */
  readonly delay?: number
  readonly delayMsMax?: number
  /** Delivered in pieces. Always fair: a stream has no chunks. */
  readonly split?: number
  /** The connection ends here. */
  readonly cut?: number
  readonly duplicate?: number
  /** Changes places with the next one. */
  readonly reorder?: number
  /** The end of the chunk is lost. */
  readonly truncate?: number
  /** One bit is inverted. */
  readonly flip?: number
}

export type WireOptions = {
  readonly seed?: number
  readonly weather?: Weather
  readonly clock?: Clock
  /** A writer waits while so many bytes are unread. Default 65536. */
  readonly windowBytes?: number
  /** A cut or abort reads as the end of the stream (default), or as an error. */
  readonly cutReadsAs?: 'end' | 'error'
  /** Sees every chunk before the weather does, and may answer with others. `from` is the writer's side. */
  readonly meddle?: (chunk: Uint8Array, from: 'left' | 'right') => readonly Uint8Array[]
}

export type WirePair = { readonly left: Wire; readonly right: Wire; cut(): void }

/** Two ends of a connection with a seeded network between them. */
export function wirePair(options: WireOptions = {}): WirePair {
  const random = new Random(options.seed ?? 1)
  const cut = () => {
    toRight.cut()
    toLeft.cut()
  }
  const toRight = new Direction('left', options, random, cut)
  const toLeft = new Direction('right', options, random, cut)
  return { left: end('right', toRight, toLeft, cut), right: end('left', toLeft, toRight, cut), cut }
}

function end(remote: string, outward: Direction, inward: Direction, abort: () => void): Wire {
  return {
    remote: `simulated:${remote}`,
    write: (...parts) => outward.write(...parts),
    read: () => inward.read(),
    close: () => outward.close(),
    abort,
  }
}

/** One direction: chunks pass the weather into a queue, from which the reader takes. */
class Direction {
  readonly #from: 'left' | 'right'
  readonly #options: WireOptions
  readonly #weather: Weather
  readonly #random: Random
  readonly #cutAll: () => void
  readonly #arrived: Uint8Array[] = []
  /** In order: what is under way behind a delay, `undefined` for the end of the stream. */
  readonly #underWay: (Uint8Array | undefined)[] = []
  #held: Uint8Array | undefined
  #unreadBytes = 0
  #isDelayed = false
  #isClosed = false
  #isEnded = false
  #isCut = false
  #reader: { resolve: (bytes: Uint8Array | undefined) => void; reject: (error: Error) => void } | undefined
  #writers: (() => void)[] = []

  constructor(from: 'left' | 'right', options: WireOptions, random: Random, cutAll: () => void) {
    this.#from = from
    this.#options = options
    this.#weather = options.weather ?? {}
    this.#random = random
    this.#cutAll = cutAll
  }

  async write(...parts: readonly Uint8Array[]): Promise<void> {
    if (this.#isClosed || this.#isCut) throw new Error('the wire is closed')
    const chunk = concat(...parts)
    for (const other of this.#options.meddle?.(chunk, this.#from) ?? [chunk]) this.#send(other)
    if (this.#unreadBytes < (this.#options.windowBytes ?? 65536)) return
    await new Promise<void>(resolve => this.#writers.push(resolve))
    if (this.#isCut) throw new Error('the wire is cut')
  }

  async read(): Promise<Uint8Array | undefined> {
    if (this.#reader !== undefined) throw new Error('one reader at a time')
    const next = this.#arrived.shift()
    if (next !== undefined) return this.#taken(next)
    if (this.#isCut && this.#options.cutReadsAs === 'error') throw new Error('the wire was cut')
    if (this.#isEnded || this.#isCut) return undefined
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject }
    })
  }

  close(): void {
    if (this.#isClosed || this.#isCut) return
    this.#isClosed = true
    this.#letGo()
    this.#enqueue(undefined)
  }

  cut(): void {
    if (this.#isCut) return
    this.#isCut = true
    this.#arrived.length = 0
    this.#underWay.length = 0
    const reader = this.#reader
    this.#reader = undefined
    if (this.#options.cutReadsAs === 'error') reader?.reject(new Error('the wire was cut'))
    else reader?.resolve(undefined)
    this.#release()
  }

  #send(chunk: Uint8Array): void {
    const weather = this.#weather
    if (this.#isCut) return
    if (this.#happens(weather.cut)) {
      this.#cutAll()
      return
    }
    let sent = chunk
    if (sent.length > 0 && this.#happens(weather.truncate))
      sent = sent.subarray(0, this.#random.below(sent.length))
    if (sent.length > 0 && this.#happens(weather.flip)) {
      const at = this.#random.below(sent.length)
      sent = new Uint8Array(sent)
      sent[at] = (sent[at] ?? 0) ^ (1 << this.#random.below(8))
    }
    if (this.#held === undefined && this.#happens(weather.reorder)) {
      this.#hold(sent)
      return
    }
    this.#enqueue(sent)
    if (this.#happens(weather.duplicate)) this.#enqueue(sent)
    this.#letGo()
  }

  /** Until the next chunk has passed it, or for a while if there is none. */
  #hold(chunk: Uint8Array): void {
    this.#held = chunk
    const letGo = () => {
      if (this.#held === chunk) this.#letGo()
    }
    if (this.#options.clock === undefined) setImmediate(letGo)
    else this.#options.clock.after(this.#weather.delayMsMax ?? 100, letGo)
  }

  #letGo(): void {
    const held = this.#held
    this.#held = undefined
    if (held !== undefined && !this.#isCut) this.#enqueue(held)
  }

  #enqueue(chunk: Uint8Array | undefined): void {
    if (chunk === undefined) this.#underWay.push(undefined)
    else {
      const at =
        chunk.length > 1 && this.#happens(this.#weather.split) ? 1 + this.#random.below(chunk.length - 1) : 0
      for (const piece of [chunk.subarray(0, at), chunk.subarray(at)]) {
        if (piece.length > 0) this.#underWay.push(new Uint8Array(piece))
        this.#unreadBytes += piece.length
      }
    }
    if (!this.#isDelayed) this.#move()
  }

  #move(): void {
    while (this.#underWay.length > 0) {
      const { clock } = this.#options
      if (clock !== undefined && this.#happens(this.#weather.delay)) {
        this.#isDelayed = true
        clock.after(this.#random.below((this.#weather.delayMsMax ?? 100) + 1), () => {
          this.#isDelayed = false
          this.#arrive()
          this.#move()
        })
        return
      }
      this.#arrive()
    }
  }

  #arrive(): void {
    if (this.#underWay.length === 0) return
    const chunk = this.#underWay.shift()
    const reader = this.#reader
    this.#reader = undefined
    if (chunk === undefined) this.#isEnded = true
    else if (reader === undefined) this.#arrived.push(chunk)
    reader?.resolve(chunk === undefined ? undefined : this.#taken(chunk))
  }

  #taken(chunk: Uint8Array): Uint8Array {
    this.#unreadBytes -= chunk.length
    if (this.#unreadBytes < (this.#options.windowBytes ?? 65536)) this.#release()
    return chunk
  }

  #release(): void {
    const writers = this.#writers
    this.#writers = []
    for (const resolve of writers) resolve()
  }

  #happens(probability: number | undefined): boolean {
    return probability !== undefined && probability > 0 && this.#random.chance(probability)
  }
}
