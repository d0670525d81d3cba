/** A store on a real cluster of three whose members die, and which is put back from a snapshot. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { EtcdCluster, missingEtcd } from './etcd-cluster.ts'
import { refusedWith, StoreOn } from './store-on.ts'
import { scratch } from './support.ts'

const missing = missingEtcd()

async function setUp(
  t: TestContext,
): Promise<{ readonly cluster: EtcdCluster; readonly on: StoreOn; readonly directory: string }> {
  const directory = scratch(t)
  const cluster = await EtcdCluster.start(directory)
  t.after(() => cluster.killAll())
  const place = cluster.members.map(({ client }) => `http://127.0.0.1:${client}`).join(',')
  return { cluster, on: await StoreOn.make(join(directory, 'store'), `etcd:${place}`), directory }
}

suite('a store on etcd', { skip: missing !== undefined && `NOT RUN: ${missing}`, timeout: 240_000 }, () => {
  test('the leader is killed, five times: acknowledgements pause for an election and nothing is lost', async t => {
    const { cluster, on } = await setUp(t)
    const store = await on.open()
    const pauses: number[] = []
    for (let round = 0; round < 5; round++) {
      on.begin()
      for (let i = 0; i < 20; i++) await on.put(store)
      const leader = cluster.leader()
      const killing = delay(20).then(() => cluster.kill(leader))
      for (let i = 0; i < 60; i++) await on.put(store)
      await killing
      for (let i = 0; i < 10; i++) await on.put(store)
      pauses.push(Math.round(on.longestMs))
      cluster.startOne(leader)
      await cluster.ready()
      on.check(store)
    }
    await store.close()
    const again = await on.open()
    on.check(again)
    assert.equal(again.mark.number, on.acknowledged.length + 1)
    await again.close()
    t.diagnostic(JSON.stringify({ acknowledged: on.acknowledged.length, longestPauseMs: pauses }))
    assert.ok(Math.max(...pauses) < 10_000)
  })

  test('two of three gone: nothing is acknowledged, EKEEPER; when they are back all goes on', async t => {
    const { cluster, on } = await setUp(t)
    const store = await on.open()
    for (let i = 0; i < 20; i++) await on.put(store)
    const [one, two] = cluster.members
    assert.ok(one !== undefined && two !== undefined)
    await cluster.kill(one)
    await cluster.kill(two)
    const begun = performance.now()
    await assert.rejects(on.put(store), refusedWith('EKEEPER', 'unknown'))
    assert.ok(performance.now() - begun < 13_000)
    await store.close()
    await assert.rejects(on.open(), refusedWith('EKEEPER'))
    cluster.startOne(one)
    cluster.startOne(two)
    await cluster.ready()
    const again = await on.open()
    on.check(again)
    if (again.list('/state/').length > on.acknowledged.length) await on.put(again) // it took effect after all
    for (let i = 0; i < 20; i++) await on.put(again)
    on.check(again)
    await again.close()
  })

  test('two of three gone for a while under 64 writers: not one acknowledgement, then all of them, and no error', async t => {
    const { cluster, on } = await setUp(t)
    const store = await on.open()
    const [one, two] = cluster.members
    assert.ok(one !== undefined && two !== undefined)
    let acknowledged = 0
    let isOver = false
    const last = new Map<string, number>()
    const writing = Promise.all(
      Array.from({ length: 64 }, async (_, writer) => {
        for (let i = 1; !isOver; i++) {
          await store.putAtomic(`/state/w${writer}`, Buffer.from(String(i)))
          last.set(`/state/w${writer}`, i)
          acknowledged++
        }
      }),
    )
    for (let round = 0; round < 3; round++) {
      const before = acknowledged
      while (acknowledged < before + 500) await delay(10)
      await Promise.all([cluster.kill(one), cluster.kill(two)])
      await delay(300) // what was answered already is told
      const during = acknowledged
      await delay(3_000)
      assert.equal(acknowledged, during, 'acknowledged with no quorum')
      cluster.startOne(one)
      cluster.startOne(two)
    }
    const before = acknowledged
    while (acknowledged < before + 500) await delay(10)
    isOver = true
    await writing
    await store.close()
    const again = await on.open()
    for (const [path, value] of last)
      assert.equal(Buffer.from((await again.get(path)).payload).toString(), String(value))
    await again.close()
    t.diagnostic(`${acknowledged} acknowledged`)
  })

  test('a member that is cut off and comes back answers nothing older', async t => {
    const { cluster, on } = await setUp(t)
    const store = await on.open()
    for (const member of cluster.members) {
      await cluster.kill(member)
      for (let i = 0; i < 10; i++) await on.put(store)
      cluster.startOne(member)
      await cluster.ready()
      assert.equal(
        (await store.get(on.acknowledged.at(-1) ?? '', { fresh: true })).generation,
        on.acknowledged.length + 1,
      )
    }
    await store.close()
    await (await on.open()).close()
  })

  test('a cluster restored from a snapshot is refused, by who runs on and by who opens', async t => {
    for (const later of [1, 20]) {
      const { cluster, on, directory } = await setUp(t)
      const store = await on.open()
      for (let i = 0; i < 5; i++) await on.put(store)
      cluster.snapshot(join(directory, 'snapshot'))
      for (let i = 0; i < later; i++) await on.put(store)
      await cluster.restore(join(directory, 'snapshot'))
      await assert.rejects(on.put(store), refusedWith('EROLLBACK', 'the keeper went back'))
      await store.close()
      await assert.rejects(on.open(), refusedWith('EROLLBACK', 'the keeper went back'))
      await cluster.killAll()
    }
  })
})
