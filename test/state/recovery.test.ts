/**
 * Going on from where a home is, by an amendment (S9; docs/spec/recovery.md): after each way of being put back, with
 * each keeper, dying at every call to the disk. The homes that were given up never open again.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { basename, join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import type { Disk } from '../../src/host/disk.ts'
import { FileKeeper } from '../../src/keeper/mark-file.ts'
import type { KeeperName } from '../../src/keeper/outside.ts'
import { sameMark } from '../../src/mark/mark.ts'
import { amendments } from '../../src/state/amendments.ts'
import { createHome } from '../../src/state/create.ts'
import { StateError } from '../../src/state/error.ts'
import { openHome, type World } from '../../src/state/home.ts'
import { readHome } from '../../src/state/reader.ts'
import { recoverHome } from '../../src/state/recovery.ts'
import { MemoryServer, memoryKeeper } from '../keeper/memory.ts'
import { VirtualClock } from '../simulator/clock.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import { SeededEntropy } from '../simulator/entropy.ts'
import { CrashFound, explore } from '../simulator/explore.ts'
import { emptyImage, type Image } from '../simulator/image.ts'
import { plantDirectory } from '../simulator/surgery.ts'
import { overFile, overFiles } from './disks.ts'
import { bytesOf, coded, contents, copy, freshHome, refused, scratch, withStore, world } from './support.ts'

const by = 'tester'

async function put(home: string, from: number, count: number): Promise<void> {
  await withStore(home, async store => {
    for (let i = from; i < from + count; i++) await store.putAtomic(`/state/${i}`, bytesOf(`${i}`))
  })
}

/** The amendments of a home that opens, and what the audit trail says of them. */
async function recorded(home: string, own: World = world) {
  const store = await openHome(own, home)
  try {
    const audit: string[] = []
    for await (const line of store.audit()) if (line.includes('"action":"recover"')) audit.push(line)
    const found = (await amendments(store)).map(({ amendment }) => amendment)
    return { audit, amendments: found, mark: store.mark, paths: Object.keys(await contents(store)) }
  } finally {
    await store.close()
  }
}

test('an older home goes on, on the record: what is abandoned and adopted is named, and no other copy opens again', async t => {
  const { root, home } = await freshHome(t)
  await put(home, 1, 1)
  const older = copy(home, join(root, 'older'))
  await put(home, 2, 3)
  const newest = copy(home, join(root, 'newest'))
  copy(older, home)
  await assert.rejects(openHome(world, home), coded('EROLLBACK', 'it is an older copy'))

  const done = await recoverHome(world, home, { by })
  assert.equal(done.number, 1)
  assert.equal(done.amendment.abandoned.number, 5)
  assert.equal(done.amendment.adopted.number, 2)
  assert.equal(done.mark, 3)
  assert.deepEqual(done.scopesLost, [])
  const seen = await recorded(home)
  assert.deepEqual(seen.paths, ['/state/1'])
  const [only, ...more] = seen.amendments
  assert.ok(only !== undefined && more.length === 0)
  assert.ok(
    sameMark(only.abandoned, done.amendment.abandoned) && sameMark(only.adopted, done.amendment.adopted),
  )
  assert.equal(seen.audit.length, 1)
  assert.match(seen.audit[0] ?? '', /"path":"\/pawl\/amendment\/1","reason":"recovery","subject":"tester"/)

  await put(home, 9, 4) // past the number that was given up
  const own = copy(home, join(root, 'own'))
  for (const copied of [older, newest]) {
    copy(copied, home)
    await assert.rejects(openHome(world, home), coded('EROLLBACK'))
    await assert.rejects(readHome(world, home), coded('EROLLBACK'))
  }
  copy(own, home)
  assert.equal((await recorded(home)).paths.length, 5)
})

test('a home that goes on from one group before its mark: both slots of the mark file are its own', async t => {
  const { root, home } = await freshHome(t)
  await put(home, 1, 1)
  const older = copy(home, join(root, 'older'))
  await put(home, 2, 1)
  const newest = copy(home, join(root, 'newest'))
  copy(older, home)
  const { amendment, mark } = await recoverHome(world, home, { by })
  assert.equal(amendment.abandoned.number, 3)
  assert.equal(mark, 3, 'the same number, another head')
  assert.equal((await recorded(home)).mark.number, 3)
  copy(newest, home)
  await assert.rejects(openHome(world, home), coded('EROLLBACK', 'forked'))
})

