import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Disk, DiskError } from '../../src/host/disk.ts'
import { openHome } from '../../src/state/home.ts'
import { limits } from '../../src/state/limits.ts'
import { readHome } from '../../src/state/reader.ts'
import {
  bytesOf,
  type Call,
  coded,
  contents,
  copy,
  deferred,
  filesIn,
  filesWith,
  freshHome,
  kindOfWrite,
  meddled,
  segmentFiles,
  sha256Of,
  textOf,
  withStore,
  world,
} from './support.ts'

const secret = bytesOf('PIN 4711')

async function withScope(home: string, name = 'session'): Promise<void> {
  await withStore(home, async store => {
    await store.makeScope(name)
    await store.commit([
      { put: '/state/kept', payload: bytesOf('kept') },
      { put: '/state/secret', payload: secret, scope: name },
      { put: '/state/secret/2', payload: secret, scope: name },
    ])
  })
}

test('after shred nothing of the scope is there, all else is, and so it stays', async t => {
  const { home } = await freshHome(t)
  await withScope(home)
  await withStore(home, async store => {
    assert.equal(textOf((await store.get('/state/secret')).payload), 'PIN 4711')
    await store.shred('session')
    assert.deepEqual(await contents(store), { '/state/kept': 'kept' })
    await assert.rejects(store.get('/state/secret'), coded('ENOENT'))
    await assert.rejects(store.shred('session'), coded('ENOENT'))
    const late = { put: '/state/late', payload: secret, scope: 'session' }
    await assert.rejects(store.commit([late]), coded('ENOENT'))
  })
  await withStore(home, async store => assert.deepEqual(await contents(store), { '/state/kept': 'kept' }))
  const reader = await readHome(world, home)
  assert.deepEqual(await contents(reader), { '/state/kept': 'kept' })
  await reader.close()
})

test('the intent is committed and marked before the slot is overwritten, the completion after', async t => {
  const { home } = await freshHome(t)
  await withScope(home)
  const order: string[] = []
  const disk = meddled(async (call, proceed) => {
    await proceed()
    const kind = kindOfWrite(call)
    if (kind !== 'other' && kind !== 'zeros') order.push(kind)
  })
  await withStore(home, store => store.shred('session'), { disk })
  assert.deepEqual(order, ['mark', 'group', 'mark', 'slot', 'group', 'mark'])
})

test('no copy of the home opens what was shredded with the anchor as it is now', async t => {
  const { root, home } = await freshHome(t)
  await withScope(home)
  const older = copy(home, join(root, 'older'))
  await withStore(home, store => store.shred('session'))
  const now = copy(home, join(root, 'now'))
  copy(older, home)
  await assert.rejects(openHome(world, home), coded('EROLLBACK'))
  // Nor with the old records forced upon a store that takes them for its own: the key is gone.
  const { openAnchorToRead } = await import('../../src/keeper/anchor.ts')
  const { Scopes, decodeScope } = await import('../../src/state/scopes.ts')
  const { Records } = await import('../../src/state/records.ts')
  const { replay } = await import('../../src/state/replay.ts')
  const { SegmentFiles } = await import('../../src/state/segment.ts')
  const { decodeHomeFile } = await import('../../src/state/home-file.ts')
  const { JournalKeys } = await import('../../src/state/journal-keys.ts')
  const { storeId, anchor: path } = decodeHomeFile(fs.readFileSync(join(older, 'home.cbor')))
  const anchor = await openAnchorToRead(world.disk, path, storeId)
  const scopes = new Scopes(anchor.storeKeys, anchor.slots)
  const source = new SegmentFiles(world.disk, join(older, 'segments'))
  const records = new Records({
    read: (at, length) => source.read(at, length),
    scopeKey: scope => scopes.openingKey(scope),
  })
  const keys = new JournalKeys(anchor.storeKeys, storeId)
  const forgiving = { ...anchor.mark, number: 0 }
  await replay(world.disk, join(older, 'segments'), keys, forgiving, (header, placed, at) =>
    records.apply(header.generation, placed, at),
  )
  assert.equal(textOf((await records.get('/state/kept')).payload), 'kept', 'what is not shredded does open')
  assert.equal(decodeScope((await records.get('/pawl/scope/1')).payload).name, 'session')
  await assert.rejects(records.get('/state/secret'), coded('EINTEGRITY'))
  await source.close()
  await anchor.slots.close()
  copy(now, home)
  await withStore(home, async store => assert.deepEqual(await contents(store), { '/state/kept': 'kept' }))
})

