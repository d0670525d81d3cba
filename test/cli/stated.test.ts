import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { realClock } from '../../src/node/clock.ts'
import { connectUnix } from '../../src/node/unix.ts'
import { StateClient } from '../../src/state/client.ts'
import { coded } from '../state/support.ts'
import { Scene } from './support.ts'

const uid = process.getuid?.() ?? 0
const isRoot = uid === 0

function policy(version: number, prefix: string, more: Record<string, { uid: number }> = {}): string {
  return JSON.stringify({
    format: 'pawl-policy-1',
    version,
    subjects: { boot: { uid }, ...more },
    rules: [{ subject: 'boot', allow: ['get', 'put', 'list', 'delete', 'history'], prefix }],
  })
}

async function client(path: string): Promise<StateClient> {
  return StateClient.open(await connectUnix(path), realClock)
}

test('stated: a socket for each subject, judged by the policy; the owner’s commands are its clients; SIGHUP, SIGTERM', async t => {
  const scene = new Scene()
  t.after(() => scene.end())
  await scene.home('h')
  const file = join(scene.folder, 'policy.json')
  fs.writeFileSync(file, policy(1, '/state/boot/'))
  const daemon = scene.start([
    'stated',
    '--home',
    'h',
    '--policy',
    'policy.json',
    '--sockets',
    'run',
    '--log',
    '--audit-log',
    'audit.jsonl',
  ])
  await daemon.line(/^statefsd: write hardening on \(atomic\+integrity\)$/m)
  const socket = join(scene.folder, 'run/boot/state.sock')
  assert.equal(fs.statSync(socket).mode & 0o777, 0o600)
  assert.equal(fs.statSync(join(scene.folder, 'run/boot')).mode & 0o777, 0o700)
  const boot = await client(socket)
  await boot.putAtomic('/state/boot/slot', Buffer.from('A'))
  await assert.rejects(boot.putAtomic('/state/other', Buffer.from('x')), coded('EPERM'))

  // The owner's commands go through the process that holds the home.
  const put = await scene.run(['state', 'put', '/state/other', '-', '--home', 'h'], { input: 'mine' })
  assert.equal(put.code, 0, put.stderr)
  const past = await scene.run(['state', 'history', '/state/other', '--home', 'h', '--json'])
  assert.equal(JSON.parse(past.stdout).changes.length, 1)
  assert.equal((await scene.run(['state', 'get', '/state/other', '--home', 'h'])).stdout, 'mine')
  assert.equal((await scene.run(['state', 'delete', '/state/other', '--home', 'h'])).code, 0)
  assert.equal((await scene.run(['state', 'delete', '/state/other', '--home', 'h'])).code, 1)

  // A newer policy takes effect without anybody being cut off; an older or a damaged one does not.
  fs.writeFileSync(file, policy(2, '/state/kernel/'))
  daemon.child.kill('SIGHUP')
  await daemon.line(/stated\/reloaded/)
  await assert.rejects(boot.get('/state/boot/slot'), coded('EPERM'))
  await boot.putAtomic('/state/kernel/a', Buffer.from('x'))
  fs.writeFileSync(file, policy(1, '/state/boot/'))
  daemon.child.kill('SIGHUP')
  await daemon.line(/stated\/not-reloaded/)
  await boot.get('/state/kernel/a')
  boot.close()

  const ended = await daemon.kill('SIGTERM')
  assert.equal(ended.code, 0, ended.stderr)
  assert.ok(!fs.existsSync(socket) && !fs.existsSync(join(scene.folder, 'h/control.sock')))
  const told = await scene.ok('state', 'audit', '--home', 'h')
  assert.equal(fs.readFileSync(scene.path('audit.jsonl'), 'utf8'), told)
  assert.match(told, /"decision":"deny".*"subject":"boot"/)
  assert.equal(fs.statSync(scene.path('audit.jsonl')).mode & 0o777, 0o600)

  // An older policy cannot be put back by starting with it either.
  const older = await scene.run(['stated', '--home', 'h', '--policy', 'policy.json', '--sockets', 'run'])
  assert.equal(older.code, 3, older.stderr)
  fs.writeFileSync(file, '{}')
  assert.equal((await scene.run(['stated', '--home', 'h', '--policy', 'policy.json'])).code, 2)
})

test('stated is killed: the next one serves from where it was, over what was left lying', async t => {
  const scene = new Scene()
  t.after(() => scene.end())
  await scene.home('h')
  fs.writeFileSync(join(scene.folder, 'policy.json'), policy(1, '/state/boot/'))
  const line = ['stated', '--home', 'h', '--policy', 'policy.json', '--sockets', 'run']
  const socket = join(scene.folder, 'run/boot/state.sock')
  for (let round = 0; round < 3; round++) {
    const daemon = scene.start(line)
    await daemon.line(/^statefsd/m)
    const boot = await client(socket)
    const list = await boot.list('/state/boot/')
    assert.equal(list.length, round * 20)
    const puts = Array.from({ length: 20 }, (_, i) =>
      boot.putAtomic(`/state/boot/${round}-${i}`, Buffer.from('x')),
    )
    await Promise.all(puts)
    await daemon.kill('SIGKILL')
    await assert.rejects(boot.get('/state/boot/0-0'), coded('EDAEMON'))
    // Nobody serves: a command takes the home itself.
    assert.equal((await scene.run(['state', 'list', '--home', 'h'])).code, 0)
  }
})