test('a fork, a keeper that went back, and a home in which nothing is wrong go on the same way', async t => {
  const { root, home, base, anchor } = await freshHome(t)
  await put(home, 1, 1)
  const other = { home: copy(home, join(root, 'other')), base: copy(base, join(root, 'other-anchors')) }
  await put(home, 2, 2)
  await withStore(other.home, store => store.putAtomic('/state/x', bytesOf('x')), { base: other.base })
  await withStore(other.home, store => store.putAtomic('/state/y', bytesOf('y')), { base: other.base })
  const mine = copy(home, join(root, 'mine'))
  copy(other.home, home)
  await assert.rejects(openHome(world, home), coded('EROLLBACK', 'forked'))
  const forked = await recoverHome(world, home, { by })
  assert.equal(forked.amendment.abandoned.number, forked.amendment.adopted.number)
  assert.notDeepEqual(forked.amendment.abandoned.head, forked.amendment.adopted.head)
  assert.deepEqual((await recorded(home)).paths, ['/state/1', '/state/x', '/state/y'])
  copy(mine, home)
  await assert.rejects(openHome(world, home), coded('EROLLBACK'))
  copy(other.home, home)
  await assert.rejects(openHome(world, home), coded('EROLLBACK'))
  await recoverHome(world, home, { by })

  const mark = fs.readFileSync(join(anchor, 'mark'))
  await put(home, 20, 5)
  fs.writeFileSync(join(anchor, 'mark'), mark)
  await assert.rejects(openHome(world, home), coded('EROLLBACK', 'the keeper went back'))
  const back = await recoverHome(world, home, { by })
  assert.ok(back.amendment.abandoned.number < back.amendment.adopted.number)
  assert.equal((await recorded(home)).paths.length, 8)

  const nothing = await recoverHome(world, home, { by })
  assert.ok(sameMark(nothing.amendment.abandoned, nothing.amendment.adopted))
  assert.equal((await recorded(home)).audit.length, 3, 'what was not gone on from leaves nothing')
})

test('with keeper none there is no mark to give up, and the record says so', async t => {
  const { home } = await freshHome(t, 'none')
  await put(home, 1, 2)
  const { amendment } = await recoverHome(world, home, { by })
  assert.ok(sameMark(amendment.abandoned, amendment.adopted))
  assert.equal((await recorded(home)).audit.length, 1)
})

test('what was destroyed since stays destroyed; what was made since is not there', async t => {
  const { root, home } = await freshHome(t)
  await withStore(home, async store => {
    await store.makeScope('kept')
    await store.makeScope('gone')
    await store.commit([
      { put: '/state/kept', payload: bytesOf('kept'), scope: 'kept' },
      { put: '/state/gone', payload: bytesOf('gone'), scope: 'gone' },
    ])
  })
  const older = copy(home, join(root, 'older'))
  await withStore(home, async store => {
    await store.shred('gone')
    await store.makeScope('later')
    await store.commit([{ put: '/state/later', payload: bytesOf('later'), scope: 'later' }])
  })
  copy(older, home)
  const { scopesLost } = await recoverHome(world, home, { by })
  assert.deepEqual(scopesLost, ['gone'])
  await withStore(home, async store => {
    assert.deepEqual(await contents(store), { '/state/kept': 'kept' })
    await store.makeScope('gone')
    await store.commit([{ put: '/state/gone', payload: bytesOf('anew'), scope: 'gone' }])
  })
  await withStore(home, async store => assert.equal((await contents(store))['/state/gone'], 'anew'))
})

