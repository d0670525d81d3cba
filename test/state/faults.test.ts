/** What goes wrong while the store is open: a full disk, failing writes and syncs, and disks and keepers that lie. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Disk, DiskError } from '../../src/host/disk.ts'
import { realDisk } from '../../src/node/disk.ts'
import { openHome } from '../../src/state/home.ts'
import {
  bytesOf,
  type Call,
  coded,
  contents,
  copy,
  deferred,
  freshHome,
  kindOfWrite,
  meddled,
  type Place,
  segmentFiles,
  textOf,
  withStore,
  world,
} from './support.ts'

/** A disk on which the calls that `when` names fail as long as `fault.on`. */
function failing(
  when: (call: Call) => boolean,
  code: 'full' | 'failed',
): { disk: Disk; fault: { on: boolean } } {
  const fault = { on: false }
  const disk = meddled(async (call, proceed) => {
    if (fault.on && when(call)) throw new DiskError(code, `${call.kind} ${call.path}: injected`)
    await proceed()
  })
  return { disk, fault }
}

test('a full disk refuses the put for certain; nothing has changed, reads go on, and the next put works', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async () => {}) // closing gives up the room that a new home has ahead
  const { disk, fault } = failing(call => kindOfWrite(call) === 'zeros', 'full')
  fault.on = true
  await withStore(
    home,
    async store => {
      const puts = Array.from({ length: 3 }, (_, i) => store.putAtomic(`/state/${i}`, bytesOf('x')))
      await Promise.all(puts.map(put => assert.rejects(put, coded('ENOSPC'))))
      assert.deepEqual([store.mark.number, store.list('/state/')], [1, []])
      fault.on = false
      await store.putAtomic('/state/a', bytesOf('x'))
      fault.on = true
      await store.putAtomic('/state/b', bytesOf('y')) // the place is there already
      assert.deepEqual(await contents(store), { '/state/a': 'x', '/state/b': 'y' })
    },
    { disk },
  )
  await withStore(home, async store =>
    assert.deepEqual(await contents(store), { '/state/a': 'x', '/state/b': 'y' }),
  )
})

test('a disk that is full when a segment is to be begun loses nothing, and a smaller put does not slip behind it', async t => {
  const { home } = await freshHome(t)
  const { disk, fault } = failing(
    call => call.kind === 'syncDirectory' && call.path.endsWith('segments'),
    'full',
  )
  const payload = new Uint8Array(1024 * 1024)
  await withStore(
    home,
    async store => {
      for (let i = 0; i < 7; i++) await store.putAtomic('/state/large', payload)
      fault.on = true
      for (let i = 0; i < 2; i++)
        await assert.rejects(store.putAtomic('/state/large', payload), coded('ENOSPC'))
      await assert.rejects(store.putAtomic('/state/small', bytesOf('x')), coded('ENOSPC'))
      fault.on = false
      await store.putAtomic('/state/small', bytesOf('y'))
    },
    { disk },
  )
  assert.equal(segmentFiles(home).length, 2)
  await withStore(home, async store => assert.equal(textOf((await store.get('/state/small')).payload), 'y'))
})

for (const [what, when] of [
  ['write of a group', call => kindOfWrite(call) === 'group'],
  ['write of the mark', call => kindOfWrite(call) === 'mark'],
  ['write of zeros ahead', call => kindOfWrite(call) === 'zeros'],
] as const satisfies readonly (readonly [string, (call: Call) => boolean])[])
  test(`a failed ${what} poisons the store for all who wait and all who come; opened anew it goes on`, async t => {
    const { home } = await freshHome(t)
    await withStore(home, store => store.putAtomic('/state/a', bytesOf('before')))
    const { disk, fault } = failing(when, 'failed')
    const store = await openHome({ ...world, disk }, home)
    fault.on = true
    const puts = Array.from({ length: 5 }, (_, i) => store.putAtomic(`/state/${i}`, bytesOf('x')))
    await Promise.all(puts.map(put => assert.rejects(put, coded('EPOISONED'))))
    fault.on = false
    await assert.rejects(store.putAtomic('/state/b', bytesOf('x')), coded('EPOISONED'))
    await assert.rejects(store.makeScope('s'), coded('EPOISONED'))
    assert.deepEqual(await contents(store), { '/state/a': 'before' }, 'reads show what was acknowledged')
    await store.close()
    await withStore(home, async reopened => {
      // Whether it took effect is unknown, but nothing is half there, and nothing that was told is gone.
      const { '/state/a': told, ...untold } = await contents(reopened)
      assert.equal(told, 'before')
      assert.ok(Object.values(untold).every(text => text === 'x'))
      await reopened.putAtomic('/state/after', bytesOf('x'))
    })
  })

