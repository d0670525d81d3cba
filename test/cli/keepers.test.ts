/** The program with a keeper outside, as people use it: etcd over TLS with client certificates. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { after, before, suite, test } from 'node:test'
import { makeCertificates } from '../keeper/certificates.ts'
import { EtcdCluster, missingEtcd } from '../keeper/etcd-cluster.ts'
import { assertFails, Scene } from './support.ts'

const missing = missingEtcd()

suite('keeper etcd', { timeout: 120_000, skip: missing !== undefined && `NOT RUN: ${missing}` }, () => {
  const scene = new Scene()
  let cluster: EtcdCluster
  let keeper = ''
  before(async () => {
    mkdirSync(scene.path('etcd'))
    const tls = makeCertificates(scene.path('etcd'))
    cluster = await EtcdCluster.start(scene.path('etcd'), { size: 1, tls })
    const [member] = cluster.members
    keeper = `etcd:https://127.0.0.1:${member?.client}?ca=${tls.ca}&cert=${tls.cert}&key=${tls.key}&wait=1`
  })
  after(async () => {
    await cluster?.killAll()
    await scene.end()
  })
  const run = (...argv: string[]) => scene.run(argv)
  const put = (text: string) => {
    writeFileSync(scene.path('value'), text)
    return run('state', 'put', '/state/a', 'value')
  }

  test('init enrols with it, doctor says what it catches, and home and anchor put back together are refused', async () => {
    const made = await run('init', '--keeper', keeper, '--profile', 'dev')
    assert.equal(made.code, 0, made.stderr)
    assert.match(made.stderr, /keeper etcd:.*home and anchor together/)
    assert.equal((await put('one')).code, 0)
    for (const what of ['.pawl', 'anchors'])
      cpSync(scene.path(what), scene.path(`old-${what}`), { recursive: true })
    assert.equal((await put('two')).code, 0)
    const doctor = await run('doctor', '--json')
    assert.equal(doctor.code, 0, doctor.stdout)
    assert.match(doctor.stdout, /"keeper","outcome":"ok","text":"etcd:/)
    for (const what of ['.pawl', 'anchors']) {
      cpSync(scene.path(what), scene.path(`new-${what}`), { recursive: true })
      rmSync(scene.path(what), { recursive: true })
      cpSync(scene.path(`old-${what}`), scene.path(what), { recursive: true })
    }
    for (const argv of [['id'], ['state', 'get', '/state/a']])
      assertFails(await run(...argv), { exit: 3, code: 'state/EROLLBACK' })
    assert.equal((await run('doctor')).code, 3)
    for (const what of ['.pawl', 'anchors']) {
      rmSync(scene.path(what), { recursive: true })
      cpSync(scene.path(`new-${what}`), scene.path(what), { recursive: true })
    }
    assert.equal((await run('state', 'get', '/state/a')).stdout, 'two')
  })

  test('away: exit 20 and nothing is acknowledged; back: it goes on', async () => {
    await cluster.killAll()
    const [got, seen] = await Promise.all([put('three'), run('state', 'inspect')])
    assertFails(got, { exit: 20, code: 'state/EKEEPER', hint: /keeper/ })
    assert.equal(seen.code, 0, 'looking needs no keeper')
    const doctor = await run('doctor')
    assert.equal(doctor.code, 20)
    assert.match(doctor.stdout, /^fail {2}keeper .*\[state\/EKEEPER\]/m)
    await cluster.startAll()
    assert.equal((await put('four')).code, 0)
  })

  test('pawl stated ends when its keeper is away, so that whoever watches it starts it again', async () => {
    const stated = scene.start(['stated'])
    await stated.line(/statefsd: write hardening on/)
    assert.equal((await put('held')).code, 0)
    await cluster.killAll()
    const asked = await put('lost')
    assert.ok(asked.code === 20, asked.stderr)
    const { code, stderr } = await stated.ended
    assert.equal(code, 20, stderr)
    await cluster.startAll()
    assert.equal((await put('again')).code, 0)
  })

  test('a server that another authority vouches for is not spoken to', async () => {
    const other = makeCertificates(scene.path('etcd'), 'other')
    const elsewhere = keeper.replace(/ca=[^&]*/, `ca=${other.ca}`)
    assertFails(await scene.run(['id'], { env: { PAWL_KEEPER: elsewhere } }), {
      exit: 20,
      code: 'state/EKEEPER',
    })
    assertFails(await scene.run(['id'], { env: { PAWL_KEEPER: 'file' } }), { exit: 2, code: 'state/EINVAL' })
    assert.equal((await scene.run(['id'], { env: { PAWL_KEEPER: keeper } })).code, 0)
  })

  test('changed to the mark file and back; lost only with --yes', async () => {
    const changed = await run('keeper', 'change', 'file', '--json')
    assert.equal(changed.code, 0, changed.stderr)
    assert.equal(JSON.parse(changed.stdout).reason, 'keeper-change')
    assert.equal((await run('keeper', 'change', keeper)).code, 0)
    assertFails(await run('keeper', 'lost', 'file'), { exit: 2, code: 'cli/USAGE', hint: /--yes/ })
    await cluster.killAll()
    assert.equal((await run('keeper', 'lost', 'file', '--yes')).code, 0)
    assert.equal((await put('five')).code, 0)
    const audit = await run('state', 'audit')
    const lines = audit.stdout.split('\n').filter(line => line.includes('"action":"keeper"'))
    assert.deepEqual(
      lines.map(line => JSON.parse(line).reason),
      ['keeper-change', 'keeper-change', 'keeper-lost'],
    )
    assert.ok(!readFileSync(scene.path('etcd/m0.log'), 'utf8').includes('panic'))
  })
})
