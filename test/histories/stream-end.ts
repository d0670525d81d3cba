/** One process of an end in mode `stream`: it queues, accepts everything that comes, and connects or serves. */
import { createHash } from 'node:crypto'
import type { Clock } from '../../src/host/clock.ts'
import { type Wire, WireError } from '../../src/host/wire.ts'
import { type Correspondent, deliver, openCorrespondent, serve } from '../../src/mailbox/courier.ts'
import { type AtRest, type Running, run } from '../session/world.ts'
import { settled } from '../simulator/clock.ts'
import { type WireOptions, type WirePair, wirePair } from '../simulator/wire.ts'
import type { EndName, Life } from './homes.ts'
import type { Line } from './line.ts'

export function digest(message: Uint8Array): string {
  return createHash('sha256').update(message).digest('base64url').slice(0, 12)
}

export class StreamEnd {
  readonly line: Line
  readonly life: Life
  readonly running: Running
  readonly mate: Correspondent
  /** Why connections that it served ended. */
  readonly errors: unknown[] = []
  readonly #wires = new Set<Wire>()
  readonly #pairs = new Map<WirePair, Promise<unknown>>()

  private constructor(line: Line, life: Life, running: Running, mate: Correspondent) {
    this.line = line
    this.life = life
    this.running = running
    this.mate = mate
    life.atEnd(() => {
      running.kill()
      for (const pair of this.#pairs.keys()) pair.cut()
      for (const wire of this.#wires) wire.abort()
    })
  }

  /**
   * Starts it on what is at rest; nothing, if it is fated to die before it runs.
   * @throws StateError as the home is refused
   */
  static async start(life: Life, site: AtRest, options: Options): Promise<StreamEnd | undefined> {
    const { end, line, clock } = options
    const opening = async () => {
      const running = await run(site, clock, life)
      const mate = await openCorrespondent(running.endpoint, running.peer, end === 'A' ? 'client' : 'server')
      const started = new StreamEnd(line, life, running, mate)
      await started.#find()
      started.#accept().catch(error => started.errors.push(error))
      return started
    }
    const started = await Promise.race([opening(), life.died])
    return started === 'died' ? undefined : started
  }

  get outbox() {
    return this.mate.mailbox.outbox
  }

  get acknowledged(): number {
    return this.outbox.acknowledged.next - 1
  }

  get isDelivered(): boolean {
    return this.outbox.sending.next === this.outbox.acknowledged.next
  }

  /** How far its sessions went: a change says that it has made one. */
  get epoch(): number {
    return this.mate.party.memory.epoch
  }

  async queue(messages: readonly Uint8Array[]): Promise<void> {
    if (messages.length === 0) return
    this.line.queues(messages.map(digest))
    await this.outbox.put(messages)
    this.line.queued()
  }

  /** The client's end of a connection to it. */
  dial(network: WireOptions): Wire {
    if (this.life.isOver) throw new WireError('unreachable', 'nobody listens')
    const pair = wirePair({ clock: this.running.endpoint.clock, ...network })
    const serving = serve(this.running.endpoint, pair.right, [this.mate])
      .catch(error => this.errors.push(error))
      .finally(() => this.#pairs.delete(pair))
    this.#pairs.set(pair, serving)
    return pair.left
  }

  async deliver(dial: () => Wire, options: { done: () => boolean; stop: AbortSignal; giveUpMs: number }) {
    const dialled = async () => {
      // What is dead does nothing more, though its code is still here.
      if (this.life.isOver) return new Promise<never>(() => {})
      const wire = dial()
      this.#wires.add(wire)
      return wire
    }
    await deliver(this.running.endpoint, this.mate, { dial: dialled, ...options })
  }

  /** Until every connection that it serves is over. */
  async isIdle(): Promise<void> {
    await Promise.all(this.#pairs.values())
  }

  /** Until what came is accepted. Time may pass meanwhile: nothing is to wait for it. */
  async isQuiet(): Promise<void> {
    let left = 10_000
    for (let turns = 0; turns < 3 && !this.life.isOver; turns++) {
      const before = this.line.gotSure
      await settled()
      if (--left === 0) throw new Error('what came is not accepted')
      if (this.line.got.length > before) turns = -1
    }
  }

  async #accept(): Promise<void> {
    for await (const batch of this.mate.mailbox.inbox.batches()) {
      const digests = batch.messages.map(digest)
      this.line.takes(batch.first, digests)
      await batch.accept(
        digests.map((each, i) => ({ put: gotPath(batch.first + i), payload: Buffer.from(each) })),
      )
      this.line.took()
    }
  }

  async #find(): Promise<void> {
    const { store } = this.running.endpoint
    const paths = store.list('/state/got/')
    const accepted = await Promise.all(
      paths.map(async path => Buffer.from((await store.get(path)).payload).toString()),
    )
    this.line.isFound(this.outbox.sending.next - 1, accepted)
    if (
      paths.some((path, i) => path !== gotPath(i + 1)) ||
      this.mate.mailbox.inbox.accepted.next !== paths.length + 1
    )
      throw new Error(`${this.line.name}: what was accepted and the position differ`)
  }
}

type Options = { readonly end: EndName; readonly line: Line; readonly clock: Clock }

function gotPath(number: number): string {
  return `/state/got/${String(number).padStart(6, '0')}`
}
