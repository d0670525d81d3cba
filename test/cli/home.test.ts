import assert from 'node:assert/strict'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { after, suite, test } from 'node:test'
import { describeRestores } from '../../src/mark/restores.ts'
import { assertFails, Scene } from './support.ts'

suite('init', { timeout: 60_000 }, () => {
  const scene = new Scene()
  after(() => scene.end())

  test('prints home, anchor and identity, and what the anchor is for', async () => {
    const { code, stdout, stderr } = await scene.run(['init', '--home', 'a', '--profile', 'dev'])
    assert.equal(code, 0)
    assert.equal(scene.plain(stdout), 'home      DIR/a\nanchor    DIR/anchors/STORE\nidentity  pawl1:ID\n')
    assert.equal(
      stderr,
      [
        'pawl: keeper file: refuses an older home put back; home and anchor put back together only the next peer notices',
        'pawl: home and anchor are on one device: a snapshot of it brings back both together',
        'pawl: never copy the anchor; without it the home does not open: pawl state backup writes what brings it back',
        '',
      ].join('\n'),
    )
    assert.equal(statSync(scene.path('a')).mode & 0o777, 0o700)
    assert.equal(statSync(scene.path('anchors')).mode & 0o777, 0o700)
  })

  test('a second time refuses and changes nothing', async () => {
    const before = readdirSync(scene.path('anchors'))
    assertFails(await scene.run(['init', '--home', 'a', '--profile', 'dev']), {
      exit: 2,
      code: 'cli/USAGE',
      error: /a home stands at .*\/a already/,
      hint: /^pawl id prints its identity/,
    })
    assert.deepEqual(readdirSync(scene.path('anchors')), before)
  })

  test('makes missing parents for the owner alone and leaves the modes of existing ones', async () => {
    mkdirSync(scene.path('open'), { mode: 0o755 })
    chmodSync(scene.path('open'), 0o755)
    await scene.ok('init', '--home', 'open/deep/er/home', '--anchor', 'open/anchors', '--profile', 'dev')
    const modes = ['open', 'open/deep', 'open/deep/er', 'open/deep/er/home', 'open/anchors']
    assert.deepEqual(
      modes.map(name => (statSync(scene.path(name)).mode & 0o777).toString(8)),
      ['755', '700', '700', '700', '700'],
    )
  })

  test('an anchor inside the home, or a home inside an anchor, is refused', async () => {
    assertFails(await scene.run(['init', '--home', 'b', '--anchor', 'b/anchors', '--profile', 'dev']), {
      exit: 2,
      code: 'cli/USAGE',
      error: /the anchor would lie inside the home/,
    })
    const [anchor = ''] = readdirSync(scene.path('anchors'))
    assertFails(await scene.run(['init', '--home', `anchors/${anchor}/home`, '--profile', 'dev']), {
      exit: 2,
      code: 'cli/USAGE',
      error: /inside an anchor/,
    })
    assert.ok(!existsSync(scene.path('b')))
  })

  test('the anchor goes to the first place that is named', async () => {
    const place = async (name: string, env: Record<string, string | undefined>, ...more: string[]) => {
      const { stdout, stderr } = await scene.run(
        ['init', '--home', name, '--profile', 'dev', '--json', ...more],
        { env },
      )
      assert.notEqual(stdout, '', stderr)
      return scene.plain(JSON.parse(stdout).anchor)
    }
    const env = {
      PAWL_ANCHOR: scene.path('one'),
      STATE_DIRECTORY: `${scene.path('two')}:${scene.path('three')}`,
      XDG_STATE_HOME: scene.path('four'),
    }
    const places = [
      place('c1', env, '--anchor', 'zero'),
      place('c2', env),
      place('c3', { ...env, PAWL_ANCHOR: undefined }),
      place('c4', { ...env, PAWL_ANCHOR: undefined, STATE_DIRECTORY: undefined }),
    ]
    assert.deepEqual(await Promise.all(places), [
      'DIR/zero/STORE',
      'DIR/one/STORE',
      'DIR/two/STORE',
      'DIR/four/pawl/STORE',
    ])
  })

  test('keepers, profiles and places that do not do are refused with what does', async () => {
    const refused = async (args: string[], error: RegExp) =>
      assertFails(await scene.run(['init', '--home', 'no', ...args]), { exit: 2, code: 'cli/USAGE', error })
    await Promise.all([
      refused(['--keeper', 'etcd'], /etcd takes a place: etcd:https:/),
      refused(['--keeper', 'etcd:http://elsewhere:2379'], /another machine: use https/),
      refused(['--keeper', 'etcd:https://elsewhere:2379'], /name the authority/),
      refused(['--keeper', 'postgres://me:word@localhost/marks'], /no password in a URL/),
      refused(['--keeper', 'paper'], /no keeper "paper"/),
      refused(['--profile', 'test'], /no profile "test"/),
    ])
    writeFileSync(scene.path('file'), 'x')
    assertFails(await scene.run(['init', '--home', 'file', '--profile', 'dev']), {
      exit: 2,
      code: 'cli/USAGE',
    })
    assertFails(
      await scene.run(['init', '--home', 'no', '--profile', 'high_security'], {
        env: { QSL_TEST_HOOKS: undefined },
      }),
      {
        exit: 2,
        code: 'cli/USAGE',
        error: /high_security refuses keeper file alone/,
        hint: /etcd:/,
      },
    )
    assert.ok(!existsSync(scene.path('no')))
  })

  test('keeper none says what it does not notice', async () => {
    const { code, stderr } = await scene.run(['init', '--home', 'n', '--keeper', 'none', '--profile', 'dev'])
    assert.equal(code, 0)
    assert.match(stderr, /keeper none: an older home put back is not noticed here/)
    const { code: exit, stdout } = await scene.run(['doctor', '--home', 'n'])
    assert.equal(exit, 0)
    assert.match(stdout, /^warn {2}keeper .*none/m)
  })

  test('hooks have no place in profile prod', async () => {
    assertFails(await scene.run(['init', '--home', 'p']), {
      exit: 3,
      code: 'hooks/EPERM',
      error: /profile prod/,
    })
    const quiet = { env: { QSL_TEST_HOOKS: undefined } }
    assert.equal((await scene.run(['init', '--home', 'p'], quiet)).code, 0)
    assertFails(await scene.run(['id', '--home', 'p']), { exit: 3, code: 'hooks/EPERM' })
  })
})