test('after a failed write of a group the process never writes to the journal again, nor trims it', async t => {
  const { home } = await freshHome(t)
  const after: string[] = []
  let failed = false
  const disk = meddled(async (call, proceed) => {
    if (failed) after.push(`${call.kind} ${call.path}`)
    if (kindOfWrite(call) === 'group') {
      failed = true
      throw new DiskError('failed', 'injected')
    }
    await proceed()
  })
  const store = await openHome({ ...world, disk }, home)
  await assert.rejects(store.putAtomic('/state/a', bytesOf('x')), coded('EPOISONED'))
  await assert.rejects(store.putAtomic('/state/a', bytesOf('x')), coded('EPOISONED'))
  await store.close()
  assert.deepEqual(after, [])
})

test('a store that cannot be closed cleanly still lets its lock go', async t => {
  const { home } = await freshHome(t)
  const { disk, fault } = failing(call => call.kind === 'truncate', 'failed')
  const store = await openHome({ ...world, disk }, home)
  await store.putAtomic('/state/a', bytesOf('x'))
  fault.on = true
  await assert.rejects(store.close(), DiskError)
  await withStore(home, async reopened => assert.deepEqual(await contents(reopened), { '/state/a': 'x' }))
})

test('an open that fails at any call leaves no lock behind, and the next open goes on', async t => {
  const { root, home, base } = await freshHome(t)
  // A whole group that nobody was told of, so that opening has something to write.
  const { disk: dying, fault } = failing(call => kindOfWrite(call) === 'mark', 'failed')
  const store = await openHome({ ...world, disk: dying }, home)
  await store.putAtomic('/state/a', bytesOf('told'))
  fault.on = true
  await assert.rejects(store.putAtomic('/state/a', bytesOf('untold')), coded('EPOISONED'))
  await store.close()
  let failures = 0
  for (let failAt = 1; failAt < 100; failAt++) {
    const trial = copy(home, join(root, 'trial', 'home'))
    const anchors = copy(base, join(root, 'trial', 'anchors'))
    let seen = 0
    const disk = meddled(async (call, proceed) => {
      if (++seen === failAt) throw new DiskError('failed', `${call.kind}: injected`)
      await proceed()
    })
    const opened = await openHome({ ...world, disk }, trial, anchors).catch(() => undefined)
    if (opened === undefined) failures++
    await opened?.close().catch(() => {})
    await withStore(trial, async again => assert.deepEqual(await contents(again), { '/state/a': 'untold' }), {
      base: anchors,
    })
    if (seen < failAt) break
  }
  assert.ok(failures > 8, `${failures} calls failed`)
})

test('groups that no sync and no mark vouches for are written again, elsewhere, before the mark takes them in', async t => {
  const { home } = await freshHome(t)
  const { disk, fault } = failing(call => kindOfWrite(call) === 'mark', 'failed')
  const store = await openHome({ ...world, disk }, home)
  await store.putAtomic('/state/a', bytesOf('told'))
  fault.on = true
  await assert.rejects(store.putAtomic('/state/b', bytesOf('untold')), coded('EPOISONED'))
  await store.close()
  const [segment] = segmentFiles(home)
  assert.ok(segment !== undefined)
  const group = fs.readFileSync(segment).subarray(3 * 4096, 4 * 4096)
  assert.equal(group.toString('latin1', 0, 8), 'PAWLGRP1')

  const order: string[] = []
  const watching = meddled(async (call, proceed) => {
    if (call.bytes !== undefined && Buffer.from(call.bytes).equals(group)) order.push('group')
    if (kindOfWrite(call) === 'mark') order.push('mark')
    if (call.path.endsWith('2.seg.new') && call.kind === 'sync') order.push('sync')
    if (call.path.endsWith('2.seg') && call.kind === 'rename') order.push('rename')
    if (call.path.endsWith('segments') && call.kind === 'syncDirectory') order.push('sync of the name')
    await proceed()
  })
  await withStore(
    home,
    async reopened => assert.equal(textOf((await reopened.get('/state/b')).payload), 'untold'),
    {
      disk: watching,
    },
  )
  // The first mark is the one that was found, made durable before anything is judged by it.
  assert.deepEqual(order, ['mark', 'group', 'sync', 'rename', 'sync of the name', 'mark'])
  const [, second] = segmentFiles(home)
  assert.ok(
    second !== undefined && fs.readFileSync(second).subarray(4096, 8192).equals(group),
    'byte for byte',
  )
})

