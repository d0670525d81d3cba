import { fork } from 'node:child_process'
import { once } from 'node:events'
import { deliver, openCorrespondent } from '../src/mailbox/courier.ts'
import { realClock } from '../src/node/clock.ts'
import { connect } from '../src/node/tcp.ts'
import { openIdentity, readIdentity } from '../src/session/own-identity.ts'
import { addPeer, findPeer } from '../src/session/peers.ts'
import { openHome } from '../src/state/home.ts'
import { compare, rate, scratch } from './harness.ts'
import { makeHome, withStore, world } from './homes.ts'
import { type Postgres, startPostgres } from './postgres.ts'

/**
 * Exactly once, durable at both ends, 256 B messages. Ours: sender and receiver processes, queued durably, sealed, sent
 * over loopback, accepted durably, acknowledged. Theirs: insert and commit, then delete ... skip locked returning and
 * commit, the queue's two durable steps, with the same number in a batch; nothing crosses to another machine's disk.
 */
const message = new Uint8Array(256).fill(65)

export async function run(): Promise<void> {
  const { directory, remove } = scratch()
  const postgres = startPostgres(directory)
  try {
    if (postgres === undefined) {
      console.error('messages: no PostgreSQL server here (Debian: apt-get install postgresql); not compared')
      return
    }
    for (const { inFlight, count } of [
      { inFlight: 1, count: 500 },
      { inFlight: 64, count: 12_800 },
    ]) {
      const name = `exactly once, durable both ends, ${inFlight} in flight`
      const against = 'PostgreSQL queue table, same batches'
      const ours = () => exchange(directory, inFlight, count)
      const theirs = () => queue(postgres, inFlight, count)
      await compare({ bench: 'messages', name, against, unit: 'messages/s', ours, theirs })
    }
  } finally {
    postgres?.stop()
    remove()
  }
}

async function exchange(directory: string, inFlight: number, count: number): Promise<number> {
  const tag = Math.random().toString(36).slice(2)
  const homes = [await makeHome(directory, `from-${tag}`), await makeHome(directory, `to-${tag}`)] as const
  const ids = [await identityOf(homes[0]), await identityOf(homes[1])] as const
  await withStore(homes[0], store => addPeer(store, ids[0], 'receiver', ids[1]))
  await withStore(homes[1], store => addPeer(store, ids[1], 'sender', ids[0]))
  const child = fork(new URL('./receiver.ts', import.meta.url), [homes[1]])
  try {
    const [port] = (await once(child, 'message')) as [number]
    const store = await openHome(world, homes[0])
    const endpoint = {
      ...world,
      store,
      own: await openIdentity(store),
      clock: realClock,
      log: { event: () => {} },
    }
    const to = await openCorrespondent(endpoint, await findPeer(store, 'receiver'), 'client')
    const { outbox } = to.mailbox
    let finished = false
    const dial = () => connect('127.0.0.1', port, { timeoutMs: 2000 })
    const delivering = deliver(endpoint, to, { dial, done: () => finished, giveUpMs: 10_000 })
    await outbox.put([message])
    await outbox.until(() => outbox.acknowledged.next === outbox.sending.next)
    const figure = await rate(count, async () => {
      const batch = Array.from({ length: inFlight }, () => message)
      for (let sent = 0; sent < count; sent += inFlight) {
        await outbox.put(batch)
        await outbox.until(() => outbox.acknowledged.next === outbox.sending.next)
      }
    })
    finished = true
    await outbox.put([])
    await delivering
    await store.close()
    return figure
  } finally {
    child.kill('SIGKILL')
  }
}

function identityOf(home: string): Promise<Uint8Array> {
  return withStore(home, async store => (await readIdentity(store)).id)
}

async function queue(postgres: Postgres, inFlight: number, count: number): Promise<number> {
  const producer = await postgres.connect()
  const consumer = await postgres.connect()
  await producer.query('drop table if exists queue')
  await producer.query('create table queue(id bigserial primary key, body bytea not null)')
  const body = Buffer.from(message)
  const rows = Array.from({ length: inFlight }, (_, i) => `($${i + 1})`).join()
  const insert = { name: `put${inFlight}`, text: `insert into queue(body) values ${rows}` }
  const take = {
    name: `take${inFlight}`,
    text: `delete from queue where id in
      (select id from queue order by id for update skip locked limit ${inFlight}) returning id, body`,
  }
  const figure = await rate(count, async () => {
    for (let sent = 0; sent < count; sent += inFlight) {
      await producer.query({ ...insert, values: Array.from({ length: inFlight }, () => body) })
      const taken = await consumer.query(take)
      if (taken.rowCount !== inFlight) throw new Error('the queue lost messages')
    }
  })
  await producer.end()
  await consumer.end()
  return figure
}
