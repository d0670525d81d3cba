/** Two homes that are client and server of each other at once: two connections, one mailbox at each end. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  type Correspondence,
  type Correspondent,
  deliver,
  openCorrespondence,
  serve,
  takeRole,
} from '../../src/mailbox/courier.ts'
import type { Carries } from '../../src/mailbox/position.ts'
import { isRollback } from '../session/exchange.ts'
import { IdleClock, introduced, lines, noNonceTwice, type Running, run } from '../session/world.ts'
import { wirePair } from '../simulator/wire.ts'

noNonceTwice()

const sites = await introduced()
const rounds = 12
const perRound = 3

/** One home: sends rounds of messages over a connection each, and takes what comes. */
class Home {
  readonly running: Running
  readonly shared: Correspondence
  readonly client: Correspondent
  readonly server: Correspondent
  readonly got: string[] = []
  readonly taking: Promise<void>

  private constructor(
    running: Running,
    shared: Correspondence,
    client: Correspondent,
    server: Correspondent,
  ) {
    this.running = running
    this.shared = shared
    this.client = client
    this.server = server
    this.taking = this.#take()
  }

  static async open(index: 0 | 1, clock: IdleClock, out: Carries, into: Carries): Promise<Home> {
    const running = await run(sites[index], clock)
    const { store } = running.endpoint
    const shared = await openCorrespondence(store, running.peer)
    const client = await takeRole(store, shared, 'client', out)
    return new Home(running, shared, client, await takeRole(store, shared, 'server', into))
  }

  async send(to: Home, name: string, seed: number, failed: (error: unknown) => void): Promise<void> {
    const { clock } = this.running.endpoint
    const { outbox } = this.shared.mailbox
    let dials = 0
    for (let round = 0; round < rounds; round++) {
      await outbox.put(lines(perRound, `${name} ${round}`))
      const last = outbox.sending.next
      await deliver(this.running.endpoint, this.client, {
        dial: async () => {
          const weather = { delay: 1, delayMsMax: 300 }
          const { left, right } = wirePair({ clock, weather, seed: seed * 1000 + dials++ })
          serve(to.running.endpoint, right, [to.server]).catch(failed)
          return left
        },
        done: () => outbox.acknowledged.next >= last,
        giveUpMs: 600_000,
      })
    }
  }

  async #take(): Promise<void> {
    for await (const batch of this.shared.mailbox.inbox.batches()) {
      await batch.accept()
      for (const message of batch.messages) this.got.push(Buffer.from(message).toString())
    }
  }
}

/** Runs both ways at once; answers with the first verdict that somebody was turned back. */
async function bothWays(seed: number, out: Carries, into: Carries): Promise<unknown> {
  const clock = new IdleClock()
  const a = await Home.open(0, clock, out, into)
  const b = await Home.open(1, clock, out, into)
  let verdict: unknown
  const failed = (error: unknown): void => {
    if (isRollback(error)) verdict ??= error
  }
  const sent = Promise.all([a.send(b, 'a', seed, failed), b.send(a, 'b', seed + 500, failed)])
  await sent.catch(failed)
  for (const home of [a, b]) home.shared.mailbox.inbox.close()
  await Promise.all([a.taking, b.taking])
  if (verdict === undefined)
    for (const [home, name] of [
      [b, 'a'],
      [a, 'b'],
    ] as const)
      assert.deepEqual(
        home.got,
        Array.from({ length: rounds }, (_, round) => lines(perRound, `${name} ${round}`))
          .flat()
          .map(line => Buffer.from(line).toString()),
      )
  a.running.kill()
  b.running.kill()
  return verdict
}

suite('both ways at once, a connection each', { timeout: 60_000 }, () => {
  for (let seed = 1; seed <= 6; seed++)
    test(`everything arrives once, in order, and nobody is taken for turned back: seed ${seed}`, async () => {
      assert.equal(await bothWays(seed, 'out', 'in'), undefined)
    })

  test('where each connection carries both, an honest peer is refused (planted)', async () => {
    for (let seed = 1; seed <= 6; seed++) if ((await bothWays(seed, 'both', 'both')) !== undefined) return
    assert.fail('the suite would not notice')
  })

  test('a peer that is forgotten gets no session, and nothing is remembered of it', async () => {
    const clock = new IdleClock()
    const a = await Home.open(0, clock, 'out', 'in')
    const b = await Home.open(1, clock, 'out', 'in')
    b.shared.isForgotten = true
    const { store } = b.running.endpoint
    const before = store.mark.number
    const errors: unknown[] = []
    await assert.rejects(
      a.send(b, 'a', 1, error => errors.push(error)),
      { code: 'channel/UNKNOWN_IDENTITY' },
    )
    assert.equal(store.mark.number, before, 'something was committed')
    assert.equal(b.got.length, 0)
    for (const home of [a, b]) home.shared.mailbox.inbox.close()
    a.running.kill()
    b.running.kill()
  })
})
