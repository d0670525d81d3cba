import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Disk } from '../../src/host/disk.ts'
import { realDisk } from '../../src/node/disk.ts'
import { openHome } from '../../src/state/home.ts'
import { batchBytesMax } from '../../src/state/limits.ts'
import { checkPath, checkStatePath } from '../../src/state/path.ts'
import { readHome } from '../../src/state/reader.ts'
import {
  bytesOf,
  coded,
  contents,
  deferred,
  freshHome,
  kindOfWrite,
  meddled,
  segmentFiles,
  textOf,
  withStore,
  world,
} from './support.ts'

test('what was put is read, with who, what for and when; the newest counts; what was deleted is gone', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    const first = await store.putAtomic('/state/a', bytesOf('one'), { subject: 'me', purpose: 'p', at: 77 })
    const second = await store.putAtomic('/state/a', bytesOf('two'))
    assert.deepEqual([first, second], [2, 3])
    const found = await store.get('/state/a')
    assert.deepEqual([textOf(found.payload), found.generation, found.envelope.size], ['two', 3, 3])
    assert.equal(found.envelope.subject, '')
    assert.ok(Math.abs(found.envelope.at - Date.now()) < 60_000)
    await store.delete('/state/a')
    await assert.rejects(store.get('/state/a'), coded('ENOENT', '/state/a'))
    assert.equal(store.has('/state/a'), false)
    await store.putAtomic('/state/a', bytesOf('three'), { subject: 'you', purpose: 'q', at: 78 })
    const { envelope } = await store.get('/state/a')
    assert.deepEqual([envelope.subject, envelope.purpose, envelope.at], ['you', 'q', 78])
  })
  await withStore(home, async store => {
    assert.deepEqual(await contents(store), { '/state/a': 'three' })
    assert.equal(store.mark.number, 5)
  })
})

test('empty payloads, and those at their bound, survive; one byte more is refused', async t => {
  const { home } = await freshHome(t)
  const largest = world.entropy.bytes(1024 * 1024)
  await withStore(home, async store => {
    await store.putAtomic('/state/empty', new Uint8Array(0))
    await store.putAtomic('/state/largest', largest)
    await assert.rejects(store.putAtomic('/state/more', new Uint8Array(1024 * 1024 + 1)), coded('E2BIG'))
    assert.equal(store.mark.number, 3)
  })
  await withStore(home, async store => {
    assert.deepEqual((await store.get('/state/largest')).payload.length, largest.length)
    assert.ok(Buffer.from((await store.get('/state/largest')).payload).equals(largest))
    assert.equal((await store.get('/state/empty')).payload.length, 0)
  })
})

test('paths come in byte order, by prefix', async t => {
  const { home } = await freshHome(t)
  const paths = ['/state/b', '/state/a/2', '/state/a', '/state/a/1', '/state/A', '/state/a!']
  await withStore(home, async store => {
    for (const path of paths) await store.putAtomic(path, bytesOf(path))
    assert.deepEqual(store.list('/state/'), [
      '/state/A',
      '/state/a',
      '/state/a!',
      '/state/a/1',
      '/state/a/2',
      '/state/b',
    ])
    assert.deepEqual(store.list('/state/a/'), ['/state/a/1', '/state/a/2'])
    assert.deepEqual(store.list('/elsewhere/'), [])
  })
})

test('a path is /name/name of visible ASCII, at most 255 bytes, and under /state/ for a caller', async t => {
  const good = ['/state/a', '/state/a.b', '/state/...', '/state/!~', '/state/.a', `/state/${'x'.repeat(248)}`]
  for (const path of good) assert.equal(checkStatePath(path), path)
  const bad = [
    '',
    '/',
    'state/a',
    '/state',
    '/state/',
    '/state//a',
    '/state/a/',
    '/state/.',
    '/state/..',
    '/state/../x',
  ]
  bad.push(
    '/state/a b',
    '/state/\u00e9',
    '/state/\x7f',
    '/state/a\n',
    '\n/state/a',
    '/state/\0',
    '/State/a',
    '/pawl/a',
  )
  bad.push(`/state/${'x'.repeat(249)}`, '/./state/a', '/state/./a', 'C:/state/a', '/state/a\\..\\b\u2028')
  for (const path of bad) assert.throws(() => checkStatePath(path), coded('EINVAL'), JSON.stringify(path))
  assert.equal(checkPath('/pawl/a'), '/pawl/a')
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    for (const path of bad) {
      await assert.rejects(store.putAtomic(path, bytesOf('x')), coded('EINVAL'))
      await assert.rejects(store.delete(path), coded('EINVAL'))
    }
    await assert.rejects(store.commit([{ put: '/pawl/../x', payload: bytesOf('x') }]), coded('EINVAL'))
    assert.equal(store.mark.number, 1, 'nothing was written')
  })
})

