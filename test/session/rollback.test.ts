import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { settled } from '../simulator/clock.ts'
import { isRollback, Receiver, receivedCount, Sender, trouble } from './exchange.ts'
import { copyOf, type Outcome, type PutBack, receiverPutBack, senderPutBack } from './scenarios.ts'
import { type AtRest, IdleClock, introduced, lines, noNonceTwice } from './world.ts'

noNonceTwice()

const sites = await introduced()

const drills: readonly PutBack[] = (['in a session', 'between sessions'] as const).flatMap(taken =>
  [
    [3, 1],
    [3, 3],
    [3, 8],
    [1, 1],
    [1, 5],
  ].map(([lost = 0, queued = 0]) => ({ taken, lost, queued })),
)

function refusedAtBoth(outcome: Outcome): void {
  assert.ok(isRollback(outcome.atSender), `at the sender: ${String(outcome.atSender)}`)
  assert.ok(isRollback(outcome.atReceiver), `at the receiver: ${String(outcome.atReceiver)}`)
}

suite('home and anchor put back together', () => {
  for (const drill of drills) {
    const name = `${drill.taken}, ${drill.lost} lost, ${drill.queued} queued since`
    test(`the sender's: ${name}: both ends refuse, and the receiver has what it had`, async () => {
      const outcome = await senderPutBack(sites, drill)
      refusedAtBoth(outcome)
      assert.equal(outcome.received, 4 + drill.lost)
    })

    test(`the receiver's: ${name}: both ends refuse, and it takes nothing`, async () => {
      const outcome = await receiverPutBack(sites, drill)
      refusedAtBoth(outcome)
      assert.equal(outcome.received, drill.taken === 'in a session' ? 5 : 4)
    })
  }

  test('to before the first meeting', async () => {
    const clock = new IdleClock()
    for (const back of ['sender', 'receiver'] as const) {
      let receiver = await Receiver.start(sites[1], clock)
      let sender = await Sender.start(sites[0], clock)
      await sender.send(lines(3), () => receiver.dial())
      await (back === 'sender' ? sender : receiver).close()
      if (back === 'sender') sender = await Sender.start(sites[0], clock)
      else receiver = await Receiver.start(sites[1], clock)
      assert.ok(isRollback(await trouble(sender.send(lines(9, 'another'), () => receiver.dial()))))
      while (receiver.errors.length === 0) await settled()
      assert.ok(receiver.errors.some(isRollback))
      await sender.close()
      assert.equal(await receivedCount(await receiver.close(), clock, lines(3)), back === 'sender' ? 3 : 0)
    }
  })

  test('the right home put back in its place goes on where it was', async () => {
    const clock = new IdleClock()
    const receiver = await Receiver.start(sites[1], clock)
    let sender = await Sender.start(sites[0], clock)
    await sender.send(lines(3), () => receiver.dial())
    const copy = copyOf(sites[0], sender.running)
    await sender.send(lines(6), () => receiver.dial())
    const newest = await sender.close()
    sender = await Sender.start(copy, clock)
    assert.ok(isRollback(await trouble(sender.send(lines(5, 'other'), () => receiver.dial()))))
    await sender.close()
    sender = await Sender.start(newest, clock)
    await sender.send(lines(9), () => receiver.dial())
    await sender.close()
    assert.equal(await receivedCount(await receiver.close(), clock, lines(9)), 9)
  })

  test('a receiver that lost only what it never acknowledged goes on: that is a crash', async () => {
    const clock = new IdleClock()
    let receiver = await Receiver.start(sites[1], clock)
    const sender = await Sender.start(sites[0], clock)
    await sender.send(lines(2), () => receiver.dial())
    // Messages arrive and are accepted, but no word of it comes back.
    let isDeaf = false
    const sending = sender.deliverUntil(
      () => sender.to.mailbox.outbox.acknowledged.next === 7,
      () => receiver.dial({ meddle: (chunk, from) => (isDeaf && from === 'right' ? [] : [chunk]) }),
    )
    while (sender.to.party.live === undefined) await settled()
    isDeaf = true
    const copy = copyOf(sites[1], receiver.running)
    await sender.queue(lines(6))
    while (receiver.from.mailbox.inbox.accepted.next < 7) await settled()
    receiver.kill()
    isDeaf = false
    receiver = await Receiver.start(copy, clock)
    await sending
    await sender.close()
    assert.equal(await receivedCount(await receiver.close(), clock, lines(6)), 6)
  })
})

// ---- copies ----

