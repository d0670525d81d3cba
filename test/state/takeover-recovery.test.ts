/** A shared home that is refused goes on by an amendment, as its owner alone (docs/spec/recovery.md, section 6). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sameMark } from '../../src/mark/mark.ts'
import { amendments } from '../../src/state/amendments.ts'
import { diagnose } from '../../src/state/diagnosis.ts'
import { type Recovered, recoverStore } from '../../src/state/recovery.ts'
import type { Owned } from '../../src/state/takeover.ts'
import { newestWhole, termsOf } from '../../src/state/terms.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import { bytesOf, coded, contents } from './support.ts'
import { claimIn, freshShared, Gate, own, shared, worldOf } from './turns.ts'

const by = 'tester'

async function put({ store }: Owned, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await store.putAtomic(`/state/${i}`, bytesOf(`${i}`))
  await store.close()
}

/** The directory put back to an older state, its keeper left where it was. */
async function putBack() {
  const { disk: first, server } = await freshShared()
  await put(await own(worldOf(first, server, 2), 'a'), 1)
  const older = first.killState()
  await put(await own(worldOf(first, server, 3), 'a'), 4)
  const disk = new SimulatedDisk(older, { profile: 'posix' })
  return { disk, server, newest: first }
}

const recover = async (world: ReturnType<typeof worldOf>): Promise<Recovered> =>
  recoverStore((await own(world, 'r', { recover: true })).store, { by })

test('put back: refused to whoever would own it; goes on as a claimed term, and what was given up never opens', async () => {
  const { disk, server, newest } = await putBack()
  const world = worldOf(disk, server, 4)
  await assert.rejects(own(world, 'b'), coded('EROLLBACK'))
  const before = await newestWhole(disk, shared)
  const found = await diagnose(world, before?.home ?? '', {
    anchorBase: before?.anchorBase,
    open: async () => (await own(world, 'b')).store,
  })
  assert.equal(found.verdict, 'the home went back')
  assert.ok(found.mayGoOn)
  await found.close()

  const { amendment, mark } = await recover(world)
  assert.ok(amendment.abandoned.number > amendment.adopted.number)
  assert.equal(mark, amendment.adopted.number + 1)
  const terms = await termsOf(disk, shared)
  assert.equal(terms.length, 1, 'the terms before it are erased')
  assert.equal((await claimIn(server))?.term, terms[0]?.number)

  const { store } = await own(worldOf(disk, server, 5), 'b')
  assert.deepEqual(Object.keys(await contents(store)), ['/state/0'])
  const [recorded] = await amendments(store)
  assert.ok(recorded !== undefined && sameMark(recorded.amendment.abandoned, amendment.abandoned))
  await store.putAtomic('/state/after', bytesOf('x'))
  await store.close()
  await assert.rejects(own(worldOf(newest, server, 6), 'a'), coded('EROLLBACK'))
})

test('who was taken over before the amendment gives up nothing: the claim of another is not replaced', async () => {
  const { disk, server } = await putBack()
  const late = await own(worldOf(disk, server, 4), 'r', { recover: true })
  const gate = new Gate(/terms/)
  const next = own(worldOf(disk, server, 5, gate), 'b') // stands behind its claim, before it copies
  await gate.reached
  const held = await claimIn(server)
  assert.match(held?.owner ?? '', /^b /)
  await assert.rejects(recoverStore(late.store, { by }), coded('ELOCKED', 'owned by b'))
  assert.deepEqual(await claimIn(server), held)
  gate.open()
  await assert.rejects(next, coded('EROLLBACK'), 'what was not marked is no amendment yet')
  const { amendment } = await recover(worldOf(disk, server, 6))
  assert.ok(amendment.abandoned.number > amendment.adopted.number)
  const { store } = await own(worldOf(disk, server, 7), 'b')
  assert.equal((await amendments(store)).length, 2, 'the one that was cut short, and the one that counts')
  await store.close()
})
