import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { recordSealings } from '../../src/crypto/aead.ts'
import { DiskError } from '../../src/host/disk.ts'
import { fsck } from '../../src/state/fsck.ts'
import { openHome } from '../../src/state/home.ts'
import { JournalKeys } from '../../src/state/journal-keys.ts'
import { limits } from '../../src/state/limits.ts'
import { readHome } from '../../src/state/reader.ts'
import type { Store } from '../../src/state/store.ts'
import {
  bytesOf,
  coded,
  contents,
  copy,
  filesWith,
  freshHome,
  kindOfWrite,
  meddled,
  type Place,
  textOf,
  withStore,
  world,
} from './support.ts'

/** Small segments, so that there are many. */
function small(t: TestContext): void {
  const shipped = { ...limits }
  Object.assign(limits, { segmentBytesMax: 64 * 1024, growBytes: 16 * 1024, carryBytes: 8 * 1024 })
  t.after(() => Object.assign(limits, shipped))
}

const sealed = new Set<string>()
let twice = 0
recordSealings(({ keyFingerprint, nonce }) => {
  const pair = `${Buffer.from(keyFingerprint).toString('hex')} ${Buffer.from(nonce).toString('hex')}`
  if (sealed.has(pair)) twice++
  sealed.add(pair)
})

async function fill(store: Store, count: number): Promise<void> {
  await store.makeScope('apart')
  for (let i = 0; i < count; i++) {
    const scope = i % 4 === 0 ? 'apart' : 'default'
    await store.commit([{ put: `/state/${i}`, payload: bytesOf(`${i} `.padEnd(500, '.')), scope }])
  }
}

const expected = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`/state/${i}`, `${i} `.padEnd(500, '.')]))

const slotBytes = (anchor: string, slot: number) =>
  fs.readFileSync(join(anchor, 'slots')).subarray((slot + 1) * 4096, (slot + 1) * 4096 + 32)
const keyOf = (anchor: string, sector: 0 | 1) =>
  fs.readFileSync(join(anchor, 'key')).subarray(sector * 4096 + 12, sector * 4096 + 44)

/** Everything that keys were made of before is gone from the anchor. */
function refuseOldKeys({ anchor }: Place, ...old: readonly Uint8Array[]): void {
  for (const secret of old) assert.deepEqual(filesWith(anchor, secret), [])
}

async function refuseFindings(home: string): Promise<void> {
  const { findings } = await fsck(world, home, { repair: false })
  assert.deepEqual(findings, [])
}

test('all keys are new, everything is still there, and what the old ones hung on is gone', async t => {
  small(t)
  const place = await freshHome(t)
  const { home, anchor } = place
  const old = await withStore(home, async store => {
    await fill(store, 400)
    const secrets = [keyOf(anchor, 0), slotBytes(anchor, 0), slotBytes(anchor, 1)]
    const { generation } = await store.get('/state/5')
    await store.rotate()
    assert.deepEqual(await contents(store), expected(400))
    assert.equal((await store.get('/state/5')).generation, generation, 'when it was put has not changed')
    await store.putAtomic('/state/after', bytesOf('after'))
    return secrets
  })
  assert.ok(old.every(secret => secret.some(byte => byte !== 0)))
  refuseOldKeys(place, ...old)
  assert.deepEqual(keyOf(anchor, 0), Buffer.alloc(32))
  await withStore(home, async store => {
    assert.deepEqual(await contents(store), { ...expected(400), '/state/after': 'after' })
    await store.shred('apart')
    assert.equal(store.list('/state/').length, 301)
  })
  await refuseFindings(home)
  assert.equal(twice, 0, 'no key and nonce twice')
})

test('again and again: slots are used again, and it takes no more of them', async t => {
  small(t)
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await fill(store, 20)
    for (let i = 0; i < 5; i++) await store.rotate()
    assert.deepEqual(await contents(store), expected(20))
  })
  await withStore(home, async store => {
    assert.deepEqual(await contents(store), expected(20))
    assert.ok(store.list('/pawl/scope/').length <= 4, store.list('/pawl/scope/').join())
    const lines: string[] = []
    for await (const line of store.audit()) lines.push(line)
    assert.equal(lines.filter(line => line.includes('"action":"rotate"')).length, 5)
    assert.equal(lines.filter(line => line.includes('"action":"rotated"')).length, 5)
  })
  await refuseFindings(home)
  assert.equal(twice, 0)
})

