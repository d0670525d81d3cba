/** What a clumsy or hostile hand does to the command line, and what it is told. */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { reasonNotTo } from '../node/support.ts'
import { assertFails, Pair, Running, root, Scene } from './support.ts'

const pawl = join(root, 'bin/pawl')

suite('what is typed', { timeout: 60_000 }, () => {
  const scene = new Scene()
  before(async () => {
    await scene.home('a')
    writeFileSync(scene.path('words'), 'words\n')
  })
  after(() => scene.end())

  /** As a shell hands it over, byte for byte. */
  const typed = (line: string, env: Record<string, string> = {}) => {
    const child = spawn('sh', ['-c', line, pawl], { cwd: scene.folder, env: { ...scene.env, ...env } })
    child.stdin.end()
    return new Running(child).ended
  }

  test('a name that is not UTF-8 is refused, before anything is done under another name', async () => {
    for (const line of [
      `"$0" init --profile dev --home "$(printf 'x\\377')"`,
      `"$0" init --profile dev --home x --anchor "$(printf 'x\\377')"`,
      `"$0" state put /state/x "$(printf 'x\\377')" --home a`,
      `"$0" peer add "$(printf 'x\\377')" pawl1:x --home a`,
    ])
      assertFails(await typed(line), { exit: 2, code: 'cli/USAGE', error: /not UTF-8/ })
    for (const line of [
      `PAWL_HOME="$(printf 'x\\377')" "$0" init --profile dev`,
      `mkdir "$(printf 'y\\377')" && cd y* && "$0" init --profile dev --home h`,
      `ln -s y* z && "$0" init --profile dev --home z/h`,
    ])
      assertFails(await typed(line), { exit: 2, code: 'disk/unfit', error: /not UTF-8/ })
    assert.deepEqual(
      readdirSync(scene.folder, 'latin1').filter(name => !/^(a|anchors|nonces|words)$/.test(name)),
      ['y\u00ff', 'z'],
    )
  })

  test('what an unset variable leaves is no name', async () => {
    for (const args of [
      ['state', 'put', '/state/x', ''],
      ['state', 'get', '/state/x', '--out', ''],
      ['send', '--to', '127.0.0.1:1', '--peer', 'bob', ''],
      ['receive', '--listen', '127.0.0.1:0', '--from', 'bob', '--out', ''],
    ])
      assertFails(await scene.run([...args, '--home', 'a']), {
        exit: 2,
        code: 'cli/USAGE',
        error: /is empty/,
      })
  })

  test('a directory as standard input is not taken for nothing at all', async () => {
    await scene.ok('state', 'put', '/state/kept', 'words', '--home', 'a')
    assertFails(await typed('"$0" state put /state/kept - --home a < .'), {
      exit: 2,
      code: 'cli/USAGE',
      error: /standard input is a directory/,
    })
    assert.equal(await scene.ok('state', 'get', '/state/kept', '--home', 'a'), 'words\n')
  })

  test('no home or anchor is made inside another one', async () => {
    const [store = ''] = readdirSync(scene.path('anchors'))
    for (const [home, anchor, error] of [
      ['a/b', 'anchors', /the home would lie inside the home .*\/a$/m],
      ['a/deep/er', 'anchors', /the home would lie inside the home .*\/a$/m],
      ['b', 'a', /the anchor would lie inside the home .*\/a, so every copy/],
      ['b', 'a/deep/er', /the anchor would lie inside the home .*\/a, so every copy/],
      [`anchors/${store}/b`, 'elsewhere', /the home would lie inside an anchor/],
    ] as const) {
      const outcome = await scene.run(['init', '--home', home, '--anchor', anchor, '--profile', 'dev'])
      assertFails(outcome, { exit: 2, code: 'cli/USAGE' })
      assert.match(outcome.stderr.replace(/ \[.*/, ''), error)
    }
    assert.deepEqual(readdirSync(scene.path('a')), ['home.cbor', 'segments'])
  })

  test('a home file that does not parse is called damaged', async () => {
    const file = scene.path('a/home.cbor')
    const whole = readFileSync(file)
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(9000), whole.subarray(0, 50), Buffer.from('x')]) {
      writeFileSync(file, bytes)
      assertFails(await scene.run(['id', '--home', 'a']), {
        exit: 3,
        code: 'state/EINTEGRITY',
        error: /home\.cbor is damaged/,
      })
    }
    writeFileSync(file, whole)
    await scene.ok('id', '--home', 'a')
  })

  test('a user whom the machine has no directory for names the places, and is told so', async t => {
    const refusal = reasonNotTo('setpriv', '--reuid', '54321', '--clear-groups', 'true')
    if (refusal !== undefined) return t.skip(refusal)
    const line = (words: string) => `exec env -u HOME setpriv --reuid 54321 --clear-groups "$0" ${words}`
    const bare = { XDG_CACHE_HOME: '', PAWL_ANCHOR: '' }
    assert.equal((await typed(line('--version'), bare)).code, 0)
    for (const [words, hint] of [
      ['id', /--home or PAWL_HOME/],
      ['init --home /tmp/x --profile dev', /--anchor or PAWL_ANCHOR/],
    ] as const)
      assertFails(await typed(line(words), bare), { exit: 2, code: 'cli/USAGE', error: /no directory/, hint })
  })

  test('a working directory that was removed is said to be gone', async () => {
    const gone = (words: string) => typed(`mkdir gone && cd gone && rmdir ../gone && exec "$0" ${words}`)
    assertFails(await gone('id --home a'), { exit: 1, code: 'disk/missing', error: /getcwd/ })
    assert.equal((await gone(`id --home '${scene.path('a')}'`)).code, 0)
  })

  test('what is said is one line and moves no cursor, whatever is in it', async () => {
    const outcome = await scene.run(['id', '--home', 'no\nwhere \u001b[31m\u009b31m'])
    assertFails(outcome, { exit: 10, code: 'cli/NO_HOME', error: /no\\nwhere \\u001b\[31m\\u009b31m \[/ })
    assert.equal(outcome.stderr.split('\n').length, 3)
    assert.doesNotMatch(outcome.stderr, /[^\P{Cc}\n]/u)
  })

  test('trouble with a disk has a code', async t => {
    if (!existsSync('/proc/self/mem')) return t.skip('needs /proc')
    const outcome = await scene.run(['state', 'put', '/state/x', '/proc/self/mem', '--home', 'a'])
    assertFails(outcome, { exit: 1, code: 'disk/failed', error: /EIO/ })
  })

  test('the hint to make a home names the place that was asked for', async () => {
    for (const [args, hint] of [
      [['id', '--home', 'nowhere'], /make a new one with: pawl init --home nowhere$/],
      [['id', '--home', 'no where'], /make a new one with: pawl init --home 'no where'$/],
      [['id'], /make a new one with: pawl init$/],
    ] as const)
      assertFails(await scene.run([...args]), { exit: 10, code: 'cli/NO_HOME', hint })
    const { stdout } = await scene.run(['doctor', '--home', 'nowhere'])
    assert.match(stdout, /make a new one with: pawl init --home nowhere$/m)
  })

  test('a peer that nobody has named is a mistake of whoever typed it', async () => {
    for (const args of [
      ['peer', 'remove', 'eve'],
      ['send', '--to', '127.0.0.1:1', '--peer', 'eve', 'words'],
      ['receive', '--listen', '127.0.0.1:0', '--from', 'eve', '--out', 'o'],
    ])
      assertFails(await scene.run([...args, '--home', 'a']), {
        exit: 2,
        code: 'cli/NO_PEER',
        error: /no peer "eve"/,
        hint: /pawl peer list .*pawl peer add/,
      })
    for (const identity of ['', 'words', 'no/such/file'])
      assertFails(await scene.run(['peer', 'add', 'eve', identity, '--home', 'a']), {
        exit: 2,
        code: 'signature/EINVAL',
        hint: /the one line that pawl id prints/,
      })
  })

  test('a relative XDG_STATE_HOME is as if there were none', async () => {
    const env = { PAWL_ANCHOR: undefined, XDG_STATE_HOME: 'state', HOME: scene.folder }
    const { code, stdout } = await scene.run(['init', '--home', 'b', '--profile', 'dev', '--json'], { env })
    assert.equal(code, 0)
    const usual = process.geteuid?.() === 0 ? '/var/lib/pawl' : scene.path('.local/state/pawl')
    const { anchor } = JSON.parse(stdout)
    assert.equal(join(anchor, '..'), usual)
    assert.equal(existsSync(scene.path('state')), false)
    execFileSync('rm', ['-r', anchor])
  })

  test('an answer that cannot be written is an error, and is called what it is', async t => {
    if (!existsSync('/dev/full')) return t.skip('needs /dev/full')
    for (const args of [
      ['id', '--home', 'a'],
      ['id', '--home', 'a', '--json'],
      ['--help'],
      ['doctor', '--home', 'a'],
      ['state', 'put', '/state/a', 'words', '--home', 'a'],
    ]) {
      const child = spawn(pawl, args, {
        cwd: scene.folder,
        env: scene.env,
        stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'],
      })
      const { code, stderr } = await new Running(child).ended
      assert.equal(code, 1, stderr)
      assert.match(stderr, /cli\/OUTPUT/)
      assert.match(stderr, /standard output.*ENOSPC/)
      assert.doesNotMatch(stderr, /UNEXPECTED|should not be possible/)
    }
    assert.equal(await scene.ok('state', 'get', '/state/a', '--home', 'a'), 'words\n')
  })

  test('test hooks are refused where they have no place, before anything is made', async () => {
    mkdirSync(scene.path('bare'))
    const bare = { HOME: scene.path('bare'), XDG_CACHE_HOME: scene.path('bare/cache') }
    const nonces = { PAWL_HOOK_NONCES: scene.path('bare/nonces') }
    for (const hooks of [nonces, { PAWL_HOOK_CRASH: 'not a point!' }, { ...nonces, PAWL_HOOK_CRASH: ':' }]) {
      const env = { ...bare, NODE_ENV: 'production', ...hooks }
      for (const args of [['init', '--profile', 'dev'], ['id', '--home', scene.path('a')], ['--help']])
        assertFails(await scene.run(args, { env: { ...env, NODE_COMPILE_CACHE: undefined } }), {
          exit: 3,
          code: 'hooks/EPERM',
          error: /NODE_ENV=production/,
          hint: /unset QSL_TEST_HOOKS/,
        })
    }
    assert.deepEqual(readdirSync(scene.path('bare')), [])
    // In a profile that has no place for them, nothing is recorded either.
    assert.equal((await scene.run(['init', '--home', 'p'], { env: { QSL_TEST_HOOKS: undefined } })).code, 0)
    for (const args of [
      ['init', '--home', 'q'],
      ['id', '--home', 'p'],
      ['state', 'list', '--home', 'p'],
    ])
      assertFails(await scene.run(args, { env: nonces }), { exit: 3, code: 'hooks/EPERM' })
    assert.deepEqual(readdirSync(scene.path('bare')), [])
  })
})

suite('being told to stop', { timeout: 120_000 }, () => {
  const scene = new Scene()
  const pair = new Pair(scene)
  before(async () => {
    await pair.meet()
    writeFileSync(scene.path('words'), 'words\n')
  })
  after(() => scene.end())

  /** Says when the program has begun to listen to signals: before that they end it as they end any process. */
  const listening = `process.on('newListener', name =>
    name === 'SIGTERM' && process.getBuiltinModule('fs').writeSync(2, 'watches signals\\n'))`
  const env = { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(listening)}` }

  test('receive and send end as documented however early it comes', async () => {
    const receive = ['receive', '--listen', '127.0.0.1:0', '--from', 'alice', '--out', 'o', '--home', 'bob']
    const send = ['send', '--to', '127.0.0.1:9', '--peer', 'bob', 'words', '--home', 'alice']
    for (const [args, signal, exit] of [
      [receive, 'SIGTERM', 0],
      [receive, 'SIGINT', 130],
      [send, 'SIGTERM', 130],
      [send, 'SIGINT', 130],
    ] as const)
      for (const ms of process.env.SLOW === '1' ? [0, 10, 30, 60, 100, 150, 220, 300] : [0, 30, 100, 250]) {
        const running = scene.start([...args], { env })
        await running.line(/watches signals/)
        await new Promise(resolve => setTimeout(resolve, ms))
        running.child.kill(signal)
        const { code, stderr } = await running.ended
        assert.equal(code, exit, `${args[0]} ${signal} after ${ms} ms: ${stderr}`)
        assert.equal(running.child.signalCode, null)
      }
    // Nothing was left in a state that the next run would not take.
    await pair.receive('o')
    await pair.sent('words')
    assert.equal((await pair.stop()).code, 0)
  })
})

suite('standard error for a program', { timeout: 60_000 }, () => {
  const scene = new Scene()
  const pair = new Pair(scene)
  let carol = ''
  before(async () => {
    await pair.meet()
    carol = await scene.home('carol')
    await scene.ok('peer', 'add', 'bob', pair.bob, '--home', 'carol')
    await scene.ok('peer', 'add', 'carol', carol, '--home', 'bob')
    writeFileSync(scene.path('words'), 'words\n')
  })
  after(() => scene.end())

  const jsonLines = (text: string) =>
    text
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line))

  test('who is known under another name is told apart from a stranger, at both ends', async () => {
    await pair.receive('got')
    const outcome = await pair.send('words', '--home', 'carol')
    assertFails(outcome, {
      exit: 3,
      code: 'channel/UNKNOWN_IDENTITY',
      error: /bob does not take messages from this end/,
      hint: /if it is there already, pawl receive --from NAME/,
    })
    const { stderr } = await pair.stop()
    assert.match(
      stderr,
      new RegExp(
        `^pawl: refused ${carol}, which is pinned as carol: this run receives from alice alone$`,
        'm',
      ),
    )
  })

  for (const flags of [['--log'], ['--log', '--json']])
    test(`with ${flags.join(' ')} every line of it is JSON`, async () => {
      const options = ['--listen', '127.0.0.1:0', '--from', 'alice', '--out', 'got', '--home', 'bob']
      const running = scene.start(['receive', ...options, ...flags])
      const [, port = ''] = await running.line(/"port":(\d+)/)
      pair.port = Number(port)
      await pair.send('words', '--home', 'carol', '--give-up', '1')
      const second = await scene.run(['receive', ...options, ...flags])
      assert.equal(second.code, 11)
      assert.deepEqual(
        [jsonLines(second.stderr)[0].type, jsonLines(second.stderr)[0].code],
        ['error', 'state/ELOCKED'],
      )
      const { code, stdout, stderr } = await running.kill('SIGTERM')
      assert.equal(code, 0)
      const said = jsonLines(stderr)
      const listening = said.find(({ event }) => event === 'receive/listening')
      assert.deepEqual([listening?.host, listening?.port], ['127.0.0.1', pair.port])
      const refused = said.find(({ event }) => event === 'receive/refused')
      assert.deepEqual([refused?.identity, refused?.peer], [carol, 'carol'])
      if (flags.includes('--json')) assert.equal(jsonLines(stdout)[0].type, 'listening')
    })
})
