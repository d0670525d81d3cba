/** Two nodes take turns at a shared home (docs/spec/ownership.md), as people run them. */
import assert from 'node:assert/strict'
import { cpSync, existsSync, rmSync } from 'node:fs'
import { after, before, suite, test } from 'node:test'
import { missingEtcd } from '../keeper/etcd-cluster.ts'
import { etcdIn, Nodes, type Server } from './nodes.ts'
import { assertFails, Scene } from './support.ts'

const listening = ['--listen', '127.0.0.1:0', '--from', 'alice', '--out', 'lines']

async function begin(nodes: Nodes): Promise<void> {
  const [a, b] = nodes.nodes
  await nodes.start(a)
  await nodes.owns(a)
  nodes.send()
  await nodes.start(b)
}

async function stopTheFirst(nodes: Nodes): Promise<void> {
  const [a, b] = nodes.nodes

  const stopped = nodes.runningOf(a)
  stopped.child.kill('SIGSTOP')
  await nodes.owns(b)
  stopped.child.kill('SIGCONT')
  const late = await nodes.ended(a)
  assertFails(late, { exit: 11, code: 'state/ELOCKED', error: /owned by .*, in term/, hint: /--standby/ })
}

async function killTheSecond(nodes: Nodes): Promise<void> {
  const [a, b] = nodes.nodes
  await nodes.start(a)
  nodes.runningOf(b).child.kill('SIGKILL')
  await nodes.ended(b)
  await nodes.owns(a)
}

async function endTheFirst(nodes: Nodes): Promise<void> {
  const [a, b] = nodes.nodes
  await nodes.start(b)
  nodes.runningOf(a).child.kill('SIGTERM')
  assert.equal((await nodes.ended(a)).code, 0)
  await nodes.owns(b)
}

async function everyLineOnce(nodes: Nodes): Promise<void> {
  const [, b] = nodes.nodes
  await nodes.sent()
  const doctor = await nodes.scene.run(['doctor', '--home', nodes.shared])
  assert.equal(doctor.code, 0, doctor.stdout)
  assert.match(doctor.stdout, /^ok {4}owner .* in term \d+, gives signs of life$/m)
  nodes.runningOf(b).child.kill('SIGTERM')
  assert.equal((await nodes.ended(b)).code, 0)
  nodes.check()
}

const missing = missingEtcd()
suite('two nodes on etcd', { timeout: 120_000, skip: missing !== undefined && `NOT RUN: ${missing}` }, () => {
  const scene = new Scene()
  let server: Server
  before(async () => {
    server = await etcdIn(scene)
  })
  after(async () => {
    await server?.end()
    await scene.end()
  })

  test('one stopped, one killed, one ended: every line arrives once, and the late one says who owns it', async () => {
    const nodes = await Nodes.meet(scene, server.keeper)
    await begin(nodes)
    await stopTheFirst(nodes)
    await killTheSecond(nodes)
    await endTheFirst(nodes)
    await everyLineOnce(nodes)
    const state = await scene.run(['state', 'put', '/state/a', '-', '--home', 'shared'], { input: 'x' })
    assert.equal(state.code, 0, state.stderr)
    assert.equal((await scene.run(['state', 'get', '/state/a', '--home', 'shared'])).stdout, 'x')
  })

  test('pawl stated stands by, serves when its turn comes, and ends in order while it waits', async () => {
    const start = () => scene.start(['stated', '--home', 'shared', '--standby', '--silence', '1'])
    const first = start()
    await first.line(/statefsd: write hardening on/)
    const [second, third] = [start(), start()]
    await Promise.all([second.line(/standing by:/), third.line(/standing by:/)])
    assert.equal((await third.kill('SIGTERM')).code, 0)
    assertFails(await scene.run(['receive', ...listening, '--home', 'shared']), {
      exit: 11,
      code: 'state/ELOCKED',
      hint: /--standby/,
    })
    const put = await scene.run(['state', 'put', '/state/b', '-', '--home', 'shared'], { input: 'y' })
    assert.equal(put.code, 0, put.stderr)
    assert.equal((await first.kill('SIGTERM')).code, 0)
    await second.line(/statefsd: write hardening on/)
    assert.equal((await scene.run(['state', 'get', '/state/b', '--home', 'shared'])).stdout, 'y')
    assert.equal((await second.kill('SIGTERM')).code, 0)
  })

  test('put back to an older copy it goes on by an amendment, taken over for that; the newest opens no more', async () => {
    const put = async (text: string) => {
      const { code, stderr } = await scene.run(['state', 'put', '/state/r', '-', '--home', 'shared'], {
        input: text,
      })
      assert.equal(code, 0, stderr)
    }
    const copy = (from: string, to: string) => {
      rmSync(scene.path(to), { recursive: true, force: true })
      cpSync(scene.path(from), scene.path(to), { recursive: true })
    }
    const recover = async (exit: number, ...more: string[]) => {
      const { code, stdout, stderr } = await scene.run(['recover', '--json', ...more, '--home', 'shared'])
      assert.equal(code, exit, stderr)
      return JSON.parse(stdout)
    }
    await put('one')
    copy('shared', 'older')
    await put('two')
    const well = await recover(0)
    assert.equal(well.verdict, 'nothing is wrong')
    assert.ok(existsSync(well.anchor), 'where it is now')
    copy('shared', 'newest')
    copy('older', 'shared')
    const found = await recover(3)
    assert.equal(found.verdict, 'the home went back')
    assert.equal(found.home, scene.path('shared'))
    const ways = found.ways.map(({ way }: { way: string }) => way)
    assert.deepEqual(ways, ['put back', 'restore', 'refuse', 'go on'])
    const done = await recover(0, '--go-on', '--yes')
    assert.ok(done.amendment.abandoned.number > done.amendment.adopted.number)
    const run = (...words: string[]) => scene.run([...words, '--home', 'shared'])
    assert.equal((await run('state', 'get', '/state/r')).stdout, 'one')
    assert.match((await run('state', 'audit')).stdout, /"action":"recover"/)
    copy('shared', 'mine')
    copy('newest', 'shared')
    assertFails(await run('peer', 'remove', 'alice'), { exit: 3, code: 'state/EROLLBACK' })
    copy('mine', 'shared')
    await put('three')
  })

  test('what a shared home is not: without a keeper that knows owners, with a path for its file', async () => {
    const init = (...more: string[]) =>
      scene.run(['init', '--shared', '--profile', 'dev', '--home', 'other', ...more])
    assertFails(await init(), { exit: 2, code: 'cli/USAGE', hint: /etcd/ })
    assertFails(await init('--keeper', server.keeper, '--anchor', 'x'), { exit: 2, code: 'cli/USAGE' })
    assertFails(
      await scene.run([
        'receive',
        '--home',
        'shared',
        '--listen',
        '127.0.0.1:0',
        '--from',
        'alice',
        '--out',
        'a/b',
      ]),
      { exit: 2, code: 'cli/USAGE', hint: /two-nodes/ },
    )
    assertFails(await scene.run(['keeper', 'change', 'file', '--home', 'shared']), {
      exit: 2,
      code: 'cli/USAGE',
    })
    await scene.home('plain')
    for (const more of [['--standby'], ['--silence', '3']])
      assertFails(await scene.run(['receive', ...listening, '--home', 'plain', ...more]), {
        exit: 2,
        code: 'cli/USAGE',
        error: /no shared home/,
      })
    assertFails(await init('--keeper', server.keeper, '--home', 'shared'), { exit: 2, code: 'cli/USAGE' })
  })
})
