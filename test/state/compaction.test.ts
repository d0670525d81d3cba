import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { limits } from '../../src/state/limits.ts'
import { readHome } from '../../src/state/reader.ts'
import type { Store } from '../../src/state/store.ts'
import {
  bytesOf,
  coded,
  contents,
  copy,
  filesWith,
  flip,
  freshHome,
  meddled,
  segmentFiles,
  textOf,
  withStore,
  world,
} from './support.ts'

/** Small segments, so that there are many. */
function small(t: TestContext, carryBytes = 16 * 1024): void {
  const shipped = { ...limits }
  Object.assign(limits, { segmentBytesMax: 64 * 1024, growBytes: 16 * 1024, carryBytes })
  t.after(() => Object.assign(limits, shipped))
}

function bytesIn(home: string): number {
  return segmentFiles(home).reduce((sum, path) => sum + fs.statSync(path).size, 0)
}

async function putMany(store: Store, count: number, size: number, paths = 10): Promise<void> {
  for (let i = 0; i < count; i++)
    await store.putAtomic(`/state/${i % paths}`, bytesOf(`${i} `.padEnd(size, '.')))
}

test('puts and deletes without end keep the journal bounded, and what is live stays readable', async t => {
  small(t)
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    for (let i = 0; i < 40; i++) await store.putAtomic(`/state/still/${i}`, bytesOf(`still ${i}`))
    let most = 0
    const bound = () => 3 * (store.figures().liveBytes + limits.segmentBytesMax) + 2 * limits.segmentBytesMax
    for (let round = 0; round < 30; round++) {
      await putMany(store, 20, 2000)
      await store.delete(`/state/${round % 10}`)
      most = Math.max(most, bytesIn(home) / bound())
    }
    assert.ok(most < 1, `${most}`)
    assert.ok(store.mark.number * 4096 > 2 * bound(), 'much more was written')
    for (let i = 0; i < 40; i++)
      assert.equal(textOf((await store.get(`/state/still/${i}`)).payload), `still ${i}`)
  })
  await withStore(home, async store => {
    assert.equal(store.list('/state/still/').length, 40)
    assert.ok(store.mark.number > 600)
  })
})

test('compaction leaves only what is live, and tells of a record the group that put it first', async t => {
  small(t)
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await store.makeScope('apart')
    const first = await store.putAtomic('/state/a', bytesOf('a'), { subject: 's', purpose: 'p', at: 5 })
    await store.commit([{ put: '/state/b', payload: bytesOf('b'), scope: 'apart' }])
    await putMany(store, 200, 3000)
    for (let i = 0; i < 10; i++) await store.delete(`/state/${i}`)
    const before = store.mark
    await store.compact()
    assert.ok(bytesIn(home) < 256 * 1024, `${bytesIn(home)}`)
    assert.ok(store.mark.number > before.number)
    const { payload, envelope, generation } = await store.get('/state/a')
    assert.deepEqual([textOf(payload), generation, envelope.subject, envelope.at], ['a', first, 's', 5])
    // Carried twice it is still the same.
    await store.compact()
    assert.equal((await store.get('/state/a')).generation, first)
  })
  await withStore(home, async store => {
    assert.deepEqual(await contents(store), { '/state/a': 'a', '/state/b': 'b' })
    await store.shred('apart')
    assert.deepEqual(await contents(store), { '/state/a': 'a' })
  })
})

test('what is put, deleted or shredded while its older self is carried wins', async t => {
  small(t)
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await store.makeScope('doomed')
    for (let i = 0; i < 200; i++) await store.putAtomic(`/state/${i}`, bytesOf(`old ${i}`))
    for (let i = 0; i < 20; i++)
      await store.commit([{ put: `/state/doomed/${i}`, payload: bytesOf('doomed'), scope: 'doomed' }])
    const compacting = store.compact()
    const changes = Array.from({ length: 200 }, (_, i) =>
      i % 2 === 0 ? store.putAtomic(`/state/${i}`, bytesOf(`new ${i}`)) : store.delete(`/state/${i}`),
    )
    await Promise.all([...changes, store.shred('doomed')])
    await compacting
    const expected = Object.fromEntries(
      Array.from({ length: 100 }, (_, i) => [`/state/${2 * i}`, `new ${2 * i}`]),
    )
    assert.deepEqual(await contents(store), expected)
  })
  await withStore(home, async store => assert.equal(Object.keys(await contents(store)).length, 100))
})