test('sockets of other users need root, and are theirs alone', async t => {
  const scene = new Scene()
  t.after(() => scene.end())
  await scene.home('h')
  fs.writeFileSync(join(scene.folder, 'policy.json'), policy(1, '/state/boot/', { app: { uid: 12345 } }))
  const line = ['stated', '--home', 'h', '--policy', 'policy.json', '--sockets', 'run']
  if (!isRoot) {
    const refused = await scene.run(line)
    assert.equal(refused.code, 2)
    assert.match(refused.stderr, /only root/)
    return
  }
  const daemon = scene.start(line)
  await daemon.line(/^statefsd/m)
  const directory = fs.statSync(join(scene.folder, 'run/app'))
  assert.deepEqual([directory.uid, directory.mode & 0o777], [12345, 0o700])
  assert.equal(fs.statSync(join(scene.folder, 'run/app/state.sock')).uid, 12345)
  assert.equal((await daemon.kill('SIGTERM')).code, 0)
})

test('with subjects and no place for their sockets it says what to do', async t => {
  const scene = new Scene()
  t.after(() => scene.end())
  await scene.home('h')
  fs.writeFileSync(join(scene.folder, 'policy.json'), policy(1, '/state/boot/'))
  const { code, stderr } = await scene.run(['stated', '--home', 'h', '--policy', 'policy.json'])
  assert.equal(code, 2)
  assert.match(stderr, /no place for the socket of \w+, a subject of the policy/)
  assert.match(stderr, /--sockets/)
})

test('without a policy it serves its owner alone, and says so', async t => {
  const scene = new Scene()
  t.after(() => scene.end())
  await scene.home('h')
  const daemon = scene.start(['stated', '--home', 'h', '--sockets', 'run'])
  await daemon.line(/^statefsd/m)
  const { code, stderr } = await daemon.kill('SIGTERM')
  assert.equal(code, 0)
  assert.match(stderr, /^pawl: no subject is served, .* pawl state policy adopt FILE/m)
  const piped = await scene.run(['stated', '--home', 'h', '--policy', '-'])
  assert.equal(piped.code, 2)
  assert.match(piped.stderr, /--policy takes a file/)
})

test('whatever one subject does with its directory, the others are served, and the policy is in force', async t => {
  const scene = new Scene()
  t.after(() => scene.end())
  await scene.home('h')
  const two = (version: number, prefix: string) =>
    policy(version, prefix, { app: { uid: isRoot ? 12345 : uid + 1 } })
  if (!isRoot) return t.skip('needs root, to serve another user')
  fs.mkdirSync(scene.path('run/app/state.sock/in the way'), { recursive: true })
  fs.writeFileSync(scene.path('policy.json'), two(1, '/state/boot/'))
  const daemon = scene.start([
    'stated',
    '--home',
    'h',
    '--policy',
    'policy.json',
    '--sockets',
    'run',
    '--log',
  ])
  await daemon.line(/^statefsd/m)
  await daemon.line(/stated\/unserved.*app/)
  const boot = await client(scene.path('run/boot/state.sock'))
  await boot.putAtomic('/state/boot/a', Buffer.from('x'))
  fs.writeFileSync(scene.path('policy.json'), two(2, '/state/kernel/'))
  daemon.child.kill('SIGHUP')
  await daemon.line(/stated\/reloaded/)
  await assert.rejects(boot.putAtomic('/state/boot/a', Buffer.from('y')), coded('EPERM'))
  fs.rmSync(scene.path('run/app/state.sock'), { recursive: true })
  // A link in the place of its directory is not followed.
  fs.rmSync(scene.path('run/app'), { recursive: true })
  fs.mkdirSync(scene.path('elsewhere'), { mode: 0o755 })
  fs.symlinkSync(scene.path('elsewhere'), scene.path('run/app'))
  daemon.child.kill('SIGHUP')
  await daemon.line(/stated\/reloaded[\s\S]*stated\/reloaded/)
  assert.equal(fs.statSync(scene.path('elsewhere')).uid, 0)
  // A subject of another user is another subject.
  fs.rmSync(scene.path('run/app'))
  fs.writeFileSync(scene.path('policy.json'), policy(3, '/state/kernel/', { app: { uid: 12346 } }))
  daemon.child.kill('SIGHUP')
  await daemon.line(/stated\/reloaded[\s\S]*stated\/reloaded[\s\S]*stated\/reloaded/)
  assert.equal(fs.statSync(scene.path('run/app/state.sock')).uid, 12346)
  // A client that goes on sending does not keep it from ending.
  const wire = await connectUnix(scene.path('run/boot/state.sock'))
  const drip = setInterval(() => void wire.write(Uint8Array.of(0)).catch(() => {}), 100)
  const from = Date.now()
  const ended = await daemon.kill('SIGTERM')
  clearInterval(drip)
  wire.abort()
  assert.equal(ended.code, 0, ended.stderr)
  assert.ok(Date.now() - from < 15_000)
})

test('sockets are not made where others may write', async t => {
  const scene = new Scene()
  t.after(() => scene.end())
  await scene.home('h')
  fs.mkdirSync(scene.path('run'))
  fs.chmodSync(scene.path('run'), 0o777)
  fs.writeFileSync(scene.path('policy.json'), policy(1, '/state/boot/'))
  const daemon = scene.start(['stated', '--home', 'h', '--policy', 'policy.json', '--sockets', 'run'])
  await daemon.line(/boot is not served: .*others may write there/)
  assert.equal((await daemon.kill('SIGTERM')).code, 0)
})