test('an anchor put back whole: scopes that it does not know are given up, the rest goes on', async t => {
  const { root, home, base } = await freshHome(t)
  await withStore(home, async store => {
    await store.makeScope('s')
    await store.shred('s') // its slot is not what it was made with
  })
  const older = copy(base, join(root, 'older'))
  await withStore(home, async store => {
    await store.makeScope('t')
    await store.commit([{ put: '/state/t', payload: bytesOf('t'), scope: 't' }])
    await store.shred('t')
    await store.makeScope('u')
    await store.commit([{ put: '/state/u', payload: bytesOf('u'), scope: 'u' }])
    await store.putAtomic('/state/a', bytesOf('a'))
  })
  copy(older, base)
  await assert.rejects(openHome(world, home), coded('EROLLBACK', 'the keeper went back'))
  assert.deepEqual((await recoverHome(world, home, { by })).scopesLost, ['u'])
  await withStore(home, async store => assert.deepEqual(await contents(store), { '/state/a': 'a' }))
})

test('damage that what lies behind it vouches for is no place to go on from, and a home in use is not either', async t => {
  const { home, anchor } = await freshHome(t)
  await put(home, 1, 6)
  const before = fs.readFileSync(join(anchor, 'mark'))
  const [segment] = fs.readdirSync(join(home, 'segments')).filter(name => name.endsWith('.seg'))
  const path = join(home, 'segments', segment ?? '')
  const whole = fs.readFileSync(path)
  const damaged = Buffer.from(whole)
  damaged[3 * 4096 + 200] = (damaged[3 * 4096 + 200] ?? 0) ^ 1
  fs.writeFileSync(path, damaged)
  await assert.rejects(recoverHome(world, home, { by }), coded('EINTEGRITY', 'damaged'))
  fs.writeFileSync(path, whole)
  const store = await openHome(world, home)
  await assert.rejects(recoverHome(world, home, { by }), coded('ELOCKED'))
  await store.close()
  assert.ok(before.length > 0)
  assert.equal((await recorded(home)).audit.length, 0)
})

// ---- a keeper outside ----

const place: KeeperName = { keeper: 'etcd', place: 'http://127.0.0.1:1' }

async function outside(t: TestContext) {
  const root = scratch(t)
  const anchors = join(root, 'anchors')
  fs.mkdirSync(anchors, { mode: 0o700 })
  const home = join(root, 'home')
  const server = new MemoryServer()
  const own: World = {
    ...world,
    openKeeper: async (_, { domain, signer }) => memoryKeeper(server, domain, signer),
  }
  const config = { ...place, profile: 'dev' } as const
  const { anchor } = await createHome(own, { home, anchorBase: anchors, config, first: [] })
  const write = async (count: number, as = own) => {
    const store = await openHome(as, home)
    for (let i = 0; i < count; i++) await store.putAtomic(`/state/${i}`, bytesOf(`${i}`))
    await store.close()
  }
  const save = () => {
    const [h, a] = [copy(home, `${root}/h`), copy(anchors, `${root}/a`)]
    return () => {
      copy(h, home)
      copy(a, anchors)
    }
  }
  return { root, home, anchors, name: basename(anchor), server, own, write, save }
}

test('home and anchor put back together: the keeper outside is moved by the amendment, and away nothing is changed', async t => {
  const scene = await outside(t)
  await scene.write(2)
  const putBack = scene.save()
  await scene.write(5)
  putBack()
  await assert.rejects(openHome(scene.own, scene.home), coded('EROLLBACK'))
  scene.server.isAway = true
  await assert.rejects(recoverHome(scene.own, scene.home, { by }), coded('EKEEPER'))
  scene.server.isAway = false
  await assert.rejects(openHome(scene.own, scene.home), coded('EROLLBACK'))
  const { amendment } = await recoverHome(scene.own, scene.home, { by })
  assert.deepEqual([amendment.abandoned.number, amendment.adopted.number], [8, 3], 'what the keeper held')
  assert.equal((await recorded(scene.home, scene.own)).audit.length, 1)
  await scene.write(7)
  putBack()
  await assert.rejects(openHome(scene.own, scene.home), coded('EROLLBACK'), 'the copy that it went on from')
})

