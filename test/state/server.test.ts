import assert from 'node:assert/strict'
import fs from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { encodeCbor } from '../../src/bytes/cbor.ts'
import { connectUnix, listenUnix } from '../../src/node/unix.ts'
import { StateClient } from '../../src/state/client.ts'
import { Desk } from '../../src/state/desk.ts'
import { openEnvelope, wrap } from '../../src/state/envelope.ts'
import { StateError } from '../../src/state/error.ts'
import { openHome } from '../../src/state/home.ts'
import { PathIndex } from '../../src/state/path-index.ts'
import { type Policy, policyOf } from '../../src/state/policy.ts'
import { decodeAnswer, encodeFrame, Frames, protocolLimits } from '../../src/state/protocol.ts'
import { SubjectServer } from '../../src/state/server.ts'
import type { Store } from '../../src/state/store.ts'
import { VirtualClock } from '../simulator/clock.ts'
import { bytesOf, coded, freshHome, textOf, world } from './support.ts'

const policy: Policy = policyOf({
  version: 1,
  digest: new Uint8Array(32),
  subjects: new Map([['boot', { uid: 1 }]]),
  rules: [
    { subject: 'boot', allow: ['put', 'get', 'list', 'delete', 'history'], prefix: '/state/boot/' },
    { subject: 'boot', allow: ['get'], path: '/state/motd' },
  ],
})

type Served = {
  readonly store: Store
  readonly server: SubjectServer
  readonly path: string
  readonly clock: VirtualClock
  readonly client: () => Promise<StateClient>
}

async function served(t: TestContext, subject: string): Promise<Served> {
  const { home, root } = await freshHome(t)
  const clock = new VirtualClock({ startMs: 1_700_000_000_000 })
  const store = await openHome({ ...world, clock }, home)
  const server = new SubjectServer(new Desk(store, subject, () => policy), clock)
  const path = join(root, 'sock')
  const listener = await listenUnix(path, wire => server.accept(wire), { connectionsMax: 100 })
  t.after(async () => {
    await server.drain()
    await listener.close()
    await store.close()
  })
  const client = async () => {
    const opened = await StateClient.open(await connectUnix(path), clock)
    t.after(() => opened.close())
    return opened
  }
  return { store, server, path, clock, client }
}

/** A socket that says what it likes. */
async function raw(
  path: string,
): Promise<{ socket: net.Socket; answers: (count: number) => Promise<unknown[]> }> {
  const socket = net.connect(path)
  await new Promise(resolve => socket.once('connect', resolve))
  const frames = new Frames()
  const seen: unknown[] = []
  let isGreeted = false
  let ended = false
  let wake = () => {}
  socket.on('data', chunk => {
    frames.push(new Uint8Array(chunk))
    for (let frame = frames.next(); frame !== undefined; frame = frames.next()) {
      if (isGreeted) seen.push(decodeAnswer(frame))
      isGreeted = true
    }
    wake()
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    ended = true
    wake()
  })
  return {
    socket,
    async answers(count) {
      while (seen.length < count && !ended) await new Promise<void>(resolve => (wake = resolve))
      return seen
    },
  }
}

function closed(socket: net.Socket): Promise<void> {
  return new Promise(resolve => {
    if (socket.closed) resolve()
    else socket.once('close', () => resolve())
  })
}

test('a client puts, gets, lists, deletes and asks for the past; many at once', async t => {
  const { client, store } = await served(t, 'boot')
  const boot = await client()
  assert.equal(boot.subject, 'boot')
  assert.deepEqual(Buffer.from(boot.storeId), Buffer.from(store.storeId))
  const generation = await boot.putAtomic('/state/boot/a', bytesOf('one'), { purpose: 'A/B' })
  const found = await boot.get('/state/boot/a')
  assert.deepEqual([textOf(found.payload), found.generation], ['one', generation])
  assert.deepEqual([found.envelope.subject, found.envelope.purpose], ['boot', 'A/B'])
  await Promise.all(
    Array.from({ length: 300 }, (_, i) => boot.putAtomic(`/state/boot/n/${i}`, bytesOf(`${i}`))),
  )
  const read = await Promise.all(Array.from({ length: 300 }, (_, i) => boot.get(`/state/boot/n/${i}`)))
  assert.deepEqual(
    read.map(({ payload }) => textOf(payload)),
    Array.from({ length: 300 }, (_, i) => `${i}`),
  )
  await boot.commit([{ put: '/state/boot/b', payload: bytesOf('b') }, { delete: '/state/boot/a' }])
  await assert.rejects(boot.get('/state/boot/a'), coded('ENOENT'))
  assert.equal((await boot.list('/state/boot/')).length, 301)
  assert.deepEqual(
    (await boot.history('/state/boot/a')).map(({ kind }) => kind),
    ['put', 'delete'],
  )
})

