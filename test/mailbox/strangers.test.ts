import assert from 'node:assert/strict'
import fs from 'node:fs'
import net from 'node:net'
import { after, before, suite, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { serve } from '../../src/mailbox/courier.ts'
import { Strangers, strangersMax } from '../../src/mailbox/strangers.ts'
import { Pair, Scene } from '../cli/support.ts'
import { Receiver, Sender, trouble } from '../session/exchange.ts'
import { IdleClock, introduced, lines, noNonceTwice } from '../session/world.ts'
import { settled } from '../simulator/clock.ts'
import { wirePair } from '../simulator/wire.ts'

noNonceTwice()

/** Keeps so many idle connections to a port, each made anew as soon as it is dropped. */
function idleStrangers(t: TestContext, port: number, count: number): { made: number } {
  const sockets = new Set<net.Socket>()
  const seen = { made: 0 }
  let isOver = false
  const dial = () => {
    if (isOver) return
    const socket = net.connect(port, '127.0.0.1', () => seen.made++)
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => {
      sockets.delete(socket)
      setTimeout(dial, 20)
    })
  }
  for (let i = 0; i < count; i++) dial()
  t.after(() => {
    isOver = true
    for (const socket of sockets) socket.destroy()
  })
  return seen
}

suite('strangers', () => {
  const pair = new Pair(new Scene())
  before(() => pair.meet())
  after(() => pair.scene.end())

  test('eighty idle connections, renewed as they are dropped, keep no honest sender out', async t => {
    await pair.receive('got.txt')
    const seen = idleStrangers(t, pair.port, 80)
    while (seen.made < 200) await sleep(20)
    fs.writeFileSync(pair.scene.path('in.txt'), 'one\ntwo\n')
    for (let run = 0; run < 3; run++) {
      fs.appendFileSync(pair.scene.path('in.txt'), 'more\n')
      await pair.sent('in.txt', '--give-up', '2')
    }
    assert.equal(fs.readFileSync(pair.scene.path('got.txt'), 'utf8'), 'one\ntwo\nmore\nmore\nmore\n')
    assert.equal(pair.receiver.child.exitCode, null)
  })

  test('at most so many are held; the oldest goes first, and who has proved who it is stays', async () => {
    const clock = new IdleClock()
    const [a, b] = await introduced()
    const receiver = await Receiver.start(b, clock)
    const sender = await Sender.start(a, clock)
    const { outbox } = sender.to.mailbox
    const delivering = sender.deliverUntil(
      () => outbox.acknowledged.next > 1,
      () => receiver.dial(),
    )
    while (sender.to.party.live === undefined) await settled()
    const ended: number[] = []
    for (let i = 0; i < strangersMax + 3; i++) {
      const { right } = wirePair({ clock })
      void trouble(serve(receiver.running.endpoint, right, [receiver.from])).then(() => ended.push(i))
    }
    await undefined
    for (let turn = 0; turn < 20 && ended.length < 3; turn++) await Promise.resolve()
    assert.deepEqual(ended, [0, 1, 2], 'at once')
    await sender.queue(lines(1))
    await delivering
    await sender.close()
    await receiver.close()
  })

  test('the number of docs/spec/session.md is that of the code', () => {
    const page = fs.readFileSync(new URL('../../docs/spec/session.md', import.meta.url), 'utf8')
    assert.ok(page.includes(`A server holds ${strangersMax} connections`))
  })

  test('who has left makes room', () => {
    const strangers = new Strangers()
    const dropped: number[] = []
    const wires = Array.from({ length: strangersMax + 1 }, () => wirePair().right)
    for (const [i, wire] of wires.entries()) {
      strangers.add(wire, () => dropped.push(i))
      if (i === 5) strangers.delete(wire)
    }
    assert.deepEqual(dropped, [])
    strangers.add(wirePair().right, () => undefined)
    assert.deepEqual(dropped, [0])
  })
})