test('a keeper outside that went back, or was made anew, is moved on by the amendment', async t => {
  const scene = await outside(t)
  await scene.write(1)
  const putBack = scene.server.copy()
  await scene.write(4)
  putBack()
  await assert.rejects(openHome(scene.own, scene.home), coded('EROLLBACK', 'the keeper went back'))
  const { amendment } = await recoverHome(scene.own, scene.home, { by })
  assert.deepEqual([amendment.abandoned.number, amendment.adopted.number], [2, 6])
  scene.server.instance = 'memory 2'
  await assert.rejects(openHome(scene.own, scene.home), coded('EROLLBACK', 'the keeper went back'))
  await recoverHome(scene.own, scene.home, { by })
  scene.server.forget(scene.name)
  await assert.rejects(openHome(scene.own, scene.home), coded('EINTEGRITY'))
  await recoverHome(scene.own, scene.home, { by })
  assert.equal((await recorded(scene.home, scene.own)).audit.length, 3)
})

test('cut short between the group, the keeper outside and the mark file: refused as before, or gone on; again is enough', async t => {
  const sides = [
    ['group', 3],
    ['outside before', 3],
    ['outside after', 3],
    ['mark file', 3],
    ['group', 1],
    ['outside after', 1],
    ['mark file', 1],
  ] as const
  for (const [cut, ahead] of sides) {
    const scene = await outside(t)
    await scene.write(1)
    const putBack = scene.save()
    await scene.write(ahead)
    putBack()
    const dies = (): never => {
      throw new StateError('EPOISONED', `killed at ${cut}`)
    }
    const openKeeper: World['openKeeper'] = async (_, { domain, signer }) => {
      const keeper = memoryKeeper(scene.server, domain, signer)
      const enrol = keeper.enrol.bind(keeper)
      keeper.enrol = async (mark, mayReplace) => {
        if (cut === 'outside before' || cut === 'group') dies()
        await enrol(mark, mayReplace)
        if (cut === 'outside after') dies()
      }
      return keeper
    }
    const adopt = FileKeeper.prototype.adopt
    FileKeeper.prototype.adopt = async function (next) {
      if (cut === 'mark file') dies()
      await adopt.call(this, next)
    }
    try {
      await assert.rejects(recoverHome({ ...scene.own, openKeeper }, scene.home, { by }))
    } finally {
      FileKeeper.prototype.adopt = adopt
    }
    const isDone = await recorded(scene.home, scene.own).then(
      seen => seen.audit.length > 0 && seen.amendments.length > 0,
      () => false,
    )
    if (!isDone) {
      await assert.rejects(openHome(scene.own, scene.home), coded(refused), `${cut} ${ahead}`)
      await recoverHome(scene.own, scene.home, { by })
    }
    const { audit, amendments: found } = await recorded(scene.home, scene.own)
    assert.equal(audit.length, found.length)
    assert.equal(found[0]?.adopted.number, 2)
    await scene.write(3)
    putBack()
    await assert.rejects(openHome(scene.own, scene.home), coded('EROLLBACK'))
  }
})

// ---- every crash of it, on the simulated disk ----

const total = { points: 0, images: 0, checks: 0, bugs: 0 }
after(() => {
  console.log(
    `# recoveries: ${total.points} crash points, ${total.images} crash states, ${total.checks} checked; ` +
      `${total.bugs} planted bugs found`,
  )
})
const entropy = new SeededEntropy(29)
const [at, copied, newest, anchorBase] = ['/disk/home', '/disk/copy', '/disk/newest', '/anchors'] as const

function simulated(disk: Disk): World {
  return { disk, entropy, clock: new VirtualClock({ startMs: 1_700_000_000_000, seed: 1 }) }
}

async function copyTree(disk: Disk, from: string, to: string): Promise<void> {
  await disk.makeDirectory(to)
  for (const name of await disk.list(from)) {
    const [source, target] = [`${from}/${name}`, `${to}/${name}`]
    if ((await disk.stat(source))?.kind === 'directory') await copyTree(disk, source, target)
    else {
      const read = await disk.open(source, { access: 'read' })
      const bytes = new Uint8Array((await read.stat()).size)
      await read.read(bytes, 0)
      await read.close()
      const written = await disk.open(target, { access: 'exclusive' })
      await written.write(bytes, 0)
      await written.sync()
      await written.close()
    }
  }
  await disk.syncDirectory(to)
}

type What = 'home' | 'mark'

