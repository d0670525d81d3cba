import { BytesError } from '../bytes/bytes.ts'
import type { CborMap } from '../bytes/cbor.ts'
import type { Clock } from '../host/clock.ts'
import { type Wire, WireError } from '../host/wire.ts'
import { StateError, stateError } from './error.ts'
import { encodeFailure, encodeFrame, Frames, protocolLimits } from './protocol.ts'

/** What one subject may take up at once, over all of its connections. */
const connectionsMax = 64
const largeFrameBytes = 64 * 1024
const largeFramesMax = 4
/** Of a connection: requests being worked on and answers not yet taken. */
const heldBytesMax = 4 * 1024 * 1024
const patienceMs = 10_000
const sliceBytes = 64 * 1024
/** How long what was begun may take once the server is to end, and how long a client may take to hear of its own end. */
const drainMs = 5_000
const goodbyeMs = 1_000

/** A request that was read: `weight` is what it and its answer may take up, in bytes. */
export type Asked = {
  readonly id: number
  readonly weight: number
  answer(isWanted: () => boolean): Promise<CborMap>
}

/** One connection, as whoever answers it sees it. */
export type Visit = {
  readonly greeting: CborMap
  /** @throws BytesError */
  read(frame: Uint8Array): Asked
  /** Nothing more will be asked, and what waits for something is to wait no longer; said at least once. */
  leave(): void
}

/** Serves one subject's connections: docs/spec/stated.md. */
export class SubjectServer {
  readonly #desk: { visit(): Visit }
  readonly #clock: Clock
  readonly #connections = new Map<Connection, Promise<void>>()
  readonly #largeFrames = new Turns(largeFramesMax)
  #draining = false

  constructor(desk: { visit(): Visit }, clock: Clock) {
    this.#desk = desk
    this.#clock = clock
  }

  get connections(): number {
    return this.#connections.size
  }

  /** Takes a connection; one too many is dropped. */
  accept(wire: Wire): void {
    if (this.#draining || this.#connections.size >= connectionsMax) {
      wire.abort()
      return
    }
    const connection = new Connection(wire, this.#desk.visit(), this.#clock, this.#largeFrames)
    const served = connection.serve().finally(() => this.#connections.delete(connection))
    this.#connections.set(connection, served)
  }

  /** Takes nothing new, answers what was begun, and ends. */
  async drain(): Promise<void> {
    this.#draining = true
    for (const connection of this.#connections.keys()) connection.stop()
    const giveUp = this.#clock.after(drainMs, () => {
      for (const connection of this.#connections.keys()) connection.abort()
    })
    await Promise.all(this.#connections.values())
    giveUp()
  }
}

class Connection {
  readonly #wire: Wire
  readonly #visit: Visit
  readonly #clock: Clock
  readonly #largeFrames: Turns
  readonly #frames = new Frames()
  readonly #stopped: Promise<undefined>
  #stop: (() => void) | undefined
  readonly #working = new Set<Promise<void>>()
  readonly #ids = new Set<number>()
  #isGone = false
  readonly #isWanted = (): boolean => !this.#isGone
  #heldBytes = 0
  #freed: (() => void) | undefined
  #sending: Promise<void> = Promise.resolve()

  constructor(wire: Wire, visit: Visit, clock: Clock, largeFrames: Turns) {
    this.#wire = wire
    this.#visit = visit
    this.#clock = clock
    this.#largeFrames = largeFrames
    this.#stopped = new Promise(resolve => {
      this.#stop = () => resolve(undefined)
    })
  }

  stop(): void {
    this.#stop?.()
  }

  abort(): void {
    this.#isGone = true
    this.#visit.leave()
    this.#wire.abort()
    this.#stop?.()
  }

  /** Never fails: what goes wrong with one connection ends that one. */
  async serve(): Promise<void> {
    try {
      await this.#send(encodeFrame(this.#visit.greeting))
      for (;;) {
        const frame = await this.#nextFrame()
        if (frame === undefined) break
        const { id, weight, answer } = this.#visit.read(frame)
        await this.#room(weight)
        if (this.#ids.has(id)) throw new BytesError('two requests of one number')
        this.#work(weight, async () => ({ id, ok: await answer(this.#isWanted) }), id)
      }
      this.#visit.leave()
      await Promise.all(this.#working)
      await this.#sending
    } catch (error) {
      if (error instanceof BytesError) await this.#refuse(error)
      else if (!(error instanceof WireError)) throw error
    } finally {
      this.#isGone = true
      this.#visit.leave()
      // What the other end still sends is not waited for: it may send for ever.
      this.#wire.close()
      this.#clock.after(goodbyeMs, () => this.#wire.abort())
    }
  }

  async #refuse(error: BytesError): Promise<void> {
    this.#visit.leave()
    await Promise.all(this.#working)
    await this.#send(encodeFailure(0, new StateError('EINVAL', error.message))).catch(() => {})
  }

  async #nextFrame(): Promise<Uint8Array | undefined> {
    let holdsTurn = false
    let giveUp: (() => void) | undefined
    try {
      for (;;) {
        const frame = this.#frames.next()
        if (frame !== undefined) return frame
        if (!holdsTurn && (this.#frames.wanted ?? 0) > largeFrameBytes) {
          giveUp?.()
          giveUp = undefined
          await this.#largeFrames.take()
          holdsTurn = true
        }
        if (this.#frames.isBegun) giveUp ??= this.#clock.after(patienceMs, () => this.abort())
        const bytes = await Promise.race([this.#wire.read(), this.#stopped])
        if (bytes === undefined) return undefined
        this.#frames.push(bytes)
      }
    } finally {
      giveUp?.()
      if (holdsTurn) this.#largeFrames.give()
    }
  }

  /** Waits until so many bytes more may be held. */
  async #room(weight: number): Promise<void> {
    const isFull = () =>
      this.#working.size >= protocolLimits.inFlightMax ||
      (this.#heldBytes > 0 && this.#heldBytes + weight > heldBytesMax)
    while (isFull())
      await new Promise<void>(resolve => {
        this.#freed = resolve
      })
  }

  #work(weight: number, answer: () => Promise<CborMap>, id: number): void {
    this.#heldBytes += weight
    this.#ids.add(id)
    const work = answer()
      .then(encodeFrame, error => encodeFailure(id, asStateError(error)))
      .then(frame => this.#send(frame))
      .catch(() => this.abort())
      .finally(() => {
        this.#heldBytes -= weight
        this.#ids.delete(id)
        this.#working.delete(work)
        this.#freed?.()
      })
    this.#working.add(work)
  }

  #send(frame: Uint8Array): Promise<void> {
    this.#sending = this.#sending.then(async () => {
      for (let at = 0; at < frame.length; at += sliceBytes) {
        const giveUp = this.#clock.after(patienceMs, () => this.abort())
        try {
          await this.#wire.write(frame.subarray(at, at + sliceBytes))
        } finally {
          giveUp()
        }
      }
    })
    return this.#sending
  }
}

/** What the store did not foresee is a bug here, not the caller's: it is told without its words. */
function asStateError(error: unknown): StateError {
  const known = stateError(error)
  return known instanceof StateError ? known : new StateError('EDAEMON', 'the server failed at this request')
}

/** So many at a time, in the order in which they ask. */
class Turns {
  #left: number
  readonly #waiting: (() => void)[] = []

  constructor(count: number) {
    this.#left = count
  }

  async take(): Promise<void> {
    if (this.#left > 0) this.#left--
    else await new Promise<void>(resolve => this.#waiting.push(resolve))
  }

  give(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#left++
    else next()
  }
}