test('a batch is one group: all of it or nothing', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await store.putAtomic('/state/old', bytesOf('old'))
    const generation = await store.commit([
      { put: '/state/a', payload: bytesOf('1') },
      { delete: '/state/old' },
      { put: '/state/b', payload: bytesOf('2') },
      { put: '/state/a', payload: bytesOf('3') },
    ])
    assert.deepEqual(await contents(store), { '/state/a': '3', '/state/b': '2' })
    assert.equal((await store.get('/state/b')).generation, generation)
    const before = await contents(store)
    const failing = [
      [
        { put: '/state/a', payload: bytesOf('x') },
        { put: '/state/..', payload: bytesOf('x') },
      ],
      [{ delete: '/state/a' }, { put: '/state/b', payload: bytesOf('x'), scope: 'nowhere' }],
      [{ delete: '/state/a' }, { put: '/state/b', payload: new Uint8Array(1024 * 1024 + 1) }],
      [
        { delete: '/state/a' },
        { put: '/state/b', payload: bytesOf('x'), meta: { subject: 'x'.repeat(129) } },
      ],
    ]
    for (const batch of failing)
      await assert.rejects(store.commit(batch), coded(['EINVAL', 'ENOENT', 'E2BIG']))
    assert.deepEqual(await contents(store), before)
    assert.equal(store.mark.number, generation)
  })
})

test('a batch at its bound is committed and read again; over it, it is refused before anything is written', async t => {
  const { home } = await freshHome(t)
  const half = 1024 * 1024 - 70_000
  const batch = ['/state/a', '/state/b'].map(put => ({ put, payload: new Uint8Array(half).fill(7) }))
  const many = Array.from({ length: 5000 }, (_, i) => ({ put: `/state/n/${i}`, payload: new Uint8Array(0) }))
  await withStore(home, async store => {
    await store.commit(batch)
    await store.commit(many)
    const tooMany = Array.from({ length: 8192 }, (_, i) => ({ delete: `/state/n/${i}` }))
    await assert.rejects(store.commit(tooMany), coded('E2BIG'))
    await assert.rejects(
      store.commit([...batch, { put: '/state/c', payload: new Uint8Array(half) }]),
      coded('E2BIG'),
    )
    assert.equal(store.mark.number, 3)
  })
  await withStore(home, async store => assert.equal(store.list('/state/').length, 5002))
  assert.ok(batchBytesMax > 2 * half)
})

test('thousands of small puts at once fill whole groups, and every one of them is read again', async t => {
  const { home } = await freshHome(t)
  const payload = new Uint8Array(60).fill(1)
  const count = 9000
  await withStore(home, async store => {
    await Promise.all(Array.from({ length: count }, (_, i) => store.putAtomic(`/state/${i}`, payload)))
    assert.ok(store.mark.number < 10, `${store.mark.number} groups`)
  })
  await withStore(home, async store => assert.equal(store.list('/state/').length, count))
})

test('64 puts at once are committed in a few groups, and are answered in their order', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    const answered: number[] = []
    const puts = Array.from({ length: 64 }, (_, i) =>
      store.putAtomic(`/state/${i}`, bytesOf(String(i))).then(generation => {
        answered.push(i)
        return generation
      }),
    )
    const generations = await Promise.all(puts)
    assert.ok(new Set(generations).size <= 4, `${new Set(generations).size} groups`)
    assert.deepEqual(
      answered,
      answered.toSorted((a, b) => a - b),
    )
    assert.deepEqual(
      generations,
      generations.toSorted((a, b) => a - b),
    )
  })
  await withStore(home, async store => assert.equal(store.list('/state/').length, 64))
})

test('one open store: a second is told that it is locked, a reader is not, and closing frees it', async t => {
  const { home } = await freshHome(t)
  const store = await openHome(world, home)
  await assert.rejects(openHome(world, home), coded('ELOCKED'))
  await (await readHome(world, home)).close()
  await store.close()
  await store.close()
  await (await openHome(world, home)).close()
})

test('closing waits for what was begun; what comes after is refused', async t => {
  const { home } = await freshHome(t)
  const store = await openHome(world, home)
  await store.makeScope('s')
  const puts = Array.from({ length: 100 }, (_, i) => store.putAtomic(`/state/${i}`, bytesOf('x')))
  const shredded = store.shred('s')
  await Promise.resolve()
  await new Promise(resolve => setImmediate(resolve))
  const closing = store.close()
  const late = store.putAtomic('/state/late', bytesOf('x'))
  await Promise.all([...puts, shredded, closing])
  await late.catch(coded('EINVAL'))
  await assert.rejects(store.putAtomic('/state/later', bytesOf('x')), coded('EINVAL'))
  await withStore(home, async reopened => {
    assert.ok(reopened.list('/state/').length >= 100)
    assert.equal(reopened.list('/state/later').length, 0)
  })
})