/** A sending process that tries to get one more message acknowledged each time it is asked. */
class Copy {
  readonly name: string
  readonly sent: Uint8Array[]
  acknowledgedSince = 0
  refused = false
  readonly #site: AtRest
  readonly #clock: IdleClock
  readonly #dial: () => ReturnType<Receiver['dial']>
  #sender: Sender | undefined
  #delivering: Promise<unknown> | undefined

  constructor(
    name: string,
    site: AtRest,
    clock: IdleClock,
    common: readonly Uint8Array[],
    dial: () => ReturnType<Receiver['dial']>,
    sender?: Sender,
  ) {
    this.name = name
    this.sent = [...common]
    this.#site = site
    this.#clock = clock
    this.#dial = dial
    this.#sender = sender
  }

  async start(): Promise<void> {
    this.#sender ??= await Sender.start(this.#site, this.#clock)
    this.#delivering ??= trouble(this.#sender.deliverUntil(() => false, this.#dial, 20_000))
    while (this.#sender.to.party.live === undefined && !(await this.#isOver())) await settled()
  }

  async tries(): Promise<void> {
    await this.start()
    const { outbox } = this.#sender?.to.mailbox ?? assert.fail()
    const message = new TextEncoder().encode(`${this.name} ${this.sent.length}\n`)
    this.sent.push(message)
    await outbox.put([message])
    const before = outbox.acknowledged.next
    const error = await Promise.race([
      outbox.until(() => outbox.acknowledged.next > before),
      this.#delivering,
    ])
    if (outbox.acknowledged.next > before) this.acknowledgedSince++
    else this.refused ||= isRollback(error)
  }

  async end(): Promise<void> {
    await this.#sender?.close()
  }

  async #isOver(): Promise<boolean> {
    return Promise.race([
      (this.#delivering ?? Promise.resolve()).then(() => true),
      settled().then(() => false),
    ])
  }
}

/** Every sequence of so many steps of two. */
function* sequences(length: number): Generator<readonly (0 | 1)[]> {
  for (let bits = 0; bits < 1 << length; bits++)
    yield Array.from({ length }, (_, i) => ((bits >> i) & 1) as 0 | 1)
}

suite('a home copied with its anchor', () => {
  for (const connected of [true, false])
    test(`the sender's, ${connected ? 'while connected' : 'between sessions'}: at most one ever gets an acknowledgement again`, async () => {
      let [served, caught] = [0, 0]
      for (const sequence of sequences(4)) {
        const clock = new IdleClock()
        const common = lines(3)
        const receiver = await Receiver.start(sites[1], clock)
        const sender = await Sender.start(sites[0], clock)
        const dial = () => receiver.dial()
        await sender.send(common, dial)
        const original = new Copy('original', sites[0], clock, common, dial, sender)
        if (connected) await original.start()
        const copy = new Copy('copy', copyOf(sites[0], sender.running), clock, common, dial)
        for (const step of sequence) await (step === 0 ? original : copy).tries()
        const both = [original, copy]
        const acknowledged = both.filter(each => each.acknowledgedSince > 0)
        assert.ok(acknowledged.length <= 1, `both were served in ${sequence.join('')}`)
        served += acknowledged.length
        caught += both.filter(each => each.refused).length
        for (const each of both) await each.end()
        const received = await receivedCount(await receiver.close(), clock, ...both.map(({ sent }) => sent))
        const most = Math.max(...both.map(each => each.acknowledgedSince))
        assert.ok(received >= 3 + most, 'acknowledged and lost')
      }
      assert.equal(served, 16, 'one of the two goes on')
      assert.ok(caught >= 14, `${caught} refusals`)
    })

  test("the receiver's, while connected: at most one ever acknowledges again", async () => {
    for (const sequence of sequences(4)) {
      const clock = new IdleClock()
      const original = await Receiver.start(sites[1], clock)
      const sender = await Sender.start(sites[0], clock)
      const messages = lines(3)
      await sender.send(messages, () => original.dial())
      const copy = await Receiver.start(copyOf(sites[1], original.running), clock)
      const both = [original, copy]
      const served = new Set<number>()
      for (const [i, step] of sequence.entries()) {
        messages.push(...lines(1, `later ${i}`))
        const error = await trouble(sender.send(messages, () => (both[step] ?? original).dial()))
        if (error === undefined) served.add(step)
        else assert.ok(isRollback(error), String(error))
      }
      assert.ok(served.size <= 1, `both served ${sequence.join('')}`)
      await sender.close()
      for (const each of both) await receivedCount(await each.close(), clock, messages)
    }
  })
})
