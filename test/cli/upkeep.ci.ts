/** Looking over a home, what it is made of, and keeping it small, by the commands that people type. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { LookProgress } from '../../src/cli/fsck.ts'
import { flip } from '../state/support.ts'
import { assertFails, Pair, Scene } from './support.ts'

const segments = (scene: Scene, home: string) =>
  fs
    .readdirSync(scene.path(home, 'segments'))
    .filter(name => name.endsWith('.seg'))
    .map(name => scene.path(home, 'segments', name))

type Line = { readonly type: string; readonly [field: string]: unknown }

const lines = (stdout: string): Line[] =>
  stdout
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))

suite('pawl state fsck', { timeout: 120_000 }, () => {
  const scene = new Scene()
  before(async () => {
    await scene.home('a')
    for (const n of [1, 2, 3])
      await scene.run(['state', 'put', `/state/${n}`, '-', '--home', 'a'], { input: `${n}` })
  })
  after(() => scene.end())

  const fsck = (...more: string[]) => scene.run(['state', 'fsck', '--home', 'a', ...more])

  test('a whole home: one line, exit 0', async () => {
    const { code, stdout, stderr } = await fsck()
    assert.equal(code, 0, stderr)
    assert.match(stdout, /^clean: \d+ records, \d+ groups, 1 segment\n$/)
    assert.equal(stderr, '')
    const [result] = lines((await fsck('--json')).stdout)
    const { type, outcome, harmless, mendable, unrecoverable, exit } = result ?? { type: '' }
    assert.deepEqual(
      { type, outcome, harmless, mendable, unrecoverable, exit },
      { type: 'result', outcome: 'clean', harmless: 0, mendable: 0, unrecoverable: 0, exit: 0 },
    )
  })

  test('every mistake in what is typed is 64, and a mistake of others still 2', async () => {
    for (const args of [['--bogus'], ['extra'], ['--anchor'], ['--repair=yes'], ['--home', '']])
      assertFails(await fsck(...args), { exit: 64, code: 'cli/USAGE' })
    const { code, stderr } = await fsck('--bogus', '--json')
    assert.equal(code, 64)
    assert.equal(JSON.parse(stderr).exit, 64)
    assert.equal((await scene.run(['state', 'list', '--bogus'])).code, 2)
    assert.equal((await fsck('--help')).code, 0)
  })

  test('what a crash left is said and exits 0; --repair mends it and exits 1, then 0', async () => {
    const [last = ''] = segments(scene, 'a')
    fs.appendFileSync(last, Buffer.alloc(4096, 7))
    const { code, stdout } = await fsck()
    assert.equal(code, 0)
    assert.match(stdout, /^mendable +fsck\/TORN_TAIL .*00000001\.seg at \d+, group \d+$/m)
    assert.match(stdout, /^clean: .*; 1 thing to mend/m)
    const repaired = await fsck('--repair', '--json')
    assert.equal(repaired.code, 1, repaired.stderr)
    const [mended, result] = lines(repaired.stdout)
    assert.equal(mended?.type, 'mended')
    assert.equal(mended?.code, 'fsck/TORN_TAIL')
    assert.equal(result?.outcome, 'repaired')
    assert.equal((await fsck('--repair')).code, 0)
  })

  test('damage is exit 2, every finding with its object, what it means and what to do', async () => {
    const [first = ''] = segments(scene, 'a')
    flip(first, 4096 + 200)
    flip(first, 12288 + 30)
    const { code, stdout } = await fsck()
    assert.equal(code, 2)
    assert.match(stdout, /^unrecoverable +fsck\/GROUP .*00000001\.seg at 4096, group 1$/m)
    assert.match(stdout, /^unrecoverable +fsck\/GROUP .*00000001\.seg at 12288, group 2$/m)
    assert.match(stdout, /put the newest whole copy of the home back/)
    assert.match(stdout, /^unrecoverable: 2 findings/m)
    const found = lines((await fsck('--json', '--repair')).stdout)
    assert.equal(found.length, 3)
    assert.deepEqual(Object.keys(found[0] ?? {}).sort(), [
      'code',
      'detail',
      'file',
      'group',
      'kind',
      'means',
      'next',
      'offset',
      'type',
    ])
    flip(first, 4096 + 200)
    flip(first, 12288 + 30)
  })

  test('a name that would act on the terminal is shown, not obeyed', async () => {
    const stranger = scene.path('a', 'segments', 'x\u001b[2Jclean: all is well\n')
    fs.writeFileSync(stranger, '', { mode: 0o600 })
    const { code, stdout } = await fsck()
    fs.rmSync(stranger)
    assert.equal(code, 2)
    assert.ok(!stdout.includes('\u001b'))
    assert.match(stdout, /fsck\/STRANGER .*x\\u001b\[2Jclean: all is well\\n$/m)
  })

  test('no home, and a home that others may read, are exit 2', async () => {
    const none = await scene.run(['state', 'fsck', '--home', 'nowhere'])
    assert.equal(none.code, 2)
    assert.match(none.stdout, /fsck\/NO_HOME/)
    fs.chmodSync(scene.path('a'), 0o755)
    const { code, stdout } = await fsck()
    fs.chmodSync(scene.path('a'), 0o700)
    assert.equal(code, 2)
    assert.match(stdout, /fsck\/EXPOSED [\s\S]*lets others in[\s\S]*chmod 700/)
  })
})

suite('a home that is used', { timeout: 120_000 }, () => {
  const scene = new Scene()
  const pair = new Pair(scene)
  before(() => pair.meet())
  after(() => scene.end())

  test('is looked at up to its mark; its records of every kind decode; repairing needs the lock', async () => {
    fs.writeFileSync(scene.path('orders'), 'one\ntwo\nthree\n')
    await pair.receive('got')
    await pair.sent('orders')
    const { code, stdout } = await scene.run(['state', 'fsck', '--home', 'bob'])
    assert.equal(code, 0, stdout)
    assert.match(stdout, /^harmless +fsck\/IN_USE /)
    assertFails(await scene.run(['state', 'fsck', '--home', 'bob', '--repair']), {
      exit: 2,
      code: 'state/ELOCKED',
    })
    await pair.stop()
    // What is queued and not acknowledged, too.
    fs.appendFileSync(scene.path('orders'), 'four\n')
    assert.equal((await pair.send('orders', '--give-up', '1')).code, 20)
    for (const home of ['alice', 'bob']) {
      const found = await scene.run(['state', 'fsck', '--home', home])
      assert.equal(found.code, 0)
      assert.doesNotMatch(found.stdout, /UNKNOWN_RECORD|OWN_RECORD/)
    }
  })
})

suite('pawl state inspect, delete, history, compact', { timeout: 120_000 }, () => {
  const scene = new Scene()
  before(() => scene.home('a'))
  after(() => scene.end())

  const pawl = (...args: string[]) => scene.run(['state', ...args, '--home', 'a'])
  const put = (path: string, input: string | Buffer) =>
    scene.run(['state', 'put', path, '-', '--home', 'a'], { input })

  test('what a home is made of: no payload, no key', async () => {
    await put('/state/a', 'the payload of it')
    const { code, stdout, stderr } = await pawl('inspect')
    assert.equal(code, 0, stderr)
    for (const expected of [
      /^store +[0-9a-f]{64}$/m,
      /^mark +2 \([0-9a-f]{12}\)/m,
      /^keeper +file/m,
      /^records +\d+ live, .*journal/m,
      /^segment +1: .*, groups 1 to 2$/m,
      /^slots +1 of 256 used/m,
      /^scope +default, slot 0/m,
      /^budgets +.*1\.0 MiB/m,
      /^unfinished +nothing$/m,
    ])
      assert.match(stdout, expected)
    assert.doesNotMatch(stdout, /the payload/)
    const all = JSON.parse((await pawl('inspect', '--json')).stdout)
    assert.equal(all.generation, 2)
    assert.equal(all.segments[0].number, 1)
    assert.deepEqual(all.scopes, [{ name: 'default', slot: 0, state: 'live', recoverable: true }])
    const anchor = scene.anchors.get('a') ?? ''
    const key = fs.readFileSync(join(anchor, 'key')).subarray(12, 44).toString('hex')
    assert.ok(!JSON.stringify(all).includes(key))
  })

  test('where a record lies, and its envelope', async () => {
    const { code, stdout } = await pawl('inspect', '/state/a')
    assert.equal(code, 0)
    for (const expected of [
      /^size +17 B$/m,
      /^sha-256 +[0-9a-f]{64}$/m,
      /^generation +2$/m,
      /^scope +default/m,
      /^lies in +.*00000001\.seg, group 2 at 12288, block 0$/m,
      /^at +20\d\d-/m,
    ])
      assert.match(stdout, expected)
    const found = JSON.parse((await pawl('inspect', '/state/a', '--json')).stdout)
    assert.equal(found.bytes, 17)
    assert.equal(found.segment, 1)
    // A hash of what is short enough to be guessed is for records of one's own alone.
    const own = JSON.parse((await pawl('inspect', '/pawl/identity/keys', '--json')).stdout)
    assert.equal(own.sha256, undefined)
    assertFails(await pawl('inspect', '/state/none'), { exit: 1, code: 'state/ENOENT' })
    assertFails(await pawl('inspect', 'none'), { exit: 2, code: 'state/EINVAL' })
  })

  test('history and delete', async () => {
    await put('/state/a', 'another')
    assert.match((await pawl('delete', '/state/a')).stdout, /^\/state\/a: deleted, generation 4\n$/)
    assertFails(await pawl('delete', '/state/a'), { exit: 1, code: 'state/ENOENT' })
    const { stdout } = await pawl('history', '/state/a')
    assert.match(stdout, /^2 +put +17 B +20.*\n3 +put +7 B +20.*\n4 +delete\n$/)
    const { changes } = JSON.parse((await pawl('history', '/state/a', '--json')).stdout)
    assert.deepEqual(
      changes.map(({ generation, kind }: { generation: number; kind: string }) => [generation, kind]),
      [
        [2, 'put'],
        [3, 'put'],
        [4, 'delete'],
      ],
    )
    assertFails(await pawl('history', '/state/never'), { exit: 1, code: 'state/ENOENT' })
  })

  test('compact keeps what is live and nothing else', async () => {
    for (let i = 0; i < 4; i++) await put('/state/big', Buffer.alloc(1_000_000, i))
    const { code, stdout, stderr } = await pawl('compact', '--json')
    assert.equal(code, 0, stderr)
    const { before, after } = JSON.parse(stdout)
    assert.ok(before > 4_000_000 && after < 2_000_000, stdout)
    assert.match((await pawl('compact')).stdout, /^journal: \d+\.\d [KM]iB before, \d+\.\d [KM]iB now\n$/)
    assert.equal((await pawl('get', '/state/big')).stdout.length, 1_000_000)
    assert.equal((await pawl('fsck')).code, 0)
  })

  test('rotate gives new keys to what is named, or to all of it, and says which', async () => {
    const anchor = scene.anchors.get('a') ?? ''
    const secrets = () => [
      fs.readFileSync(join(anchor, 'key')).subarray(12, 44),
      fs.readFileSync(join(anchor, 'slots')).subarray(4096, 4096 + 32),
    ]
    const [key, slot] = secrets()
    const { stdout } = await pawl('rotate', '--store-key')
    assert.equal(stdout, 'new keys for the store; the old ones are gone\n')
    assert.deepEqual([secrets()[0]?.some(byte => byte !== 0), secrets()[1]], [false, slot])
    assert.ok(!fs.readFileSync(join(anchor, 'key')).includes(key ?? ''))
    assert.match((await pawl('rotate', 'default')).stdout, /^new keys for scope default; /)
    assert.ok(!fs.readFileSync(join(anchor, 'slots')).includes(slot ?? ''))
    assert.match((await pawl('rotate')).stdout, /^new keys for every scope and the store; /)
    const json = JSON.parse((await pawl('rotate', '--json')).stdout)
    assert.deepEqual(json, { scope: null, storeKey: true, all: true })
    assertFails(await pawl('rotate', 'nowhere'), { exit: 1, code: 'state/ENOENT' })
    assert.equal((await pawl('get', '/state/big')).stdout.length, 1_000_000)
    assert.equal((await pawl('fsck')).code, 0)
  })

  test('a damaged home is still described, says what is wrong, and exits 3', async () => {
    const [first = ''] = segments(scene, 'a')
    flip(first, 4096 + 40)
    const { code, stdout, stderr } = await pawl('inspect')
    flip(first, 4096 + 40)
    assert.equal(code, 3)
    assert.match(stdout, /^store +[0-9a-f]{64}$/m)
    assert.match(stderr, /fsck\/GROUP/)
    assert.match(stderr, /pawl state fsck/)
  })
})

test('on a terminal, and there only, a look that takes a while says how far it is, and wipes that', () => {
  let now = 0
  const written: string[] = []
  const clock = { monotonic: () => now }
  const out = (isTTY: boolean) => ({ isTTY, write: (text: string) => written.push(text) })
  const [shown, silent] = [new LookProgress(clock, out(true)), new LookProgress(clock, out(false))]
  for (const at of [0, 400, 600, 650, 800]) {
    now = at
    shown.show(at, 1000)
    silent.show(at, 1000)
  }
  shown.wipe()
  silent.wipe()
  assert.deepEqual(written, ['\rlooked at 60 %\u001b[K', '\rlooked at 80 %\u001b[K', '\r\u001b[K'])
})
