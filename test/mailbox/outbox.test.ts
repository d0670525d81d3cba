import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { base64url, equal } from '../../src/bytes/bytes.ts'
import { encodeCbor } from '../../src/bytes/cbor.ts'
import { MailboxError } from '../../src/mailbox/error.ts'
import { limits } from '../../src/mailbox/limits.ts'
import { after, firstPosition, samePosition } from '../../src/mailbox/position.ts'
import type { Store } from '../../src/state/store.ts'
import { noNonceTwice, run } from '../session/world.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import {
  bytesOf,
  clock,
  coded,
  freshHome,
  openOutbox,
  peer,
  positionAfter,
  retained,
  textOf,
  withStore,
} from './support.ts'

noNonceTwice()

const large = (length: number, fill: number) => new Uint8Array(length).fill(fill)
const prefix = '/pawl/outbox/'

suite('the outbox', () => {
  test('numbers and heads go on where they were, over any number of reopenings', async () => {
    let site = await freshHome()
    let expected = firstPosition
    for (let round = 0; round < 4; round++)
      site = await withStore(site, async store => {
        const outbox = await openOutbox(store)
        assert.ok(samePosition(outbox.sending, expected))
        const messages = [bytesOf(`round ${round}`), bytesOf(''), large(3, round)]
        await outbox.put(messages)
        for (const message of messages) expected = after(expected, message)
        assert.ok(samePosition(outbox.sending, expected))
      })
    await withStore(site, async store => {
      const outbox = await openOutbox(store)
      assert.equal(outbox.sending.next, 13)
      let position = firstPosition
      for (let number = 1; number < 13; number++) {
        assert.ok(
          equal(outbox.headBefore(number) ?? new Uint8Array(), position.head),
          `head before ${number}`,
        )
        position = after(position, outbox.message(number) ?? new Uint8Array(99))
      }
      assert.equal(outbox.headBefore(14), undefined)
      assert.equal(outbox.message(13), undefined)
      assert.equal(outbox.message(0), undefined)
    })
  })

  test('what is acknowledged is deleted with the next commit, and by flush', async () => {
    const site = await withStore(await freshHome(), async store => {
      const outbox = await openOutbox(store)
      await outbox.put([bytesOf('a')])
      await outbox.put([bytesOf('b'), bytesOf('c')])
      await outbox.put([bytesOf('d')])
      assert.equal(store.list(prefix).length, 3)
      outbox.acknowledge(positionAfter(outbox, 2)) // the record with b is c's too
      assert.deepEqual(retained(outbox), ['c', 'd'])
      await outbox.put([bytesOf('e')])
      assert.equal(store.list(prefix).length, 3)
      outbox.acknowledge(positionAfter(outbox, 3))
      await outbox.flush()
      assert.deepEqual(store.list(prefix), [])
      assert.equal(outbox.retainedBytes, 0)
    })
    await withStore(site, async store => {
      const outbox = await openOutbox(store)
      assert.equal(outbox.sending.next, 6)
      assert.ok(samePosition(outbox.sending, outbox.acknowledged))
    })
  })

  test('an acknowledgement that was not flushed is merely forgotten; one within a record holds', async () => {
    let site = await withStore(await freshHome(), async store => {
      const outbox = await openOutbox(store)
      await outbox.put([bytesOf('a'), bytesOf('b'), bytesOf('c')])
      outbox.acknowledge(positionAfter(outbox, 1))
      await outbox.flush()
      outbox.acknowledge(positionAfter(outbox, 1))
    })
    site = await withStore(site, async store => {
      const outbox = await openOutbox(store)
      assert.deepEqual(retained(outbox), ['b', 'c'])
      assert.equal(outbox.acknowledged.next, 2)
      outbox.acknowledge(positionAfter(outbox, 2))
      await outbox.flush()
    })
    await withStore(site, async store => assert.deepEqual(store.list(prefix), []))
  })

  test('an acknowledgement with another head, or of what was never sent, is a rollback', async () => {
    await withStore(await freshHome(), async store => {
      const outbox = await openOutbox(store)
      await outbox.put([bytesOf('a'), bytesOf('b')])
      const rollback = (error: unknown) => error instanceof MailboxError && error.code === 'ROLLBACK'
      const wrong = { next: 2, head: new Uint8Array(32) }
      assert.throws(() => outbox.acknowledge(wrong), rollback)
      assert.throws(() => outbox.acknowledge({ next: 4, head: outbox.sending.head }), rollback)
      assert.throws(() => outbox.acknowledge({ next: 3, head: positionAfter(outbox, 1).head }), rollback)
      assert.deepEqual(retained(outbox), ['a', 'b'])
      outbox.acknowledge(outbox.sending)
      outbox.acknowledge(wrong) // an old one says nothing new
      assert.equal(outbox.acknowledged.next, 3)
    })
  })

  test('the last number there is is given, and nothing is queued behind it', async () => {
    await withStore(await freshHome(), async store => {
      const [next, head] = [Number.MAX_SAFE_INTEGER - 1, new Uint8Array(32).fill(3)]
      const position = { next, head, ackNext: next, ackHead: head, keptNext: next, keptHead: head }
      const path = `/pawl/mailbox/${base64url(peer)}/out`
      await store.commit([{ put: path, payload: encodeCbor({ format: 1, ...position }) }])
      const outbox = await openOutbox(store)
      const ended = (error: unknown) => error instanceof MailboxError && error.code === 'TOO_BIG'
      await assert.rejects(outbox.put([bytesOf('one'), bytesOf('two')]), ended)
      await outbox.put([bytesOf('one')])
      await assert.rejects(outbox.put([bytesOf('two')]), ended)
      assert.equal((await openOutbox(store)).sending.next, Number.MAX_SAFE_INTEGER)
    })
  })

  test('the largest message is queued and read back; one byte more is refused and nothing is written', async () => {
    const site = await withStore(await freshHome(), async store => {
      const outbox = await openOutbox(store)
      const tooBig = (error: unknown) => error instanceof MailboxError && error.code === 'TOO_BIG'
      await assert.rejects(outbox.put([bytesOf('x'), large(limits.messageBytesMax + 1, 1)]), tooBig)
      await assert.rejects(outbox.put([large(700_000, 1), large(limits.messageBytesMax + 1, 1)]), tooBig)
      assert.deepEqual(store.list(prefix), [])
      await outbox.put([large(limits.messageBytesMax, 5)])
      assert.equal(outbox.sending.next, 2)
    })
    await withStore(site, async store => {
      const outbox = await openOutbox(store)
      assert.ok(equal(outbox.message(1) ?? new Uint8Array(), large(limits.messageBytesMax, 5)))
    })
  })

  test('messages on either side of what one record holds', async () => {
    const most = limits.partBytesMax - 5
    const sizes = [most - 1, most, most + 1, 2 * most, 2 * most + 1, 0, 1]
    const site = await withStore(await freshHome(), async store => {
      const outbox = await openOutbox(store)
      for (const size of sizes) await outbox.put([large(size, size & 255), bytesOf('small')])
    })
    await withStore(site, async store => {
      const outbox = await openOutbox(store)
      for (const [i, size] of sizes.entries()) {
        assert.ok(
          equal(outbox.message(2 * i + 1) ?? bytesOf('none'), large(size, size & 255)),
          `${size} bytes`,
        )
        assert.equal(textOf(outbox.message(2 * i + 2)), 'small')
      }
    })
  })

  test('a batch refused by the store changes nothing, and the next one goes through', async () => {
    await withStore(await freshHome(), async store => {
      const outbox = await openOutbox(store)
      await outbox.put([bytesOf('a')])
      outbox.acknowledge(positionAfter(outbox, 1))
      const tooMuch = Array.from({ length: 5 }, () => large(500_000, 1))
      await assert.rejects(outbox.put([large(600_000, 2), ...tooMuch]), coded('E2BIG'))
      assert.equal(outbox.sending.next, 2)
      await outbox.put([bytesOf('b')])
      await outbox.flush()
      assert.deepEqual(retained(outbox), ['b'])
      assert.equal(store.list(prefix).length, 1, 'no part is left of what was refused')
    })
  })

  test('a put that is refused after parts were written leaves nothing in the way', async () => {
    let site = await withStore(await freshHome(), async store => {
      const outbox = await openOutbox(store)
      const outOfScope = [{ put: '/pawl/x', payload: bytesOf(''), scope: 'there is none' }]
      await assert.rejects(outbox.put([large(3_000_000, 1)], outOfScope), coded('ENOENT'))
      await outbox.put([large(600_000, 2), bytesOf('c')])
    })
    site = await withStore(site, async store => {
      const outbox = await openOutbox(store)
      assert.ok(equal(outbox.message(1) ?? new Uint8Array(), large(600_000, 2)))
      outbox.acknowledge(outbox.sending)
      await outbox.flush()
      assert.deepEqual(store.list(prefix), [])
    })
    await withStore(site, async store => assert.equal((await openOutbox(store)).sending.next, 3))
  })

  test('puts at once are taken in the order they were asked for', async () => {
    await withStore(await freshHome(), async store => {
      const outbox = await openOutbox(store)
      await Promise.all(Array.from({ length: 20 }, (_, i) => outbox.put([bytesOf(`${i}`)])))
      assert.deepEqual(
        retained(outbox),
        Array.from({ length: 20 }, (_, i) => `${i}`),
      )
    })
  })

  test('more records than one commit may delete are deleted by several', async () => {
    const most = limits.deletesMax
    Object.assign(limits, { deletesMax: 3 })
    try {
      const site = await withStore(await freshHome(), async store => {
        const outbox = await openOutbox(store)
        for (let i = 0; i < 8; i++) await outbox.put([bytesOf(`${i}`)])
        outbox.acknowledge(outbox.sending)
        await outbox.put([bytesOf('next')])
        assert.equal(store.list(prefix).length, 6)
      })
      // What is acknowledged and still there after a restart is known for what it is.
      await withStore(site, async store => {
        const outbox = await openOutbox(store)
        assert.deepEqual(retained(outbox), ['next'])
        await outbox.flush()
        assert.equal(store.list(prefix).length, 1)
      })
    } finally {
      Object.assign(limits, { deletesMax: most })
    }
  })

  test('it is full at its bytes and at its messages, and not once they are acknowledged', async () => {
    const { outboxMessagesMax } = limits
    await withStore(await freshHome(), async store => {
      const outbox = await openOutbox(store)
      await outbox.put([large(limits.messageBytesMax, 1)])
      assert.ok(!outbox.isFull)
      await outbox.put([large(limits.messageBytesMax, 1)])
      assert.ok(outbox.isFull)
      outbox.acknowledge(positionAfter(outbox, 1))
      assert.ok(!outbox.isFull)
    })
    Object.assign(limits, { outboxMessagesMax: 10 })
    try {
      await withStore(await freshHome(), async store => {
        const outbox = await openOutbox(store)
        await outbox.put(Array.from({ length: 10 }, () => bytesOf('')))
        assert.ok(outbox.isFull)
        let room = false
        const waiting = outbox.until(() => !outbox.isFull).then(() => (room = true))
        assert.ok(!room)
        outbox.acknowledge(positionAfter(outbox, 1))
        await waiting
        assert.ok(room)
      })
    } finally {
      Object.assign(limits, { outboxMessagesMax })
    }
  })

  test('records that do not hold what the position says are refused', async () => {
    const path = `${prefix}${Buffer.from(peer).toString('base64url')}/0000000000000001/000`
    const damages: readonly ((store: Store) => Promise<unknown>)[] = [
      store => store.commit([{ delete: path }]),
      store => store.commit([{ put: path, payload: Uint8Array.of(1, 0, 0, 0, 1, 120) }]),
      store => store.commit([{ put: path, payload: Uint8Array.of(9) }]),
      store => store.commit([{ put: path.replace('1/000', '2/000'), payload: Uint8Array.of(1) }]),
    ]
    for (const damage of damages) {
      const site = await withStore(await freshHome(), async store => {
        const outbox = await openOutbox(store)
        await outbox.put([bytesOf('a')])
        await outbox.put([bytesOf('b')])
        await damage(store)
      })
      const { endpoint, close } = await run(site, clock)
      await assert.rejects(openOutbox(endpoint.store), coded('EINTEGRITY'))
      await close()
    }
  })
})

