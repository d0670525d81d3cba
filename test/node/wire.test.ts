import assert from 'node:assert/strict'
import net from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import type { Wire } from '../../src/host/wire.ts'
import { WireError, type WireFault } from '../../src/host/wire.ts'
import { lineLog } from '../../src/node/log.ts'
import { connect, type ListenOptions, listen } from '../../src/node/tcp.ts'
import { SocketWire, unreadBytesMax } from '../../src/node/wire.ts'
import { said, start } from './support.ts'

const chunk = new Uint8Array(65_536).fill(1)

/** Two ends of one loopback connection. */
async function pair(t: TestContext, options: ListenOptions = {}): Promise<[Wire, Wire]> {
  const { promise, resolve } = Promise.withResolvers<Wire>()
  const listener = await listen('127.0.0.1', 0, resolve, options)
  const near = await connect(listener.host, listener.port, { timeoutMs: 2000 })
  const far = await promise
  t.after(async () => {
    near.abort()
    far.abort()
    await listener.close()
  })
  return [near, far]
}

function faultIs(code: WireFault, ...words: string[]): (error: unknown) => boolean {
  return error =>
    error instanceof WireError && error.code === code && words.every(word => error.message.includes(word))
}

async function readToEnd(wire: Wire): Promise<number> {
  let total = 0
  for (let bytes = await wire.read(); bytes !== undefined; bytes = await wire.read()) total += bytes.length
  return total
}

test('bytes arrive in order, and each end learns of the end of the other', async t => {
  const [near, far] = await pair(t)
  await near.write(Uint8Array.of(1, 2, 3))
  await near.write(Uint8Array.of(4))
  near.close()
  near.close()
  const got: number[] = []
  for (let bytes = await far.read(); bytes !== undefined; bytes = await far.read()) got.push(...bytes)
  assert.deepEqual(got, [1, 2, 3, 4])
  assert.equal(await far.read(), undefined, 'the end stays the end')
  await far.write(Uint8Array.of(5)) // half-open: this direction still carries
  far.close()
  assert.deepEqual(await near.read(), Uint8Array.of(5))
  assert.equal(await near.read(), undefined)
})

test('remote names the other end', async t => {
  const [near, far] = await pair(t)
  assert.match(near.remote, /^127\.0\.0\.1:\d+$/)
  assert.match(far.remote, /^127\.0\.0\.1:\d+$/)
  assert.notEqual(near.remote, far.remote)
})

test('what is read is a plain Uint8Array, whose slice is a copy', async t => {
  const [near, far] = await pair(t)
  await near.write(Uint8Array.of(1))
  const bytes = await far.read()
  assert.equal(Object.getPrototypeOf(bytes), Uint8Array.prototype)
})

test('a reader that stops makes the writer wait, and loses nothing', async t => {
  const [near, far] = await pair(t)
  let written = 0
  const target = 64 * 1024 * 1024
  const writing = (async () => {
    for (; written < target; written += chunk.length) await near.write(chunk)
    near.close()
  })()
  await pause(300)
  const stalled = written
  await pause(100)
  assert.equal(written, stalled, 'the writer waits')
  assert.ok(stalled < 24 * 1024 * 1024, `no more than the kernel holds: ${stalled}`)
  assert.equal(await readToEnd(far), target)
  await writing
})

test('no more than the bound is kept for a reader that does not read', async t => {
  const { promise, resolve } = Promise.withResolvers<net.Socket>()
  const server = net.createServer({ allowHalfOpen: true }, resolve)
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as net.AddressInfo
  const near = await connect('127.0.0.1', port, { timeoutMs: 2000 })
  const socket = await promise
  const far = new SocketWire(socket)
  t.after(() => {
    near.abort()
    far.abort()
    server.close()
  })
  const total = 100 * chunk.length
  const writing = (async () => {
    for (let i = 0; i < 100; i++) await near.write(chunk)
    near.close()
  })()
  await pause(200)
  assert.ok(socket.bytesRead >= unreadBytesMax, `${socket.bytesRead}`)
  assert.ok(socket.bytesRead <= unreadBytesMax + 2 * chunk.length, `${socket.bytesRead}`)
  assert.equal(await readToEnd(far), total)
  await writing
  far.close()
})