suite('a home', { timeout: 60_000 }, () => {
  const scene = new Scene()
  const bob = 'pawl1:Ff0AIv1vT1YyIeySPqkFcbFzOJfTDFBbiBh3KYj_Yw8'
  let identity = ''
  after(() => scene.end())

  test('without one every command says so', async () => {
    const lines = [
      ['id'],
      ['state', 'put', '/state/a', '-'],
      ['receive', '--listen', '127.0.0.1:0', '--from', 'a', '--out', 'o'],
    ]
    for (const outcome of await Promise.all(lines.map(args => scene.run([...args, '--home', 'nowhere']))))
      assertFails(outcome, {
        exit: 10,
        code: 'cli/NO_HOME',
        error: /no home at .*nowhere/,
        hint: /elsewhere; if it is lost, pawl state restore .* pawl init/,
      })
  })

  test('id prints one line, and as JSON one object', async () => {
    identity = await scene.home('a')
    assert.equal(await scene.ok('id', '--home', 'a'), `${identity}\n`)
    assert.match(identity, /^pawl1:[\w-]{43}$/)
    assert.deepEqual(JSON.parse(await scene.ok('id', '--home', 'a', '--json')), { identity, records: 1 })
    const { stdout } = await scene.run(['id'], { env: { PAWL_HOME: scene.path('a') } })
    assert.equal(stdout, `${identity}\n`)
  })

  test('peers are added, listed and removed', async () => {
    assert.equal(await scene.ok('peer', 'add', 'bob', bob, '--home', 'a'), `bob is ${bob}\n`)
    assert.equal(await scene.ok('peer', 'add', 'bob', bob, '--home', 'a'), `bob is ${bob}\n`)
    assert.equal(await scene.ok('peer', 'list', '--home', 'a'), `bob  ${bob}\n`)
    assert.deepEqual(JSON.parse(await scene.ok('peer', 'list', '--home', 'a', '--json')), {
      peers: [{ name: 'bob', identity: bob }],
    })
    const refused = async (args: string[], code: string, error: RegExp) =>
      assertFails(await scene.run(['peer', 'add', ...args, '--home', 'a']), { exit: 2, code, error })
    // Each takes the lock, so one after another.
    await refused(['eve', bob], 'state/EINVAL', /already known as bob/)
    await refused(['eve', bob.slice(0, -1)], 'signature/EINVAL', /not an identity/)
    await refused(['bob', `pawl1:${'A'.repeat(43)}`], 'state/EINVAL', /pinned to another identity/)
    assert.equal(await scene.ok('peer', 'remove', 'bob', '--home', 'a'), `bob is forgotten; it was ${bob}\n`)
    assert.equal(await scene.ok('peer', 'list', '--home', 'a'), '')
    assertFails(await scene.run(['peer', 'remove', 'bob', '--home', 'a']), { exit: 2, code: 'cli/NO_PEER' })
  })

  test('files of a home and its anchor are neither read as input nor written to', async t => {
    const alone = new Scene()
    t.after(() => alone.end())
    await alone.home('own')
    const lock = `${alone.anchors.get('own')}/lock`
    const far = ['--listen', '127.0.0.1:0', '--from', 'bob', '--out']
    for (const args of [
      ['receive', ...far, lock],
      ['receive', ...far, alone.path('own/segments/x')],
      ['send', '--to', '127.0.0.1:9', '--peer', 'bob', lock],
      ['state', 'put', '/state/a', lock],
    ]) {
      const outcome = await alone.run([...args, '--home', 'own'])
      assertFails(outcome, { exit: 2, code: 'cli/USAGE', error: /Pawl's own/ })
    }
    await alone.ok('id', '--home', 'own')
  })

  test('an empty directory name is refused, as what an unset variable leaves', async () => {
    for (const args of [
      ['init', '--profile', 'dev', '--home', scene.path('unset'), '--anchor', ''],
      ['id', '--home', ''],
    ])
      assertFails(await scene.run(args), { exit: 2, code: 'cli/USAGE', error: /is empty/ })
    assert.equal(existsSync(scene.path('unset')), false)
  })

  test('state is put, got back byte for byte, and listed', async () => {
    const bytes = Buffer.from([0, 255, 10, 13, 27, 200])
    writeFileSync(scene.path('bytes'), bytes)
    assert.equal(
      (await scene.ok('state', 'put', '/state/b', 'bytes', '--home', 'a')).replace(/\d+\n/, 'N\n'),
      '/state/b: 6 B, generation N\n',
    )
    const { code } = await scene.run(['state', 'put', '/state/a/x', '-', '--home', 'a'], { input: 'words\n' })
    assert.equal(code, 0)
    const got = scene.start(['state', 'get', '/state/b', '--home', 'a'])
    await got.ended
    assert.deepEqual(Buffer.concat(got.stdout), bytes)
    assert.equal(await scene.ok('state', 'get', '/state/a/x', '--home', 'a'), 'words\n')
    const shown = JSON.parse(await scene.ok('state', 'get', '/state/b', '--home', 'a', '--json'))
    assert.equal(shown.payload, bytes.toString('base64'))
    assert.equal(shown.bytes, 6)
    assert.equal(await scene.ok('state', 'list', '--home', 'a'), '/state/a/x\n/state/b\n')
    assert.equal(await scene.ok('state', 'list', '/state/a', '--home', 'a'), '/state/a/x\n')
    assert.deepEqual(JSON.parse(await scene.ok('state', 'list', '--home', 'a', '--json')), {
      paths: ['/state/a/x', '/state/b'],
    })
    assert.equal(await scene.ok('state', 'get', '/state/b', '--out', 'copy', '--home', 'a'), 'copy: 6 B\n')
    assert.deepEqual(readFileSync(scene.path('copy')), bytes)
  })

  test('state says what it does not take', async () => {
    const refused = async (exit: number, code: string, ...args: string[]) =>
      assertFails(await scene.run(['state', ...args, '--home', 'a']), { exit, code })
    await Promise.all([
      refused(1, 'state/ENOENT', 'get', '/state/nothing'),
      refused(2, 'state/EINVAL', 'get', '/pawl/identity/keys'),
      refused(2, 'cli/USAGE', 'list', '/pawl/'),
      refused(2, 'state/EINVAL', 'put', '/state/../x', 'bytes'),
      refused(2, 'cli/USAGE', 'put', '/state/x', 'no-such-file'),
      refused(2, 'cli/USAGE', 'put', '/state/x', '.'),
      refused(2, 'cli/USAGE', 'get', '/state/b', '--out', 'copy'),
    ])
    writeFileSync(scene.path('big'), Buffer.alloc(1024 * 1024 + 1))
    await refused(2, 'state/E2BIG', 'put', '/state/x', 'big')
    writeFileSync(scene.path('big'), Buffer.alloc(1024 * 1024))
    await scene.ok('state', 'put', '/state/x', 'big', '--home', 'a')
  })

  test('a file that cannot be written whole is not left behind, so the same command can be run again', async () => {
    const get = ['state', 'get', '/state/x', '--out', 'whole', '--home', 'a']
    const full = await scene.run(get, { under: ['sh', '-c', 'ulimit -f 200 && exec "$@"', 'sh'] })
    assertFails(full, {
      exit: 1,
      code: 'disk/full',
      hint: /^make room on the disk, then run the same command/,
    })
    assert.ok(!existsSync(scene.path('whole')))
    await scene.ok(...get)
  })

  test('bytes that are no text are not written to a terminal', async t => {
    if (!existsSync('/usr/bin/script')) return t.skip('needs script(1)')
    const outcome = await scene.run(['state', 'get', '/state/b', '--home', 'a'], { terminal: true })
    assert.equal(outcome.code, 2)
    assert.match(outcome.stdout, /holds bytes that are no text \[cli\/USAGE\]/)
    const { stdout } = await scene.run(['state', 'get', '/state/a/x', '--home', 'a'], { terminal: true })
    assert.equal(stdout, 'words\r\n')
  })

  test('doctor finds nothing wrong, and says what would not be caught', async () => {
    const stdout = scene.plain(await scene.ok('doctor', '--home', 'a'))
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map(line => line.replace(/ v\d+.*| \d.*/, ' N'))
    assert.deepEqual(lines, [
      'ok    node         N',
      'ok    randomness   the kernel and the process',
      'ok    home         DIR/a',
      'ok    anchor       DIR/anchors/STORE',
      'ok    permissions  only you may read DIR/a',
      'ok    permissions  only you may read DIR/anchors/STORE',
      'ok    lock         free',
      'ok    profile      dev',
      'ok    mark         N',
      'ok    keeper       file: refuses an older home put back; home and anchor put back together only the next peer notices',
      `ok    put back     ${describeRestores('file')}`,
      'warn  devices      home and anchor are on one device: a snapshot of it brings back both together',
      'warn  custody      the raw store key file in the anchor: whoever has home and anchor can open everything',
      'ok    slots        N',
      'ok    clock        N',
      'ok    hooks        QSL_TEST_HOOKS is set, and this profile allows it',
    ])
    const shown = JSON.parse(await scene.ok('doctor', '--home', 'a', '--json'))
    assert.equal(shown.outcome, 'ok')
    assert.equal(shown.checks.length, lines.length)
  })

  test('doctor without a home', async () => {
    const { code, stdout } = await scene.run(['doctor', '--home', 'nowhere'])
    assert.equal(code, 10)
    assert.match(
      stdout,
      /^fail {2}home .*\[cli\/NO_HOME\]\n +see whether it .* make a new one with: pawl init --home nowhere$/m,
    )
  })

  test('what others may read is not opened, and the remedy mends it', async () => {
    chmodSync(scene.path('a/home.cbor'), 0o640)
    const refused = await scene.run(['state', 'list', '--home', 'a'])
    assertFails(refused, {
      exit: 3,
      code: 'state/EPERM',
      error: /mode 0640 lets others in/,
      hint: /^chmod 600 /,
    })
    const { code, stdout } = await scene.run(['doctor', '--home', 'a'])
    assert.equal(code, 3)
    assert.match(stdout, /^fail {2}permissions .*home\.cbor: mode 0640 .*\n +chmod 600/m)
    chmodSync(scene.path('a/home.cbor'), 0o600)
    const [anchor = ''] = readdirSync(scene.path('anchors'))
    chmodSync(scene.path('anchors', anchor, 'key'), 0o604)
    assertFails(await scene.run(['id', '--home', 'a']), { exit: 3, code: 'state/EPERM', hint: /^chmod 600 / })
    chmodSync(scene.path('anchors', anchor, 'key'), 0o600)
    await scene.ok('id', '--home', 'a')
  })

  test('an anchor that was moved is found by its base', async () => {
    renameSync(scene.path('anchors'), scene.path('moved'))
    assertFails(await scene.run(['id', '--home', 'a'], { env: { PAWL_ANCHOR: undefined } }), {
      exit: 3,
      code: 'state/EINTEGRITY',
      error: /no whole anchor at .*--anchor/,
      hint: /with --anchor; if it is lost, .*pawl state restore brings it back from a backup$/,
    })
    const doctor = await scene.run(['doctor', '--home', 'a'], { env: { PAWL_ANCHOR: undefined } })
    assert.equal(doctor.code, 3)
    const lines = scene.plain(doctor.stdout).trimEnd().split('\n').slice(2)
    assert.deepEqual(lines, [
      'ok    home         DIR/a',
      'ok    permissions  only you may read DIR/a',
      'fail  anchor       nothing at DIR/anchors/STORE [state/EINTEGRITY]',
      `${' '.repeat(19)}name where it was moved with --anchor; if it is lost, this home opens no more, and only pawl state restore brings it back from a backup`,
    ])
    assert.equal(await scene.ok('id', '--home', 'a', '--anchor', 'moved'), `${identity}\n`)
    renameSync(scene.path('moved'), scene.path('anchors'))
  })

  test('a home named through a symbolic link is the same home', async () => {
    symlinkSync(scene.path('a'), scene.path('link'))
    assert.equal(await scene.ok('id', '--home', 'link'), `${identity}\n`)
  })

  test('an older copy put back is refused by every command, and the newer one opens again', async () => {
    const address = ['--to', '127.0.0.1:1', '--peer', 'bob', 'bytes']
    await scene.ok('peer', 'add', 'bob', bob, '--home', 'a')
    cpSync(scene.path('a'), scene.path('older'), { recursive: true })
    await scene.ok('state', 'put', '/state/newer', 'bytes', '--home', 'a')
    renameSync(scene.path('a'), scene.path('newer'))
    renameSync(scene.path('older'), scene.path('a'))
    for (const args of [['id'], ['send', ...address]])
      assertFails(await scene.run([...args, '--home', 'a']), {
        exit: 3,
        code: 'state/EROLLBACK',
        error: /older copy|went back/,
        hint: /^put the newer home back/,
      })
    const { code, stdout } = await scene.run(['doctor', '--home', 'a'])
    assert.equal(code, 3)
    assert.match(stdout, /^fail {2}state .*\[state\/EROLLBACK\]\n +put the newer home back/m)
    rmSync(scene.path('a'), { recursive: true })
    renameSync(scene.path('newer'), scene.path('a'))
    assert.match(await scene.ok('state', 'list', '--home', 'a'), /\/state\/newer/)
  })

  test('any one file that is gone is damage, never a home that starts empty', async () => {
    const [segment = ''] = readdirSync(scene.path('a/segments'))
    const [anchor = ''] = readdirSync(scene.path('anchors'))
    const files = [
      'a/home.cbor',
      `a/segments/${segment}`,
      ...['key', 'mark', 'slots'].map(name => `anchors/${anchor}/${name}`),
    ]
    for (const file of files) {
      renameSync(scene.path(file), scene.path('away'))
      const [outcome, init] = await Promise.all([
        scene.run(['id', '--home', 'a']),
        scene.run(['init', '--home', 'a', '--profile', 'dev']),
      ])
      assert.equal(outcome.code, 3, `${file}: ${outcome.stderr}`)
      assert.ok(init.code === 2 || init.code === 3, `${file}: init ended with ${init.code}`)
      assert.match(outcome.stderr, /\[state\/(EINTEGRITY|EROLLBACK)\]/)
      renameSync(scene.path('away'), scene.path(file))
    }
    assert.equal(await scene.ok('id', '--home', 'a'), `${identity}\n`)
  })

  test('a reader that goes away is no error', async () => {
    const child = scene.start(['state', 'get', '/state/x', '--home', 'a'])
    child.child.stdout?.destroy()
    const { code, stderr } = await child.ended
    assert.equal(stderr, '')
    assert.equal(code, 0)
  })

  test('nothing that is printed or kept in the home is a key', async () => {
    const [anchor = ''] = readdirSync(scene.path('anchors'))
    const key = readFileSync(scene.path('anchors', anchor, 'key')).subarray(12, 44)
    const [segment = ''] = readdirSync(scene.path('a/segments'))
    const home = Buffer.concat([
      readFileSync(scene.path('a/segments', segment)),
      readFileSync(scene.path('a/home.cbor')),
    ])
    assert.equal(home.indexOf(key), -1)
    assert.equal(home.indexOf('words\n'), -1)
    const shown = await scene.run(['doctor', '--home', 'a', '--json'], { env: { PAWL_DEBUG: '1' } })
    for (const form of ['hex', 'base64', 'base64url', 'latin1'] as const)
      assert.ok(!(shown.stdout + shown.stderr).includes(key.toString(form)))
  })
})
