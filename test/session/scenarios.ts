import assert from 'node:assert/strict'
import { settled } from '../simulator/clock.ts'
import { Random } from '../simulator/random.ts'
import {
  assertReceived,
  isRollback,
  Receiver,
  type RunOptions,
  receivedCount,
  Sender,
  trouble,
} from './exchange.ts'
import { type AtRest, IdleClock, lines, type Running } from './world.ts'

/** Small, empty, of several frames. */
export function messagesOf(random: Random): Uint8Array[] {
  const sizes = [0, 1, 30, 200, 5_000, 70_000, 150_000]
  return Array.from({ length: 24 }, () => random.bytes(sizes[random.below(sizes.length)] ?? 0))
}

type Deaths = {
  readonly seed: number
  readonly deaths: number
  readonly wrap?: NonNullable<RunOptions['wrap']>
}

/** Runs an exchange in which both ends die at random calls into their disks and come back. */
export async function withDeaths(sites: readonly [AtRest, AtRest], options: Deaths): Promise<void> {
  const { seed, deaths, ...rest } = options
  const clock = new IdleClock()
  const random = new Random(seed)
  const messages = messagesOf(random)
  let [a, b] = sites
  let left = deaths
  const dies = () => {
    let callsLeft = left-- > 0 ? 15 + random.below(70) : Number.POSITIVE_INFINITY
    let died = () => {}
    const death = new Promise<'died'>(resolve => {
      died = () => resolve('died')
    })
    const faults = () => {
      if (--callsLeft !== 0) return undefined
      died()
      return { waits: new Promise<never>(() => {}) }
    }
    return { death, faults }
  }
  const startReceiver = async () => {
    for (;;) {
      const life = dies()
      const receiver = await Promise.race([Receiver.start(b, clock, { ...rest, ...life }), life.death])
      if (receiver !== 'died') return { receiver, death: life.death }
    }
  }
  let { receiver, death } = await startReceiver()
  for (;;) {
    const senderDeath = dies()
    const starting = Sender.start(a, clock, senderDeath)
    const sender = await Promise.race([starting, senderDeath.death])
    if (sender === 'died') continue
    const sending = sender.send(messages, () =>
      receiver.dial({ seed: random.word(), weather: { split: 0.1, cut: 0.01 } }),
    )
    sending.catch(() => undefined)
    let outcome: 'done' | 'died' | 'receiver died'
    do {
      outcome = await Promise.race([
        sending.then(() => 'done' as const),
        senderDeath.death,
        death.then(() => 'receiver died' as const),
      ])
      if (outcome !== 'receiver died') continue
      b = receiver.kill()
      ;({ receiver, death } = await startReceiver())
    } while (outcome === 'receiver died')
    a = sender.kill()
    if (outcome === 'done') break
  }
  for (const error of receiver.errors) assert.ok(!isRollback(error), String(error))
  await assertReceived(receiver.kill(), clock, messages)
}

/** Where a running process's home and anchor stand now, put aside as a copy of both would. */
export function copyOf(site: AtRest, running: Running): AtRest {
  return { ...site, image: running.disk.killState() }
}

export type PutBack = {
  /** The copy is taken while a session goes on, or between two. */
  readonly taken: 'in a session' | 'between sessions'
  /** How many messages after the copy were lost with it, and how many others are queued instead. */
  readonly lost: number
  readonly queued: number
  readonly wrap?: NonNullable<RunOptions['wrap']>
}

export type Outcome = { readonly atSender: unknown; readonly atReceiver: unknown; readonly received: number }

/** Home and anchor of the sender are put back together, and it goes on with other messages than before. */
export async function senderPutBack(sites: readonly [AtRest, AtRest], drill: PutBack): Promise<Outcome> {
  const clock = new IdleClock()
  const truth = lines(4 + drill.lost)
  const receiver = await Receiver.start(sites[1], clock, drill)
  let sender = await Sender.start(sites[0], clock)
  await sender.send(truth.slice(0, 4), () => receiver.dial())
  let copy = copyOf(sites[0], sender.running)
  if (drill.taken === 'in a session') {
    // One connection all along, and the copy taken after the fourth message was acknowledged over it.
    const { outbox } = sender.to.mailbox
    const sending = sender.deliverUntil(
      () => outbox.acknowledged.next > truth.length,
      () => receiver.dial(),
    )
    while (sender.to.party.live === undefined) await settled()
    copy = copyOf(sites[0], sender.running)
    await sender.queue(truth)
    await sending
  } else await sender.send(truth, () => receiver.dial())
  await sender.close()

  sender = await Sender.start(copy, clock, drill)
  const others = [...truth.slice(0, 4), ...lines(drill.queued, 'another')]
  await sender.queue(others) // all of it before the other end hears of any
  const atSender = await trouble(sender.send(others, () => receiver.dial()))
  await sender.close()
  const { errors } = receiver
  const received = await receivedCount(await receiver.close(), clock, truth)
  return { atSender, atReceiver: errors.find(isRollback), received }
}

/** Home and anchor of the receiver are put back together, and the sender goes on. */
export async function receiverPutBack(sites: readonly [AtRest, AtRest], drill: PutBack): Promise<Outcome> {
  const clock = new IdleClock()
  // In a session the first message of it is in the copy too.
  const all = (drill.taken === 'in a session' ? 5 : 4) + drill.lost
  const truth = lines(all + drill.queued)
  let receiver = await Receiver.start(sites[1], clock, drill)
  const sender = await Sender.start(sites[0], clock, drill)
  const { outbox } = sender.to.mailbox
  await sender.send(truth.slice(0, 4), () => receiver.dial())
  let copy = copyOf(sites[1], receiver.running)
  if (drill.taken === 'in a session') {
    const sending = sender.deliverUntil(
      () => outbox.acknowledged.next > all,
      () => receiver.dial(),
    )
    await sender.queue(truth.slice(0, 5))
    await outbox.until(() => outbox.acknowledged.next > 5)
    copy = copyOf(sites[1], receiver.running)
    await sender.queue(truth.slice(0, all))
    await sending
  } else await sender.send(truth.slice(0, all), () => receiver.dial())
  await receiver.close()

  receiver = await Receiver.start(copy, clock)
  const atSender = await trouble(sender.send(truth, () => receiver.dial()))
  const { errors } = receiver
  await sender.close()
  return {
    atSender,
    atReceiver: errors.find(isRollback),
    received: await receivedCount(await receiver.close(), clock, truth),
  }
}
