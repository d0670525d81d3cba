/** The units in systemd/, and what a service manager gives a daemon: sockets that it made, and who waits to hear. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { realClock } from '../../src/node/clock.ts'
import { connect } from '../../src/node/tcp.ts'
import { connectUnix } from '../../src/node/unix.ts'
import { StateClient } from '../../src/state/client.ts'
import { reasonNotTo } from '../node/support.ts'
import { coded } from '../state/support.ts'
import { assertFails, Pair, Running, root, Scene, sleep } from './support.ts'

/** The units with the program where it is here, and a socket of the subject `daemon`. */
function units(t: TestContext): readonly [string, string] {
  const scene = new Scene()
  t.after(() => scene.end())
  const service = fs.readFileSync(join(root, 'systemd/pawl-stated.service'), 'utf8')
  const here = [scene.path('pawl-stated.service'), scene.path('pawl-stated@daemon.socket')] as const
  fs.symlinkSync(join(root, 'bin/pawl'), scene.path('pawl'))
  fs.writeFileSync(here[0], service.replace('ExecStart=pawl ', `ExecStart="${scene.path('pawl')}" `))
  fs.copyFileSync(join(root, 'systemd/pawl-stated@.socket'), here[1])
  return here
}

test('systemd finds nothing wrong with the units, and little that the service could do to others', t => {
  const reason = reasonNotTo('systemd-analyze', '--version')
  if (reason !== undefined) return t.skip(`${reason} (package systemd)`)
  const [service, socket] = units(t)
  const verified = spawnSync('systemd-analyze', ['verify', '--man=no', service, socket])
  assert.equal(verified.stdout.toString() + verified.stderr.toString(), '')
  assert.equal(verified.status, 0)
  // In tenths; the usual service is at 96.
  const judged = spawnSync('systemd-analyze', ['security', '--offline=true', '--threshold=10', service])
  t.diagnostic(judged.stdout.toString().trimEnd().split('\n').at(-1) ?? '')
  assert.equal(judged.status, 0, judged.stdout.toString())
})

const receiver = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('bound', flush=True)
while True:
    print(s.recv(4096).decode().replace('\\n', ' '), flush=True)
`

test('with a socket that systemd made, stated serves its subject there, and tells systemd when it is ready', async t => {
  const reason =
    reasonNotTo('systemd-socket-activate', '--version') ??
    reasonNotTo('systemd-notify', '--version') ??
    reasonNotTo('python3', '--version')
  if (reason !== undefined) return t.skip(`${reason} (packages systemd, python3-minimal)`)
  const scene = new Scene()
  t.after(() => scene.end())
  await scene.home('h')
  const uid = process.getuid?.() ?? 0
  const rules = [{ subject: 'boot', allow: ['get', 'put'], prefix: '/state/boot/' }]
  const policy = { format: 'pawl-policy-1', version: 1, subjects: { boot: { uid } }, rules }
  fs.writeFileSync(scene.path('policy.json'), JSON.stringify(policy))

  const notify = scene.path('notify')
  const manager = new Running(spawn('python3', ['-c', receiver, notify]))
  t.after(() => manager.kill('SIGKILL'))
  await manager.line(/^bound$/m)
  const path = scene.path('boot.sock')
  const under = ['systemd-socket-activate', '-l', path, '--fdname=boot']
  for (const name of ['NOTIFY_SOCKET', ...Object.keys(scene.env)]) under.push('-E', name)
  const daemon = scene.start(['stated', '--home', 'h', '--policy', 'policy.json'], {
    under,
    env: { NOTIFY_SOCKET: notify },
  })
  while (!fs.existsSync(path)) await sleep(10)
  assert.doesNotMatch(daemon.stderr, /serving/, 'it is started when somebody comes')

  const boot = await StateClient.open(await connectUnix(path), realClock)
  await boot.putAtomic('/state/boot/slot', Buffer.from('B'))
  assert.equal(Buffer.from((await boot.get('/state/boot/slot')).payload).toString(), 'B')
  await assert.rejects(boot.putAtomic('/state/other', Buffer.from('x')), coded('EPERM'))
  boot.close()
  await manager.line(/^READY=1/m)
  const ended = await daemon.kill('SIGTERM')
  assert.equal(ended.code, 0, ended.stderr)
  assert.ok(fs.existsSync(path), 'the socket is not its own to take away')
})

/** Passes on a socket as systemd does, then is what it was asked to run. */
const passing = `
import os, socket, sys
kind, count, *command = sys.argv[1:]
if kind == 'tcp':
    s = socket.socket()
    s.bind(('127.0.0.1', 0))