test('a compaction that is cut off anywhere is carried on by the next', async t => {
  small(t, 2048)
  const { home, root, anchor } = await freshHome(t)
  await withStore(home, async store => {
    for (let i = 0; i < 60; i++) await store.putAtomic(`/state/${i}`, bytesOf(`value ${i}`.padEnd(900, '.')))
    for (let i = 0; i < 40; i++) await store.delete(`/state/${i}`)
  })
  const [homeBefore, anchorBefore] = [copy(home, join(root, 'h')), copy(anchor, join(root, 'a'))]
  let calls = Number.POSITIVE_INFINITY
  for (let stopAt = 1; stopAt < calls; stopAt += process.env.SLOW === '1' ? 1 : 5) {
    copy(homeBefore, home)
    copy(anchorBefore, anchor)
    let seen = 0
    const disk = meddled(async (call, proceed) => {
      if (call.kind !== 'open' && ++seen >= stopAt) throw new Error('cut off')
      await proceed()
    })
    await withStore(home, store => store.compact(), { disk }).then(
      () => (calls = seen),
      () => {},
    )
    await withStore(home, async store => {
      assert.equal(store.list('/state/').length, 20, `cut off at call ${stopAt}`)
      await store.compact()
      assert.ok(segmentFiles(home).length <= 4)
      for (let i = 40; i < 60; i++)
        assert.equal(textOf((await store.get(`/state/${i}`)).payload), `value ${i}`.padEnd(900, '.'))
    })
  }
  assert.ok(calls > 10, `${calls}`)
})

test('a segment that is still needed and is gone is refused, also the oldest', async t => {
  small(t)
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await putMany(store, 100, 3000, 60)
    await store.compact()
    await putMany(store, 60, 3000, 60)
  })
  const files = segmentFiles(home)
  assert.ok(files.length > 2 && !files[0]?.endsWith('00000001.seg'))
  for (const file of files) {
    const bytes = fs.readFileSync(file)
    fs.rmSync(file)
    await assert.rejects(
      withStore(home, async () => {}),
      coded(['EINTEGRITY', 'EROLLBACK']),
      file,
    )
    fs.writeFileSync(file, bytes)
  }
  await withStore(home, async store => assert.equal(store.list('/state/').length, 60))
})

test('a segment that was given up and comes back is taken for a leftover', async t => {
  small(t)
  const { home, root } = await freshHome(t)
  await withStore(home, async store => {
    await putMany(store, 40, 3000)
    await store.shred('none').catch(() => {})
  })
  const before = copy(home, join(root, 'before'))
  await withStore(home, store => store.compact())
  for (const file of segmentFiles(before)) fs.cpSync(file, file.replace(before, home))
  await withStore(home, async store => assert.equal(store.list('/state/').length, 10))
  assert.ok(!fs.existsSync(join(home, 'segments', '00000001.seg')))
})

test('a damaged segment is not given up: nothing is lost in silence', async t => {
  small(t)
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await putMany(store, 40, 3000)
    const [oldest] = segmentFiles(home)
    assert.ok(oldest !== undefined)
    flip(oldest, 9000)
    await assert.rejects(store.compact(), coded('EINTEGRITY'))
    await store.putAtomic('/state/after', bytesOf('x'))
    assert.ok(fs.existsSync(oldest))
    flip(oldest, 9000)
    await store.compact()
    assert.ok(!fs.existsSync(oldest))
  })
})

test('a shredded record is in no block that can be opened, and old segments go', async t => {
  small(t)
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await store.makeScope('apart')
    await store.commit([{ put: '/state/secret', payload: bytesOf('PIN 1234'), scope: 'apart' }])
    await store.compact() // carried once, under another key
    await store.shred('apart')
    const history = await store.history('/state/secret')
    assert.deepEqual(
      history.map(({ kind }) => kind),
      ['destroyed'],
    )
    await store.compact()
    assert.deepEqual(await store.history('/state/secret'), [])
  })
  assert.deepEqual(filesWith(home, bytesOf('PIN 1234')), [])
})