test('a slot file put back alone after a shred is refused, also when the slot is in use again', async t => {
  const { home, anchor } = await freshHome(t)
  await withScope(home)
  const slots = join(anchor, 'slots')
  const older = fs.readFileSync(slots)
  await withStore(home, store => store.shred('session'))
  const newer = fs.readFileSync(slots)
  assert.ok(!older.equals(newer))
  fs.writeFileSync(slots, older)
  await assert.rejects(openHome(world, home), coded('EINTEGRITY', 'slot 1'))
  await assert.rejects(readHome(world, home), coded('EINTEGRITY', 'slot 1'))
  fs.writeFileSync(slots, newer)
  await withScope(home, 'next')
  fs.writeFileSync(slots, older)
  await assert.rejects(openHome(world, home), coded('EINTEGRITY', 'slot 1'))
  fs.writeFileSync(slots, newer)
  await withStore(home, async store =>
    assert.equal(textOf((await store.get('/state/secret')).payload), 'PIN 4711'),
  )
})

test('a shred that a crash cuts short, at any call, is carried on at the next open, or was never begun', async t => {
  const { root, home, base } = await freshHome(t)
  await withScope(home)
  const outcomes = new Set<string>()
  for (let dieAt = 1; dieAt < 60; dieAt++) {
    const trial = copy(home, join(root, 'trial', 'home'))
    const anchors = copy(base, join(root, 'trial', 'anchors'))
    const slots = join(anchors, fs.readdirSync(anchors)[0] ?? '', 'slots')
    const before = fs.readFileSync(slots)
    let [seen, dead] = [0, false]
    const disk = meddled(async (call, proceed) => {
      if (call.kind !== 'open' && begun && ++seen >= dieAt) dead = true
      if (dead) throw new DiskError('failed', 'the power is gone')
      await proceed()
    })
    let begun = false
    const store = await openHome({ ...world, disk }, trial, anchors)
    begun = true
    const done = await store.shred('session').then(
      () => true,
      () => false,
    )
    await store.close().catch(() => {})
    await withStore(
      trial,
      async again => {
        const left = await contents(again)
        const whole = Object.keys(left).length === 3
        assert.ok(whole || Object.keys(left).length === 1, 'all of the scope or nothing')
        assert.equal(left['/state/kept'], 'kept')
        assert.ok(!done || !whole, 'what was answered is done')
        const gone = !fs.readFileSync(slots).equals(before)
        assert.equal(gone, !whole, 'the records are gone if and only if the key is')
        outcomes.add(`${done ? 'answered' : 'cut short'}, ${whole ? 'never begun' : 'carried out'}`)
        if (whole) await again.shred('session')
        await again.makeScope('next')
        await again.commit([{ put: '/state/next', payload: bytesOf('x'), scope: 'next' }])
      },
      { base: anchors },
    )
    await withStore(trial, async again => assert.ok(again.has('/state/next')), { base: anchors })
    if (done && seen < dieAt) break
  }
  assert.deepEqual([...outcomes].sort(), [
    'answered, carried out',
    'cut short, carried out',
    'cut short, never begun',
  ])
})

test('a slot is used again by a new scope, under a key of its own', async t => {
  const { home } = await freshHome(t)
  for (let i = 0; i < 5; i++) {
    await withScope(home, `s${i}`)
    await withStore(home, async store => {
      assert.deepEqual(store.list('/pawl/scope/'), ['/pawl/scope/0', '/pawl/scope/1'])
      await store.shred(`s${i}`)
      assert.deepEqual(await contents(store), { '/state/kept': 'kept' })
    })
  }
})

