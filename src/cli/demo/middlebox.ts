import { concat } from '../../bytes/bytes.ts'
import { type FrameType, frameTypes, type Header } from '../../channel/frame.ts'
import { FrameReader } from '../../channel/frame-reader.ts'
import type { Wire } from '../../host/wire.ts'
import { realClock } from '../../node/clock.ts'
import { connect, type Listener, listen } from '../../node/tcp.ts'
import type { Watch } from './watch.ts'

/** Up is from the sender to the receiver. */
export type Direction = 'up' | 'down'

/** A frame on its way; its header is in the clear. */
export type Sighting = Omit<Header, 'payloadBytes'> & {
  readonly direction: Direction
  readonly passage: Passage
  readonly bytes: Uint8Array
}

/** One connection through the box, and all that was seen of it. */
export class Passage {
  readonly number: number
  readonly seen: Sighting[] = []
  /** Frames of orders that nothing has come back for. */
  unanswered = 0
  isOver = false
  readonly #wires: readonly Wire[]

  constructor(number: number, wires: readonly Wire[]) {
    this.number = number
    this.#wires = wires
  }

  frames(direction: Direction, type: FrameType): readonly Sighting[] {
    return this.seen.filter(frame => frame.direction === direction && frame.type === type)
  }

  cut(): void {
    this.isOver = true
    for (const wire of this.#wires) wire.abort()
  }
}

/** Done once, to the first frame that it wants: what is sent on in its place; nothing: the connection is cut. */
export type Tampering = {
  readonly wants: (frame: Sighting) => boolean
  /** Orders that pass meanwhile, since what is wanted answers them. */
  readonly needs?: (orders: Sighting) => boolean
  readonly apply: (frame: Sighting) => readonly Uint8Array[]
}

const host = '127.0.0.1'
const dialMsMax = 2_000
const lingerMs = 300

/**
 * What stands between the two ends: a line that is slow, and belongs to an attacker. It sees every frame, keeps what
 * it has seen, and passes it on unchanged, changed, twice, or not at all.
 */
export class MiddleBox {
  /** Where the receiver listens now; nobody gets through without one. */
  upstream: number | undefined
  /** Whether a frame of orders may pass now. */
  mayPass: () => boolean = () => true
  /** Between two frames of orders. */
  paceMs = 0
  readonly passages: Passage[] = []
  readonly #watch: Watch
  #listener: Listener | undefined
  #tampering: Tampering | undefined
  #tampered: Sighting | undefined
  #lastPass = 0

  private constructor(watch: Watch) {
    this.#watch = watch
  }

  static async open(watch: Watch): Promise<MiddleBox> {
    const box = new MiddleBox(watch)
    box.#listener = await listen(host, 0, wire => {
      // What ends badly here ends badly for the two ends, who say so.
      box.#take(wire).catch(() => undefined)
    })
    return box
  }

  /** What the sender dials. */
  get place(): string {
    return `${host}:${this.#listener?.port}`
  }

  get live(): Passage | undefined {
    return this.passages.findLast(({ isOver }) => !isOver)
  }

  /** Tampers with the next frame that is wanted; answers with it once that is done. */
  async tamper(what: string, tampering: Tampering): Promise<Sighting> {
    this.#tampered = undefined
    this.#tampering = tampering
    this.#watch.changed()
    return this.#watch.until(what, () => this.#tampered)
  }

  /** Cuts every connection there is. */
  cut(): void {
    for (const passage of this.passages) if (!passage.isOver) passage.cut()
    this.#watch.changed()
  }

  /** Says to the receiver again what the sender said on an earlier connection. Resolves when it has hung up. */
  async playBack(passage: Passage): Promise<void> {
    const wire = await connect(host, this.upstream ?? 0, { timeoutMs: dialMsMax })
    const sent = passage.seen.filter(({ direction }) => direction === 'up')
    const speak = async () => {
      for (const { bytes } of sent) await wire.write(bytes)
    }
    try {
      speak().catch(() => undefined)
      while ((await wire.read().catch(() => undefined)) !== undefined);
    } finally {
      wire.abort()
    }
  }

  async close(): Promise<void> {
    this.upstream = undefined
    this.cut()
    await this.#listener?.close()
  }

  async #take(sender: Wire): Promise<void> {
    const { upstream } = this
    if (upstream === undefined) return sender.abort()
    let receiver: Wire
    try {
      receiver = await connect(host, upstream, { timeoutMs: dialMsMax })
    } catch {
      return sender.abort()
    }
    const passage = new Passage(this.passages.length + 1, [sender, receiver])
    this.passages.push(passage)
    this.#watch.changed()
    const pumps = [this.#pump(passage, 'up', sender, receiver), this.#pump(passage, 'down', receiver, sender)]
    try {
      await Promise.race(pumps)
      // The last words of the other end still pass.
      await new Promise<void>(resolve => realClock.after(lingerMs, resolve))
    } finally {
      passage.cut()
      await Promise.allSettled(pumps)
      this.#watch.changed()
    }
  }

  async #pump(passage: Passage, direction: Direction, from: Wire, to: Wire): Promise<void> {
    const reader = new FrameReader()
    for (;;) {
      const chunk = await from.read()
      if (chunk === undefined) return to.close()
      for (const event of reader.feed(chunk)) {
        if (event.kind === 'frame-refused') throw new TypeError('bytes that are no frames')
        const { header, payload, sessionId, ...rest } = event.frame
        const bytes = concat(header, payload)
        const frame = { ...rest, sessionId: Uint8Array.from(sessionId), direction, passage, bytes }
        await this.#pass(frame, to)
      }
    }
  }

  async #pass(frame: Sighting, to: Wire): Promise<void> {
    const { passage, direction, type } = frame
    const isOrders = direction === 'up' && type === frameTypes.data
    if (isOrders) await this.#turn(frame)
    if (passage.isOver) throw new TypeError('cut')
    passage.seen.push(frame)
    if (isOrders) passage.unanswered++
    else if (type === frameTypes.data) passage.unanswered = 0
    const tampering = this.#tampering?.wants(frame) ? this.#tampering : undefined
    const outgoing = tampering === undefined ? [frame.bytes] : tampering.apply(frame)
    for (const bytes of outgoing) await to.write(bytes)
    if (tampering !== undefined) {
      this.#tampering = undefined
      this.#tampered = frame
    }
    this.#watch.changed()
    if (outgoing.length === 0) {
      passage.cut()
      throw new TypeError('cut')
    }
  }

  /** One frame of orders at a time, at a pace, and only as far as is wished; what is tampered with need not wait. */
  async #turn(frame: Sighting): Promise<void> {
    const { passage } = frame
    const isDue = () => {
      const tampering = this.#tampering
      if (tampering?.wants(frame) === true) return true
      return passage.unanswered === 0 && (this.mayPass() || tampering?.needs?.(frame) === true)
    }
    const wait = Math.max(0, this.#lastPass + this.paceMs - realClock.monotonic())
    await new Promise<void>(resolve => realClock.after(wait, resolve))
    await this.#watch.until(
      'a turn on the line',
      () => (passage.isOver || isDue() ? true : undefined),
      120_000,
    )
    this.#lastPass = realClock.monotonic()
  }
}
