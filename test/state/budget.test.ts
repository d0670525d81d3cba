import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Disk } from '../../src/host/disk.ts'
import type { Log } from '../../src/host/log.ts'
import { type Budgets, budgets, tightened } from '../../src/state/budget.ts'
import { StateError } from '../../src/state/error.ts'
import { openHome } from '../../src/state/home.ts'
import type { Store } from '../../src/state/store.ts'
import { VirtualClock } from '../simulator/clock.ts'
import { bytesOf, coded, copy, deferred, freshHome, kindOfWrite, meddled, textOf, world } from './support.ts'

type Opened = { readonly store: Store; readonly clock: VirtualClock; readonly told: string[] }

async function opened(
  t: TestContext,
  home: string,
  { disk = world.disk, ...options }: Partial<Budgets> & { readonly disk?: Disk } = {},
): Promise<Opened> {
  const clock = new VirtualClock({})
  const told: string[] = []
  const log: Log = { event: (name, fields) => void told.push(`${name} ${JSON.stringify(fields)}`) }
  const store = await openHome({ ...world, disk, clock }, home, undefined, { log, budgets: options })
  t.after(() => store.close())
  return { store, clock, told }
}

/** A disk whose group writes wait for a gate. */
function gated(): { readonly disk: Disk; readonly gate: { until: Promise<void> | undefined } } {
  const gate: { until: Promise<void> | undefined } = { until: undefined }
  const disk = meddled(async (call, proceed) => {
    if (kindOfWrite(call) === 'group') await gate.until
    await proceed()
  })
  return { disk, gate }
}

test('a budget may be tightened, never widened', () => {
  assert.deepEqual(tightened({}), budgets)
  assert.equal(tightened({ payloadBytes: 10 }).payloadBytes, 10)
  for (const [name, value] of [
    ['payloadBytes', budgets.payloadBytes + 1],
    ['latencyMs', 251],
    ['queueBytes', Number.NaN],
    ['records', 0],
    ['records', 1.5],
  ] as const)
    assert.throws(() => tightened({ [name]: value }), coded('EINVAL', name))
})

test('payloads under /state/ have a budget, the product’s own records do not', async t => {
  const { home } = await freshHome(t)
  const { store } = await opened(t, home, { payloadBytes: 100 })
  await store.putAtomic('/state/a', new Uint8Array(100))
  await assert.rejects(store.putAtomic('/state/a', new Uint8Array(101)), coded('E2BIG', '100'))
  await store.commit([{ put: '/pawl/own', payload: new Uint8Array(101) }])
  assert.equal((await store.get('/state/a')).payload.length, 100)
})

test('the number of records has a budget; deletes make room in it', async t => {
  const { home } = await freshHome(t)
  const { store } = await opened(t, home, { records: 2 })
  await store.putAtomic('/state/a', bytesOf('a'))
  await store.putAtomic('/state/b', bytesOf('b'))
  await assert.rejects(store.putAtomic('/state/c', bytesOf('c')), coded('ENOSPC', '2'))
  await store.putAtomic('/state/a', bytesOf('again'))
  await store.delete('/state/b')
  await store.putAtomic('/state/c', bytesOf('c'))
})

test('an operation over 250 ms is counted and told, and still done', async t => {
  const { home } = await freshHome(t)
  const { disk, gate } = gated()
  const { store, clock, told } = await opened(t, home, { disk })
  const slow = deferred()
  gate.until = slow.done
  const put = store.putAtomic('/state/a', bytesOf('a'))
  await clock.advance(250)
  gate.until = undefined
  slow.finish()
  await put
  assert.deepEqual([told.length, store.figures().slow], [0, 0], 'exactly on budget is within it')
  const slower = deferred()
  gate.until = slower.done
  const second = store.putAtomic('/state/a', bytesOf('b'))
  await clock.advance(251)
  gate.until = undefined
  slower.finish()
  await second
  assert.deepEqual(told, ['state/slow {"operation":"commit","ms":251}'])
  assert.equal(store.figures().slow, 1)
})

test('a deadline: who still waits is not applied, who is being written may be, and says which', async t => {
  const { home } = await freshHome(t)
  const { disk, gate } = gated()
  const { store, clock } = await opened(t, home, { disk })
  const slow = deferred()
  gate.until = slow.done
  const outcome = async (put: Promise<number>) =>
    put.then(
      () => 'done',
      error => {
        assert.ok(error instanceof StateError && error.code === 'EDEADLINE', String(error))
        return error.outcome
      },
    )
  const first = outcome(store.putAtomic('/state/first', bytesOf('1'), {}, { deadlineMs: 100 }))
  await new Promise(resolve => setTimeout(resolve, 20)) // the first is being written
  const second = outcome(store.putAtomic('/state/second', bytesOf('2'), {}, { deadlineMs: 100 }))
  await new Promise(resolve => setTimeout(resolve, 20))
  await clock.advance(100)
  const outcomes = await Promise.all([first, second])
  gate.until = undefined
  slow.finish()
  assert.deepEqual(outcomes, ['unknown', 'not applied'])
  await store.putAtomic('/state/third', bytesOf('3'), {}, { deadlineMs: 100 })
  assert.ok(!store.has('/state/second'))
  assert.equal(textOf((await store.get('/state/first')).payload), '1')
  assert.equal(clock.waiting, 0, 'no timer is left behind')
})

test('too much that waits is refused, and nothing of it is applied', async t => {
  const { home } = await freshHome(t)
  const { disk, gate } = gated()
  const { store } = await opened(t, home, { disk, queueBytes: 10_000 })
  const slow = deferred()
  gate.until = slow.done
  const puts = Array.from({ length: 30 }, (_, i) =>
    store.putAtomic(`/state/${i}`, new Uint8Array(1000)).then(
      () => 'done',
      error => {
        assert.ok(error instanceof StateError && error.outcome === 'not applied')
        return error.code
      },
    ),
  )
  await new Promise(resolve => setTimeout(resolve, 50))
  gate.until = undefined
  slow.finish()
  const outcomes = await Promise.all(puts)
  assert.ok(outcomes.includes('EBUSY') && outcomes.includes('done'), outcomes.join())
  assert.equal(store.list('/state/').length, outcomes.filter(outcome => outcome === 'done').length)
})

test('a fresh read asks the keeper: a mark that went back, or on, behind this process is refused', async t => {
  const { home, anchor, root } = await freshHome(t)
  const { store } = await opened(t, home)
  await store.putAtomic('/state/a', bytesOf('a'))
  const older = copy(anchor, join(root, 'older'))
  await store.putAtomic('/state/a', bytesOf('b'))
  assert.equal(textOf((await store.get('/state/a', { fresh: true })).payload), 'b')
  const newer = fs.readFileSync(join(anchor, 'mark'))
  fs.writeFileSync(join(anchor, 'mark'), fs.readFileSync(join(older, 'mark')))
  await assert.rejects(store.get('/state/a', { fresh: true }), coded('EROLLBACK'))
  assert.equal(textOf((await store.get('/state/a')).payload), 'b')
  fs.writeFileSync(join(anchor, 'mark'), new Uint8Array(8192))
  await assert.rejects(store.get('/state/a', { fresh: true }), coded('EINTEGRITY'))
  fs.writeFileSync(join(anchor, 'mark'), newer)
  await store.get('/state/a', { fresh: true })
  // Reads and writes at once: a mark in flight is no rollback.
  await Promise.all(
    Array.from({ length: 50 }, async (_, i) => {
      await store.putAtomic(`/state/${i}`, bytesOf('x'))
      await store.get(`/state/${i}`, { fresh: true })
    }),
  )
})
