import assert from 'node:assert/strict'
import fs from 'node:fs'
import net from 'node:net'
import { test } from 'node:test'
import { realClock } from '../../src/node/clock.ts'
import { connectUnix } from '../../src/node/unix.ts'
import { StateClient } from '../../src/state/client.ts'
import { encodeFrame } from '../../src/state/protocol.ts'
import { Scene } from './support.ts'

const isRoot = process.getuid?.() === 0
const connections = 10_000

/** Resident memory of a process, in MiB. */
function residentOf(pid: number): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))
  return Number(line?.[1]) / 1024
}

test('ten thousand connections of one subject, garbage, half frames and slow readers harm nobody else', {
  skip: isRoot ? false : 'needs root, to serve another user',
  timeout: 120_000,
}, async t => {
  const scene = new Scene()
  t.after(() => scene.end())
  await scene.home('h')
  const rule = (subject: string) => ({
    subject,
    allow: ['get', 'put', 'list', 'history'],
    prefix: `/state/${subject}/`,
  })
  const subjects = { good: { uid: 0 }, hostile: { uid: 12345 } }
  const policy = { format: 'pawl-policy-1', version: 1, subjects, rules: [rule('good'), rule('hostile')] }
  fs.writeFileSync(scene.path('policy.json'), JSON.stringify(policy))
  const daemon = scene.start(['stated', '--home', 'h', '--policy', 'policy.json', '--sockets', 'run'])
  await daemon.line(/^statefsd/m)
  const pid = daemon.child.pid ?? 0
  const good = await StateClient.open(await connectUnix(scene.path('run/good/state.sock')), realClock)
  await good.putAtomic('/state/good/a', new Uint8Array(1000))
  const path = scene.path('run/hostile/state.sock')
  const sockets = new Set<net.Socket>()
  const kinds = [
    (socket: net.Socket) => socket.write(Buffer.alloc(1000, 0xff)),
    (socket: net.Socket) => socket.write(Uint8Array.of(0, 0, 100, 0, 1, 2, 3)),
    (socket: net.Socket) => socket.write(Uint8Array.of(0, 32, 0, 0)),
    (socket: net.Socket) => {
      socket.pause()
      for (let id = 1; id < 60; id++) socket.write(encodeFrame({ id, op: 'list', prefix: '/state/hostile/' }))
    },
    () => {},
  ]
  let worst = 0
  let opened = 0
  const calm = residentOf(pid)
  const attack = (async () => {
    while (opened < connections) {
      await Promise.all(
        Array.from({ length: 200 }, async (_, i) => {
          const socket = net.connect(path)
          sockets.add(socket)
          socket.on('error', () => {})
          socket.on('close', () => sockets.delete(socket))
          await new Promise<void>(resolve => {
            socket.once('connect', () => {
              kinds[i % kinds.length]?.(socket)
              resolve()
            })
            socket.once('close', () => resolve())
          })
          opened++
        }),
      )
    }
  })()
  let served = 0
  let isOver = false
  void attack.then(() => {
    isOver = true
  })
  while (!isOver) {
    const from = performance.now()
    await good.putAtomic('/state/good/a', new Uint8Array(1000))
    assert.equal((await good.get('/state/good/a')).payload.length, 1000)
    worst = Math.max(worst, performance.now() - from)
    served++
  }
  const peak = residentOf(pid)
  t.diagnostic(
    `${opened} connections; ${served} puts and gets meanwhile, the slowest ${Math.round(worst)} ms; ` +
      `${Math.round(calm)} MiB before, ${Math.round(peak)} MiB after`,
  )
  assert.ok(served > 20 && worst < 3000)
  assert.ok(peak - calm < 300)
  for (const socket of sockets) socket.destroy()
  await good.putAtomic('/state/good/last', new Uint8Array(10))
  good.close()
  assert.equal((await daemon.kill('SIGTERM')).code, 0)
})
