import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { canPass } from '../../src/mailbox/courier.ts'
import { settled } from '../simulator/clock.ts'
import { Random } from '../simulator/random.ts'
import type { Weather, WireOptions } from '../simulator/wire.ts'
import { assertReceived, isRollback, Receiver, Sender, unreachable } from './exchange.ts'
import { messagesOf, withDeaths } from './scenarios.ts'
import { IdleClock, introduced, lines, noNonceTwice } from './world.ts'

noNonceTwice()

const seeds = process.env.SLOW === '1' ? 400 : 6
const sites = await introduced()
const [senderSite, receiverSite] = sites

type Rates = Omit<Weather, 'delayMsMax'>

const kinds: Readonly<Record<string, Rates>> = {
  'splits and delays': { split: 0.5, delay: 0.5 },
  cuts: { cut: 0.08 },
  duplicates: { duplicate: 0.08 },
  'changes of order': { reorder: 0.1 },
  truncation: { truncate: 0.08 },
  'flipped bits': { flip: 0.08 },
  'all of it': {
    split: 0.2,
    delay: 0.2,
    cut: 0.02,
    duplicate: 0.03,
    reorder: 0.03,
    truncate: 0.03,
    flip: 0.03,
  },
}

suite('bad weather on every connection', () => {
  for (const [name, weather] of Object.entries(kinds))
    test(`${name}: everything arrives once, in order, in bounded time`, async () => {
      for (let seed = 1; seed <= seeds; seed++) {
        const clock = new IdleClock()
        const random = new Random(seed)
        const messages = messagesOf(random)
        const receiver = await Receiver.start(receiverSite, clock)
        const sender = await Sender.start(senderSite, clock)
        let dials = 0
        const network = (): WireOptions => ({
          seed: random.word(),
          weather: { ...weather, delayMsMax: 200 },
          cutReadsAs: random.chance(0.5) ? 'end' : 'error',
        })
        const dial = () => {
          dials++
          return receiver.dial(dials > 12 ? {} : network())
        }
        await sender.send(messages, dial, 12 * 130_000)
        // Every connection that broke did so with a code; none as a rollback.
        for (const error of receiver.errors) {
          assert.ok(!isRollback(error), String(error))
          assert.ok(error instanceof Error && 'code' in error, String(error))
        }
        // At worst each of the twelve goes dead and is noticed after a minute.
        assert.ok(clock.monotonic() < 12 * 70_000, `seed ${seed}: ${clock.monotonic()} ms`)
        await sender.close()
        await assertReceived(await receiver.close(), clock, messages)
      }
    })

  test('a network that flips a bit in every connection ends in a coded error, not in trying for ever', async () => {
    const clock = new IdleClock()
    const receiver = await Receiver.start(receiverSite, clock)
    const sender = await Sender.start(senderSite, clock)
    const dial = () => {
      let chunks = 0
      return receiver.dial({
        meddle: (chunk, from) => {
          if (from === 'left' && ++chunks > 2) chunk[30] = (chunk[30] ?? 0) ^ 1
          return [chunk]
        },
      })
    }
    await assert.rejects(sender.send(lines(3), dial), { code: 'channel/TAMPERED' })
    assert.ok(clock.monotonic() < 120_000)
    assert.equal(sender.to.mailbox.outbox.acknowledged.next, 1)
    assert.equal(sender.to.mailbox.outbox.sending.next, 4, 'what is queued stays queued')
    await sender.close()
    await receiver.close()
  })

  test('a way that takes everything and brings nothing is given up, and a new connection made', async () => {
    const clock = new IdleClock()
    const receiver = await Receiver.start(receiverSite, clock)
    const sender = await Sender.start(senderSite, clock)
    let dials = 0
    const messages = lines(5)
    await sender.send(messages, () => {
      const isDead = ++dials === 1
      let chunks = 0
      return receiver.dial({
        meddle: (chunk, from) => (isDead && from === 'left' && ++chunks > 2 ? [] : [chunk]),
      })
    })
    assert.equal(dials, 2)
    assert.ok(clock.monotonic() <= 45_000, `${clock.monotonic()} ms`)
    await sender.close()
    await assertReceived(await receiver.close(), clock, messages)
  })

  test('nobody there: the last trouble is told after the time to give up', async () => {
    const clock = new IdleClock()
    const sender = await Sender.start(senderSite, clock)
    const trouble = sender.send(lines(1), () => Promise.reject(unreachable()), 30_000)
    await assert.rejects(trouble, { name: 'WireError' })
    assert.ok(clock.monotonic() > 20_000 && clock.monotonic() <= 30_000, `${clock.monotonic()} ms`)
  })

  test('trouble on the way can pass; the word of a proven peer cannot', () => {
    assert.ok(canPass(unreachable()))
    assert.ok(!canPass(new TypeError('our own mistake')))
  })
})

suite('replay', () => {
  test('every chunk of an old connection, sent again to the server, opens nothing and delivers nothing', async () => {
    const clock = new IdleClock()
    const receiver = await Receiver.start(receiverSite, clock)
    const sender = await Sender.start(senderSite, clock)
    const messages = lines(10)
    const recorded: Uint8Array[] = []
    await sender.send(messages, () =>
      receiver.dial({
        meddle: (chunk, from) => {
          if (from === 'left') recorded.push(chunk)
          return [chunk]
        },
      }),
    )
    const { epoch } = receiver.from.party.memory
    for (let first = 0; first < recorded.length; first++) {
      const wire = receiver.dial()
      for (const chunk of recorded.slice(first)) await wire.write(chunk).catch(() => undefined)
      while ((await wire.read().catch(() => undefined)) !== undefined);
    }
    for (let i = 0; i < 10; i++) await settled()
    assert.ok(receiver.errors.length >= recorded.length)
    assert.ok(receiver.errors.every(error => !isRollback(error)))
    assert.equal(receiver.from.party.memory.epoch, epoch)
    await sender.close()
    await assertReceived(await receiver.close(), clock, messages)
  })
})

suite('processes that die', () => {
  test('at any call into their disks, again and again: everything arrives once, in order', async () => {
    for (let seed = 1; seed <= 3 * seeds; seed++) await withDeaths(sites, { seed, deaths: 8 })
  })
})