test('restarting changes nothing: contents, mark and generations, over many sessions', async t => {
  const { home } = await freshHome(t)
  const expected: Record<string, string> = {}
  for (let session = 0; session < 12; session++) {
    await withStore(home, async store => {
      assert.deepEqual(await contents(store), expected)
      for (let i = 0; i <= session; i++) {
        expected[`/state/${i}`] = `${session}/${i}`
        await store.putAtomic(`/state/${i}`, bytesOf(`${session}/${i}`))
      }
      if (session % 3 === 2) {
        delete expected['/state/1']
        await store.delete('/state/1')
      }
    })
  }
  const sizes = segmentFiles(home).map(path => fs.statSync(path).size % 4096)
  assert.deepEqual(sizes, [0], 'one segment, whole sectors')
})

test('a closed home ends with its last group', async t => {
  const { home } = await freshHome(t)
  await withStore(home, store => store.putAtomic('/state/a', bytesOf('x')))
  const [segment] = segmentFiles(home)
  assert.ok(segment !== undefined)
  assert.equal(fs.statSync(segment).size, 3 * 4096)
})

test('segments roll when one is full, and all of it is read again', async t => {
  const { home } = await freshHome(t)
  const payload = (i: number) => new Uint8Array(1024 * 1024).fill(i)
  await withStore(home, async store => {
    for (let i = 0; i < 40; i++) await store.putAtomic(`/state/${i % 37}`, payload(i))
    assert.equal((await store.get('/state/0')).payload[0], 37)
    assert.equal((await store.get('/state/36')).payload[0], 36)
  })
  const sizes = segmentFiles(home).map(path => fs.statSync(path).size)
  assert.equal(sizes.length, 6)
  assert.ok(sizes.every(size => size <= 8 * 1024 * 1024 && size % 4096 === 0))
  await withStore(home, async store => {
    assert.equal(store.mark.number, 41)
    for (let i = 3; i < 40; i++)
      assert.ok(Buffer.from((await store.get(`/state/${i % 37}`)).payload).equals(payload(i)), `${i}`)
    await store.putAtomic('/state/after', bytesOf('x'))
  })
  assert.equal(segmentFiles(home).length, 6, 'and goes on in the newest segment')
})

test('a put is answered after its group is synced and its mark is advanced; until then reads show what was', async t => {
  const { home } = await freshHome(t)
  const order: string[] = []
  const gates = { group: deferred(), mark: deferred() }
  let gated = false
  const disk: Disk = meddled(async (call, proceed) => {
    const kind = kindOfWrite(call)
    if (!gated || (kind !== 'group' && kind !== 'mark')) return proceed()
    order.push(`${kind} begins`)
    await gates[kind].done
    await proceed()
    order.push(`${kind} is durable`)
  })
  await withStore(
    home,
    async store => {
      await store.putAtomic('/state/a', bytesOf('old'))
      gated = true
      const committed = () => void order.push('the index changes')
      const put = store.commit([{ put: '/state/a', payload: bytesOf('new') }], { committed })
      const answered = put.then(() => order.push('answered'))
      const reader = await readHome(world, home)
      for (const gate of [gates.group, gates.mark]) {
        await new Promise(resolve => setTimeout(resolve, 20))
        assert.equal(textOf((await store.get('/state/a')).payload), 'old')
        assert.equal(store.mark.number, 2)
        const beside = await readHome(world, home)
        assert.equal(
          textOf((await beside.get('/state/a')).payload),
          'old',
          'a reader beside sees up to the mark',
        )
        assert.equal(beside.mark.number, 2)
        await beside.close()
        gate.finish()
      }
      await answered
      assert.equal(textOf((await store.get('/state/a')).payload), 'new')
      assert.equal(textOf((await reader.get('/state/a')).payload), 'old', 'and goes on seeing that')
      await reader.close()
      assert.deepEqual(order, [
        'group begins',
        'group is durable',
        'mark begins',
        'mark is durable',
        'the index changes',
        'answered',
      ])
    },
    { disk },
  )
})

