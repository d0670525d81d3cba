import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { afterCommit, afterHeard, nothingRemembered } from '../../src/channel/continuity.ts'
import { Secret } from '../../src/crypto/secret.ts'
import { SessionError, sessionCode } from '../../src/session/error.ts'
import * as session from '../../src/session/index.ts'
import { SessionMemory } from '../../src/session/memory.ts'
import {
  addPeer,
  findPeer,
  judgeIdentity,
  listPeers,
  rememberIdentity,
  removePeer,
} from '../../src/session/peers.ts'
import { IdentityKeys, newIdentity, parseIdentity, succeed } from '../../src/signature/identity.ts'
import { StateError } from '../../src/state/error.ts'
import type { Store } from '../../src/state/store.ts'
import { type AtRest, IdleClock, introduced, noNonceTwice, run } from './world.ts'

noNonceTwice()

const clock = new IdleClock()
const [site] = await introduced()

async function withStore(at: AtRest, use: (store: Store) => Promise<void>): Promise<AtRest> {
  const { endpoint, close } = await run(at, clock)
  await use(endpoint.store)
  return close()
}

const id = (fill: number) => new Uint8Array(32).fill(fill)
const invalid = (error: unknown) => error instanceof StateError && error.code === 'EINVAL'

suite('peers', () => {
  test('a name is pinned to one identity, an identity has one name, and nobody is a peer of itself', async () => {
    const after = await withStore(site, async store => {
      await addPeer(store, site.id, 'carol', id(3))
      await addPeer(store, site.id, 'carol', id(3)) // said twice is said once
      await assert.rejects(addPeer(store, site.id, 'carol', id(4)), invalid)
      await assert.rejects(addPeer(store, site.id, 'caroline', id(3)), invalid)
      await assert.rejects(addPeer(store, site.id, 'me', site.id), invalid)
      for (const name of ['', '.x', '-x', 'a b', 'a/b', 'x'.repeat(65), 'é', '../x'])
        await assert.rejects(addPeer(store, site.id, name, id(9)), invalid, name)
      for (const [i, name] of ['x', 'x'.repeat(64), 'A.b_c-1', '1'].entries())
        await addPeer(store, site.id, name, id(20 + i))
    })
    await withStore(after, async store => {
      assert.deepEqual([...(await findPeer(store, 'carol')).id], [...id(3)])
      assert.equal((await listPeers(store)).length, 6)
      await removePeer(store, 'carol')
      await assert.rejects(findPeer(store, 'carol'), /pawl peer add carol/)
      await addPeer(store, site.id, 'carol', id(4))
    })
  })

  test('who is removed and added again, under whatever name, has still shown what it has', async () => {
    const { identity, keys } = newIdentity('classical')
    const newer = await succeed(identity, keys, IdentityKeys.generate('classical'))
    const after = await withStore(site, async store => {
      await addPeer(store, site.id, 'carol', identity.id)
      await rememberIdentity(store, await findPeer(store, 'carol'), newer)
      await removePeer(store, 'carol')
      assert.equal(
        (await listPeers(store)).some(({ name }) => name === 'carol'),
        false,
      )
    })
    const again = await withStore(after, async store => {
      await addPeer(store, site.id, 'caroline', identity.id)
      const peer = await findPeer(store, 'caroline')
      assert.equal(judgeIdentity(peer, identity), 'older')
      assert.equal(judgeIdentity(peer, newer), 'same')
      assert.deepEqual(store.list('/pawl/former/'), [])
      await removePeer(store, 'caroline')
    })
    await withStore(again, async store => {
      await addPeer(store, site.id, 'carol', identity.id)
      assert.equal(judgeIdentity(await findPeer(store, 'carol'), identity), 'older')
    })
  })

  test('an identity shown is the same, newer, older or another', async () => {
    const { identity, keys } = newIdentity('classical')
    const next = IdentityKeys.generate('classical')
    const newer = await succeed(identity, keys, next)
    const fork = await succeed(identity, keys, IdentityKeys.generate('classical'))
    const peer = (records: readonly Uint8Array[]) => ({ name: 'x', id: identity.id, records })
    assert.equal(judgeIdentity(peer([]), identity), 'newer')
    assert.equal(judgeIdentity(peer(identity.records), identity), 'same')
    assert.equal(judgeIdentity(peer(identity.records), newer), 'newer')
    assert.equal(judgeIdentity(peer(newer.records), newer), 'same')
    assert.equal(judgeIdentity(peer(newer.records), identity), 'older')
    assert.equal(judgeIdentity(peer(newer.records), fork), 'older')
    assert.equal(judgeIdentity(peer([]), newIdentity('classical').identity), 'another')
    assert.equal(parseIdentity(newer.records).number, 2)
  })
})