test('a list of any length comes in pages', async t => {
  const { client, store } = await served(t, '')
  const owner = await client()
  const changes = (from: number) =>
    Array.from({ length: 500 }, (_, i) => ({ put: `/state/${from + i}`, payload: bytesOf('x') }))
  for (let from = 0; from < 2500; from += 500) await store.commit(changes(from))
  assert.deepEqual(await owner.list('/state/'), store.list('/state/'))
  assert.equal((await owner.figures()).records, store.figures().records)
  await owner.compact()
})

test('what the policy denies is denied by the server, whatever the client says; both are told to the audit trail', async t => {
  const { client, path, store, clock } = await served(t, 'boot')
  const boot = await client()
  await assert.rejects(boot.putAtomic('/state/other', bytesOf('x')), coded('EPERM', 'boot'))
  await assert.rejects(boot.get('/state/other'), coded('EPERM'))
  await assert.rejects(boot.list('/state/'), coded('EPERM'))
  await assert.rejects(boot.delete('/state/motd'), coded('EPERM'))
  await assert.rejects(boot.putAtomic('/pawl/config', bytesOf('x')), coded(['EPERM', 'EINVAL']))
  await assert.rejects(boot.figures(), coded('EPERM'))
  await assert.rejects(
    boot.commit([
      { put: '/state/boot/a', payload: bytesOf('x') },
      { put: '/state/other', payload: bytesOf('x') },
    ]),
    coded('EPERM'),
  )
  await boot.putAtomic('/state/boot/a', bytesOf('x'))
  await boot.get('/state/boot/a')
  // A client that lies: about the hash, about who it is, about the path.
  const { socket, answers } = await raw(path)
  const meta = { purpose: '', at: 0 }
  const good = wrap(bytesOf('good'), { ...meta, subject: 'boot' })
  const admin = wrap(bytesOf('good'), { ...meta, subject: 'admin' })
  const put = (id: number, envelope: Uint8Array, payload: string, at = '/state/boot/lie') =>
    socket.write(encodeFrame({ id, op: 'put', path: at, envelope, payload: bytesOf(payload) }))
  put(1, good, 'evil')
  put(2, admin, 'good')
  put(3, good, 'good', '/state/boot/../other')
  put(4, good, 'good', '/state/bootx')
  socket.write(
    encodeFrame({
      id: 5,
      op: 'put',
      path: '/state/boot/lie',
      envelope: good.subarray(1),
      payload: bytesOf('good'),
    }),
  )
  put(6, good, 'good', '/state/boot/truth')
  const codes = new Map<number, string>()
  for (const one of await answers(6)) {
    const { id, answer } = one as ReturnType<typeof decodeAnswer>
    codes.set(id, answer instanceof StateError ? answer.code : 'ok')
  }
  assert.deepEqual(
    [...codes].sort(([a], [b]) => a - b).map(([, code]) => code),
    ['EINTEGRITY', 'EPERM', 'EINVAL', 'EPERM', 'EINTEGRITY', 'ok'],
  )
  socket.destroy()
  assert.deepEqual(store.list('/state/'), ['/state/boot/a', '/state/boot/truth'])
  await clock.advance(1000)
  const told: string[] = []
  await store.putAtomic('/state/boot/last', bytesOf('x'))
  for await (const line of store.audit()) {
    const { action, decision, path: what, subject } = JSON.parse(line)
    told.push(`${subject} ${action} ${decision} ${what}`)
  }
  for (const expected of [
    'boot put deny /state/other',
    'boot get deny /state/other',
    'boot list deny /state/',
    'boot delete deny /state/motd',
    'boot put allow /state/boot/a',
    'boot get allow /state/boot/a',
    'boot put deny /state/boot/lie',
    'boot put deny /state/bootx',
    'boot put allow /state/boot/truth',
  ])
    assert.ok(told.includes(expected), `${expected} in\n${told.join('\n')}`)
})

