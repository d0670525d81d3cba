import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { concat } from '../../src/bytes/bytes.ts'
import { serve } from '../../src/mailbox/courier.ts'
import { MailboxError } from '../../src/mailbox/error.ts'
import { FramePacker } from '../../src/mailbox/wire.ts'
import { Connection } from '../../src/session/connection.ts'
import { SessionError } from '../../src/session/error.ts'
import { Receiver, Sender, trouble } from '../session/exchange.ts'
import { IdleClock, introduced, lines, noNonceTwice } from '../session/world.ts'
import { settled, VirtualClock } from '../simulator/clock.ts'
import { type WirePair, wirePair } from '../simulator/wire.ts'

noNonceTwice()

const clock = new IdleClock()
const [a, b] = await introduced()

const fragment = (number: number, text: string) => {
  const packer = new FramePacker(1024)
  packer.message(number, Buffer.from(text))
  return packer.take()[0] ?? new Uint8Array()
}
const acknowledgement = (next: number, head: Uint8Array) => {
  const packer = new FramePacker(1024)
  packer.acknowledgement({ next, head })
  return packer.take()[0] ?? new Uint8Array()
}

/** What a peer that has proved who it is may say all the same, and how it is answered. */
const hostile: readonly {
  readonly what: string
  readonly frames: readonly Uint8Array[]
  readonly code: MailboxError['code']
  readonly told: SessionError['code']
  readonly accepted: number
}[] = [
  {
    what: 'an empty frame',
    frames: [new Uint8Array()],
    code: 'SEQUENCE',
    told: 'channel/PROTOCOL',
    accepted: 0,
  },
  { what: 'no item', frames: [Uint8Array.of(7, 7)], code: 'SEQUENCE', told: 'channel/PROTOCOL', accepted: 0 },
  { what: 'a gap', frames: [fragment(2, 'x')], code: 'SEQUENCE', told: 'channel/PROTOCOL', accepted: 0 },
  {
    what: 'a number twice',
    frames: [fragment(1, 'x'), fragment(1, 'x')],
    code: 'SEQUENCE',
    told: 'channel/PROTOCOL',
    accepted: 1,
  },
  {
    what: 'a good message, and a bad one in its frame',
    frames: [concat(fragment(1, 'x'), fragment(3, 'y'))],
    code: 'SEQUENCE',
    told: 'channel/PROTOCOL',
    accepted: 1,
  },
  {
    what: 'an acknowledgement of what was never sent',
    frames: [acknowledgement(5, new Uint8Array(32))],
    code: 'ROLLBACK',
    told: 'session/ROLLBACK',
    accepted: 0,
  },
  {
    what: 'an acknowledgement with another head',
    frames: [acknowledgement(2, new Uint8Array(32).fill(1))],
    code: 'ROLLBACK',
    told: 'session/ROLLBACK',
    accepted: 0,
  },
]

suite('a proven peer that breaks the mailbox protocol', () => {
  for (const { what, frames, code, told, accepted } of hostile)
    test(`${what}: ${code}, and the peer is told`, async () => {
      const receiver = await Receiver.start(b, clock)
      await receiver.from.mailbox.outbox.put([Buffer.from('the other way')])
      const sender = await Sender.start(a, clock)
      const pair = wirePair({ clock })
      const serving = trouble(serve(receiver.running.endpoint, pair.right, [receiver.from]))
      const connection = await Connection.connect(sender.running.endpoint, pair.left, sender.to.party)
      for (const frame of frames) await connection.send(frame).catch(() => undefined)
      const error = await serving
      assert.ok(error instanceof MailboxError, String(error))
      assert.equal(error.code, code)
      const heard = await trouble(drained(connection))
      assert.ok(heard instanceof SessionError && heard.code === told, String(heard))
      for (let i = 0; i < 20; i++) await settled()
      assert.equal(receiver.from.mailbox.inbox.accepted.next, accepted + 1)
      await sender.close()
      await receiver.close()
    })
})

suite('an end that comes while messages are still being taken in', () => {
  /** What is taken in takes a while; meanwhile the other end sends all of this and is gone. */
  async function outcomeOf(
    frames: readonly Uint8Array[],
    leave: (pair: WirePair, its: Connection) => unknown,
  ) {
    const clock = new VirtualClock() // stands still: no limit ends the connection first
    const receiver = await Receiver.start(b, clock, {
      wrap({ mailbox: { inbox } }) {
        const deliver = inbox.deliver.bind(inbox)
        inbox.deliver = async (before, messages) => {
          for (let i = 0; i < 20; i++) await settled()
          return deliver(before, messages)
        }
      },
    })
    const sender = await Sender.start(a, clock)
    const pair = wirePair({ clock })
    const serving = trouble(serve(receiver.running.endpoint, pair.right, [receiver.from]))
    const connection = await Connection.connect(sender.running.endpoint, pair.left, sender.to.party)
    for (const frame of frames) await connection.send(frame)
    for (let i = 0; i < 10; i++) await settled()
    await leave(pair, connection)
    const error = await serving
    await sender.close()
    await receiver.close()
    return error
  }

  test('what was wrong with one of them is told all the same', async () => {
    const error = await outcomeOf([fragment(1, 'x'), fragment(3, 'y')], (_, connection) =>
      connection.close(0),
    )
    assert.ok(error instanceof MailboxError && error.code === 'SEQUENCE', String(error))
  })

  test('a line that was cut is no good end', async () => {
    const error = await outcomeOf([fragment(1, 'x'), fragment(2, 'y')], pair => pair.cut())
    assert.ok(error instanceof SessionError && error.code === 'channel/TRUNCATED', String(error))
  })

  test('a good end is one', async () => {
    const error = await outcomeOf([fragment(1, 'x'), fragment(2, 'y')], (_, connection) =>
      connection.close(0),
    )
    assert.equal(error, undefined)
  })
})

async function drained(connection: Connection): Promise<void> {
  while ((await connection.receive()) !== undefined);
}

suite('a link', () => {
  test('carries messages both ways over one connection, with their acknowledgements', async () => {
    const receiver = await Receiver.start(b, clock)
    const sender = await Sender.start(a, clock)
    const answers = lines(30, 'answer')
    await receiver.from.mailbox.outbox.put(answers)
    const got: Uint8Array[] = []
    const taking = (async () => {
      for await (const message of sender.to.mailbox.inbox) {
        await message.accept()
        got.push(message.body)
        if (got.length === answers.length) return
      }
    })()
    const { outbox } = receiver.from.mailbox
    await sender.queue(lines(30))
    await sender.deliverUntil(
      () => sender.to.mailbox.outbox.acknowledged.next > 30 && got.length === 30,
      () => receiver.dial(),
    )
    await taking
    assert.deepEqual(got.map(String), answers.map(String))
    // What was not acknowledged before the connection ended is by the next handshake.
    await sender.deliverUntil(
      () => outbox.acknowledged.next > 30,
      () => receiver.dial(),
    )
    assert.equal(outbox.acknowledged.next, 31)
    await sender.close()
    await receiver.close()
  })
})