test('timers get their turn while the kernel takes all that is written', async t => {
  const sink = start(
    `import net from 'node:net'
     const server = net.createServer(socket => socket.resume())
     server.listen(0, '127.0.0.1', () => console.log(server.address().port))`,
  )
  t.after(() => sink.kill('SIGKILL'))
  const wire = await connect('127.0.0.1', Number(await said(sink)), { timeoutMs: 2000 })
  t.after(() => wire.abort())
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  for (let i = 0; i < 20_000; i++) await wire.write(chunk.subarray(0, 256))
  clearInterval(timer)
  assert.ok(turns >= 10, `${turns} turns`)
})

test('an abort breaks both ends: whoever reads or writes is told', async t => {
  const [near, far] = await pair(t)
  const waiting = far.read()
  near.abort()
  near.abort()
  await assert.rejects(waiting, faultIs('lost', 'ECONNRESET'))
  await assert.rejects(far.read(), faultIs('lost'))
  await assert.rejects(far.write(chunk), faultIs('lost'))
  await assert.rejects(near.read(), faultIs('lost'))
  await assert.rejects(near.write(chunk), faultIs('lost'))
  near.close()
  far.close()
})

test('a break is not an end: what came before it is read, then the break', async t => {
  const [near, far] = await pair(t)
  await near.write(Uint8Array.of(1))
  await pause(50)
  near.abort()
  await pause(50)
  assert.deepEqual(await far.read(), Uint8Array.of(1))
  await assert.rejects(far.read(), faultIs('lost'))
})

test('a writer that waits on a stopped reader is released by an abort', async t => {
  const [near] = await pair(t)
  const writing = (async () => {
    for (;;) await near.write(chunk)
  })()
  await pause(100)
  near.abort()
  await assert.rejects(writing, faultIs('lost'))
})

test('an abort straight after close leaves nothing open, and the peer has all that was written', async t => {
  const [near, far] = await pair(t)
  await near.write(chunk)
  near.close()
  near.abort()
  assert.equal(await readToEnd(far), chunk.length)
  far.close()
  far.abort()
  await pause(20)
  assert.equal(process.getActiveResourcesInfo().filter(name => name === 'TCPSocketWrap').length, 0)
})

test('an abort before the peer has all that was written is no end to it', async t => {
  const [near, far] = await pair(t)
  const last = near.write(new Uint8Array(64 * 1024 * 1024))
  near.close()
  await pause(50)
  near.abort()
  await assert.rejects(last, faultIs('lost'))
  const [major = 0, minor = 0] = process.versions.uv.split('.').map(Number)
  if (major === 1 && minor < 52)
    return t.skip('libuv before 1.52 reports a reset of a paused stream as its end')
  await assert.rejects(readToEnd(far), faultIs('lost'))
})

test('a write after close is refused and does not harm what was sent', async t => {
  const [near, far] = await pair(t)
  await near.write(Uint8Array.of(1))
  near.close()
  await assert.rejects(near.write(chunk), faultIs('lost', 'closed'))
  assert.equal(await readToEnd(far), 1)
})

test('two readers at a time is a bug', async t => {
  const [near, far] = await pair(t)
  const first = near.read()
  assert.throws(() => void near.read(), { name: 'AssertionError' })
  far.close()
  assert.equal(await first, undefined)
})

test('after close, a peer that neither takes nor ends is dropped', async t => {
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true })
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as net.AddressInfo
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  await new Promise(connected => socket.once('connect', connected))
  t.after(() => server.close())
  const wire = new SocketWire(socket, 50)
  wire.close()
  await assert.rejects(wire.read(), faultIs('lost'))
  assert.ok(socket.destroyed)
  server.on('connection', late => late.destroy())
  server.getConnections((_, count) => assert.ok(count <= 1))
  server.close()
})