test('what is no request is answered with EINVAL and the connection ends; what was asked before is answered', async t => {
  const { path, server, client } = await served(t, 'boot')
  const cases: Uint8Array[] = [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Uint8Array.of(0, 0, 0, 1, 0xff),
    Uint8Array.of(0xff, 0xff, 0xff, 0xff),
    encodeFrame({ id: 0, op: 'figures' }),
    encodeFrame({ id: 1, op: 'format' }),
    encodeFrame({ id: 1, op: 'get' }),
    encodeFrame({ id: 1, op: 'get', path: '/state/boot/a', more: 1 }),
    encodeFrame({ id: 1, op: 'batch', changes: [{ path: 5 }] }),
    encodeFrame({
      id: 1,
      op: 'batch',
      changes: Array.from({ length: 257 }, () => ({ path: '/state/boot/a' })),
    }),
    encodeFrame({ id: 1, op: 'get', path: '/state/boot/a', fresh: 1 }),
    encodeFrame({ id: 1, op: '__proto__' }),
    encodeFrame({ id: 1, op: 'constructor' }),
  ]
  for (const [n, bytes] of cases.entries()) {
    const { socket, answers } = await raw(path)
    socket.write(encodeFrame({ id: 7, op: 'list', prefix: '/state/boot/' }))
    socket.write(bytes)
    const seen = (await answers(2)) as ReturnType<typeof decodeAnswer>[]
    assert.deepEqual(
      seen.map(({ id }) => id),
      [7, 0],
      `case ${n}`,
    )
    assert.ok(seen[1]?.answer instanceof StateError && seen[1].answer.code === 'EINVAL')
    await closed(socket)
  }
  await (await client()).putAtomic('/state/boot/a', bytesOf('still there'))
  assert.ok(server.connections <= 1)
})

test('half a frame, and an answer that nobody takes, end with their connection in ten seconds', async t => {
  const { path, clock, client, server, store } = await served(t, 'boot')
  const half = await raw(path)
  half.socket.write(Uint8Array.of(0, 0, 1))
  await new Promise(resolve => setTimeout(resolve, 50))
  await clock.advance(9_999)
  assert.equal(half.socket.closed, false)
  await clock.advance(1)
  await closed(half.socket)
  await store.putAtomic('/state/boot/large', new Uint8Array(1024 * 1024).fill(7))
  const slow = net.connect(path)
  await new Promise(resolve => slow.once('connect', resolve))
  slow.on('error', () => {})
  slow.pause()
  for (let id = 1; id <= 50; id++) slow.write(encodeFrame({ id, op: 'get', path: '/state/boot/large' }))
  await new Promise(resolve => setTimeout(resolve, 200))
  const before = process.memoryUsage().rss
  assert.equal((await (await client()).get('/state/boot/large')).payload.length, 1024 * 1024)
  assert.ok(before < 1024 * 1024 * 1024)
  await clock.advance(10_001)
  await new Promise(resolve => setTimeout(resolve, 50))
  for (let i = 0; i < 40 && server.connections > 1; i++) await new Promise(resolve => setTimeout(resolve, 50))
  assert.equal(server.connections, 1)
})

test('connections beyond 64 are dropped, and those that are there go on', async t => {
  const { path, client, server } = await served(t, 'boot')
  const first = await client()
  const others = await Promise.all(Array.from({ length: 200 }, () => raw(path).catch(() => undefined)))
  await first.putAtomic('/state/boot/a', bytesOf('x'))
  assert.ok(server.connections <= 64)
  for (const other of others) other?.socket.destroy()
  await new Promise(resolve => setTimeout(resolve, 50))
  await (await client()).get('/state/boot/a')
})

test('four large frames at a time: more wait, smaller ones do not', async t => {
  const { path, client } = await served(t, 'boot')
  const large = encodeFrame({
    id: 1,
    op: 'put',
    path: '/state/boot/large',
    envelope: wrap(new Uint8Array(200_000), { subject: 'boot', purpose: '', at: 0 }),
    payload: new Uint8Array(200_000),
  })
  const senders = await Promise.all(Array.from({ length: 6 }, () => raw(path)))
  for (const { socket } of senders) socket.write(large.subarray(0, 100_000))
  await new Promise(resolve => setTimeout(resolve, 100))
  await (await client()).putAtomic('/state/boot/small', bytesOf('x'))
  for (const { socket } of senders) socket.write(large.subarray(100_000))
  for (const { answers } of senders) assert.equal((await answers(1)).length, 1)
})