test('a torn group is dropped, kept aside, and everything before it survives', async t => {
  for (const cut of [0, 1, 8, 136, 2000, 4096, 4097, 6000]) {
    const { home } = await freshHome(t)
    await withStore(home, store => store.putAtomic('/state/a', bytesOf('told')))
    const disk = meddled(async (call, proceed) => {
      if (kindOfWrite(call) !== 'group' || call.bytes === undefined || call.position === undefined)
        return proceed()
      const file = await realDisk.open(call.path, { access: 'write' })
      await file.write(call.bytes.subarray(0, cut), call.position)
      await file.close()
      throw new DiskError('failed', 'torn')
    })
    const store = await openHome({ ...world, disk }, home)
    await assert.rejects(store.putAtomic('/state/torn', new Uint8Array(6000)), coded('EPOISONED'))
    await store.close()
    const torn = fs.readFileSync(segmentFiles(home)[0] ?? '')
    await withStore(home, async reopened => {
      assert.deepEqual(await contents(reopened), { '/state/a': 'told' }, `cut at ${cut}`)
      await reopened.putAtomic('/state/b', bytesOf('on'))
    })
    await withStore(home, async again =>
      assert.deepEqual(await contents(again), { '/state/a': 'told', '/state/b': 'on' }),
    )
    const [first, second] = segmentFiles(home)
    assert.equal(second !== undefined, cut > 0)
    if (cut > 0) assert.deepEqual(fs.readFileSync(first ?? ''), torn)
  }
})

// Checks, and disks with a planted bug on which they must fail.

/** What was answered is there after a power cut in the moment of the answer. */
async function survivesTheAnswer(place: Place, disk: Disk): Promise<void> {
  const store = await openHome({ ...world, disk }, place.home)
  try {
    await store.putAtomic('/state/a', bytesOf('answered'))
    const root = join(place.root, 'cut')
    const home = copy(place.home, join(root, 'home'))
    copy(place.base, join(root, 'anchors'))
    await withStore(home, async cut => assert.deepEqual(await contents(cut), { '/state/a': 'answered' }), {
      base: join(root, 'anchors'),
    })
  } finally {
    await store.close()
  }
}

/** A home put back to what it was before the last answer is refused. */
async function catchesAnOlderHome(place: Place, disk: Disk): Promise<void> {
  await withStore(place.home, store => store.putAtomic('/state/a', bytesOf('one')), { disk })
  const older = copy(place.home, join(place.root, 'older'))
  await withStore(place.home, store => store.putAtomic('/state/a', bytesOf('two')), { disk })
  copy(older, place.home)
  await assert.rejects(openHome(world, place.home), coded('EROLLBACK'))
}

const bugs: readonly (readonly [
  string,
  (call: Call) => boolean,
  (place: Place, disk: Disk) => Promise<void>,
])[] = [
  ['groups are not written', call => kindOfWrite(call) === 'group', survivesTheAnswer],
  ['marks are not written', call => kindOfWrite(call) === 'mark', catchesAnOlderHome],
]

for (const [what, when, check] of bugs) {
  test(`planted: ${what}, and the check of it goes red`, async t => {
    const late: (() => Promise<void>)[] = []
    const lying = meddled(async (call, proceed) => {
      if (when(call)) late.push(proceed)
      else await proceed()
    })
    await check(await freshHome(t), realDisk)
    await assert.rejects(check(await freshHome(t), lying), error => !(error instanceof TypeError))
    assert.ok(late.length > 0)
  })
}

test('a disk whose writes of groups were lies is found out at the next open', async t => {
  const { home } = await freshHome(t)
  const lying = meddled(async (call, proceed) => {
    if (kindOfWrite(call) !== 'group') await proceed()
  })
  await withStore(home, store => store.putAtomic('/state/a', bytesOf('x')), { disk: lying })
  await assert.rejects(openHome(world, home), coded('EROLLBACK'))
})