test('groups and marks are written through descriptors on which a write is durable when it returns', async t => {
  const { home } = await freshHome(t)
  const plain: string[] = []
  const disk: Disk = {
    ...realDisk,
    async open(path, options) {
      const file = await realDisk.open(path, options)
      if (options.durable) return file
      let synced = true
      return {
        ...file,
        read: (into, position) => file.read(into, position),
        stat: () => file.stat(),
        truncate: length => file.truncate(length),
        async write(bytes, position) {
          synced = false
          await file.write(bytes, position)
        },
        async sync() {
          await file.sync()
          synced = true
        },
        async close() {
          if (!synced) plain.push(path)
          await file.close()
        },
      }
    },
  }
  await withStore(home, store => store.putAtomic('/state/a', new Uint8Array(1024 * 1024)), { disk })
  assert.deepEqual(plain, [], 'nothing is written that is not synced')
})

test('while one group is being written the next is sealed, and no third is in flight', async t => {
  const { home } = await freshHome(t)
  const confirmed: number[] = []
  const disk = meddled(async (call, proceed) => {
    if (kindOfWrite(call) === 'group' && call.bytes !== undefined) {
      const header = Buffer.from(call.bytes)
      confirmed.push(header.readUIntBE(22, 6) - header.readUIntBE(30, 6))
      await new Promise(resolve => setTimeout(resolve, 5))
    }
    await proceed()
  })
  await withStore(
    home,
    async store => {
      const batch = Array.from({ length: 8000 }, () => ({ delete: '/state/nothing' }))
      const puts = Array.from({ length: 5 }, () => store.commit(batch))
      await Promise.all(puts)
    },
    { disk },
  )
  assert.ok(
    confirmed.every(ahead => ahead === 1 || ahead === 2),
    confirmed.join(),
  )
  assert.ok(confirmed.includes(2), 'sealed while the one before was being written')
})

test('a reader beside a busy writer always opens, and sees a prefix of what was acknowledged', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await store.makeScope('s0')
    let acknowledged = 0
    let stop = false
    const writing = (async () => {
      for (let i = 1; !stop; i++) {
        const payload = bytesOf(String(i))
        const scope = `s${Math.floor((i - 1) / 20)}`
        await store.commit([
          { put: '/state/n', payload },
          { put: '/state/m', payload },
          { put: '/state/s', payload, scope },
        ])
        acknowledged = i
        await new Promise(resolve => setImmediate(resolve))
        if (i % 20 !== 0) continue
        await store.makeScope(`s${i / 20}`)
        await store.shred(scope)
      }
    })()
    let seen = 0
    try {
      for (let readers = 0; readers < 15 || (seen <= 15 && readers < 1000); readers++) {
        const least = acknowledged
        const reader = await readHome(world, home)
        if (reader.list('/state/n').length > 0) {
          const now = Number(textOf((await reader.get('/state/n')).payload))
          assert.equal(textOf((await reader.get('/state/m')).payload), String(now), 'a batch is seen whole')
          assert.ok(now >= least && now >= seen, `${now} after ${least} was acknowledged and ${seen} seen`)
          seen = now
        }
        await reader.close()
      }
    } finally {
      stop = true
      await writing
    }
    assert.ok(seen > 15)
  })
})

test('a lock file removed under a running writer lets nobody else in, and damage to it is said', async t => {
  const { home, anchor } = await freshHome(t)
  const lock = join(anchor, 'lock')
  await withStore(home, async store => {
    fs.unlinkSync(lock)
    await assert.rejects(openHome(world, home), coded('EINTEGRITY'))
    await store.putAtomic('/state/a', bytesOf('kept'))
  })
  await assert.rejects(openHome(world, home), coded('EINTEGRITY'))
  fs.writeFileSync(lock, 'not empty')
  await assert.rejects(openHome(world, home), coded('EINTEGRITY'))
  fs.writeFileSync(lock, '', { mode: 0o600 })
  await withStore(home, async store => {
    assert.equal(Buffer.from((await store.get('/state/a')).payload).toString(), 'kept')
  })
})

test('changes are committed in the order in which they were asked for, whatever they are', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await store.makeScope('other')
    const order: string[] = []
    const told = (name: string) => ({ committed: () => void order.push(name) })
    await Promise.all([
      store.commit([{ put: '/state/a', payload: bytesOf('1'), scope: 'other' }], told('put into a scope')),
      store.commit([{ delete: '/state/a' }], told('delete')),
      store.commit([{ put: '/state/b', payload: bytesOf('2') }], told('put')),
      store.commit([{ delete: '/state/b' }, { put: '/state/a', payload: bytesOf('3') }], told('batch')),
    ])
    assert.deepEqual(order, ['put into a scope', 'delete', 'put', 'batch'])
    assert.deepEqual(await contents(store), { '/state/a': '3' })
    const kept = bytesOf('as it was')
    const put = store.commit([{ put: '/state/c', payload: kept, scope: 'other' }])
    kept.fill(0)
    await put
    assert.equal(textOf((await store.get('/state/c')).payload), 'as it was')
  })
})
