import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Disk, DiskError } from '../../src/host/disk.ts'
import { StateError } from '../../src/state/error.ts'
import { Journal } from '../../src/state/journal.ts'
import { limits } from '../../src/state/limits.ts'
import { Reserve } from '../../src/state/reserve.ts'
import type { Store } from '../../src/state/store.ts'
import { bytesOf, coded, contents, filesIn, freshHome, meddled, segmentFiles, withStore } from './support.ts'

const fits = Journal.prototype.fits

function small(t: TestContext): void {
  const shipped = { ...limits }
  Object.assign(limits, { segmentBytesMax: 64 * 1024, growBytes: 16 * 1024, carryBytes: 16 * 1024 })
  t.after(() => Object.assign(limits, shipped))
}

/** A disk with room for so many bytes below `root`. */
function bounded(root: string, capacity: { bytes: number }): Disk {
  return meddled(async (call, proceed) => {
    if (call.kind === 'write' && call.bytes !== undefined && call.position !== undefined) {
      const before = fs.existsSync(call.path) ? fs.statSync(call.path).size : 0
      const more = Math.max(0, call.position + call.bytes.length - before)
      if (more > 0 && taken(root) + more > capacity.bytes) throw new DiskError('full', `write ${call.path}`)
    }
    await proceed()
  })
}

function taken(root: string): number {
  // A segment may be given up while it is being looked for.
  const sizes = filesIn(root).map(name => fs.statSync(join(root, name), { throwIfNoEntry: false })?.size ?? 0)
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** Puts until the disk is full; answers what was acknowledged. */
async function fill(store: Store, size: number, from = 0): Promise<number> {
  for (let i = from; ; i++)
    try {
      await store.putAtomic(`/state/${i}`, bytesOf(`${i} `.padEnd(size, '.')))
    } catch (error) {
      assert.ok(error instanceof StateError && error.code === 'ENOSPC', String(error))
      return i
    }
}

test('on a full disk deletes and compaction go on, and then puts do too', async t => {
  small(t)
  const { home } = await freshHome(t)
  const disk = bounded(home, { bytes: 1024 * 1024 })
  await withStore(
    home,
    async store => {
      for (let round = 0; round < 2; round++) {
        const count = await fill(store, 1500)
        assert.ok(count > 100, `${count}`)
        for (let i = 0; i < count; i++) await store.delete(`/state/${i}`)
        await store.compact()
        assert.ok(taken(home) < 512 * 1024, `${taken(home)}`)
      }
    },
    { disk },
  )
  await withStore(home, async store => assert.deepEqual(await contents(store), {}))
})

test('a full disk on which everything is live is full; what is deleted then makes room without being asked', async t => {
  small(t)
  const { home } = await freshHome(t)
  const disk = bounded(home, { bytes: 1024 * 1024 })
  await withStore(
    home,
    async store => {
      const count = await fill(store, 3000)
      for (let i = 0; i < 10; i++)
        await assert.rejects(store.putAtomic('/state/x', new Uint8Array(30_000)), coded('ENOSPC'))
      await store.compact()
      assert.equal(store.list('/state/').length, count)
      for (let i = 0; i < count; i += 2) await store.delete(`/state/${i}`)
      for (let tries = 0; ; tries++) {
        assert.ok(tries < 200)
        const done = await store.putAtomic('/state/x', new Uint8Array(30_000)).then(
          () => true,
          () => false,
        )
        if (done) break
        await new Promise(resolve => setTimeout(resolve, 10))
      }
    },
    { disk },
  )
})

test('a put that shares its group with a delete is refused alone', async t => {
  small(t)
  const { home } = await freshHome(t)
  const capacity = { bytes: 1024 * 1024 }
  await withStore(
    home,
    async store => {
      const count = await fill(store, 3000)
      const outcomes = await Promise.allSettled([
        store.putAtomic('/state/x', new Uint8Array(100_000)),
        store.delete('/state/0'),
        store.delete('/state/1'),
      ])
      assert.deepEqual(
        outcomes.map(({ status }) => status),
        ['rejected', 'fulfilled', 'fulfilled'],
      )
      assert.equal(store.list('/state/').length, count - 2)
    },
    { disk: bounded(home, capacity) },
  )
})

test('the reserve may be gone, long or anything: it is never read', async t => {
  small(t)
  const { home } = await freshHome(t)
  const put = () =>
    withStore(home, async store => {
      for (let i = 0; i < 20; i++) await store.putAtomic(`/state/${i}`, new Uint8Array(2000).fill(i))
    })
  await put()
  const reserve = join(home, 'segments', 'reserve')
  assert.ok(fs.statSync(reserve).size > limits.segmentBytesMax / 2)
  assert.ok(fs.readFileSync(reserve).every(byte => byte === 0))
  fs.rmSync(reserve)
  await put()
  fs.writeFileSync(reserve, 'something else')
  await put()
  fs.truncateSync(reserve, 10_000_000)
  await put()
  await withStore(home, async store => assert.equal(store.list('/state/').length, 20))
  assert.ok(segmentFiles(home).length > 1)
})

test('room that comes to a full disk without a reserve is for compaction first: so all can be deleted', async t => {
  small(t)
  const { home } = await freshHome(t)
  const capacity = { bytes: 1024 * 1024 }
  let count = 0
  await withStore(home, async store => (count = await fill(store, 1500)), { disk: bounded(home, capacity) })
  fs.rmSync(join(home, 'segments', 'reserve'))
  capacity.bytes = taken(home) + limits.segmentBytesMax * 1.25 + 2 * limits.growBytes
  await withStore(
    home,
    async store => {
      for (let i = 0; i < count; i++) await store.delete(`/state/${i}`)
      await store.compact()
      assert.ok((await fill(store, 1500)) > 100)
    },
    { disk: bounded(home, capacity) },
  )
})

test('on a full disk that answers now and then late, deletes still go on beside compaction', async t => {
  small(t)
  const { home } = await freshHome(t)
  const full = bounded(home, { bytes: 1024 * 1024 })
  const late = (value: number) => new Promise(resolve => setTimeout(resolve, value))
  let calls = 0
  const disk = meddled(async (_, proceed) => {
    if (++calls % 17 === 0) await late(calls % 5)
    await proceed()
    if (calls % 23 === 0) await late(calls % 7)
  }, full)
  await withStore(
    home,
    async store => {
      const count = await fill(store, 1500)
      for (let i = 0; i < count; i++) await store.delete(`/state/${i}`)
      await store.compact()
      assert.ok(taken(home) < 512 * 1024, `${taken(home)}`)
    },
    { disk },
  )
})

test('planted: without the reserve a full disk stays full', async t => {
  small(t)
  t.mock.method(Reserve.prototype, 'ensure', async () => {})
  t.mock.method(Journal.prototype, 'fits', function (this: Journal, bytes: number) {
    return fits.call(this, bytes, 'some')
  })
  const { home } = await freshHome(t)
  await withStore(
    home,
    async store => {
      const count = await fill(store, 3000)
      const deletes = Array.from({ length: count }, (_, i) => i)
      const refused = async () => {
        for (const i of deletes) await store.delete(`/state/${i}`)
      }
      await assert.rejects(refused, coded('ENOSPC'))
    },
    { disk: bounded(home, { bytes: 1024 * 1024 }) },
  )
})