elif kind == 'datagrams':
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind('datagrams')
elif kind == 'packets':
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.bind('packets')
else:
    s = socket.socket(socket.AF_UNIX)
    s.bind('stream')
if kind in ('tcp', 'packets', 'stream'):
    s.listen()
if kind == 'tcp':
    open('port', 'w').write(str(s.getsockname()[1]))
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=count, LISTEN_FDNAMES='boot')
os.execvp(command[0], command)
`

test('what is passed on and is no listening stream of this machine serves nobody', async t => {
  const reason = reasonNotTo('python3', '--version')
  if (reason !== undefined) return t.skip(`${reason} (package python3-minimal)`)
  const scene = new Scene()
  t.after(() => scene.end())
  await scene.home('h')
  const rules = [{ subject: 'boot', allow: ['get'], prefix: '/state/boot/' }]
  const policy = {
    format: 'pawl-policy-1',
    version: 1,
    subjects: { boot: { uid: process.getuid?.() ?? 0 } },
    rules,
  }
  fs.writeFileSync(scene.path('policy.json'), JSON.stringify(policy))
  const start = (kind: string, count = '1') =>
    scene.start(['stated', '--home', 'h', '--policy', 'policy.json'], {
      under: ['python3', '-c', passing, kind, count],
    })
  for (const kind of ['tcp', 'datagrams', 'packets', 'stream']) {
    const daemon = start(kind)
    await daemon.line(/^statefsd: write hardening on/m)
    if (kind === 'stream') assert.match(daemon.stderr, /serving boot on fd:3/)
    else assert.match(daemon.stderr, /boot is not served: descriptor 3/, kind)
    if (kind === 'tcp') {
      const port = Number(fs.readFileSync(scene.path('port'), 'utf8'))
      await assert.rejects(connect('127.0.0.1', port, { timeoutMs: 5_000 }), 'nobody listens there any more')
    }
    const ended = await daemon.kill('SIGTERM')
    assert.equal(ended.code, 0, `${kind}: ${ended.stderr}`)
  }
  for (const count of ['99999999', '-1', 'x', '1e3', '']) {
    fs.rmSync(scene.path('stream'), { force: true })
    assertFails(await start('stream', count).ended, { exit: 2, code: 'cli/USAGE', error: /LISTEN_FDS/ })
  }
})

test('send through a daemon that has no network says where the way ends, not that the peer is away', async t => {
  const reason = reasonNotTo('unshare', '-n', 'true')
  if (reason !== undefined) return t.skip(reason)
  const scene = new Scene()
  t.after(() => scene.end())
  await new Pair(scene).meet()
  fs.writeFileSync(scene.path('lines'), 'one\n')
  const daemon = scene.start(['stated', '--home', 'alice'], { under: ['unshare', '-n'] })
  await daemon.line(/^statefsd: write hardening on/m)
  const to = ['--to', '127.0.0.1:1', '--give-up', '0.1']
  assertFails(await scene.run(['send', 'lines', '--peer', 'bob', ...to, '--home', 'alice']), {
    exit: 20,
    code: 'channel/NO_ANSWER',
    error: /ENETUNREACH/,
    hint: /holds the home.*stated\.md/,
  })
  await daemon.kill('SIGTERM')
})