test('one scope alone, and the store key alone', async t => {
  small(t)
  const place = await freshHome(t)
  const { home, anchor } = place
  await withStore(home, async store => {
    await fill(store, 100)
    const [first, apart, key] = [slotBytes(anchor, 0), slotBytes(anchor, 1), keyOf(anchor, 0)]
    await store.rotate({ scopes: ['apart'] })
    refuseOldKeys(place, apart)
    assert.deepEqual([slotBytes(anchor, 0), keyOf(anchor, 0)], [first, key], 'and nothing else')
    await store.rotate({ storeKey: true })
    refuseOldKeys(place, key)
    await assert.rejects(store.rotate({ scopes: ['apart', 'nowhere'] }), coded('ENOENT', 'nowhere'))
    assert.deepEqual(await contents(store), expected(100))
  })
  await refuseFindings(home)
})

test('beside it others put, delete, read, make and destroy scopes, and nothing of that is lost', async t => {
  small(t)
  const { home } = await freshHome(t)
  const model = new Map<string, string>()
  await withStore(home, async store => {
    await fill(store, 300)
    for (const [path, value] of Object.entries(expected(300))) model.set(path, value)
    let isOver = false
    const write = async (writer: number) => {
      for (let i = 0; !isOver; i++) {
        const path = `/state/${writer}/${i % 7}`
        const value = `${writer} ${i} `.padEnd(i % 5 === 0 ? 5000 : 50, '.')
        if (i % 11 === 10) {
          await store.delete(path)
          model.delete(path)
        } else {
          await store.commit([
            { put: path, payload: bytesOf(value), scope: i % 3 === 0 ? 'apart' : 'default' },
          ])
          model.set(path, value)
        }
        assert.equal(textOf((await store.get('/state/7')).payload), model.get('/state/7'))
        await new Promise(resolve => setTimeout(resolve, 2))
      }
    }
    const scopes = async () => {
      for (let i = 0; !isOver; i++) {
        await store.makeScope(`short ${i}`)
        await store.commit([{ put: '/state/short', payload: bytesOf(`${i}`), scope: `short ${i}` }])
        await store.shred(`short ${i}`)
        assert.ok(!store.has('/state/short'))
        await new Promise(resolve => setTimeout(resolve, 10))
      }
    }
    const busy = [write(1), write(2), scopes()]
    await store.rotate()
    await assert.rejects(Promise.all([store.rotate(), store.rotate()]), coded('EBUSY'))
    await store.rotate({ storeKey: true }).catch(coded('EBUSY'))
    isOver = true
    await Promise.all(busy)
  })
  await withStore(home, async store => {
    await store.rotate()
    assert.deepEqual(await contents(store), Object.fromEntries([...model].sort()))
  })
  await refuseFindings(home)
  assert.equal(twice, 0)
})

test('a reader beside it reads on, also what was sealed again meanwhile', async t => {
  small(t)
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await fill(store, 200)
    const reader = await readHome(world, home)
    const rotated = store.rotate()
    for (let i = 0; i < 200; i++)
      assert.equal(textOf((await reader.get(`/state/${i}`)).payload), expected(200)[`/state/${i}`])
    await rotated
    for (let i = 0; i < 200; i += 10)
      assert.equal(textOf((await reader.get(`/state/${i}`)).payload), expected(200)[`/state/${i}`])
    await reader.close()
  })
})