test('history: every put and delete of a path, once each, as far back as the journal goes', async t => {
  small(t)
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    const one = await store.putAtomic('/state/a', bytesOf('one'), {
      subject: 'alice',
      purpose: 'test',
      at: 1,
    })
    const two = await store.delete('/state/a')
    const three = await store.putAtomic('/state/a', bytesOf('three'), { at: 3 })
    await store.putAtomic('/state/b', bytesOf('other'))
    const past = await store.history('/state/a')
    assert.deepEqual(
      past.map(({ generation, kind }) => [generation, kind]),
      [
        [one, 'put'],
        [two, 'delete'],
        [three, 'put'],
      ],
    )
    assert.deepEqual([past[0]?.envelope?.subject, past[0]?.envelope?.size], ['alice', 3])
    await store.compact()
    assert.deepEqual(
      (await store.history('/state/a')).map(({ generation }) => generation),
      [three],
    )
    assert.deepEqual(await store.history('/state/never'), [])
    await assert.rejects(store.history('nowhere'), coded('EINVAL'))
  })
})

test('compacted again and again, the journal says where it begins: the older word for it is not carried over the new', async t => {
  const { home } = await freshHome(t)
  for (let round = 0; round < 4; round++) {
    await withStore(home, async store => {
      await store.putAtomic('/state/a', bytesOf(`round ${round}`))
      await store.compact()
    })
    await withStore(home, async store =>
      assert.equal(textOf((await store.get('/state/a')).payload), `round ${round}`),
    )
  }
})

test('a reader beside the writer goes on reading what was carried away from under it', async t => {
  small(t)
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    for (let i = 0; i < 60; i++) await store.putAtomic(`/state/${i}`, bytesOf(`value ${i}`.padEnd(2000, '.')))
    const reader = await readHome(world, home)
    const before = reader.mark.number
    await store.compact()
    await store.delete('/state/7')
    const read = async (i: number) => textOf((await reader.get(`/state/${i}`)).payload).replace(/\.+$/, '')
    assert.deepEqual(await Promise.all([3, 30, 59].map(read)), ['value 3', 'value 30', 'value 59'])
    assert.ok(reader.mark.number > before)
    await reader.close()
    const [oldest] = segmentFiles(home)
    assert.ok(oldest !== undefined)
    const late = await readHome(world, home)
    for (let at = 5000; at < fs.statSync(oldest).size; at += 4096) flip(oldest, at)
    await assert.rejects(late.get('/state/3'), coded('EINTEGRITY'))
    await late.close()
    for (let at = 5000; at < fs.statSync(oldest).size; at += 4096) flip(oldest, at)
  })
})

test('compactions that are killed as a segment gets its name leave nothing that trips the next', async t => {
  small(t)
  const { home } = await freshHome(t)
  await withStore(home, async store => putMany(store, 10, 9000))
  for (let round = 0; round < 6; round++) {
    // As a kill leaves it: the segment has its name, nothing was written to it, and nobody cleaned up.
    const disk = meddled(async (call, proceed) => {
      if (call.kind === 'truncate' && call.path.endsWith('.seg')) throw new Error('killed')
      await proceed()
    })
    await withStore(home, store => store.compact(), { disk }).catch(() => {})
    if (round % 2 === 1) {
      await withStore(home, store => store.compact())
      await withStore(home, store => store.compact())
    }
    await withStore(home, async store => assert.equal(store.list('/state/').length, 10, `round ${round}`))
  }
  assert.ok(segmentFiles(home).length <= 3, segmentFiles(home).join())
})

test('history beside compactions: what is read is given up under it, and found where it is now', async t => {
  small(t, 2048)
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    const first = await store.putAtomic('/state/kept', bytesOf('kept'))
    let running = true
    const compacting = (async () => {
      for (let i = 0; i < 12; i++) {
        await putMany(store, 20, 3000)
        await store.compact()
      }
      running = false
    })()
    let asked = 0
    for (; running; asked++) {
      const past = await store.history('/state/kept')
      assert.deepEqual(
        past.map(({ generation, kind }) => [generation, kind]),
        [[first, 'put']],
      )
    }
    await compacting
    assert.ok(asked > 10, `${asked}`)
  })
})