suite('what is remembered of a session', () => {
  const secret = (fill: number) => ({
    id: new Uint8Array(16).fill(fill),
    res: new Secret(new Uint8Array(64).fill(fill)),
  })
  const made = (fill: number, firstEpoch: number, proved?: number) => ({
    proved: proved === undefined ? undefined : new Uint8Array(16).fill(proved),
    secret: secret(fill),
    firstEpoch,
  })
  const ids = (memory: SessionMemory) => memory.copy().secrets.map(held => held.id[0])

  test('follows its rules, over restarts, for each role by itself', async () => {
    let at = await withStore(site, async store => {
      const memory = await SessionMemory.open(store, id(5), 'server')
      assert.deepEqual(memory.copy(), nothingRemembered)
      assert.ok(await memory.update(m => afterCommit(m, made(1, 1))))
      assert.deepEqual(ids(memory), [1])
      assert.ok(memory.copy().noneAllowed)
    })
    at = await withStore(at, async store => {
      const memory = await SessionMemory.open(store, id(5), 'server')
      assert.ok(memory.copy().noneAllowed)
      assert.ok(await memory.update(m => afterCommit(m, made(2, 2, 1))))
      assert.ok(!(await memory.update(m => afterCommit(m, made(3, 2, 1)))), 'an epoch that is not new')
      assert.ok(!(await memory.update(m => afterCommit(m, made(3, 3, 9)))), 'a secret that is not held')
      assert.deepEqual(ids(memory), [2, 1])
      assert.equal((await SessionMemory.open(store, id(5), 'client')).epoch, 0)
      assert.equal((await SessionMemory.open(store, id(6), 'server')).epoch, 0)
    })
    await withStore(at, async store => {
      const memory = await SessionMemory.open(store, id(5), 'server')
      assert.deepEqual(ids(memory), [2, 1])
      assert.deepEqual([...(memory.copy().secrets[0]?.res.bytes ?? [])], [...new Uint8Array(64).fill(2)])
      assert.ok(!(await memory.update(m => afterHeard(m, new Uint8Array(16).fill(1)))), 'superseded')
      assert.ok(await memory.update(m => afterHeard(m, new Uint8Array(16).fill(2))))
      const { number } = store.mark
      assert.ok(await memory.update(m => afterHeard(m, new Uint8Array(16).fill(2))))
      assert.equal(store.mark.number, number, 'what changes nothing commits nothing')
      assert.deepEqual(ids(memory), [2])
      memory.dispose()
      assert.deepEqual(ids(memory), [])
    })
  })

  test('one handshake at a time, in the order they came', async () => {
    await withStore(site, async store => {
      const memory = await SessionMemory.open(store, id(5), 'server')
      const order: number[] = []
      const first = await memory.hold()
      const rest = [2, 3].map(async number => {
        const release = await memory.hold()
        order.push(number)
        release()
      })
      order.push(1)
      first()
      first() // twice is once
      await Promise.all(rest)
      assert.deepEqual(order, [1, 2, 3])
    })
  })
})

test('a rollback that the channel saw is the session’s; every other code keeps its name', () => {
  assert.equal(sessionCode('channel/ROLLBACK'), 'session/ROLLBACK')
  assert.equal(sessionCode('channel/TIMEOUT'), 'channel/TIMEOUT')
  const error = new SessionError('channel/CLOSED', 'over', { trusted: true })
  assert.equal(error.name, 'SessionError')
  assert.equal(session.SessionError, SessionError)
})
