import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { BytesError } from '../../src/bytes/bytes.ts'
import { MailboxError } from '../../src/mailbox/error.ts'
import type { Batch, Inbox, Message } from '../../src/mailbox/inbox.ts'
import { limits } from '../../src/mailbox/limits.ts'
import { after, firstPosition, samePosition } from '../../src/mailbox/position.ts'
import { noNonceTwice, run } from '../session/world.ts'
import { settled } from '../simulator/clock.ts'
import { bytesOf, clock, coded, deliverAll, freshHome, openInbox, textOf, withStore } from './support.ts'

noNonceTwice()

const some = (count: number, from = 1) => Array.from({ length: count }, (_, i) => bytesOf(`m${from + i}`))

async function next<T>(from: AsyncIterator<T>): Promise<T> {
  const { value, done } = await from.next()
  assert.ok(done !== true, 'it has ended')
  return value
}

/** What an inbox hands out first. */
async function firstBatch(inbox: Inbox): Promise<Batch> {
  return next(inbox.batches())
}

const texts = (batch: Batch) => batch.messages.map(textOf)
const put = (path: string, text: string) => ({ put: path, payload: bytesOf(text) })

suite('the inbox', () => {
  test('hands messages out in order with their numbers, and goes on from what was accepted after a restart', async () => {
    let site = await freshHome()
    let position = firstPosition
    for (let round = 0; round < 3; round++)
      site = await withStore(site, async store => {
        const inbox = await openInbox(store)
        assert.ok(samePosition(inbox.accepted, position))
        const messages = some(4, position.next)
        await deliverAll(inbox, messages)
        const batch = await firstBatch(inbox)
        assert.equal(batch.first, position.next)
        assert.deepEqual(texts(batch), messages.map(textOf))
        await batch.accept()
        for (const message of messages) position = after(position, message)
        assert.ok(samePosition(inbox.accepted, position))
      })
  })

  test('what was delivered and not accepted comes again after a crash, with the same numbers', async () => {
    const start = await freshHome()
    const running = await run(start, clock)
    const inbox = await openInbox(running.endpoint.store)
    await deliverAll(inbox, some(5))
    const messages = inbox[Symbol.asyncIterator]()
    const accept = async (message: Message) => message.accept([put(`/state/${message.number}`, 'mine')])
    await accept(await next(messages))
    await accept(await next(messages))
    const third = await next(messages)
    assert.equal(third.number, 3)
    await withStore(running.kill(), async store => {
      const again = await openInbox(store)
      assert.equal(again.accepted.next, 3)
      assert.deepEqual(store.list('/state/'), ['/state/1', '/state/2'])
      await deliverAll(again, some(3, 3))
      const batch = await firstBatch(again)
      assert.equal(batch.first, 3)
      assert.deepEqual(texts(batch), ['m3', 'm4', 'm5'])
    })
  })

  test('a batch and the changes of the application are one group: both or neither, at every crash', async () => {
    const start = await freshHome()
    for (let calls = 1; ; calls++) {
      const running = await run(start, clock)
      const inbox = await openInbox(running.endpoint.store)
      await deliverAll(inbox, some(3))
      const batch = await firstBatch(inbox)
      const last = running.disk.calls + calls
      const died = new Promise<false>(resolve =>
        running.disk.observe(() => {
          if (running.disk.calls < last) return
          running.disk.kill()
          resolve(false)
        }),
      )
      const accepted = batch.accept([put('/state/a', '1'), put('/state/b', '2')]).then(() => true)
      const isDone = await Promise.race([accepted, died])
      running.disk.observe(undefined)
      await withStore(running.kill(), async store => {
        const found = await openInbox(store)
        const paths = store.list('/state/').length
        assert.ok(paths === (found.accepted.next === 4 ? 2 : 0), `${found.accepted.next} with ${paths} puts`)
        if (isDone) assert.equal(found.accepted.next, 4)
      })
      if (isDone) break
    }
  })

  test('a change that the store refuses refuses the batch, which can then be accepted without it', async () => {
    await withStore(await freshHome(), async store => {
      const inbox = await openInbox(store)
      await deliverAll(inbox, some(2))
      const batch = await firstBatch(inbox)
      await assert.rejects(batch.accept([put('no path', 'x')]), coded('EINVAL'))
      assert.equal(inbox.accepted.next, 1)
      await batch.accept()
      assert.equal(inbox.accepted.next, 3)
    })
  })

  test('a message is accepted once, and none before the one ahead of it', async () => {
    await withStore(await freshHome(), async store => {
      const inbox = await openInbox(store)
      await deliverAll(inbox, some(3))
      const messages = inbox[Symbol.asyncIterator]()
      const [one, two, three] = [await next(messages), await next(messages), await next(messages)]
      await assert.rejects(two.accept(), RangeError)
      await one.accept([put('/state/count', '1')])
      await assert.rejects(one.accept([put('/state/count', '2')]), RangeError)
      const both = await Promise.allSettled([two.accept(), two.accept(), three.accept()])
      assert.deepEqual(
        both.map(({ status }) => status),
        ['fulfilled', 'rejected', 'fulfilled'],
      )
      assert.equal(inbox.accepted.next, 4)
      assert.equal(textOf((await store.get('/state/count')).payload), '1')
    })
  })

  test('what comes in one call shares a batch, however soon somebody takes it', async () => {
    await withStore(await freshHome(), async store => {
      const inbox = await openInbox(store)
      const batches = inbox.batches()
      const waiting = next(batches)
      for (let i = 0; i < 10; i++) await settled()
      await inbox.deliver(firstPosition, some(64))
      const batch = await waiting
      assert.equal(batch.messages.length, 64)
      await batch.accept()
      assert.equal(inbox.accepted.next, 65)
    })
  })

  test('the next batch waits for the one before it', async () => {
    await withStore(await freshHome(), async store => {
      const inbox = await openInbox(store)
      const batches = inbox.batches()
      let position = await deliverAll(inbox, some(2))
      const first = await next(batches)
      position = await deliverAll(inbox, some(3, 3), position)
      let waits = true
      const waiting = next(batches).finally(() => {
        waits = false
      })
      await settled()
      assert.ok(waits)
      await first.accept()
      const second = await waiting
      assert.deepEqual(texts(second), ['m3', 'm4', 'm5'])
      assert.equal(second.first, 3)
    })
  })

  test('what a loop took and left behind comes again in the next one', async () => {
    await withStore(await freshHome(), async store => {
      const inbox = await openInbox(store)
      await deliverAll(inbox, some(4))
      for await (const message of inbox) {
        if (message.number === 3) break
        await message.accept()
      }
      const seen: string[] = []
      for await (const message of inbox) {
        seen.push(textOf(message.body))
        await message.accept()
        if (message.number === 4) break
      }
      assert.deepEqual(seen, ['m3', 'm4'])
      assert.equal(inbox.accepted.next, 5)
    })
  })

  test('numbers that an older connection has brought already are passed over', async () => {
    await withStore(await freshHome(), async store => {
      const inbox = await openInbox(store)
      await deliverAll(inbox, some(4), firstPosition)
      await deliverAll(inbox, some(6), firstPosition) // a newer connection starts where the handshake said
      const batch = await firstBatch(inbox)
      assert.deepEqual(texts(batch), ['m1', 'm2', 'm3', 'm4', 'm5', 'm6'])
      await deliverAll(inbox, some(6), firstPosition)
      await batch.accept()
      assert.equal(inbox.accepted.next, 7)
      await deliverAll(inbox, some(7), firstPosition)
      assert.deepEqual(texts(await firstBatch(inbox)), ['m7'])
    })
  })

  test('a gap is refused', async () => {
    await withStore(await freshHome(), async store => {
      const inbox = await openInbox(store)
      await assert.rejects(inbox.deliver({ ...firstPosition, next: 2 }, [bytesOf('x')]), BytesError)
      await deliverAll(inbox, some(2))
      const ahead = { next: 4, head: firstPosition.head }
      await assert.rejects(inbox.deliver(ahead, [bytesOf('x')]), BytesError)
    })
  })

  test('two connections with different messages under the same numbers are never mixed', async () => {
    const rollback = (error: unknown) => error instanceof MailboxError && error.code === 'ROLLBACK'
    for (const acceptFirst of [false, true])
      await withStore(await freshHome(), async store => {
        const inbox = await openInbox(store)
        await deliverAll(inbox, some(2), firstPosition)
        const batch = await firstBatch(inbox)
        if (acceptFirst) await batch.accept()
        // The copy of the peer has sent others; its third does not follow the two that are here.
        const others = ['X1', 'X2', 'X3'].map(bytesOf)
        await assert.rejects(deliverAll(inbox, others, firstPosition), rollback)
        if (!acceptFirst) await batch.accept()
        assert.equal(inbox.accepted.next, 3)
        await deliverAll(inbox, some(3), firstPosition)
        assert.deepEqual(texts(await firstBatch(inbox)), ['m3'])
      })
  })

  test('more than it may hold waits outside, by messages and by bytes', async () => {
    const { inboxMessagesMax, inboxBytesMax } = limits
    const waits = async (changed: Partial<typeof limits>, messages: readonly Uint8Array[]) => {
      Object.assign(limits, changed)
      try {
        await withStore(await freshHome(), async store => {
          const inbox = await openInbox(store)
          let delivered = false
          const all = deliverAll(inbox, messages).then(() => {
            delivered = true
          })
          await settled()
          assert.ok(!delivered, 'nothing waited')
          const taken: string[] = []
          for await (const batch of inbox.batches()) {
            assert.ok(batch.messages.length <= 4)
            taken.push(...texts(batch))
            await batch.accept()
            if (taken.length === messages.length) break
          }
          await all
          assert.deepEqual(taken, messages.map(textOf))
        })
      } finally {
        Object.assign(limits, { inboxMessagesMax, inboxBytesMax })
      }
    }
    await waits({ inboxMessagesMax: 4 as never }, some(11))
    await waits(
      { inboxBytesMax: 3000 as never },
      Array.from({ length: 9 }, (_, i) => bytesOf(`${i}`.repeat(1000))),
    )
  })

  test('closing ends the loop and whoever waits; with a failure, that is what the loop throws', async () => {
    await withStore(await freshHome(), async store => {
      const quiet = await openInbox(store)
      const done = (async () => {
        for await (const _ of quiet) assert.fail('nothing was delivered')
      })()
      quiet.close()
      await done
      const failing = await openInbox(store)
      const batches = failing.batches()
      const waiting = batches.next()
      failing.close(new Error('because'))
      await assert.rejects(waiting, /because/)
    })
  })
})
