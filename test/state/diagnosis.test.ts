/** What is found of a home that is refused (docs/spec/recovery.md, "What was found"), told by fields, never by words. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { KeeperName } from '../../src/keeper/outside.ts'
import { createHome } from '../../src/state/create.ts'
import { diagnose } from '../../src/state/diagnosis.ts'
import { StateError } from '../../src/state/error.ts'
import { openHome, type World } from '../../src/state/home.ts'
import { readHome } from '../../src/state/reader.ts'
import { recoverHome } from '../../src/state/recovery.ts'
import { MemoryServer, memoryKeeper } from '../keeper/memory.ts'
import { bytesOf, copy, freshHome, scratch, world } from './support.ts'

type Place = { readonly own: World; readonly home: string; readonly base?: string }

async function put({ own, home, base }: Place, count: number): Promise<void> {
  const store = await openHome(own, home, base)
  for (let i = 0; i < count; i++) await store.putAtomic(`/state/${i}`, bytesOf(`${i}`))
  await store.close()
}

async function found({ own, home, base }: Place) {
  const diagnosis = await diagnose(own, home, { anchorBase: base, open: () => openHome(own, home, base) })
  await diagnosis.close()
  return diagnosis
}

function rollbackOf(opening: Promise<unknown>): Promise<unknown> {
  return opening.then(
    () => 'opens',
    error => (error instanceof StateError ? error.rollback : error),
  )
}

async function outside(t: TestContext) {
  const root = scratch(t)
  const anchors = join(root, 'anchors')
  fs.mkdirSync(anchors, { mode: 0o700 })
  const home = join(root, 'home')
  const server = new MemoryServer()
  const openKeeper: World['openKeeper'] = async (_, { domain, signer }) =>
    memoryKeeper(server, domain, signer)
  const own: World = { ...world, openKeeper }
  const place: KeeperName = { keeper: 'etcd', place: 'http://127.0.0.1:1' }
  await createHome(own, { home, anchorBase: anchors, config: { ...place, profile: 'dev' }, first: [] })
  return { root, home, anchors, own, server }
}

test('the newest home, after an older copy of it was gone on from: two histories, whichever is longer', async t => {
  for (const after of [0, 2]) {
    const { root, home } = await freshHome(t)
    const place = { own: world, home }
    await put(place, 1)
    const older = copy(home, join(root, 'older'))
    await put(place, 6)
    const newest = copy(home, join(root, 'newest'))
    copy(older, home)
    await recoverHome(world, home, { by: 'tester' })
    await put(place, after)
    copy(newest, home)
    assert.equal(await rollbackOf(openHome(world, home)), 'the store forked')
    assert.equal(await rollbackOf(readHome(world, home)), 'the store forked')
    const { verdict, mayGoOn } = await found(place)
    assert.equal(verdict, 'the home forked')
    assert.ok(mayGoOn)
  }
})

test('the newest home and anchor, after older ones were gone on from: the keeper outside has another history', async t => {
  const { root, home, anchors, own } = await outside(t)
  const place = { own, home }
  await put(place, 1)
  const older = [copy(home, join(root, 'older')), copy(anchors, join(root, 'older-anchors'))] as const
  await put(place, 6)
  const newest = [copy(home, join(root, 'newest')), copy(anchors, join(root, 'newest-anchors'))] as const
  const back = ([h, a]: readonly [string, string]) => {
    copy(h, home)
    copy(a, anchors)
  }
  back(older)
  await recoverHome(own, home, { by: 'tester' })
  back(newest)
  assert.equal(await rollbackOf(openHome(own, home)), 'the store forked')
  assert.equal((await found(place)).verdict, 'the home forked')
})

test('an older home, an older anchor, a keeper that went back, and one that is away: each is what it is', async t => {
  const { root, home, anchors, own, server } = await outside(t)
  const place = { own, home }
  assert.equal((await found(place)).verdict, 'nothing is wrong')
  await put(place, 1)
  const [older, olderAnchors] = [copy(home, join(root, 'older')), copy(anchors, join(root, 'older-anchors'))]
  const putBack = server.copy()
  await put(place, 6)
  const [newest, newestAnchors] = [copy(home, join(root, 'n')), copy(anchors, join(root, 'n-anchors'))]
  copy(older, home)
  assert.equal((await found(place)).verdict, 'the home went back')
  copy(olderAnchors, anchors)
  assert.equal((await found(place)).verdict, 'the home went back', 'and its anchor with it')
  copy(newest, home)
  assert.equal((await found(place)).verdict, 'the keeper went back', 'the mark file')
  copy(newestAnchors, anchors)
  putBack()
  assert.equal((await found(place)).verdict, 'the keeper went back', 'the one outside')
  server.isAway = true
  assert.equal((await found(place)).verdict, 'the keeper is away')
})
