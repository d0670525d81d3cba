/** The audit trail in the journal of systemd, by a journald of its own that stores nothing on disk. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { realClock } from '../../src/node/clock.ts'
import { connectUnix } from '../../src/node/unix.ts'
import { StateClient } from '../../src/state/client.ts'
import { reasonNotTo } from '../node/support.ts'
import { coded } from '../state/support.ts'
import { Scene, sleep } from './support.ts'

const journald = '/lib/systemd/systemd-journald'

/** In a mount namespace of its own, so that the machine's journal hears nothing of it. */
const script = `set -eu
  mount -t tmpfs tmpfs /run
  mkdir -p /run/systemd /run/log/journal
  ln -s journal.pawl /run/systemd/journal
  mount -t tmpfs tmpfs /etc/systemd
  printf '[Journal]\\nStorage=volatile\\nRateLimitIntervalSec=0\\n' > '/etc/systemd/journald@pawl.conf'
  exec ${journald} pawl`

function reasonWithout(): string | undefined {
  for (const path of [journald, '/etc/machine-id'])
    if (!fs.existsSync(path)) return `needs ${path} (package systemd)`
  return reasonNotTo('unshare', '-m', 'true') ?? reasonNotTo('nsenter', '--version')
}

class Journal {
  readonly #child: ChildProcess
  readonly #folder: string

  constructor(t: TestContext, folder: string) {
    this.#folder = folder
    this.#child = spawn('unshare', ['-m', 'sh', '-c', script], { stdio: 'ignore' })
    t.after(() => this.#child.kill('SIGKILL'))
  }

  /** What runs a program where the journal is. */
  get under(): readonly string[] {
    return ['nsenter', '-t', String(this.#child.pid), '-m', `--wd=${this.#folder}`]
  }

  async ready(): Promise<void> {
    for (let i = 0; this.#run('test', '-S', '/run/systemd/journal/stdout') === undefined; i++) {
      assert.ok(i < 500, 'journald did not start')
      await sleep(20)
    }
  }

  read(...words: string[]): string {
    const answer = this.#run(
      'sh',
      '-c',
      'journalctl --namespace=pawl --sync && journalctl --namespace=pawl -q "$@"',
      'sh',
      ...words,
    )
    assert.ok(answer !== undefined, 'journalctl failed')
    return answer
  }

  #run(...words: string[]): string | undefined {
    const [program = '', ...before] = this.under
    try {
      return execFileSync(program, [...before, ...words], { stdio: ['ignore', 'pipe', 'pipe'] }).toString()
    } catch {
      return undefined
    }
  }
}

test('stated: the journal of systemd has the lines of the audit trail, of its process, refusals as warnings', async t => {
  const reason = reasonWithout()
  if (reason !== undefined) return t.skip(reason)
  const scene = new Scene()
  t.after(() => scene.end())
  await scene.home('h')
  const uid = process.getuid?.() ?? 0
  const rules = [{ subject: 'boot', allow: ['get', 'put'], prefix: '/state/boot/' }]
  const policy = { format: 'pawl-policy-1', version: 1, subjects: { boot: { uid } }, rules }
  fs.writeFileSync(scene.path('policy.json'), JSON.stringify(policy))
  const journal = new Journal(t, scene.folder)
  await journal.ready()

  const words = ['stated', '--home', 'h', '--policy', 'policy.json', '--sockets', 'run', '--audit-journal']
  const daemon = scene.start(words, { under: journal.under })
  await daemon.line(/^statefsd/m)
  const boot = await StateClient.open(await connectUnix(join(scene.folder, 'run/boot/state.sock')), realClock)
  for (let i = 0; i < 200; i++) await boot.putAtomic(`/state/boot/${i}`, Buffer.from('x'))
  await assert.rejects(boot.putAtomic('/state/other', Buffer.from('x')), coded('EPERM'))
  await assert.rejects(boot.get('/state/"decision":"deny"'), coded('EPERM'))
  boot.close()
  const { pid } = daemon.child
  assert.equal((await daemon.kill('SIGTERM')).code, 0)

  const trail = await scene.ok('state', 'audit', '--home', 'h')
  assert.equal(trail.split('\n').length, 204)
  assert.equal(journal.read('-t', 'pawl', '-o', 'cat'), trail)
  assert.equal(journal.read('-o', 'cat', `_PID=${pid}`, 'PRIORITY=6').split('\n').length, 202)
  const refused = journal.read('-t', 'pawl', '-o', 'cat', '-p', 'warning').trimEnd().split('\n')
  assert.deepEqual(
    refused.map(line => JSON.parse(line).decision),
    ['deny', 'deny'],
  )
})

test('stated: without a journal of systemd it does not start, and says what else there is', async t => {
  const reason = reasonNotTo('unshare', '-m', 'true')
  if (reason !== undefined) return t.skip(reason)
  const scene = new Scene()
  t.after(() => scene.end())
  await scene.home('h')
  const under = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs tmpfs /run && exec "$@"', 'sh']
  const { code, stderr } = await scene.run(['stated', '--home', 'h', '--audit-journal'], { under })
  assert.equal(code, 2)
  assert.match(stderr, /no journal of systemd at .*ENOENT/)
  assert.match(stderr, /--audit-log FILE/)
})