test('draining answers what was begun and takes nothing more', async t => {
  const { client, server, store } = await served(t, 'boot')
  const boot = await client()
  const puts = Array.from({ length: 100 }, (_, i) =>
    boot.putAtomic(`/state/boot/${i}`, bytesOf('x')).then(
      () => i,
      error => {
        assert.ok(error instanceof StateError && error.outcome === 'unknown', String(error))
        return undefined
      },
    ),
  )
  await new Promise(resolve => setTimeout(resolve, 2))
  await server.drain()
  const done = (await Promise.all(puts)).filter(i => i !== undefined)
  for (const i of done) assert.ok(store.has(`/state/boot/${i}`))
  await assert.rejects(boot.get('/state/boot/0'), coded('EDAEMON'))
  await assert.rejects(client(), coded('EDAEMON'))
})

test('a server that is none, or goes away, is told as such', async t => {
  const { root } = await freshHome(t)
  const path = join(root, 'other')
  const server = net.createServer(socket => void socket.end(encodeFrame({ hello: 1 }))).listen(path)
  t.after(() => server.close())
  await new Promise(resolve => server.once('listening', resolve))
  const clock = new VirtualClock()
  await assert.rejects(StateClient.open(await connectUnix(path), clock), coded('EDAEMON'))
})

test('the socket is made so that nobody else can ever connect, and replaces what was left there', async t => {
  const { root } = await freshHome(t)
  const path = join(root, 'mine')
  const before = process.umask(0)
  t.after(() => process.umask(before))
  const listen = () => listenUnix(path, wire => wire.close(), { connectionsMax: 1 })
  const first = await listen()
  assert.equal(fs.statSync(path).mode & 0o777, 0o600)
  const second = await listen()
  assert.deepEqual(
    fs.readdirSync(root).filter(name => name.startsWith('.')),
    [],
  )
  await first.close()
  await second.close()
  assert.ok(!fs.existsSync(path))
  await assert.rejects(
    listenUnix(join(root, 'x'.repeat(120)), () => {}, { connectionsMax: 1 }),
    /at most 107/,
  )
})

test('frames come out as they went in, however they are cut', () => {
  const bodies = Array.from({ length: 50 }, (_, i) => new Uint8Array(i * 97).fill(i))
  const stream = Buffer.concat(bodies.map(body => encodeFrame({ body })))
  for (const size of [1, 3, 4, 5, 100, 1000, stream.length]) {
    const frames = new Frames()
    const seen: Buffer[] = []
    for (let at = 0; at < stream.length; at += size) {
      frames.push(stream.subarray(at, at + size))
      for (let frame = frames.next(); frame !== undefined; frame = frames.next())
        seen.push(Buffer.from(frame))
    }
    assert.deepEqual(
      seen,
      bodies.map(body => Buffer.from(encodeCbor({ body }))),
    )
    assert.ok(!frames.isBegun)
  }
  assert.equal(openEnvelope(wrap(bytesOf('x'), { subject: 's', purpose: '', at: 1 })).size, 1)
  assert.ok(protocolLimits.frameBytesMax > 2 * 1024 * 1024)
})

test('a request that is too large is refused before it is sent, and the client goes on', async t => {
  const { client } = await served(t, 'boot')
  const boot = await client()
  await assert.rejects(boot.putAtomic('/state/boot/a', new Uint8Array(3_000_000)), coded('E2BIG'))
  const large = Array.from({ length: 3 }, (_, i) => ({
    put: `/state/boot/${i}`,
    payload: new Uint8Array(1_000_000),
  }))
  await assert.rejects(boot.commit(large), coded('E2BIG'))
  await boot.putAtomic('/state/boot/a', bytesOf('x'))
})

test('whatever comes and goes, a listing is what a search through everything finds', () => {
  const path = fc.string({ unit: fc.constantFrom('a', 'b', '/'), minLength: 1, maxLength: 4 })
  const step = fc.oneof(
    fc.record({ add: path }),
    fc.record({ remove: path }),
    fc.record({ list: path, after: path, max: fc.integer({ min: 1, max: 5 }) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), steps => {
      const index = new PathIndex()
      const model = new Set<string>()
      for (const one of steps) {
        if ('add' in one) {
          if (!model.has(one.add)) index.add(one.add)
          model.add(one.add)
        } else if ('remove' in one) {
          if (model.delete(one.remove)) index.remove(one.remove)
        } else {
          const expected = [...model].sort().filter(each => each.startsWith(one.list) && each > one.after)
          assert.deepEqual(
            index.list(() => model, one.list, one.after, one.max),
            expected.slice(0, one.max),
          )
        }
      }
    }),
  )
})