test('closed in the middle, it says so, and goes on by itself when the store is opened again', async t => {
  small(t)
  const place = await freshHome(t)
  const { home, anchor } = place
  let old: Uint8Array[] = []
  const store = await openHome(world, home)
  await fill(store, 300)
  old = [keyOf(anchor, 0), slotBytes(anchor, 0), slotBytes(anchor, 1)]
  const rotated = assert.rejects(store.rotate(), coded('EINVAL', 'closed'))
  while (keyOf(anchor, 1).every(byte => byte === 0)) await new Promise(resolve => setImmediate(resolve))
  await store.close()
  await rotated
  assert.deepEqual(keyOf(anchor, 0), old[0], 'the old key is still needed')
  const { findings } = await fsck(world, home, { repair: false })
  assert.deepEqual(
    findings.map(({ code }) => code),
    ['fsck/ROTATION_UNFINISHED'],
  )
  const again = await openHome(world, home)
  assert.deepEqual(await contents(again), expected(300), 'at once')
  for (let i = 0; keyOf(anchor, 0).some(byte => byte !== 0); i++) {
    assert.ok(i < 10_000, 'it goes on')
    await new Promise(resolve => setTimeout(resolve, 1))
  }
  await again.close()
  refuseOldKeys(place, ...old)
  await withStore(home, async store => assert.deepEqual(await contents(store), expected(300)))
  await refuseFindings(home)
})

test('cut off at any write, it is carried on whole by the next opening, or was not begun', async t => {
  small(t)
  let carriedOn = 0
  let notBegun = 0
  const step = process.env.SLOW === '1' ? 1 : 4
  for (let at = 1, isThrough = false; !isThrough; at += step) {
    const place = await freshHome(t)
    const { home, anchor } = place
    await withStore(home, store => fill(store, 8))
    const old = [keyOf(anchor, 0), slotBytes(anchor, 0), slotBytes(anchor, 1)]
    let left = Number.POSITIVE_INFINITY
    const disk = meddled(async (call, proceed) => {
      if (call.kind === 'write' && --left < 0) throw new DiskError('failed', 'cut off')
      await proceed()
    })
    const store = await openHome({ ...world, disk }, home)
    left = at
    isThrough = await store.rotate().then(
      () => true,
      () => false,
    )
    left = 0
    await store.close().catch(() => {})
    await withStore(home, async again => {
      for (let i = 0; again.has('/pawl/rotation'); i++) {
        assert.ok(i < 5000, `at write ${at}`)
        await new Promise(resolve => setTimeout(resolve, 1))
      }
      assert.deepEqual(await contents(again), expected(8))
    })
    const gone = old.filter(secret => filesWith(anchor, secret).length === 0).length
    assert.ok(gone === 0 || gone === old.length, `at write ${at}: ${gone} of ${old.length} are gone`)
    if (gone === 0) notBegun++
    else carriedOn++
    await refuseFindings(home)
  }
  assert.ok(carriedOn > 10 / step && notBegun > 0, `${carriedOn} and ${notBegun}`)
})

/** The first group under the new store key is torn: at the next opening that key is dropped, and another has its number. */
async function tornUnderNewKey(t: TestContext): Promise<string> {
  const { home } = await freshHome(t)
  await withStore(home, store => fill(store, 8))
  let isCut = false
  let keyWritten = () => {}
  const disk = meddled(async (call, proceed) => {
    if (call.kind === 'write' && call.path.endsWith('/key')) keyWritten()
    if (isCut) throw new DiskError('failed', 'cut off')
    const underNewKey = kindOfWrite(call) === 'group' && call.bytes?.[11] === 2
    if (!underNewKey || call.bytes === undefined || call.position === undefined) return proceed()
    assert.ok(call.bytes.length > 4096)
    fs.writeSync(fs.openSync(call.path, 'r+'), call.bytes, 0, 4096, call.position)
    isCut = true
    throw new DiskError('failed', 'cut off')
  })
  const store = await openHome({ ...world, disk }, home)
  const denied = { action: 'get', decision: 'deny', reason: 'r'.repeat(100), subject: 's' } as const
  keyWritten = () => {
    for (let i = 0; i < 60; i++) store.note({ ...denied, path: `/state/${i}` })
  }
  await assert.rejects(store.rotate({ storeKey: true }), coded('EPOISONED'))
  await store.close().catch(() => {})
  assert.ok(isCut)
  return home
}

test('what was known of a key that was dropped is not taken for the next one of its number', async t => {
  const home = await tornUnderNewKey(t)
  for (let opens = 0; opens < 3; opens++)
    await withStore(home, async store => {
      assert.deepEqual(await contents(store), expected(8))
      await store.rotate({ scopes: [] })
    })
  await refuseFindings(home)
})

