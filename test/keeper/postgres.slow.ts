/** A store on a real PostgreSQL server that is put back, cancelled while it waits for a standby, and failed over. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { missingPostgres, PostgresServer } from './postgres-server.ts'
import { refusedWith, StoreOn } from './store-on.ts'
import { scratch } from './support.ts'
import { freePorts } from './tcp-proxy.ts'

const missing = missingPostgres()

function started(t: TestContext, server: PostgresServer): PostgresServer {
  t.after(() => server.end())
  return server
}

async function directoryFor(
  t: TestContext,
): Promise<{ readonly directory: string; readonly ports: number[] }> {
  const directory = scratch(t)
  fs.chmodSync(directory, 0o755)
  return { directory, ports: await freePorts(2) }
}

const nameOf = (server: PostgresServer) => `postgres:${server.place}?wait=3`

suite('a store on PostgreSQL', {
  skip: missing !== undefined && `NOT RUN: ${missing}`,
  timeout: 240_000,
}, () => {
  test('its data directory put back is refused, by who runs on and by who opens', async t => {
    const { directory, ports } = await directoryFor(t)
    const server = started(t, PostgresServer.start(join(directory, 'one'), ports[0] ?? 0))
    const on = await StoreOn.make(join(directory, 'store'), nameOf(server))
    const store = await on.open()
    for (let i = 0; i < 5; i++) await on.put(store)
    server.end('fast')
    const kept = join(directory, 'kept')
    fs.cpSync(server.data, kept, { recursive: true })
    server.begin()
    for (let i = 0; i < 5; i++) await on.put(store)
    server.end()
    for (const name of fs.readdirSync(server.data)) fs.rmSync(join(server.data, name), { recursive: true })
    server.refill(kept)
    server.begin()
    await assert.rejects(on.put(store), refusedWith('EROLLBACK', 'the keeper went back'))
    await store.close()
    await assert.rejects(on.open(), refusedWith('EROLLBACK', 'the keeper went back'))
  })

  test('a server that is crashed and restarted loses nothing', async t => {
    const { directory, ports } = await directoryFor(t)
    const server = started(t, PostgresServer.start(join(directory, 'one'), ports[0] ?? 0))
    const on = await StoreOn.make(join(directory, 'store'), nameOf(server))
    const store = await on.open()
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 20; i++) await on.put(store)
      server.end()
      server.begin()
    }
    await on.put(store)
    on.check(store)
    await store.close()
  })

  test('a role that may do no more than read and write the table is enough, and one that may not is told so', async t => {
    const { directory, ports } = await directoryFor(t)
    const server = started(t, PostgresServer.start(join(directory, 'one'), ports[0] ?? 0))
    server.sql('CREATE ROLE pawl LOGIN')
    const place = `postgres://pawl@127.0.0.1:${server.port}/postgres?wait=3`
    await assert.rejects(
      StoreOn.make(join(directory, 'none'), place),
      refusedWith('EKEEPER', 'permission denied'),
    )
    server.sql(
      'CREATE TABLE pawl_marks (domain bytea PRIMARY KEY, revision bigint NOT NULL, value bytea NOT NULL); GRANT SELECT, INSERT, UPDATE ON pawl_marks TO pawl',
    )
    const on = await StoreOn.make(join(directory, 'store'), place)
    const store = await on.open()
    for (let i = 0; i < 3; i++) await on.put(store)
    await store.close()
    server.sql('REVOKE UPDATE ON pawl_marks FROM pawl')
    await assert.rejects(on.open(), refusedWith('EKEEPER', 'permission denied'))
  })

  test('a server that does not keep what it acknowledges is not taken for a keeper', async t => {
    const { directory, ports } = await directoryFor(t)
    const settings = ['fsync = off']
    const server = started(t, PostgresServer.start(join(directory, 'one'), ports[0] ?? 0, { settings }))
    await assert.rejects(
      StoreOn.make(join(directory, 'store'), nameOf(server)),
      refusedWith('EKEEPER', 'fsync'),
    )
  })

  test('a commit that no standby has is not taken for done, whatever the server says; after a fail-over all goes on', async t => {
    const { directory, ports } = await directoryFor(t)
    const sync = ["synchronous_standby_names = 'ANY 1 (*)'"]
    const primary = started(t, PostgresServer.start(join(directory, 'one'), ports[0] ?? 0, { settings: [] }))
    const standby = started(t, PostgresServer.start(join(directory, 'two'), ports[1] ?? 0, { from: primary }))
    primary.sql(`ALTER SYSTEM SET ${sync[0]}`)
    primary.sql('SELECT pg_reload_conf()')
    const on = await StoreOn.make(join(directory, 'store'), nameOf(primary))
    const store = await on.open()
    for (let i = 0; i < 10; i++) await on.put(store)

    standby.end('fast')
    const putting = on.put(store).then(
      () => assert.fail('acknowledged'),
      error => error,
    )
    // Whoever waits for the standby is cancelled, again and again: the row is there, with a warning.
    const waiting = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    let cancelled = 0
    for (let i = 0; i < 30 && cancelled < 2; i++) {
      cancelled += Number(primary.sql(waiting))
      await delay(50)
    }
    assert.ok(cancelled > 0, 'nobody waited')
    refusedWith('EKEEPER', 'unknown')(await putting)
    await store.close()
    await assert.rejects(on.open(), refusedWith('EKEEPER'), 'what no standby has is not read either')

    primary.end()
    standby.begin()
    await assert.rejects(on.open(nameOf(standby)), refusedWith('EKEEPER', 'standby'))
    standby.promote()
    const again = await on.open(nameOf(standby))
    on.check(again)
    const isThere = again.list('/state/').length > on.acknowledged.length
    if (isThere) on.acknowledged.push(`/state/${String(on.acknowledged.length).padStart(6, '0')}`)
    for (let i = 0; i < 5; i++) await on.put(again)
    on.check(again)
    await again.close()

    // The server before, with its commit that nobody was told of, is another history now.
    fs.appendFileSync(join(primary.data, 'postgresql.auto.conf'), "synchronous_standby_names = ''\n")
    primary.begin()
    await assert.rejects(on.open(nameOf(primary)), refusedWith('EROLLBACK', 'the keeper went back'))
    await (await on.open(nameOf(standby))).close()
  })
})
