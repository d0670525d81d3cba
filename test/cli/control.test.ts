/** Clients of a home's sockets that lie: what may be asked where, and that nothing asked of it hurts the holder. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, linkSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import type { CborMap } from '../../src/bytes/cbor.ts'
import { askHolder } from '../../src/cli/control.ts'
import { controlLimits, controlOperations, decodeWatched } from '../../src/cli/control-wire.ts'
import { HolderFailure } from '../../src/cli/failure.ts'
import { realClock } from '../../src/node/clock.ts'
import { connectUnix } from '../../src/node/unix.ts'
import { StateClient } from '../../src/state/client.ts'
import { decodeAnswer, encodeFrame, Frames } from '../../src/state/protocol.ts'
import { type Running, Scene, sleep } from './support.ts'

const id = new Uint8Array(32).fill(3)
const order = {
  op: 'send',
  peer: 'p',
  path: '/x',
  host: '127.0.0.1',
  port: 1,
  giveUp: 1000,
  again: false,
  lost: false,
}
const lawful: { readonly [op: string]: CborMap } = {
  'peer-add': { op: 'peer-add', name: 'mallory', identity: id },
  'peer-remove': { op: 'peer-remove', name: 'p' },
  'peer-claim': { op: 'peer-claim', name: 'p' },
  'peer-allow': { op: 'peer-allow', name: 'p', amendment: id },
  adopt: { op: 'adopt', policy: new Uint8Array(2) },
  'adopt-parameters': { op: 'adopt-parameters', parameters: new Uint8Array(2) },
  rotate: { op: 'rotate', storeKey: true, scope: 'default' },
  send: order,
  watch: { op: 'watch', sending: 1, wait: 1 },
  stop: { op: 'stop', sending: 1 },
}

/** The one answer to one frame, and whether the connection was closed on it. */
async function said(socketPath: string, frame: Uint8Array): Promise<{ answer: unknown; isClosed: boolean }> {
  const socket = connect(socketPath)
  const frames = new Frames()
  const seen: Uint8Array[] = []
  let isClosed = false
  socket.on('data', bytes => {
    frames.push(new Uint8Array(bytes))
    for (let next = frames.next(); next !== undefined; next = frames.next()) seen.push(next)
  })
  socket.on('error', () => {})
  socket.on('end', () => {
    isClosed = true
  })
  socket.write(frame)
  for (let waited = 0; seen.length < 2 && waited < 5000; waited += 10) await sleep(10)
  await sleep(30)
  socket.destroy()
  const [, answer] = seen
  assert.ok(answer !== undefined, 'no answer')
  return { answer: decodeAnswer(answer), isClosed }
}