test('planted: it is, and that is found', async t => {
  const home = await tornUnderNewKey(t)
  t.mock.method(JournalKeys.prototype, 'forgetOthers', () => {})
  await withStore(home, store => store.rotate({ scopes: [] }))
  await assert.rejects(openHome(world, home), coded('EINTEGRITY'))
})

test('when every slot is in use no data key is replaced, and nothing is begun', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    for (let i = 1; i < 256; i++) await store.makeScope(`s${i}`)
    await assert.rejects(store.rotate(), coded('ENOSPC', 'slots'))
    await store.rotate({ storeKey: true })
  })
  await refuseFindings(home)
})

test('fsck --repair carries it on to its end', async t => {
  small(t)
  const place = await freshHome(t)
  const { home, anchor } = place
  const store = await openHome(world, home)
  await fill(store, 100)
  const old = [keyOf(anchor, 0), slotBytes(anchor, 0)]
  const rotated = assert.rejects(store.rotate(), coded('EINVAL', 'closed'))
  while (keyOf(anchor, 1).every(byte => byte === 0)) await new Promise(resolve => setImmediate(resolve))
  await store.close()
  await rotated
  const { outcome, mended } = await fsck(world, home, { repair: true })
  assert.deepEqual([outcome, mended.map(({ code }) => code)], ['repaired', ['fsck/ROTATION_UNFINISHED']])
  refuseOldKeys(place, ...old)
  await refuseFindings(home)
})

test('an older copy of the home, or of its keys, does not open afterwards', async t => {
  small(t)
  const { root, home, anchor } = await freshHome(t)
  await withStore(home, store => fill(store, 50))
  const older = copy(home, join(root, 'older'))
  const key = fs.readFileSync(join(anchor, 'key'))
  await withStore(home, store => store.rotate())
  const now = copy(home, join(root, 'now'))
  copy(older, home)
  await assert.rejects(openHome(world, home), coded(['EINTEGRITY', 'EROLLBACK']))
  copy(now, home)
  const rotated = fs.readFileSync(join(anchor, 'key'))
  fs.writeFileSync(join(anchor, 'key'), key)
  await assert.rejects(openHome(world, home), coded('EINTEGRITY'))
  fs.writeFileSync(join(anchor, 'key'), rotated)
  await withStore(home, async store => assert.deepEqual(await contents(store), expected(50)))
})

test('on a full disk it is refused, nothing is lost, and it goes on when there is room', async t => {
  small(t)
  const { home } = await freshHome(t)
  let full = false
  const disk = meddled(async (call, proceed) => {
    if (full && kindOfWrite(call) === 'zeros') throw new DiskError('full', 'no space left on device')
    await proceed()
  })
  await withStore(
    home,
    async store => {
      await fill(store, 200)
      full = true
      await store.rotate().catch(coded('ENOSPC'))
      assert.deepEqual(await contents(store), expected(200))
      full = false
      await store.rotate()
      assert.deepEqual(await contents(store), expected(200))
    },
    { disk },
  )
  await refuseFindings(home)
})

test('with few free slots it takes several rounds; with none it is refused and all stays as it is', async t => {
  small(t)
  const place = await freshHome(t)
  const { home, anchor } = place
  await withStore(home, async store => {
    for (let i = 1; i < 255; i++) await store.makeScope(`s${i}`)
    await store.commit([{ put: '/state/a', payload: bytesOf('a'), scope: 's254' }])
    const old = Array.from({ length: 255 }, (_, slot) => slotBytes(anchor, slot))
    const some = ['default', 's1', 's254']
    await store.rotate({ scopes: some })
    refuseOldKeys(place, ...[0, 1, 254].map(slot => old[slot] ?? new Uint8Array(32)))
    await store.makeScope('last')
    await assert.rejects(store.rotate({ scopes: some }), coded('ENOSPC', 'slots'))
    assert.equal(textOf((await store.get('/state/a')).payload), 'a')
  })
  await refuseFindings(home)
})