test('nobody listening, and no such host, is "unreachable"', async () => {
  const listener = await listen('127.0.0.1', 0, () => {})
  await listener.close()
  const { port } = listener
  await assert.rejects(
    connect('127.0.0.1', port, { timeoutMs: 2000 }),
    faultIs('unreachable', 'ECONNREFUSED', `127.0.0.1:${port}`),
  )
  await assert.rejects(connect('no-such-host.invalid', 1, { timeoutMs: 2000 }), faultIs('unreachable'))
})

test('a host that never answers is "unreachable" once the time is up', async t => {
  const child = start(
    `import net from 'node:net'
     const server = net.createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port))`,
  )
  t.after(() => child.kill('SIGKILL'))
  const port = Number(await said(child))
  child.kill('SIGSTOP') // the kernel answers for it until its queue is full
  await pause(50)
  const wires: Wire[] = []
  t.after(() => {
    for (const wire of wires) wire.abort()
  })
  const began = performance.now()
  await assert.rejects(
    (async () => {
      for (let i = 0; i < 10; i++) wires.push(await connect('127.0.0.1', port, { timeoutMs: 150 }))
    })(),
    faultIs('unreachable', 'no answer in 150 ms'),
  )
  assert.ok(performance.now() - began < 1500)
})

test('an address that is taken, or not ours, is "denied"', async t => {
  const listener = await listen('127.0.0.1', 0, () => {})
  t.after(() => listener.close())
  await assert.rejects(
    listen('127.0.0.1', listener.port, () => {}),
    faultIs('denied', 'EADDRINUSE', `127.0.0.1:${listener.port}`),
  )
  await assert.rejects(
    listen('192.0.2.1', 0, () => {}),
    faultIs('denied', 'EADDRNOTAVAIL'),
  )
})

test('a connection over the limit is dropped, those before it stay', async () => {
  const lines: string[] = []
  const wires: Wire[] = []
  const options = { connectionsMax: 2, log: lineLog(line => lines.push(line)) }
  const listener = await listen('127.0.0.1', 0, wire => wires.push(wire), options)
  const dial = () => connect('127.0.0.1', listener.port, { timeoutMs: 2000 })
  const first = await dial()
  const second = await dial()
  const third = await dial()
  await third.read().then(bytes => assert.equal(bytes, undefined), faultIs('lost'))
  assert.equal(wires.length, 2)
  assert.match(lines.join(''), /"event":"wire\/connection-over-limit","max":2/)
  await first.write(Uint8Array.of(1))
  assert.deepEqual(await wires[0]?.read(), Uint8Array.of(1))
  for (const wire of [first, second, third, ...wires]) wire.abort()
  await listener.close()
})

test('a closed listener takes nobody new, and has ended when its last wire has', async t => {
  const { promise, resolve } = Promise.withResolvers<Wire>()
  const listener = await listen('127.0.0.1', 0, resolve)
  const near = await connect('127.0.0.1', listener.port, { timeoutMs: 2000 })
  const far = await promise
  t.after(() => near.abort())
  let ended = false
  const closing = listener.close().then(() => (ended = true))
  await assert.rejects(connect('127.0.0.1', listener.port, { timeoutMs: 2000 }), faultIs('unreachable'))
  await near.write(Uint8Array.of(1))
  assert.deepEqual(await far.read(), Uint8Array.of(1))
  assert.equal(ended, false)
  near.close()
  far.close()
  await far.read()
  await near.read()
  await closing
})

test('IPv6 addresses stand in brackets', async t => {
  const listener = await listen('::1', 0, wire => wire.close()).catch(() => undefined)
  if (listener === undefined) return t.skip('no IPv6 loopback here')
  const near = await connect('::1', listener.port, { timeoutMs: 2000 })
  assert.equal(near.remote, `[::1]:${listener.port}`)
  near.close()
  await listener.close()
})