suite('what may be asked of the holder of a home, and by whom', { timeout: 60_000 }, () => {
  const scene = new Scene()
  const control = (): string => scene.path('h', 'control.sock')
  let daemon: Running
  let peers = ''
  before(async () => {
    const identity = await scene.home('other')
    await scene.home('h')
    await scene.ok('peer', 'add', 'p', identity, '--home', 'h')
    const uid = process.getuid?.() ?? 0
    const rules = [{ subject: 'boot', allow: ['get', 'put', 'list', 'delete', 'history'], prefix: '/state/' }]
    const policy = { format: 'pawl-policy-1', version: 1, subjects: { boot: { uid } }, rules }
    writeFileSync(scene.path('policy.json'), JSON.stringify(policy))
    daemon = scene.start(['stated', '--home', 'h', '--policy', 'policy.json', '--sockets', 'run'])
    await daemon.line(/^statefsd/m)
    peers = await scene.ok('peer', 'list', '--home', 'h')
  })
  after(() => scene.end())

  const client = async (t: { after(then: () => void): void }): Promise<StateClient> => {
    const opened = await StateClient.open(await connectUnix(control()), realClock)
    t.after(() => opened.close())
    return opened
  }
  const fails = async (work: Promise<unknown>, code: string): Promise<void> => {
    await assert.rejects(work, (error: unknown) => {
      assert.ok(error instanceof HolderFailure, String(error))
      assert.equal(error.failure.code, code, error.message)
      return true
    })
  }

  test('every operation of the owner is one that a subject does not have', async () => {
    assert.deepEqual(Object.keys(lawful).sort(), Object.keys(controlOperations).sort())
    for (const request of Object.values(lawful)) {
      const { answer, isClosed } = await said(
        scene.path('run', 'boot', 'state.sock'),
        encodeFrame({ id: 1, ...request }),
      )
      assert.match(JSON.stringify(answer), /^\{"id":0,"answer":\{.*"code":"EINVAL"/)
      assert.ok(isClosed)
    }
    assert.equal(await scene.ok('peer', 'list', '--home', 'h'), peers)
  })

  test('what is no such request closes the connection, and changes nothing', async () => {
    const wrong: readonly CborMap[] = [
      { op: 'peer-add', name: 'mallory' },
      { op: 'peer-add', name: 'mallory', identity: id, more: 1 },
      { op: 'peer-add', name: 'mallory', identity: id.subarray(1) },
      { op: 'peer-add', name: '', identity: id },
      { op: 'peer-add', name: 'm\0', identity: id },
      { op: 'peer-add', name: 'm'.repeat(controlLimits.nameBytesMax + 1), identity: id },
      { op: 'peer-remove', name: 7 },
      { ...order, path: 'x' },
      { ...order, path: '/x\0' },
      { ...order, path: `/${'x'.repeat(controlLimits.pathBytesMax)}` },
      { ...order, port: 65_536 },
      { ...order, giveUp: -1 },
      { ...order, again: 1 },
      { ...order, lost: 1 },
      { op: 'peer-claim' },
      { op: 'peer-allow', name: 'p', amendment: id.subarray(1) },
      { op: 'watch', sending: 1, wait: controlLimits.waitMsMax + 1 },
      { op: 'watch', sending: '1', wait: 1 },
      { op: 'stop', sending: -1 },
      { op: 'rotate' },
      { op: 'rotate', storeKey: 1 },
      { op: 'rotate', storeKey: false, scope: '' },
      { op: 'toString' },
    ]
    for (const request of wrong) {
      const { answer, isClosed } = await said(control(), encodeFrame({ id: 1, ...request }))
      assert.match(JSON.stringify(answer), /^\{"id":0,"answer":\{.*"code":"EINVAL"/, JSON.stringify(request))
      assert.ok(isClosed)
    }
    assert.equal(await scene.ok('peer', 'list', '--home', 'h'), peers)
  })

  test('no word is given for an amendment that the peer has not stated', async t => {
    const asked = await client(t)
    await fails(askHolder(asked, { op: 'peer-claim', name: 'p' }, []), 'cli/USAGE')
    await fails(askHolder(asked, { op: 'peer-allow', name: 'p', amendment: id }, []), 'state/EINVAL')
    await fails(askHolder(asked, { op: 'peer-allow', name: 'nobody', amendment: id }, []), 'cli/NO_PEER')
  })

  test('the holder gives new keys to a home that is in use', async () => {
    const key = readFileSync(join(scene.anchors.get('h') ?? '', 'key')).subarray(12, 44)
    assert.match(await scene.ok('state', 'rotate', '--home', 'h'), /^new keys for every scope and the store/)
    assert.ok(!readFileSync(join(scene.anchors.get('h') ?? '', 'key')).includes(key))
    assert.equal(await scene.ok('peer', 'list', '--home', 'h'), peers)
    const { code, stderr } = await scene.run(['state', 'rotate', 'nowhere', '--home', 'h'])
    assert.equal(code, 1)
    assert.match(stderr, /state\/ENOENT/)
    assert.match(stderr, /hint: pawl state inspect lists the scopes/)
  })

  test('files of the home and its anchor are not opened, by whatever name, nor what is no file', async t => {
    const asked = await client(t)
    const anchor = scene.anchors.get('h') ?? ''
    symlinkSync(join(anchor, 'lock'), scene.path('innocent'))
    symlinkSync(anchor, scene.path('directory'))
    linkSync(join(anchor, 'lock'), scene.path('twin')) // closing it would free the lock
    linkSync(join(anchor, 'key'), scene.path('twin-of-key'))
    execFileSync('mkfifo', [scene.path('fifo')])
    const ends = async (path: string): Promise<string> => {
      const { sending } = await askHolder(asked, { ...order, path }, ['sending'])
      for (;;) {
        const keys = ['queued', 'acknowledged', 'newlyQueued', 'news', 'end?']
        const { end } = decodeWatched(
          await askHolder(asked, { op: 'watch', sending: sending ?? 0, wait: 100 }, keys),
        )
        if (end?.kind === 'failed') return end.failure.code
        assert.equal(end, undefined)
      }
    }
    const twin = scene.path('twin')
    for (const path of [
      twin,
      scene.path('twin-of-key'),
      join(anchor, 'lock'),
      join(anchor, 'key'),
      scene.path('innocent'),
      scene.path('directory/key'),
    ])
      assert.equal(await ends(path), 'cli/USAGE', path)
    assert.equal(await ends(join(scene.path('h'), 'home.cbor')), 'cli/USAGE')
    assert.equal(await ends(scene.path('nothing')), 'disk/missing')
    const put = await scene.run(['state', 'put', '/state/k', 'twin-of-key', '--home', 'h'])
    assert.equal(put.code, 2)
    assert.match(put.stderr, /by another name/)
    for (const path of ['/dev/zero', '/dev/tty', scene.folder, scene.path('fifo')])
      assert.match(await ends(path), /^(state\/EINVAL|disk\/(unfit|failed|missing|denied))$/, path)
    // The lock is held as before.
    const { code } = await scene.run([
      'receive',
      '--listen',
      '127.0.0.1:0',
      '--from',
      'p',
      '--out',
      'o',
      '--home',
      'h',
    ])
    assert.equal(code, 11)
  })

  test('a sending is known on its own connection alone, and ends with it', async t => {
    writeFileSync(scene.path('lines'), 'a\nb\n')
    const [one, two] = [await client(t), await client(t)]
    const { sending } = await askHolder(one, { ...order, path: scene.path('lines'), giveUp: 60_000 }, [
      'sending',
    ])
    assert.equal(sending, 1)
    await fails(askHolder(two, { op: 'stop', sending: 1 }, []), 'state/ENOENT')
    await fails(askHolder(two, { op: 'watch', sending: 1, wait: 1 }, []), 'state/ENOENT')
    await fails(askHolder(one, { op: 'watch', sending: 2, wait: 1 }, []), 'state/ENOENT')
    one.close()
    const began = Date.now()
    for (;;) {
      const { code, stderr } = await scene.run([
        ...['send', '--to', '127.0.0.1:1', '--peer', 'p', '--home', 'h', '--give-up', '0', 'lines'],
      ])
      if (code === 20) break
      assert.equal(code, 11, stderr)
      assert.ok(Date.now() - began < 10_000, 'it goes on without its connection')
    }
  })

  test('a client that asks for sending after sending, and never looks, is refused at a bound', async t => {
    const asked = await client(t)
    for (let i = 1; i <= 64; i++) {
      const { sending } = await askHolder(asked, { ...order, path: scene.path('nothing') }, ['sending'])
      assert.equal(sending, i)
    }
    await fails(askHolder(asked, { ...order, path: scene.path('nothing') }, ['sending']), 'state/EBUSY')
    await asked.putAtomic('/state/still', Buffer.from('served'))
  })

  test('only so many files are sent at once', async t => {
    const clients: StateClient[] = []
    for (let i = 0; i < 17; i++) {
      writeFileSync(scene.path(`n${i}`), 'line\n')
      const asked = await client(t)
      clients.push(asked)
      await askHolder(asked, { ...order, path: scene.path(`n${i}`), giveUp: 60_000 }, ['sending'])
    }
    const keys = ['queued', 'acknowledged', 'newlyQueued', 'news', 'end?']
    const ends = await Promise.all(
      clients.map(async asked => {
        for (let i = 0; i < 3; i++) {
          const { end } = decodeWatched(await askHolder(asked, { op: 'watch', sending: 1, wait: 500 }, keys))
          if (end?.kind === 'failed') return end.failure.code
        }
        return 'under way'
      }),
    )
    assert.deepEqual(
      ends.filter(end => end !== 'under way'),
      ['state/EBUSY'],
    )
    for (const asked of clients) asked.close()
  })

  test('half an order, silence, and a closed half keep nobody', async () => {
    for (const bytes of [encodeFrame({ id: 1, ...order }).subarray(0, 9), new Uint8Array(3)]) {
      const socket = connect(control())
      socket.on('error', () => {})
      socket.end(bytes)
      await sleep(20)
      socket.destroy()
    }
    assert.ok(existsSync(control()))
    const { code, stderr } = await daemon.kill('SIGTERM')
    assert.equal(code, 0, stderr)
  })
})
