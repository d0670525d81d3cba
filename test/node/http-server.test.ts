import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type HttpOptions, isLoopback, listenHttp } from '../../src/node/http-server.ts'
import { type Answer, type Credentials, HttpClient, publicAuthorities } from '../../src/node/https.ts'

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()
const bytes = (words: string) => new Uint8Array(Buffer.from(words))

type Caller = (path: string, body: Uint8Array, ms: number) => Promise<Answer>
type Served = { readonly url: URL; readonly port: number; caller(credentials?: Credentials): Caller }

function callerOf(t: TestContext, url: URL, credentials?: Credentials | typeof publicAuthorities): Caller {
  const client = new HttpClient(credentials)
  t.after(() => client.close())
  return (path, body, ms) => client.post(new URL(path, url), body, ms)
}

async function serve(t: TestContext, options: Partial<HttpOptions> = {}): Promise<Served> {
  const listener = await listenHttp('127.0.0.1', 0, {
    bodyBytesMax: 100,
    connectionsMax: 16,
    connectionsEachMax: 8,
    answer: async ({ path, body, client }) => ({
      status: 200,
      body: bytes(`${client} ${path} ${text(body)}`),
    }),
    ...options,
  })
  t.after(() => listener.close())
  const { port } = listener
  const url = new URL(`${options.tls ? 'https' : 'http'}://127.0.0.1:${port}/`)
  const caller = (credentials?: Credentials) => callerOf(t, url, credentials)
  return { url, port, caller }
}

/** Sends what it likes, and answers with all that came back, and whether the other end closed. */
function raw(
  port: number,
  words: string,
  waitMs: number,
): Promise<{ readonly heard: string; readonly closed: boolean }> {
  return new Promise(resolve => {
    const socket = net.connect(port, '127.0.0.1')
    let heard = ''
    const over = (closed: boolean): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve({ heard, closed })
    }
    const timer = setTimeout(() => over(false), waitMs)
    socket.on('data', chunk => {
      heard += chunk
    })
    socket.on('error', () => undefined)
    socket.on('close', () => over(true))
    socket.write(words)
  })
}

test('a question is answered, over one connection after another question', async t => {
  const { caller } = await serve(t)
  const to = caller()
  for (const word of ['one', 'two']) {
    const { status, body } = await to('/path', bytes(word), 2_000)
    assert.equal(`${status} ${text(body)}`, `200 127.0.0.1 /path ${word}`)
  }
})

test('what is over its bound is refused: body, answer, head, method', async t => {
  const { caller, port } = await serve(t, {
    answer: async () => ({ status: 200, body: new Uint8Array(65_537) }),
  })
  const to = caller()
  assert.equal((await to('/', new Uint8Array(101), 2_000)).status, 413)
  await assert.rejects(to('/', new Uint8Array(100), 2_000), { code: 'lost', message: /too long/ })
  assert.match((await raw(port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n', 2_000)).heard, / 405 /)
  const chunked = 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nfffff\r\n'
  assert.match((await raw(port, chunked, 2_000)).heard, / 413 /)
  assert.match((await raw(port, `POST / HTTP/1.1\r\na: ${'b'.repeat(9_000)}\r\n\r\n`, 2_000)).heard, / 431 /)
})

test('whoever says nothing, or half of it, is cut off', async t => {
  const { port } = await serve(t, { headMsMax: 150, requestMsMax: 300 })
  for (const words of ['', 'POST / HT', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\nhalf']) {
    const begun = performance.now()
    const { closed } = await raw(port, words, 5_000)
    assert.ok(closed && performance.now() - begun < 4_000, JSON.stringify(words))
  }
})

test('one client has so many connections and no more; they come free again', async t => {
  const { port, caller } = await serve(t, { connectionsEachMax: 3 })
  const open = () =>
    new Promise<net.Socket>((resolve, reject) => {
      const socket = net.connect(port, '127.0.0.1', () => resolve(socket))
      socket.once('error', reject)
      socket.on('error', () => undefined)
    })
  const held = await Promise.all([open(), open(), open()])
  assert.ok((await raw(port, 'POST', 2_000)).closed, 'the fourth is dropped')
  for (const socket of held) socket.destroy()
  const to = caller()
  const answered = async (): Promise<boolean> =>
    to('/', bytes(''), 500).then(
      () => true,
      () => false,
    )
  let served = false
  for (let tries = 0; tries < 20 && !served; tries++) served = await answered()
  assert.ok(served)
})

test('nobody there, no answer in time, and an answer cut short are told apart from an answer', async t => {
  const nobody = callerOf(t, new URL('http://127.0.0.1:9/'))
  await assert.rejects(nobody('/', bytes(''), 2_000), { code: 'lost' })
  const { caller } = await serve(t, { answer: () => new Promise(() => undefined) })
  await assert.rejects(caller()('/', bytes(''), 200), { code: 'lost', message: /no answer in 200 ms/ })
  const server = net.createServer(socket => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf'))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const address = server.address()
  assert.ok(address !== null && typeof address === 'object')
  const half = callerOf(t, new URL(`http://127.0.0.1:${address.port}/`))
  await assert.rejects(half('/', bytes(''), 2_000), { code: 'lost' })
})

test('plain HTTP listens on loopback addresses alone', async () => {
  const options = {
    bodyBytesMax: 1,
    connectionsMax: 1,
    connectionsEachMax: 1,
    answer: async () => ({ status: 200, body: bytes('') }),
  }
  for (const host of ['0.0.0.0', '::', 'localhost', '192.0.2.1'])
    assert.throws(() => listenHttp(host, 0, options), { code: 'denied', message: /loopback/ }, host)
  assert.deepEqual(
    ['127.0.0.1', '127.9.9.9', '::1', '[::1]', '::', '10.0.0.1', '127.example', 'localhost'].map(isLoopback),
    [true, true, true, true, false, false, false, false],
  )
})

test('TLS takes who the certificate names, from an authority that is known', async t => {
  const folder = fs.mkdtempSync(join(os.tmpdir(), 'pawl-tls-'))
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  const made = spawnSync('openssl', [
    ...'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=pawl'.split(' '),
    ...[
      '-addext',
      'subjectAltName=IP:127.0.0.1',
      '-keyout',
      join(folder, 'key'),
      '-out',
      join(folder, 'cert'),
    ],
  ])
  if (made.error !== undefined) return t.skip('NOT TESTED: openssl is not installed')
  assert.equal(made.status, 0, String(made.stderr))
  const cert = fs.readFileSync(join(folder, 'cert'))
  const { caller, url } = await serve(t, { tls: { cert, key: fs.readFileSync(join(folder, 'key')) } })
  const { body } = await caller({ ca: cert })('/', bytes('over TLS'), 2_000)
  assert.match(text(body), /over TLS/)
  await assert.rejects(callerOf(t, url, publicAuthorities)('/', bytes(''), 2_000), {
    code: 'lost',
    message: /SELF_SIGNED|UNABLE_TO_VERIFY/,
  })
  const elsewhere = callerOf(t, new URL(`https://localhost:${url.port}/`), { ca: cert })
  await assert.rejects(elsewhere('/', bytes(''), 2_000), { code: 'lost' })
  await assert.rejects(callerOf(t, new URL(`http://127.0.0.1:${url.port}/`))('/', bytes(''), 2_000))
})
