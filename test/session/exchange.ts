/** A sender and a receiver over a simulated network: what `pawl send` and `pawl receive` do, in one process. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { Clock } from '../../src/host/clock.ts'
import type { Wire } from '../../src/host/wire.ts'
import { WireError } from '../../src/host/wire.ts'
import { type Correspondent, deliver, openCorrespondent, serve } from '../../src/mailbox/courier.ts'
import { MailboxError } from '../../src/mailbox/error.ts'
import type { Endpoint } from '../../src/session/connection.ts'
import { SessionError } from '../../src/session/error.ts'
import type { FaultRule } from '../simulator/fault.ts'
import { type WireOptions, type WirePair, wirePair } from '../simulator/wire.ts'
import { type AtRest, type Running, run } from './world.ts'

export type RunOptions = {
  readonly limits?: Endpoint['limits']
  readonly faults?: FaultRule
  /** Changes what was opened before anything is done with it: a planted bug. */
  readonly wrap?: (correspondent: Correspondent, running: Running) => void
}

export function digest(message: Uint8Array): string {
  return createHash('sha256').update(message).digest('base64url')
}

/** One process that serves a home: accepts every message, with a record of it in the same group. */
export class Receiver {
  readonly running: Running
  readonly from: Correspondent
  /** Why connections ended. */
  readonly errors: unknown[] = []
  readonly #pairs = new Set<WirePair>()
  #isUp = true

  private constructor(running: Running, from: Correspondent) {
    this.running = running
    this.from = from
  }

  static async start(site: AtRest, clock: Clock, options: RunOptions = {}): Promise<Receiver> {
    const running = await run(site, clock, options)
    const from = await openCorrespondent(running.endpoint, running.peer, 'server')
    options.wrap?.(from, running)
    const receiver = new Receiver(running, from)
    receiver.#accept().catch(error => receiver.errors.push(error))
    return receiver
  }

  get isUp(): boolean {
    return this.#isUp
  }

  /** A connection through a network of these properties; the client's end. */
  dial(network: WireOptions = {}): Wire {
    if (!this.#isUp) throw unreachable()
    const pair = wirePair({ clock: this.running.endpoint.clock, ...network })
    this.#pairs.add(pair)
    const { endpoint } = this.running
    serve(endpoint, pair.right, [this.from])
      .catch(error => this.errors.push(error))
      .finally(() => this.#pairs.delete(pair))
    return pair.left
  }

  kill(): AtRest {
    this.#down()
    return this.running.kill()
  }

  async close(): Promise<AtRest> {
    this.from.mailbox.inbox.close()
    this.#down()
    return this.running.close()
  }

  #down(): void {
    this.#isUp = false
    for (const pair of this.#pairs) pair.cut()
  }

  async #accept(): Promise<void> {
    for await (const batch of this.from.mailbox.inbox.batches())
      await batch.accept(
        batch.messages.map((message, i) => ({
          put: `/state/got/${String(batch.first + i).padStart(6, '0')}`,
          payload: Buffer.from(digest(message)),
        })),
      )
  }
}

export function unreachable(): Error {
  return new WireError('unreachable', 'nobody listens')
}

/** One process that sends: queues what of `messages` is not queued yet, and delivers until all is acknowledged. */
export class Sender {
  readonly running: Running
  readonly to: Correspondent
  readonly #wires = new Set<Wire>()
  #isDead = false

  private constructor(running: Running, to: Correspondent) {
    this.running = running
    this.to = to
  }

  static async start(site: AtRest, clock: Clock, options: RunOptions = {}): Promise<Sender> {
    const running = await run(site, clock, options)
    const to = await openCorrespondent(running.endpoint, running.peer, 'client')
    options.wrap?.(to, running)
    return new Sender(running, to)
  }

  async queue(messages: readonly Uint8Array[], perPut = 7): Promise<void> {
    const { outbox } = this.to.mailbox
    for (let at = outbox.sending.next - 1; at < messages.length; at += perPut)
      await outbox.put(messages.slice(at, at + perPut))
  }

  async send(
    messages: readonly Uint8Array[],
    dial: () => Wire | Promise<Wire>,
    giveUpMs = 120_000,
  ): Promise<void> {
    const { outbox } = this.to.mailbox
    const queued = this.queue(messages)
    queued.catch(() => undefined)
    await this.deliverUntil(() => outbox.acknowledged.next > messages.length, dial, giveUpMs)
    await queued
  }

  /** `done` may be about both ends: it is asked every second, not only when the outbox changes. */
  async deliverUntil(
    done: () => boolean,
    dial: () => Wire | Promise<Wire>,
    giveUpMs = 120_000,
  ): Promise<void> {
    const dialled = async () => {
      // What is dead does nothing more, though its code is still here.
      if (this.#isDead) return new Promise<never>(() => {})
      const wire = await dial()
      this.#wires.add(wire)
      return wire
    }
    const { clock } = this.running.endpoint
    let cancel = () => {}
    const ask = () => {
      this.to.mailbox.outbox.announce()
      cancel = clock.after(1_000, ask)
    }
    ask()
    try {
      await deliver(this.running.endpoint, this.to, { dial: dialled, done, giveUpMs })
    } finally {
      cancel()
    }
  }

  kill(): AtRest {
    this.#isDead = true
    for (const wire of this.#wires) wire.abort()
    return this.running.kill()
  }

  close(): Promise<AtRest> {
    for (const wire of this.#wires) wire.abort()
    return this.running.close()
  }
}

/** What a receiver holds: exactly these messages, each once, in order. */
export async function assertReceived(
  site: AtRest,
  clock: Clock,
  messages: readonly Uint8Array[],
): Promise<void> {
  const { endpoint, close } = await run(site, clock)
  const paths = endpoint.store.list('/state/got/')
  const got = await Promise.all(
    paths.map(async path => Buffer.from((await endpoint.store.get(path)).payload).toString()),
  )
  assert.deepEqual(got, messages.map(digest))
  for (const [i, path] of paths.entries()) assert.ok(path.endsWith(String(i + 1).padStart(6, '0')))
  await close()
}

/** How many messages a receiver holds, having checked that they are the first of these. */
export async function receivedCount(
  site: AtRest,
  clock: Clock,
  ...histories: readonly (readonly Uint8Array[])[]
): Promise<number> {
  const { endpoint, close } = await run(site, clock)
  const paths = endpoint.store.list('/state/got/')
  const got = await Promise.all(
    paths.map(async path => Buffer.from((await endpoint.store.get(path)).payload).toString()),
  )
  await close()
  const fits = histories.some(history =>
    got.every((each, i) => each === digest(history[i] ?? new Uint8Array())),
  )
  assert.ok(fits, `${got.length} messages that are the start of no history`)
  return got.length
}

export function isRollback(error: unknown): boolean {
  if (error instanceof MailboxError) return error.code === 'ROLLBACK'
  return error instanceof SessionError && error.code === 'session/ROLLBACK' && error.trusted
}

export async function trouble(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    error => error,
  )
}
