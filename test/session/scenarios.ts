import assert from 'node:assert/strict'
import { Random } from '../simulator/random.ts'
import { assertReceived, isRollback, Receiver, type RunOptions, Sender } from './exchange.ts'
import { type AtRest, IdleClock } from './world.ts'

/** Small, empty, of several frames. */
export function messagesOf(random: Random): Uint8Array[] {
  const sizes = [0, 1, 30, 200, 5_000, 70_000, 150_000]
  return Array.from({ length: 24 }, () => random.bytes(sizes[random.below(sizes.length)] ?? 0))
}

type Deaths = { readonly seed: number; readonly deaths: number } & Pick<RunOptions, 'wrap'>

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