test('scopes made at once get a slot each; the same name twice is one scope', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    const names = Array.from({ length: 12 }, (_, i) => `s${i % 10}`)
    await Promise.all(names.map(name => store.makeScope(name)))
    assert.equal(store.list('/pawl/scope/').length, 11)
    for (const name of names)
      await store.commit([{ put: `/state/${name}`, payload: bytesOf(name), scope: name }])
    const twice = await Promise.allSettled([
      store.shred('s3'),
      store.shred('s3'),
      store.shred('s4'),
      store.makeScope('s3'),
    ])
    assert.deepEqual(
      twice.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    )
    await store.commit([{ put: '/state/new', payload: bytesOf('new'), scope: 's3' }])
  })
  await withStore(home, async store => {
    const left = Object.keys(await contents(store))
    assert.deepEqual(left, ['/state/new', ...[0, 1, 2, 5, 6, 7, 8, 9].map(i => `/state/s${i}`)])
  })
})

test('what is recoverable cannot be shredded, and a scope stays of the kind it was made', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await store.makeScope('kept', { recoverable: true })
    await store.makeScope('kept', { recoverable: true })
    await store.makeScope('going')
    await store.commit([{ put: '/state/kept', payload: bytesOf('kept'), scope: 'kept' }])
    await assert.rejects(store.makeScope('kept'), coded('EINVAL', 'recoverable'))
    await assert.rejects(store.makeScope('going', { recoverable: true }), coded('EINVAL', 'recoverable'))
    await assert.rejects(store.shred('kept'), coded('EINVAL', 'backups'))
    await store.shred('going')
    // Made anew it may be of the other kind: it is another scope.
    await store.makeScope('going', { recoverable: true })
  })
  await withStore(home, async store => {
    assert.equal(textOf((await store.get('/state/kept')).payload), 'kept')
    await assert.rejects(store.shred('going'), coded('EINVAL', 'backups'))
  })
})

test('when every slot is in use the next scope is refused, and one that was freed is taken again', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    for (let i = 1; i < 256; i++) await store.makeScope(`s${i}`)
    await assert.rejects(store.makeScope('one more'), coded('ENOSPC', '256'))
    await store.shred('s7')
    await store.makeScope('one more')
    await assert.rejects(store.makeScope('and one'), coded('ENOSPC'))
  })
})

test('puts and reads beside a shred are answered as before it or as after it, and nothing hangs', async t => {
  const { home } = await freshHome(t)
  await withScope(home)
  await withStore(home, async store => {
    const answers: Promise<unknown>[] = []
    const beside = (i: number) => {
      const put = { put: `/state/beside/${i}`, payload: bytesOf('x'), scope: 'session' }
      answers.push(store.commit([put]).catch(coded('ENOENT')))
      answers.push(store.get('/state/secret').catch(coded('ENOENT')))
      answers.push(store.putAtomic(`/state/other/${i}`, bytesOf('y')))
    }
    for (let i = 0; i < 20; i++) beside(i)
    const shredded = store.shred('session')
    for (let i = 20; i < 40; i++) {
      beside(i)
      await new Promise(resolve => setImmediate(resolve))
    }
    await shredded
    await Promise.all(answers)
    assert.deepEqual(store.list('/state/beside/'), [])
    assert.equal(store.list('/state/other/').length, 40)
  })
  await withStore(home, async store => assert.deepEqual(store.list('/state/beside/'), []))
})

test('a shred in the middle of a compaction does not end it', async t => {
  const { home, anchor } = await freshHome(t)
  await withScope(home)
  const held = new HeldSlots(anchor)
  await withStore(
    home,
    async store => {
      // The compaction waits where it reads the slot, and finds it overwritten.
      const { reached, go } = held.next(1)
      const compacted = store.compact()
      await reached
      await store.shred('session')
      go()
      await compacted
      assert.deepEqual(await contents(store), { '/state/kept': 'kept' })
      assert.equal(segmentFiles(home).length, 1)
    },
    { disk: held.disk },
  )
})

test('a compaction that meets a shredded scope does not take the key of the next one in its slot away', async t => {
  const { home, anchor } = await freshHome(t)
  const put = (scope: string) => ({ put: `/state/${scope}`, payload: secret, scope })
  await withStore(home, async store => {
    for (const scope of ['first', 'second', 'third']) {
      await store.makeScope(scope)
      await store.commit([put(scope)])
    }
  })
  const held = new HeldSlots(anchor)
  await withStore(
    home,
    async store => {
      const compaction = held.next(1)
      const compacted = store.compact()
      await compaction.reached
      await store.shred('second')
      await store.makeScope('second')
      // Has the key of the new scope, and waits for that of another, while the compaction comes to the old one.
      const loading = held.next(3)
      const committed = store.commit([put('second'), put('third')])
      await loading.reached
      compaction.go()
      await new Promise(resolve => setTimeout(resolve, 50))
      loading.go()
      await Promise.all([committed, compacted])
      assert.deepEqual(store.list('/state/'), ['/state/first', '/state/second', '/state/third'])
    },
    { disk: held.disk },
  )
})

