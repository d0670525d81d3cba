/** Backups and restores by the commands that people type, beside a process that holds the home. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { after, before, suite, test } from 'node:test'
import { assertFails, Pair, type RunOptions, Scene } from './support.ts'

suite('pawl state backup, restore, recovery-key', { timeout: 120_000 }, () => {
  const scene = new Scene()
  const state = (words: readonly string[], options?: RunOptions) => scene.run(['state', ...words], options)
  const restore = (...more: string[]) => state(['restore', 'b', '--key', 'recovery', '--home', 'a', ...more])
  let identity = ''

  before(async () => {
    identity = await scene.home('a')
    await state(['put', '/state/a', '-', '--home', 'a'], { input: 'kept' })
  })
  after(() => scene.end())

  test('a recovery key: two files, said which goes where, never over one that is there', async () => {
    const { code, stdout, stderr } = await state(['recovery-key', 'recovery'])
    assert.equal(code, 0, stderr)
    assert.match(stdout, /^secret {2}.*recovery\npublic {2}.*recovery\.pub\nid {6}[0-9a-f]{64}\n$/)
    assert.match(stderr, /off this machine/)
    const modes = ['recovery', 'recovery.pub'].map(name => fs.statSync(scene.path(name)).mode & 0o777)
    assert.deepEqual(modes, [0o600, 0o644])
    assertFails(await state(['recovery-key', 'recovery']), { exit: 2, code: 'state/EINVAL' })
    assertFails(await state(['recovery-key', 'none/recovery']), { exit: 2, code: 'cli/USAGE' })
    assertFails(await state(['recovery-key', 'anchors']), { exit: 2, code: 'state/EINVAL' })
    const other = JSON.parse((await state(['recovery-key', 'other', '--json'])).stdout)
    assert.deepEqual(Object.keys(other), ['secret', 'public', 'id'])
  })

  test('a backup beside the daemon that holds the home', async () => {
    const daemon = scene.start(['stated', '--home', 'a'])
    await daemon.line(/^statefsd: write hardening on/m)
    const { code, stdout, stderr } = await state(['backup', 'b', '--to', 'recovery.pub', '--home', 'a'])
    assert.equal(code, 0, stderr)
    assert.match(stdout, /^.*\/b: \d+ records in 1 scope, .* at mark \d+ \([0-9a-f]{12}\), taken 20/)
    assertFails(await restore(), { exit: 2, code: 'cli/USAGE', error: /a home stands/, hint: /mv / })
    await daemon.kill('SIGTERM')
    assertFails(await state(['backup', 'b', '--to', 'recovery.pub', '--home', 'a']), {
      exit: 2,
      code: 'state/EINVAL',
    })
    // Where no file can be made nothing of the home is damaged.
    for (const words of [
      ['backup', '/proc/x', '--to', 'recovery.pub', '--home', 'a'],
      ['recovery-key', '/proc/x'],
    ])
      assertFails(await state(words), { exit: 2, code: 'state/EINVAL', error: /\/proc\/x cannot be made/ })
    const facts = JSON.parse(
      (await state(['backup', 'b2', '--to', 'recovery.pub', '--home', 'a', '--json'])).stdout,
    )
    assert.deepEqual(Object.keys(facts).sort(), [
      'at',
      'bytes',
      'file',
      'mark',
      'records',
      'recovery',
      'scopes',
      'store',
    ])
    assertFails(await state(['backup', 'b3', '--to', 'recovery', '--home', 'a']), {
      exit: 2,
      code: 'state/EINVAL',
      error: /secret recovery key/,
    })
    assertFails(await state(['backup', 'recovery.pub', '--to', 'b3', '--home', 'a']), {
      exit: 2,
      code: 'cli/USAGE',
      error: /no file b3/,
      hint: /^--to takes the public recovery key, .*; the backup to write is named before it$/,
    })
    assertFails(await state(['backup', 'b3', '--to', 'recovery.pub', '--home', 'none']), {
      exit: 10,
      code: 'cli/NO_HOME',
    })
  })

  test('it is checked without making anything: damage is 3, another key 12, a newer format 5', async () => {
    const { code, stdout } = await restore('--check')
    assert.equal(code, 0)
    assert.match(stdout, /^.*\/b: whole, \d+ records/)
    const bytes = fs.readFileSync(scene.path('b'))
    const written = async (name: string, change: (copy: Buffer) => Buffer) => {
      fs.writeFileSync(scene.path(name), change(Buffer.from(bytes)))
      return state(['restore', name, '--key', 'recovery', '--check'])
    }
    assertFails(await written('cut', copy => copy.subarray(0, -1)), { exit: 3, code: 'state/EINTEGRITY' })
    assertFails(
      await written('newer', copy => {
        copy[9] = 2
        return copy
      }),
      { exit: 5, code: 'backup/EVERSION' },
    )
    assertFails(await written('foreign', () => Buffer.from('something else')), {
      exit: 3,
      code: 'state/EINTEGRITY',
      hint: /another backup/,
    })
    assertFails(await state(['restore', 'b', '--key', 'other', '--check']), { exit: 12, code: 'backup/EKEY' })
    assertFails(await state(['restore', 'b', '--key', 'recovery.pub', '--check']), {
      exit: 2,
      code: 'state/EINVAL',
    })
    assertFails(await state(['restore', 'gone', '--key', 'recovery', '--check']), {
      exit: 2,
      code: 'cli/USAGE',
    })
  })

  test('what is given up is said, and needs --yes; then the home is back, the old one never', async () => {
    await state(['put', '/state/later', '-', '--home', 'a'], { input: 'later' })
    fs.renameSync(scene.path('a'), scene.path('old'))
    const asked = await restore()
    assertFails(asked, { exit: 2, code: 'cli/USAGE', hint: /--yes/ })
    assert.match(asked.stderr, /mark is at \d+, the backup is of \d+ .* given up for good.* never open again/)
    const programs = await restore('--json')
    assert.deepEqual([programs.code, programs.stdout], [2, ''])
    assert.match(JSON.parse(programs.stderr).message, /the backup is of \d+ .* given up for good/)
    assert.equal((await state(['get', '/state/later', '--home', 'old'])).stdout, 'later')
    const { code, stdout, stderr } = await restore('--yes', '--json')
    assert.equal(code, 0, stderr)
    const { amendment, carriedOn, mark } = JSON.parse(stdout)
    assert.deepEqual([amendment.number, amendment.reason, carriedOn], [1, 'recovery', false])
    assert.deepEqual(amendment.adopted, mark)
    assert.ok(amendment.abandoned.number > mark.number)
    assert.equal((await state(['get', '/state/a', '--home', 'a'])).stdout, 'kept')
    assert.equal((await scene.ok('id', '--home', 'a')).trim(), identity)
    assertFails(await state(['get', '/state/later', '--home', 'a']), { exit: 1, code: 'state/ENOENT' })
    assertFails(await state(['get', '/state/a', '--home', 'old']), {
      exit: 3,
      code: 'state/EINTEGRITY',
      hint: /restored, or its keys rotated, this copy was given up.* pawl state restore/,
    })
    const looked = await state(['fsck', '--home', 'old'])
    assert.equal(looked.code, 2)
    assert.match(looked.stdout, /SEGMENT_HEADER[\s\S]*gave up, which never opens again/)
    assert.equal((await state(['fsck', '--home', 'a'])).code, 0)
    assert.match(await scene.ok('state', 'audit', '--home', 'a'), /"action":"restore"/)
    assert.match(await scene.ok('state', 'audit', '--home', 'a', '--json'), /"action":"restore"/)
    const { amendments } = JSON.parse(await scene.ok('state', 'inspect', '--home', 'a', '--json'))
    assert.deepEqual(
      amendments.map(({ number, reason }: { number: number; reason: string }) => [number, reason]),
      [[1, 'recovery']],
    )
  })

  test('on a terminal it asks, and anything but yes is usage', async t => {
    if (!fs.existsSync('/usr/bin/script')) return t.skip('needs script(1)')
    fs.renameSync(scene.path('a'), scene.path('asked'))
    const words = ['restore', 'b', '--key', 'recovery', '--home', 'a']
    const { code, stdout } = await state(words, { terminal: true, input: 'n\n' })
    assert.equal(code, 2, stdout)
    assert.match(stdout, /type yes to go on[\s\S]*was not confirmed: nothing was changed \[cli\/USAGE\]/)
    assert.ok(!fs.existsSync(scene.path('a')))
    fs.renameSync(scene.path('asked'), scene.path('a'))
  })

  test('a lost machine: neither home nor anchor, nothing to confirm', async () => {
    fs.rmSync(scene.path('a'), { recursive: true })
    fs.rmSync(scene.path('anchors'), { recursive: true })
    const { code, stderr } = await restore()
    assert.equal(code, 0, stderr)
    assert.equal((await scene.ok('id', '--home', 'a')).trim(), identity)
    assert.match(await scene.ok('state', 'inspect', '--home', 'a'), /^amendment +1: keeper-lost/m)
  })

  test('beside an anchor that stands elsewhere a second home is not made', async () => {
    fs.renameSync(scene.path('a'), scene.path('aside'))
    const refused = await restore('--anchor', 'elsewhere', '--yes')
    assertFails(refused, { exit: 2, code: 'state/EINVAL', error: /stands at .*anchors.*two homes/ })
    assertFails(refused, {
      exit: 2,
      code: 'state/EINVAL',
      hint: /^to practise, use --check, or another machine/,
    })
    assert.ok(!fs.existsSync(scene.path('a')))
    assert.ok(!fs.existsSync(scene.path('elsewhere')))
    assert.equal((await scene.ok('id', '--home', 'aside')).trim(), identity)
  })

  test('a place where no home can be is the caller’s trouble, and nothing is left behind', async () => {
    fs.renameSync(scene.path('anchors'), scene.path('put away'))
    const impossible = ['restore', 'b', '--key', 'recovery', '--anchor', 'new/anchors', '--home', '/proc/x']
    assertFails(await state(impossible), {
      exit: 2,
      code: 'state/EINVAL',
      error: /no home can be made at \/proc\/x/,
    })
    assert.ok(!fs.existsSync(scene.path('new')))
    assertFails(await scene.run(['init', '--profile', 'dev', '--home', '/proc/x']), {
      exit: 2,
      code: 'state/EINVAL',
    })
    assertFails(await scene.run(['init', '--profile', 'dev', '--home', '/proc/x/y']), {
      exit: 2,
      code: 'cli/USAGE',
    })
  })
})

test('what waited to be sent when the backup was taken is not delivered, and is not said to be', async t => {
  const scene = new Scene()
  t.after(() => scene.end())
  const pair = new Pair(scene)
  await pair.meet()
  fs.writeFileSync(scene.path('lines'), 'one\ntwo\n')
  const nobody = ['--to', '127.0.0.1:1', '--give-up', '0.1', '--home', 'alice']
  const send = () => scene.run(['send', 'lines', '--peer', 'bob', ...nobody])
  assertFails(await send(), { exit: 20, code: 'channel/NO_ANSWER' })
  await scene.ok('state', 'recovery-key', 'recovery')
  await scene.ok('state', 'backup', 'b', '--to', 'recovery.pub', '--home', 'alice')
  fs.renameSync(scene.path('alice'), scene.path('old'))
  await scene.ok('state', 'restore', 'b', '--key', 'recovery', '--home', 'alice', '--yes')
  // Not gone on from in silence, and nothing takes it for delivered: bob is to say so first.
  assertFails(await send(), { exit: 20, code: 'channel/NO_ANSWER' })
  const { peers, amendment } = JSON.parse(await scene.ok('recover', '--json', '--home', 'alice'))
  assert.deepEqual([peers[0].sent, peers[0].acknowledged], [2, 0])
  assert.match(amendment, /^[0-9a-f]{16}$/)
})
