import assert from 'node:assert/strict'
import test from 'node:test'
import { VirtualClock } from './clock.ts'

test('timers fire at their instants, in order, and what they set off runs in between', async () => {
  const clock = new VirtualClock({ startMs: 1000 })
  const told: string[] = []
  clock.after(20, () => told.push(`b at ${clock.monotonic()}`))
  clock.after(10, () => {
    told.push(`a at ${clock.monotonic()}`)
    void Promise.resolve().then(() => clock.after(5, () => told.push(`c at ${clock.monotonic()}`)))
  })
  const cancel = clock.after(12, () => told.push('never'))
  cancel()
  await clock.advance(19)
  assert.deepEqual(told, ['a at 10', 'c at 15'])
  assert.equal(clock.now(), 1019)
  assert.equal(clock.waiting, 1)
  await clock.advance(1)
  assert.deepEqual(told, ['a at 10', 'c at 15', 'b at 20'])
})

test('the wall clock jumps; monotonic time does not', async () => {
  const clock = new VirtualClock({ startMs: 1000 })
  clock.jump(-500)
  await clock.advance(10)
  assert.deepEqual([clock.now(), clock.monotonic()], [510, 10])
})

test('automatic time passes as soon as everybody waits', async () => {
  const clock = new VirtualClock({ auto: true })
  await new Promise<void>(resolve => clock.after(3_600_000, resolve))
  await new Promise<void>(resolve => clock.after(1, resolve))
  assert.equal(clock.monotonic(), 3_600_001)
})

test('timers due together fire in an order of the seed', async () => {
  const order = async (seed: number) => {
    const clock = new VirtualClock({ seed })
    const fired: number[] = []
    for (let i = 0; i < 6; i++) clock.after(1, () => fired.push(i))
    await clock.advance(1)
    return fired.join('')
  }
  assert.equal(await order(5), await order(5))
  assert.notEqual(await order(5), await order(6))
})