/** A real disk on which the next read of a slot can be held up. */
class HeldSlots {
  readonly disk: Disk
  readonly #next = new Map<number, () => Promise<void>>()

  constructor(anchor: string) {
    this.disk = {
      ...world.disk,
      open: async (path, options) => {
        const file = await world.disk.open(path, options)
        if (path !== join(anchor, 'slots')) return file
        return {
          read: async (into, position) => {
            const hold = this.#next.get(position)
            this.#next.delete(position)
            await hold?.()
            return file.read(into, position)
          },
          write: (bytes, position) => file.write(bytes, position),
          truncate: length => file.truncate(length),
          sync: () => file.sync(),
          stat: () => file.stat(),
          close: () => file.close(),
        }
      },
    }
  }

  next(slot: number): { readonly reached: Promise<void>; readonly go: () => void } {
    const [reached, gone] = [deferred(), deferred()]
    this.#next.set((slot + 1) * 4096, () => {
      reached.finish()
      return gone.done
    })
    return { reached: reached.done, go: gone.finish }
  }
}

test('the scope that holds the store together cannot be shredded', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await assert.rejects(store.shred('default'), coded('EINVAL'))
    await assert.rejects(store.shred('nowhere'), coded('ENOENT'))
    await assert.rejects(
      store.commit([{ put: '/state/a', payload: secret, scope: 'nowhere' }]),
      coded('ENOENT'),
    )
  })
})

test('a slot that does not take its new bytes is not reported as shredded, and is tried again at the next open', async t => {
  const { home, anchor } = await freshHome(t)
  await withScope(home)
  const lying = meddled(async (call: Call, proceed) => {
    if (kindOfWrite(call) !== 'slot') await proceed()
  })
  const before = fs.readFileSync(join(anchor, 'slots'))
  await withStore(home, store => assert.rejects(store.shred('session')), { disk: lying })
  assert.ok(fs.readFileSync(join(anchor, 'slots')).equals(before))
  await withStore(home, async store => assert.deepEqual(await contents(store), { '/state/kept': 'kept' }))
  assert.ok(!fs.readFileSync(join(anchor, 'slots')).equals(before))
})

test('nothing that was put is found in any file of home or anchor, nor a digest by which it could be guessed', async t => {
  const { root, home } = await freshHome(t)
  const payloads = [
    secret,
    bytesOf('transfer 17 to ACME'),
    bytesOf('-----BEGIN PRIVATE KEY-----'),
    world.entropy.bytes(32),
    world.entropy.bytes(5000),
  ]
  await withStore(home, async store => {
    await store.makeScope('session')
    for (const [i, payload] of payloads.entries()) {
      await store.putAtomic(`/state/${i}`, payload, { subject: 'subject-of-it', purpose: 'purpose-of-it' })
      await store.commit([{ put: `/state/scoped/${i}`, payload, scope: 'session' }])
    }
  })
  const scan = () => {
    for (const payload of payloads) {
      for (const needle of [payload, payload.subarray(0, 16), payload.subarray(-16)])
        if (needle.length >= 8) assert.deepEqual(filesWith(root, needle), [])
      assert.deepEqual(filesWith(root, sha256Of(payload)), [], 'no unkeyed digest')
      assert.deepEqual(filesWith(root, Buffer.from(sha256Of(payload).toString('hex'))), [])
    }
    for (const text of ['subject-of-it', 'purpose-of-it', 'session'])
      assert.deepEqual(filesWith(root, bytesOf(text)), [])
  }
  scan()
  // What paths reveal they reveal in the clear; the scan is able to find.
  assert.deepEqual(filesWith(root, bytesOf('/state/scoped/3')), ['home/segments/00000001.seg'])
  await withStore(home, store => store.shred('session'))
  scan()
  assert.equal(filesIn(root).length, 6)
  assert.ok(limits.payloadBytesMax > 5000)
})
