import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Positions } from '../../src/channel/block.ts'
import type { Correspondent } from '../../src/mailbox/courier.ts'
import type { PositionVerdict } from '../../src/mailbox/position.ts'
import { assertReceived, isRollback, Receiver, Sender } from './exchange.ts'
import { senderPutBack, withDeaths } from './scenarios.ts'
import { IdleClock, introduced, lines, noNonceTwice, type Running } from './world.ts'

noNonceTwice()

/** Bugs that these tests exist to find, planted one at a time: each must turn a simulation red. */
const sites = await introduced()

async function isNoticed(drill: (seed: number) => Promise<void>, seeds = 12): Promise<boolean> {
  for (let seed = 1; seed <= seeds; seed++)
    try {
      await drill(seed)
    } catch {
      return true
    }
  return false
}

/** Replaces a method of one object. */
function replace<T extends object, K extends keyof T>(object: T, name: K, by: (real: T[K]) => T[K]): void {
  const real = object[name]
  const bound = typeof real === 'function' ? real.bind(object) : real
  Object.defineProperty(object, name, { value: by(bound as T[K]), configurable: true })
}

suite('planted bugs are noticed', () => {
  test('none planted: the drills are green', async () => {
    assert.ok(!(await isNoticed(seed => withDeaths(sites, { seed, deaths: 8 }), 3)))
  })

  test('an acknowledgement before the commit', async () => {
    const wrap = (_: Correspondent, { endpoint }: Running) =>
      replace(endpoint.store, 'commit', real => async (changes, options) => {
        if (!changes.some(change => 'put' in change && change.put.endsWith('/in')))
          return real(changes, options)
        options?.committed?.(0)
        // The sender is told now; the state follows when it can.
        endpoint.clock.after(50, () => void real(changes).catch(() => undefined))
        return 0
      })
    assert.ok(await isNoticed(seed => withDeaths(sites, { seed, deaths: 8, wrap })))
  })

  test('the old secret dropped when the new one is made, not when it was heard', async () => {
    const wrap = ({ party }: Correspondent) =>
      replace(
        party.memory,
        'update',
        real => rule =>
          real(memory => {
            const next = rule(memory)
            return next && { ...next, secrets: next.secrets.slice(0, 1), noneAllowed: false }
          }),
      )
    const drill = async (lost: number) => {
      const clock = new IdleClock()
      const receiver = await Receiver.start(sites[1], clock, { wrap })
      const sender = await Sender.start(sites[0], clock)
      // SDONE is lost on so many connections.
      let dials = 0
      await sender.send(lines(3), () => {
        const isCut = ++dials <= lost
        let chunks = 0
        return receiver.dial({
          meddle: (chunk, from) => (isCut && from === 'right' && ++chunks > 2 ? [] : [chunk]),
        })
      })
      await sender.close()
      await assertReceived(await receiver.close(), clock, lines(3))
    }
    await drill(0)
    await assert.rejects(drill(1), isRollback)
  })

  test('without that bug any number of lost answers in a row is survived', async () => {
    for (let lost = 0; lost < 4; lost++) {
      const clock = new IdleClock()
      const receiver = await Receiver.start(sites[1], clock)
      const sender = await Sender.start(sites[0], clock)
      let dials = 0
      await sender.send(lines(3), () => {
        const isCut = ++dials <= lost
        let chunks = 0
        return receiver.dial({
          meddle: (chunk, from) => (isCut && from === 'right' && ++chunks > 2 ? [] : [chunk]),
        })
      })
      await sender.close()
      await assertReceived(await receiver.close(), clock, lines(3))
    }
  })

  test('a judge that looks at numbers only', async () => {
    const numbersOnly = ({ mailbox, party }: Correspondent) => {
      const { outbox, inbox } = mailbox
      Object.assign(party, {
        judge: (theirs: Positions): PositionVerdict => {
          if (theirs.nextExpected > outbox.sending.next) return 'I was turned back'
          if (theirs.nextExpected < outbox.acknowledged.next) return 'the peer was turned back'
          return theirs.nextSend < inbox.accepted.next ? 'the peer was turned back' : 'agreed'
        },
      })
      // The heads of acknowledgements are a second line of defence; it falls too.
      replace(
        outbox,
        'acknowledge',
        real =>
          ({ next, head }) =>
            real({ next, head: outbox.headBefore(next) ?? head }),
      )
    }
    const drill = { taken: 'in a session', lost: 3, queued: 8 } as const
    const right = await senderPutBack(sites, drill)
    assert.ok(isRollback(right.atSender) && right.received === 7)
    // With it the receiver takes messages of the other history, or the sender does not hear why.
    const wrong = await senderPutBack(sites, { ...drill, wrap: numbersOnly }).catch(error => {
      assert.ok(error instanceof assert.AssertionError, String(error))
      return undefined
    })
    const isRed = wrong === undefined || !isRollback(wrong.atSender) || wrong.received !== 7
    assert.ok(isRed, 'the drill did not notice')
  })
})