test('a disk whose writes of marks were lies is found out at the next open, and told from a store that went back', async t => {
  const { home } = await freshHome(t)
  const lying = meddled(async (call, proceed) => {
    if (kindOfWrite(call) !== 'mark') await proceed()
  })
  await withStore(
    home,
    async store => {
      for (let i = 0; i < 3; i++) await store.putAtomic('/state/a', bytesOf(`${i}`))
    },
    { disk: lying },
  )
  await assert.rejects(openHome(world, home), coded('EROLLBACK', 'the keeper went back'))
})

test('an anchor that is damaged under an open store is EINTEGRITY, whatever is asked for', async t => {
  const { home, anchor } = await freshHome(t)
  await withStore(home, async store => {
    await store.makeScope('session')
    await store.commit([{ put: '/state/a', payload: bytesOf('a'), scope: 'session' }])
  })
  await withStore(home, async store => {
    fs.truncateSync(join(anchor, 'slots'), 4096 + 32)
    const late = { put: '/state/b', payload: bytesOf('b'), scope: 'session' }
    await assert.rejects(store.commit([late]), coded('EINTEGRITY'))
    await assert.rejects(store.compact(), coded('EINTEGRITY'))
    await assert.rejects(store.makeScope('next'), coded('EINTEGRITY'))
    await assert.rejects(store.get('/state/a'), coded('EINTEGRITY'))
  })
})

test('after a group that was not written no segment is begun behind it', async t => {
  const { home } = await freshHome(t)
  await withStore(home, store => store.putAtomic('/state/kept', bytesOf('kept')))
  const [reached, go] = [deferred(), deferred()]
  let groups = 0
  const disk = meddled(async (call, proceed) => {
    if (kindOfWrite(call) !== 'group') return proceed()
    groups++
    if (groups === 1) {
      reached.finish()
      await go.done
    }
    if (groups === 2) {
      await new Promise(resolve => setImmediate(resolve))
      throw new DiskError('failed', `${call.kind} ${call.path}: injected`)
    }
    await proceed()
  })
  await withStore(
    home,
    async store => {
      // While the first is being written the second and a new segment line up, so that it is taken before that fails.
      const first = store.putAtomic('/state/first', bytesOf('first'))
      await reached.done
      const second = store.putAtomic('/state/second', bytesOf('second'))
      const compacted = store.compact()
      await new Promise(resolve => setImmediate(resolve))
      go.finish()
      await first
      await assert.rejects(second, coded('EPOISONED'))
      await assert.rejects(compacted, coded('EPOISONED'))
    },
    { disk },
  )
  assert.equal(segmentFiles(home).length, 1)
  await withStore(home, async store =>
    assert.deepEqual(await contents(store), { '/state/first': 'first', '/state/kept': 'kept' }),
  )
})

test('a slot that is misread once makes nothing that is never opened again', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await store.makeScope('apart')
    await store.commit([{ put: '/state/a', payload: bytesOf('a'), scope: 'apart' }])
  })
  let misread = 0
  const disk: Disk = {
    ...meddled((_, proceed) => proceed()),
    async open(path, options) {
      const file = await realDisk.open(path, options)
      if (!path.endsWith('/slots')) return file
      return {
        read: async (into, position) => {
          const length = await file.read(into, position)
          if (misread > 0 && --misread === 0) into[0] = (into[0] ?? 0) ^ 1
          return length
        },
        write: (bytes, position) => file.write(bytes, position),
        truncate: length => file.truncate(length),
        sync: () => file.sync(),
        stat: () => file.stat(),
        close: () => file.close(),
      }
    },
  }
  let acknowledged = 'a'
  let refused = 0
  const attempt = async (act: () => Promise<unknown>) => {
    for (let at = 1; at <= 4; at++) {
      misread = at
      await act().catch(error => {
        coded('EINTEGRITY')(error)
        refused++
      })
      misread = 0
    }
  }
  for (const round of [1, 2]) {
    await withStore(
      home,
      async store => {
        await attempt(async () => {
          const value = `${round}`
          await store.commit([{ put: '/state/a', payload: bytesOf(value), scope: 'apart' }])
          acknowledged = value
        })
        await attempt(() => store.makeScope(`made ${round} ${misread}`))
        await attempt(() => store.shred(`made ${round} 1`).catch(() => {}))
        await attempt(() => store.rotate({ scopes: ['apart'] }))
      },
      { disk },
    )
    await withStore(home, async store =>
      assert.deepEqual(await contents(store), { '/state/a': acknowledged }),
    )
  }
  assert.ok(refused > 0, 'some were found')
})
