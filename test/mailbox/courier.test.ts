/** How long a sender goes on: as long as the peer acknowledges, however often a connection stands. */
import assert from 'node:assert/strict'
import net, { type AddressInfo } from 'node:net'
import { suite, type TestContext, test } from 'node:test'
import { concat } from '../../src/bytes/bytes.ts'
import { headerBytes } from '../../src/channel/frame.ts'
import type { Clock } from '../../src/host/clock.ts'
import type { Wire } from '../../src/host/wire.ts'
import { serve } from '../../src/mailbox/courier.ts'
import { realClock } from '../../src/node/clock.ts'
import { connect, listen } from '../../src/node/tcp.ts'
import { assertReceived, Receiver, Sender } from '../session/exchange.ts'
import { IdleClock, introduced, lines, noNonceTwice } from '../session/world.ts'
import type { WireOptions } from '../simulator/wire.ts'

noNonceTwice()

const [senderSite, receiverSite] = await introduced()

/** Takes everything from the client, and lets so many chunks of it through: two are the handshake. */
function swallowing(passed: number): WireOptions {
  let chunks = 0
  return { meddle: (chunk, from) => (from === 'left' && ++chunks > passed ? [] : [chunk]) }
}

async function ends(clock: Clock) {
  return {
    receiver: await Receiver.start(receiverSite, clock),
    sender: await Sender.start(senderSite, clock),
  }
}

