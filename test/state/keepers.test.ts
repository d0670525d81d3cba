/** A store with a keeper outside home and anchor (S4; docs/spec/keepers.md), on registers in memory. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { basename, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { anchorNames } from '../../src/keeper/anchor.ts'
import { openSignedMark } from '../../src/keeper/signed-mark.ts'
import { sameMark } from '../../src/mark/mark.ts'
import { createHome } from '../../src/state/create.ts'
import { openHome, type World } from '../../src/state/home.ts'
import { readHome } from '../../src/state/reader.ts'
import { decodeSigner, signerPath } from '../../src/state/signer.ts'
import type { Store } from '../../src/state/store.ts'
import { MemoryServer, memoryKeeper } from '../keeper/memory.ts'
import {
  bytesOf,
  coded,
  contents,
  copy,
  flip,
  kindOfWrite,
  meddled,
  scratch,
  segmentFiles,
  world,
} from './support.ts'

type Place = {
  readonly root: string
  readonly home: string
  readonly anchors: string
  readonly anchor: string
  readonly server: MemoryServer
  readonly world: World
}

const place = 'http://127.0.0.1:1'

function worldOf(server: MemoryServer): World {
  const openKeeper: World['openKeeper'] = async (kind, { domain, signer }) => {
    assert.equal(kind, 'etcd')
    return memoryKeeper(server, domain, signer)
  }
  return { ...world, openKeeper }
}

async function fresh(t: TestContext): Promise<Place> {
  const root = scratch(t)
  const anchors = join(root, 'anchors')
  fs.mkdirSync(anchors, { mode: 0o700 })
  const home = join(root, 'home')
  const server = new MemoryServer()
  const config = { keeper: 'etcd', place, profile: 'high_security' } as const
  const { anchor } = await createHome(worldOf(server), { home, anchorBase: anchors, config, first: [] })
  return { root, home, anchors, anchor, server, world: worldOf(server) }
}

async function put(place: Place, count: number, from = 1): Promise<void> {
  const store = await openHome(place.world, place.home)
  await putTo(store, count, from)
  await store.close()
}

async function putTo(store: Store, count: number, from = 1): Promise<void> {
  for (let i = from; i < from + count; i++) await store.putAtomic(`/state/${i}`, bytesOf(`value ${i}`))
}

const markFile = ({ anchor }: Place) => join(anchor, anchorNames.mark)
const valueIn = ({ server, anchor }: Place) => server.get(basename(anchor))?.value ?? new Uint8Array(0)

test('init enrols the store; what the keeper holds is its mark, signed, and anybody with the store id can check it', async t => {
  const place = await fresh(t)
  await put(place, 3)
  const store = await openHome(place.world, place.home)
  const { ed25519 } = decodeSigner((await store.get(signerPath)).payload)
  const { mark } = await openSignedMark(valueIn(place), store.storeId, ed25519)
  assert.ok(sameMark(mark, store.mark))
  assert.equal(mark.number, 4)
  assert.deepEqual(store.config, { keeper: 'etcd', place: 'http://127.0.0.1:1', profile: 'high_security' })
  await store.close()
  const reader = await readHome(place.world, place.home)
  assert.equal(reader.mark.number, 4)
  await reader.close()
})

test('an acknowledgement comes after the group, then the keeper, then the mark file', async t => {
  const place = await fresh(t)
  const order: string[] = []
  const disk = meddled(async (call, proceed) => {
    await proceed()
    const kind = kindOfWrite(call)
    if (kind === 'group' || kind === 'mark') order.push(kind)
  })
  const openKeeper: World['openKeeper'] = async (_, { domain, signer }) => {
    const keeper = memoryKeeper(place.server, domain, signer)
    const advance = keeper.advance.bind(keeper)
    keeper.advance = async (expected, next) => {
      await advance(expected, next)
      order.push('keeper')
    }
    return keeper
  }
  const store = await openHome({ ...world, disk, openKeeper }, place.home)
  order.length = 0
  await putTo(store, 2)
  assert.deepEqual(order, ['group', 'keeper', 'mark', 'group', 'keeper', 'mark'])
  await store.close()
})

test('home and anchor put back together are refused, also by one group', async t => {
  for (const later of [1, 2, 5]) {
    const place = await fresh(t)
    await put(place, 2)
    const older = [
      copy(place.home, `${place.root}/old-home`),
      copy(place.anchors, `${place.root}/old-anchors`),
    ] as const
    await put(place, later, 3)
    const newest = [
      copy(place.home, `${place.root}/new-home`),
      copy(place.anchors, `${place.root}/new-anchors`),
    ] as const
    copy(older[0], place.home)
    copy(older[1], place.anchors)
    for (let twice = 0; twice < 2; twice++)
      await assert.rejects(openHome(place.world, place.home), coded('EROLLBACK', 'older copy'))
    copy(newest[0], place.home)
    copy(newest[1], place.anchors)
    await put(place, 1, 9)
  }
})

test('the home alone put back is refused before the keeper is asked', async t => {
  const place = await fresh(t)
  const older = copy(place.home, `${place.root}/old-home`)
  await put(place, 3)
  copy(older, place.home)
  place.server.isAway = true
  await assert.rejects(openHome(place.world, place.home), coded('EROLLBACK'))
  await assert.rejects(
    readHome(place.world, place.home),
    coded('EROLLBACK'),
    'a reader goes by the mark file',
  )
})

test('a keeper put back is told apart from a home put back, also by one group', async t => {
  for (const later of [1, 2, 5]) {
    const place = await fresh(t)
    await put(place, 2)
    const putBack = place.server.copy()
    await put(place, later, 3)
    const forth = place.server.copy()
    putBack()
    for (let twice = 0; twice < 2; twice++)
      await assert.rejects(openHome(place.world, place.home), coded('EROLLBACK', 'the keeper went back'))
    forth()
    await put(place, 1, 9)
  }
})

test('a keeper put back under a running store is found by the next put and by a fresh read', async t => {
  const place = await fresh(t)
  const store = await openHome(place.world, place.home)
  await putTo(store, 2)
  const putBack = place.server.copy()
  await putTo(store, 3, 3)
  putBack()
  await assert.rejects(store.get('/state/1', { fresh: true }), coded('EROLLBACK', 'the keeper went back'))
  await assert.rejects(putTo(store, 1, 9), coded('EROLLBACK', 'the keeper went back'))
  await assert.rejects(putTo(store, 1, 9), coded('EROLLBACK', 'close and open'))
  await store.close()
})

test('the mark file put back alone is refused', async t => {
  const place = await fresh(t)
  const older = fs.readFileSync(markFile(place))
  await put(place, 4)
  fs.writeFileSync(markFile(place), older)
  await assert.rejects(openHome(place.world, place.home), coded('EROLLBACK', 'the keeper went back'))
  await assert.rejects(readHome(place.world, place.home), coded('EROLLBACK', 'the keeper went back'))
})

test('two clones: one goes on, the other is refused at its first put, and then for good', async t => {
  const place = await fresh(t)
  await put(place, 2)
  const clone = copy(place.home, `${place.root}/clone`)
  const anchors = copy(place.anchors, `${place.root}/clone-anchors`)
  const one = await openHome(place.world, place.home)
  const other = await openHome(place.world, clone, anchors)
  await putTo(one, 1, 3)
  await assert.rejects(other.get('/state/1', { fresh: true }), coded('EROLLBACK'))
  await assert.rejects(other.putAtomic('/state/3', bytesOf('another value')), coded('EROLLBACK'))
  await other.close()
  await assert.rejects(openHome(place.world, clone, anchors), coded('EROLLBACK', 'forked'))
  await putTo(one, 1, 4)
  await one.close()
})

test('a keeper that is away: no acknowledgement, EKEEPER, unknown; opened again all of it is there', async t => {
  const place = await fresh(t)
  const store = await openHome(place.world, place.home)
  await putTo(store, 1)
  place.server.isAway = true
  const failing = [putTo(store, 1, 2), putTo(store, 1, 3), putTo(store, 1, 4)]
  for (const each of failing) await assert.rejects(each, error => coded('EKEEPER', 'unknown')(error))
  assert.deepEqual(Object.keys(await contents(store)), ['/state/1'], 'nothing is shown that was not marked')
  await assert.rejects(putTo(store, 1, 5), coded('EKEEPER', 'close and open'))
  await store.close()
  await assert.rejects(openHome(place.world, place.home), coded('EKEEPER'))
  place.server.isAway = false
  const again = await openHome(place.world, place.home)
  assert.deepEqual(Object.keys(await contents(again)), ['/state/1', '/state/2', '/state/3', '/state/4'])
  assert.equal(again.mark.number, 3, 'what waited together is one group')
  await putTo(again, 1, 9)
  await again.close()
})

test('the outcome of each call that can be lost is found out: everything acknowledged is there, nothing twice', async t => {
  for (const mishap of ['request lost', 'answer lost'] as const) {
    const place = await fresh(t)
    const store = await openHome(place.world, place.home)
    for (let i = 1; i <= 3; i++) {
      place.server.mishaps.push(mishap)
      await putTo(store, 1, i)
    }
    assert.equal(store.mark.number, 4)
    await store.close()
    await put(place, 1, 4)
  }
})

test('killed after the keeper and before the mark file: opened, and the mark file follows', async t => {
  const place = await fresh(t)
  await put(place, 1)
  const before = fs.readFileSync(markFile(place))
  await put(place, 1, 2)
  fs.writeFileSync(markFile(place), before)
  await put(place, 1, 3)
  const store = await openHome(place.world, place.home)
  assert.deepEqual(Object.keys(await contents(store)), ['/state/1', '/state/2', '/state/3'])
  await store.close()
})

test('what the keeper confirmed and the mark file does not know is damage when it is bad, and missing when it is gone', async t => {
  for (const harm of ['flipped', 'zeroed'] as const) {
    const place = await fresh(t)
    await put(place, 2)
    const before = fs.readFileSync(markFile(place))
    await put(place, 1, 3)
    fs.writeFileSync(markFile(place), before)
    const [segment = ''] = segmentFiles(place.home).slice(-1)
    const bytes = fs.readFileSync(segment)
    let at = bytes.length
    while (at > 0 && bytes[at - 1] === 0) at--
    const group = bytes.lastIndexOf(Buffer.from('PAWLGRP1'))
    assert.ok(group > 4096 && at > group)
    if (harm === 'flipped') flip(segment, at - 40)
    else fs.writeFileSync(segment, bytes.fill(0, group))
    const code = harm === 'flipped' ? 'EINTEGRITY' : 'EROLLBACK'
    await assert.rejects(openHome(place.world, place.home), coded(code), harm)
  }
})

test('a keeper that does not know the store, or holds what it did not sign, is refused', async t => {
  const place = await fresh(t)
  await put(place, 1)
  const name = basename(place.anchor)
  const value = Uint8Array.from(valueIn(place))
  place.server.forget(name)
  await assert.rejects(openHome(place.world, place.home), coded('EINTEGRITY', 'no mark of this store'))
  value[40] = (value[40] ?? 0) ^ 1
  place.server.put(name, value)
  await assert.rejects(openHome(place.world, place.home), coded('EINTEGRITY'))
  place.server.put(name, valueIn(await fresh(t)))
  await assert.rejects(openHome(place.world, place.home), coded('EINTEGRITY', 'another store'))
})

test('a server made anew from a copy is refused although it holds the newest mark', async t => {
  const place = await fresh(t)
  await put(place, 1)
  place.server.instance = 'memory 2'
  await assert.rejects(openHome(place.world, place.home), coded('EROLLBACK', 'memory 2'))
})

test('init without its keeper makes nothing', async t => {
  const root = scratch(t)
  const anchors = join(root, 'anchors')
  fs.mkdirSync(anchors, { mode: 0o700 })
  const server = new MemoryServer()
  server.isAway = true
  const config = { keeper: 'etcd', place, profile: 'dev' } as const
  const wanted = { home: join(root, 'home'), anchorBase: anchors, config, first: [] }
  await assert.rejects(createHome(worldOf(server), wanted), coded('EKEEPER'))
  assert.deepEqual([fs.readdirSync(root), fs.readdirSync(anchors)], [['anchors'], []])
  server.isAway = false
  await createHome(worldOf(server), wanted)
})

test('a home is opened with its keeper at another place, and not with another kind of keeper', async t => {
  const made = await fresh(t)
  const asked: string[] = []
  const openKeeper: World['openKeeper'] = async (_, { place, domain, signer }) => {
    asked.push(place)
    return memoryKeeper(made.server, domain, signer)
  }
  const elsewhere = { keeper: 'etcd', place: 'http://127.0.0.1:2' } as const
  await (await openHome({ ...world, openKeeper }, made.home, undefined, { keeper: elsewhere })).close()
  assert.deepEqual(asked, [elsewhere.place])
  await assert.rejects(
    openHome(made.world, made.home, undefined, { keeper: { keeper: 'postgres', place: '//x' } }),
    coded('EINVAL', 'etcd'),
  )
})