suite('the outbox of a process that dies', () => {
  test('between the parts of a large message: it is whole or absent, and its number is used again', async () => {
    const start = await withStore(await freshHome(), async store => {
      await (await openOutbox(store)).put([bytesOf('first')])
    })
    let whole = 0
    let absent = 0
    for (let calls = 1; ; calls++) {
      // The process dies at its n-th call into the disk after the put has begun.
      const running = await run(start, clock)
      const outbox = await openOutbox(running.endpoint.store)
      const last = running.disk.calls + calls
      const died = new Promise<false>(resolve =>
        running.disk.observe(() => {
          if (running.disk.calls < last) return
          running.disk.kill()
          resolve(false)
        }),
      )
      const put = outbox.put([large(1_300_000, calls & 255), bytesOf('tail')]).then(() => true)
      const isDone = await Promise.race([put, died])
      running.disk.observe(undefined)
      const image = running.disk.killState()
      running.disk.kill()
      const site = await withStore({ ...start, image }, async store => {
        const after = await openOutbox(store)
        if (after.sending.next === 4) {
          whole++
          assert.ok(equal(after.message(2) ?? bytesOf(''), large(1_300_000, calls & 255)))
          assert.equal(textOf(after.message(3)), 'tail')
        } else {
          absent++
          assert.ok(!isDone, 'acknowledged and lost')
          assert.equal(after.sending.next, 2)
        }
        // Whatever was left of it is not in the way of what takes its number: smaller, larger, in parts or not.
        const next = [large(600_000, 1), bytesOf('small'), large(2_000_000, 2)]
        await after.put([next[calls % 3] ?? bytesOf('')])
      })
      await withStore(site, async store => {
        const again = await openOutbox(store)
        again.acknowledge(again.sending)
        await again.flush()
        assert.deepEqual(store.list(prefix), [])
      })
      if (isDone) break
    }
    assert.ok(whole > 0 && absent > 3, `${whole} whole, ${absent} absent`)
  })

  test('at any write: what was acknowledged to the caller is there, in order, and nothing of the rest in part', async () => {
    const start = await freshHome()
    const messages = Array.from({ length: 6 }, (_, i) => bytesOf(`message ${i}`))
    const images: { readonly image: Parameters<typeof run>[0]['image']; readonly put: number }[] = []
    let put = 0
    const running = await run(start, clock)
    const outbox = await openOutbox(running.endpoint.store)
    running.disk.observe(snapshot => {
      images.push({ image: new SimulatedDisk(snapshot).killState(), put })
    })
    for (const message of messages) {
      await outbox.put([message])
      put++
      if (put === 3) outbox.acknowledge(positionAfter(outbox, 2))
    }
    running.disk.observe(undefined)
    assert.ok(images.length > 12)
    for (const each of images)
      await withStore({ ...start, image: each.image }, async store => {
        const found = await openOutbox(store)
        assert.ok(found.sending.next - 1 >= each.put && found.sending.next - 1 <= each.put + 1)
        for (let number = found.acknowledged.next; number < found.sending.next; number++)
          assert.equal(textOf(found.message(number)), `message ${number - 1}`)
      })
  })
})