suite('giving up', () => {
  for (const giveUpMs of [0, 2_000, 5_000, 30_000, 150_000])
    test(`handshakes are no acknowledgements: over after ${giveUpMs} ms without one`, async () => {
      const clock = new IdleClock()
      const { receiver, sender } = await ends(clock)
      const sending = sender.send(lines(5), () => receiver.dial(swallowing(2)), giveUpMs)
      await assert.rejects(sending, { code: 'channel/TIMEOUT' })
      const took = clock.monotonic()
      assert.ok(took >= Math.min(giveUpMs, 100_000) && took <= giveUpMs + 2_500, `${took} ms`)
      assert.equal(sender.to.mailbox.outbox.acknowledged.next, 1)
      assert.equal(sender.to.mailbox.outbox.sending.next, 6, 'what is queued stays queued')
      await sender.close()
      await receiver.close()
    })

  test('with no time at all there is one connection, and it has time enough to bring an acknowledgement', async () => {
    const clock = new IdleClock()
    const { receiver, sender } = await ends(clock)
    let dials = 0
    const dial = () => {
      dials++
      return receiver.dial({ weather: { delay: 1, delayMsMax: 500 } })
    }
    await sender.send(lines(1), dial, 0)
    assert.equal(dials, 1)
    await sender.close()
    await assertReceived(await receiver.close(), clock, lines(1))
  })

  test('an acknowledgement starts the time anew', async () => {
    const clock = new IdleClock()
    const { receiver, sender } = await ends(clock)
    // Each connection brings one frame, which is one message, and goes dead.
    const messages = lines(5).map(line => concat(new Uint8Array(60_000), line))
    await sender.send(messages, () => receiver.dial(swallowing(3)), 100_000)
    assert.ok(clock.monotonic() > 130_000, `${clock.monotonic()} ms`)
    await sender.close()
    await assertReceived(await receiver.close(), clock, messages)
  })

  test('while nothing waits to be acknowledged there is nothing to give up', async () => {
    const clock = new IdleClock()
    const { receiver, sender } = await ends(clock)
    const { outbox } = sender.to.mailbox
    let dials = 0
    const delivering = sender.deliverUntil(
      () => outbox.acknowledged.next > 1,
      () => {
        dials++
        return receiver.dial()
      },
      5_000,
    )
    await new Promise<void>(resolve => clock.after(200_000, resolve))
    await sender.queue(lines(1))
    await delivering
    assert.equal(dials, 1)
    await sender.close()
    await receiver.close()
  })

  test('the time begins when something is queued on a connection that has stood idle', async () => {
    const clock = new IdleClock()
    const { receiver, sender } = await ends(clock)
    const { outbox } = sender.to.mailbox
    const delivering = sender.deliverUntil(
      () => outbox.acknowledged.next > 1,
      () => receiver.dial(swallowing(2)),
      5_000,
    )
    delivering.catch(() => undefined)
    await new Promise<void>(resolve => clock.after(200_000, resolve))
    await sender.queue(lines(1))
    await assert.rejects(delivering, { code: 'channel/TIMEOUT' })
    const took = clock.monotonic() - 200_000
    assert.ok(took >= 4_500 && took <= 7_500, `${took} ms`)
    await sender.close()
    await receiver.close()
  })

  test('an idle connection that breaks is made anew, however long it had stood', async () => {
    const clock = new IdleClock()
    const { receiver, sender } = await ends(clock)
    const { outbox } = sender.to.mailbox
    const wires: Wire[] = []
    const delivering = sender.deliverUntil(
      () => outbox.acknowledged.next > 1,
      () => {
        const wire = receiver.dial()
        wires.push(wire)
        return wire
      },
      5_000,
    )
    await new Promise<void>(resolve => clock.after(200_000, resolve))
    wires[0]?.abort()
    await new Promise<void>(resolve => clock.after(1_000, resolve))
    await sender.queue(lines(1))
    await delivering
    assert.equal(wires.length, 2)
    await sender.close()
    await receiver.close()
  })

  test('a message that takes longer than that is no reason: what comes of it is acknowledged', async () => {
    const clock = new IdleClock()
    const { receiver, sender } = await ends(clock)
    const messages = [new Uint8Array(6 * 1024 * 1024).fill(7)]
    let dials = 0
    const dial = () => {
      dials++
      return receiver.dial({ weather: { delay: 1, delayMsMax: 1_000 } })
    }
    await sender.send(messages, dial, 30_000)
    assert.ok(clock.monotonic() > 40_000, `${clock.monotonic()} ms`)
    assert.equal(dials, 1)
    await sender.close()
    await assertReceived(await receiver.close(), clock, messages)
  })

  test('the other end says goodbye again and again and acknowledges nothing', async () => {
    const clock = new IdleClock()
    const { receiver, sender } = await ends(clock)
    const dial = () => {
      const wire = receiver.dial(swallowing(2))
      clock.after(500, () => void receiver.from.party.live?.close(0).catch(() => undefined))
      return wire
    }
    await assert.rejects(sender.send(lines(1), dial, 30_000), { code: 'channel/NO_ANSWER' })
    const took = clock.monotonic()
    assert.ok(took > 20_000 && took <= 32_500, `${took} ms`)
    await sender.close()
    await receiver.close()
  })

  test('over real sockets: a way that carries handshakes and nothing else', async t => {
    const { receiver, sender } = await ends(realClock)
    const way = await swallowingWay(t, receiver)
    const began = performance.now()
    const dial = () => connect('127.0.0.1', way.port, { timeoutMs: 2_000 })
    await assert.rejects(sender.send(lines(3), dial, 2_500), { code: 'channel/TIMEOUT' })
    const took = performance.now() - began
    assert.ok(took > 2_000 && took < 6_000, `${took} ms`)
    assert.ok(way.swallowed > 0)
    await sender.close()
    await receiver.close()
  })
})

/** In front of a receiver: passes two frames of each client, which are its handshake, and takes the rest. */
async function swallowingWay(t: TestContext, receiver: Receiver) {
  const { endpoint } = receiver.running
  const behind = await listen('127.0.0.1', 0, wire => {
    serve(endpoint, wire, [receiver.from]).catch(() => undefined)
  })
  const way = { port: 0, swallowed: 0 }
  const front = net.createServer(client => {
    const server = net.connect(behind.port, '127.0.0.1')
    let held = Buffer.alloc(0)
    let frames = 0
    client.on('data', chunk => {
      held = Buffer.concat([held, chunk])
      for (; frames < 2 && held.length >= headerBytes; frames++) {
        const end = headerBytes + held.readUInt32BE(headerBytes - 4)
        if (held.length < end) return
        server.write(held.subarray(0, end))
        held = held.subarray(end)
      }
      if (frames < 2) return
      way.swallowed += held.length
      held = Buffer.alloc(0)
    })
    server.pipe(client)
    for (const socket of [client, server])
      socket.on('error', () => undefined).on('close', () => [client, server].map(each => each.destroy()))
  })
  await new Promise<void>(resolve => front.listen(0, '127.0.0.1', resolve))
  way.port = (front.address() as AddressInfo).port
  t.after(async () => {
    front.close()
    await behind.close()
  })
  return way
}