/** A home, or the mark of its anchor, put back to where it was `ahead` groups before. */
async function putBackBy(ahead: number, what: What): Promise<Image> {
  let image = emptyImage({ sectorSize: 4096 })
  image = plantDirectory(image, '/disk', { device: 1 })
  image = plantDirectory(image, anchorBase, { device: 2 })
  const disk = new SimulatedDisk(image, { profile: 'posix' })
  const config = { keeper: 'file', profile: 'dev' } as const
  await createHome(simulated(disk), { home: at, anchorBase, config, slots: 2, first: [] })
  const write = async (text: string) => {
    const store = await openHome(simulated(disk), at)
    await store.putAtomic('/state/a', bytesOf(text))
    await store.close()
  }
  await write('kept')
  const [name = ''] = await disk.list(anchorBase)
  const markPath = `${anchorBase}/${name}/mark`
  const mark = new Uint8Array(8192)
  const reading = await disk.open(markPath, { access: 'read' })
  await reading.read(mark, 0)
  await reading.close()
  await copyTree(disk, at, copied)
  for (let i = 0; i < ahead; i++) await write('given up')
  if (what === 'home') {
    await disk.rename(at, newest)
    await disk.rename(copied, at)
  } else {
    const file = await disk.open(markPath, { access: 'write' })
    await file.write(mark, 0)
    await file.sync()
    await file.close()
  }
  await disk.syncDirectory('/disk')
  return disk.killState()
}

type Acks = { recovered: boolean }

async function exploreRecovery(
  ahead: number,
  what: What,
  { depth = 1, plant = disk => disk }: { depth?: number; plant?: ((disk: Disk) => Disk) | undefined } = {},
) {
  const explored = await explore<Acks>({
    image: await putBackBy(ahead, what),
    profiles: ['posix'],
    depth,
    acks: () => ({ recovered: false }),
    async run(disk, acks) {
      await recoverHome(simulated(plant(disk)), at, { by })
      acks.recovered = true
    },
    async check(disk, acks) {
      const seen = async () => {
        const store = await openHome(simulated(disk), at)
        try {
          return (await amendments(store)).length
        } finally {
          await store.close()
        }
      }
      let count: number
      try {
        count = await seen()
      } catch (error) {
        assert.ok(error instanceof StateError && /^E(ROLLBACK|INTEGRITY)$/.test(error.code), String(error))
        assert.ok(!acks.recovered, `what had gone on is refused: ${error.message}`)
        // From one group before its mark both may be refused; else the home that is given up opens until the other does.
        if (what === 'home' && ahead > 1) await (await openHome(simulated(disk), newest)).close()
        await recoverHome(simulated(disk), at, { by })
        acks.recovered = true
        count = await seen()
      }
      assert.ok(count > 0, 'it goes on, and nothing says so')
      assert.ok(count <= 1 + depth)
    },
  })
  for (const key of ['points', 'images', 'checks'] as const) total[key] += explored[key]
}

test('a recovery that dies at any call to the disk: refused as before, or gone on, and the same call completes it', async () => {
  for (const [ahead, what] of [
    [1, 'home'],
    [2, 'home'],
    [4, 'home'],
    [3, 'mark'],
  ] as const)
    await exploreRecovery(ahead, what)
})

/** Holds the amendment's group back until both slots of the mark file are written. */
function bothSlotsFirst(real: Disk): Disk {
  let held: (() => Promise<void>) | undefined
  let slots = 0
  return overFiles(real, (file, path, { durable, access }) => {
    if (path.endsWith('.seg') && durable === true)
      return overFile(file, {
        write: async (bytes, position) => {
          held = () => file.write(bytes, position)
          slots = 0
        },
      })
    if (!path.endsWith('/mark') || access !== 'write') return file
    return overFile(file, {
      write: async (bytes, position) => {
        await file.write(bytes, position)
        if (++slots === 2) await held?.()
      },
    })
  })
}

test('planted: the mark moved before the amendment is durable, or not moved at all, is found', async t => {
  const isFound = async (name: string, plant?: (disk: Disk) => Disk) => {
    await assert.rejects(exploreRecovery(3, 'home', { plant }), CrashFound, name)
    total.bugs++
  }
  await isFound('the mark first', bothSlotsFirst)
  t.mock.method(FileKeeper.prototype, 'adopt', async () => {})
  await isFound('the mark file not moved')
})
