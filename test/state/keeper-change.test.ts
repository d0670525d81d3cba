/** Another keeper for a store that exists (S4; docs/spec/keepers.md, "Change"), on registers in memory. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { basename, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { KeeperName } from '../../src/keeper/outside.ts'
import { amendments } from '../../src/state/amendments.ts'
import type { RestoreOptions } from '../../src/state/backup/restore.ts'
import type { Config } from '../../src/state/config.ts'
import { createHome } from '../../src/state/create.ts'
import { openHome, type World } from '../../src/state/home.ts'
import { changeKeeper } from '../../src/state/keeper-change.ts'
import { MemoryServer, memoryKeeper } from '../keeper/memory.ts'
import { backedUp, movedAside, restoredTo } from './backup-support.ts'
import { bytesOf, coded, contents, copy, kindOfWrite, meddled, scratch, world } from './support.ts'

const a: KeeperName = { keeper: 'etcd', place: 'http://127.0.0.1:1' }
const b: KeeperName = { keeper: 'etcd', place: 'http://127.0.0.1:2' }
const file: KeeperName = { keeper: 'file' }

type Scene = {
  readonly root: string
  readonly home: string
  readonly anchors: string
  readonly name: string
  readonly servers: { readonly a: MemoryServer; readonly b: MemoryServer }
  readonly world: World
}

async function fresh(
  t: TestContext,
  keeper: KeeperName = a,
  profile: Config['profile'] = 'dev',
): Promise<Scene> {
  const root = scratch(t)
  const anchors = join(root, 'anchors')
  fs.mkdirSync(anchors, { mode: 0o700 })
  const home = join(root, 'home')
  const servers = { a: new MemoryServer(), b: new MemoryServer() }
  servers.b.instance = 'memory b'
  const openKeeper: World['openKeeper'] = async (_, { place, domain, signer }) =>
    memoryKeeper(place === a.place ? servers.a : servers.b, domain, signer)
  const own = { ...world, openKeeper }
  const config = { ...keeper, profile }
  const { anchor } = await createHome(own, { home, anchorBase: anchors, config, first: [] })
  return { root, home, anchors, name: basename(anchor), servers, world: own }
}

async function put(scene: Scene, count: number, from = 1): Promise<void> {
  const store = await openHome(scene.world, scene.home)
  for (let i = from; i < from + count; i++) await store.putAtomic(`/state/${i}`, bytesOf(`value ${i}`))
  await store.close()
}

async function change(scene: Scene, to: KeeperName, { lost = false, own = scene.world } = {}): Promise<void> {
  const store = await openHome(own, scene.home, undefined, { change: { to, lost } })
  try {
    await store.amend(parts => changeKeeper(parts, { to, lost }, 'tester'))
  } finally {
    await store.close()
  }
}

async function found(
  scene: Scene,
): Promise<{ keeper: string; paths: string[]; reasons: string[]; audit: string[] }> {
  const store = await openHome(scene.world, scene.home)
  try {
    const { keeper, place } = store.config
    const reasons = (await amendments(store)).map(({ amendment }) => amendment.reason)
    const audit: string[] = []
    for await (const line of store.audit()) if (line.includes('"action":"keeper"')) audit.push(line)
    return { keeper: place ?? keeper, paths: Object.keys(await contents(store)), reasons, audit }
  } finally {
    await store.close()
  }
}

function save(scene: Scene, as: string): () => void {
  const saved = [
    copy(scene.home, `${scene.root}/${as}-home`),
    copy(scene.anchors, `${scene.root}/${as}-anchors`),
  ] as const
  return () => {
    copy(saved[0], scene.home)
    copy(saved[1], scene.anchors)
  }
}

test('the new keeper goes on, an amendment and the audit trail say so, and no older copy fits the old one', async t => {
  const scene = await fresh(t)
  await put(scene, 2)
  const putBack = save(scene, 'old')
  await change(scene, b)
  scene.servers.a.isAway = true
  await put(scene, 1, 3)
  const seen = await found(scene)
  assert.equal(seen.keeper, b.place)
  assert.deepEqual(seen.paths, ['/state/1', '/state/2', '/state/3'])
  assert.deepEqual(seen.reasons, ['keeper-change'])
  assert.equal(seen.audit.length, 1)
  assert.match(
    seen.audit[0] ?? '',
    /"path":"\/pawl\/amendment\/1","reason":"keeper-change","subject":"tester"/,
  )
  scene.servers.a.isAway = false
  putBack()
  await assert.rejects(
    openHome(scene.world, scene.home),
    coded('EROLLBACK', 'change of its keeper was cut short'),
  )
  await assert.rejects(change(scene, b), coded('EROLLBACK', 'already'), 'the new one has gone on')
  await assert.rejects(change(scene, file), coded('EROLLBACK'), 'the old one was moved to another')
})

test('without the old keeper being moved on, an older copy would open: the check is seen failing', async t => {
  const scene = await fresh(t)
  await put(scene, 2)
  const putBack = save(scene, 'old')
  await change(scene, b, { lost: true })
  await put(scene, 1, 3)
  putBack()
  await (await openHome(scene.world, scene.home)).close()
})

test('to and from the mark file, from none, and back again to a keeper that was left', async t => {
  const scene = await fresh(t, { keeper: 'none' })
  await put(scene, 2)
  for (const [to, shown] of [
    [file, 'file'],
    [a, a.place],
    [b, b.place],
    [a, a.place],
    [file, 'file'],
  ] as const) {
    await change(scene, to)
    assert.equal((await found(scene)).keeper, shown)
    await put(scene, 1, 9)
  }
  assert.deepEqual((await found(scene)).reasons, Array(5).fill('keeper-change'))
  for (const to of [a, b, a, file, a]) await change(scene, to) // one right after the other
  assert.equal((await found(scene)).keeper, a.place)
})

test('what is no change, or weaker than the profile asks for, is refused and changes nothing', async t => {
  const scene = await fresh(t, a, 'high_security')
  await assert.rejects(change(scene, a), coded('EINVAL', 'already'))
  await assert.rejects(change(scene, file), coded('EINVAL', 'high_security'))
  await assert.rejects(change(scene, { keeper: 'none' }), coded('EINVAL', 'none'))
  await put(scene, 1)
  assert.equal((await found(scene)).keeper, a.place)
})

test('the old or the new one away: EKEEPER, and the old one goes on', async t => {
  const scene = await fresh(t)
  await put(scene, 1)
  for (const server of [scene.servers.a, scene.servers.b]) {
    server.isAway = true
    await assert.rejects(change(scene, b), coded('EKEEPER'))
    server.isAway = false
    await put(scene, 1, 2)
    assert.equal((await found(scene)).keeper, a.place)
  }
  await change(scene, b)
  assert.equal((await found(scene)).keeper, b.place)
})

test('a keeper that is gone for good is replaced, on the record; also by one at the same place', async t => {
  const scene = await fresh(t)
  await put(scene, 2)
  scene.servers.a.forget(scene.name)
  await assert.rejects(put(scene, 1, 3), coded('EINTEGRITY'))
  await change(scene, a, { lost: true })
  await put(scene, 1, 3)
  scene.servers.a.isAway = true
  await assert.rejects(change(scene, b), coded('EKEEPER'))
  await change(scene, b, { lost: true })
  await put(scene, 1, 4)
  const { keeper, paths, reasons } = await found(scene)
  assert.equal(keeper, b.place)
  assert.equal(paths.length, 4)
  assert.deepEqual(reasons, ['keeper-lost', 'keeper-lost'])
})

test('a keeper said to be lost that holds a later mark of this store is not made to forget it', async t => {
  const scene = await fresh(t)
  await put(scene, 1)
  const putBack = save(scene, 'old')
  await put(scene, 2, 2)
  putBack()
  await assert.rejects(change(scene, a, { lost: true }), coded('EROLLBACK', 'already'))
})

test('cut short anywhere, the same change carries it on, and what was acknowledged is there', async t => {
  type Cut = 'enrolled' | 'moved' | 'group' | 'advanced' | 'marked'
  const cuts: readonly Cut[] = ['enrolled', 'moved', 'group', 'advanced', 'marked']
  for (const cut of cuts) {
    const scene = await fresh(t)
    await put(scene, 2)
    let isDead = false
    const die = (at: Cut) => {
      if (at === cut) isDead = true
      if (isDead) throw new Error(`cut short: ${at}`)
    }
    const disk = meddled(async (call, proceed) => {
      if (isDead) throw new Error('cut short')
      await proceed()
      const kind = kindOfWrite(call)
      if (kind === 'group') die('group')
    })
    const { servers } = scene
    const openKeeper: World['openKeeper'] = async (_, { place, domain, signer }) => {
      const isNew = place === b.place
      const keeper = memoryKeeper(isNew ? servers.b : servers.a, domain, signer)
      const { enrol, advance } = { enrol: keeper.enrol.bind(keeper), advance: keeper.advance.bind(keeper) }
      keeper.enrol = async (mark, mayReplace) => {
        await enrol(mark, mayReplace)
        die('enrolled')
      }
      keeper.advance = async (expected, next) => {
        await advance(expected, next)
        die(isNew ? 'advanced' : 'moved')
      }
      return keeper
    }
    const cutShort = change(scene, b, { own: { ...world, disk, openKeeper } })
    if (cut === 'marked') await cutShort
    else await assert.rejects(cutShort, cut)
    if (cut === 'moved')
      await assert.rejects(openHome(scene.world, scene.home), coded('EROLLBACK', 'cut short'))
    const isDone = cut === 'group' || cut === 'advanced' || cut === 'marked'
    if (isDone) await assert.rejects(change(scene, b), coded('EINVAL', 'already'), cut)
    else await change(scene, b)
    await put(scene, 1, 3)
    const { keeper, paths, reasons } = await found(scene)
    assert.equal(keeper, b.place, cut)
    assert.equal(paths.length, 3, cut)
    assert.deepEqual(reasons, ['keeper-change'], cut)
  }
})

test('a home restored from a backup has its keeper go on from there, by an amendment, and no older one fits', async t => {
  const scene = await fresh(t)
  await put(scene, 2)
  const place = {
    root: scene.root,
    home: scene.home,
    base: scene.anchors,
    anchor: join(scene.anchors, scene.name),
  }
  const backup = await backedUp(place, 'backup', scene.world)
  await put(scene, 2, 3)
  const putBack = save(scene, 'old')
  for (const stands of [true, false]) {
    movedAside(place, `old-${stands}`)
    if (!stands) fs.rmSync(scene.anchors, { recursive: true })
    fs.mkdirSync(scene.anchors, { recursive: true })
    scene.servers.a.isAway = true
    await assert.rejects(restoredTo(place, { file: backup }, scene.world), coded('EKEEPER'))
    scene.servers.a.isAway = false
    const asked: (number | undefined)[] = []
    const confirm: RestoreOptions['confirm'] = async ({ abandoned }) => {
      asked.push(abandoned?.number)
      return true
    }
    const restored = await restoredTo(place, { file: backup, confirm }, scene.world)
    assert.deepEqual(asked, [restored?.amendment.amendment.abandoned.number])
    assert.equal(restored?.amendment.amendment.reason, 'recovery')
    const { paths, reasons } = await found(scene)
    assert.deepEqual(paths, ['/state/1', '/state/2'])
    assert.deepEqual(reasons, ['recovery'])
    await put(scene, 1, 8)
  }
  putBack()
  await assert.rejects(openHome(scene.world, scene.home), coded('EROLLBACK'))
})
