import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { commands } from '../../src/cli/commands.ts'
import { exits } from '../../src/cli/exits.ts'
import { explain, rules } from '../../src/cli/failure.ts'
import { help, list } from '../../src/cli/help.ts'
import { parsePlace } from '../../src/cli/place.ts'
import { version } from '../../src/cli/version.ts'
import { DiskError } from '../../src/host/disk.ts'
import { StateError } from '../../src/state/error.ts'
import { reference } from './reference.ts'
import { assertFails, root, Scene } from './support.ts'

const read = (path: string) => readFileSync(join(root, path), 'utf8')

suite('the command table', () => {
  test('docs/reference/cli.md is made from it', () => {
    assert.equal(
      read('docs/reference/cli.md'),
      reference(),
      'run node test/cli/reference.ts > docs/reference/cli.md',
    )
  })

  test('its exits are those of the README, word for word', () => {
    const rows = [...read('README.md').matchAll(/^\| (\d+) \| (.+) \|$/gm)].map(([, code, meaning]) => ({
      code: Number(code),
      meaning,
    }))
    assert.deepEqual(Object.values(exits), rows)
  })

  test('the version is that of the package', () => {
    assert.equal(version, JSON.parse(read('package.json')).version)
  })

  test('every command teaches: examples that begin with it, the exits it has, and no dead ends', () => {
    const names = commands.map(({ name }) => name)
    for (const command of commands) {
      const text = help(command)
      assert.ok(command.examples.length >= 2, command.name)
      for (const { line } of command.examples) assert.ok(line.includes(`pawl ${command.name}`), line)
      for (const other of command.seeAlso)
        assert.ok(names.includes(other), `${command.name}: see also ${other}`)
      assert.match(text, /Exits: 0 (done|clean)/)
      for (const line of text.split('\n')) assert.ok(line.length <= 100, line)
      // A secret on a command line is there for everybody to read; the name of its file may be, and a switch.
      for (const { flag } of command.options)
        if (flag.includes(' ') && !flag.endsWith(' FILE'))
          assert.doesNotMatch(flag, /pass|secret|key\b|token/i)
    }
  })
})

suite('what is printed', { timeout: 60_000 }, () => {
  const scene = new Scene()
  after(() => scene.end())
  const usage = (error: RegExp, hint: RegExp) => ({ exit: 2, code: 'cli/USAGE', error, hint })

  test('pawl alone shows one screen with the common commands', async () => {
    const { code, stdout, stderr } = await scene.run([])
    assert.equal(code, 0)
    assert.equal(stderr, '')
    assert.ok(stdout.split('\n').length <= 24)
    for (const name of [
      'init',
      'id',
      'peer add NAME IDENTITY',
      'receive --listen HOST:PORT',
      'send --to HOST:PORT',
    ])
      assert.ok(stdout.includes(`  pawl ${name}`), name)
  })

  test('--help, help and --version', async () => {
    const [all, same, one, other, group, number] = await Promise.all([
      scene.ok('--help'),
      scene.ok('help'),
      scene.ok('send', '--help'),
      scene.ok('help', 'send'),
      scene.ok('peer', '--help'),
      scene.ok('--version'),
    ])
    assert.equal(all, `${list()}\n`)
    assert.equal(same, all)
    const send = commands.find(({ name }) => name === 'send')
    assert.ok(send)
    assert.equal(one, `${help(send)}\n`)
    assert.equal(other, one)
    assert.match(group, /^Usage: pawl peer COMMAND/)
    assert.equal(number, `${version}\n`)
  })

  test('what is mistyped is answered with what was probably meant', async () => {
    const outcomes = await Promise.all(
      [
        ['snd'],
        ['peer'],
        ['peer', 'ad'],
        ['rotate'],
        ['backup', 'x'],
        ['id', '--hom', 'x'],
        ['--home', 'x', 'id'],
        ['send', 'x'],
        ['peer', 'add', 'x'],
        ['id', 'x'],
        ['state', 'get', '/state/x', '--out'],
      ].map(args => scene.run(args)),
    )
    const expected = [
      usage(/unknown command 'snd'/, /^did you mean send\?$/),
      usage(/pawl peer needs one of: add, list, remove/, /pawl peer --help/),
      usage(/unknown command 'ad'/, /^did you mean add\?$/),
      usage(/unknown command 'rotate'/, /^did you mean pawl state rotate\?$/),
      usage(/unknown command 'backup'/, /^did you mean pawl state backup\?$/),
      usage(/unknown option '--hom'/, /^did you mean --home\?$/),
      usage(/unknown option "--home"/, /options go behind the command/),
      usage(/required option '--to HOST:PORT' not specified/, /pawl send --help/),
      usage(/missing required argument 'IDENTITY'/, /pawl peer add --help/),
      usage(/too many arguments for 'id'/, /pawl id --help/),
      usage(/option '--out FILE' argument missing/, /pawl state get --help/),
    ]
    for (const [i, outcome] of outcomes.entries()) assertFails(outcome, expected[i] ?? usage(/./, /./))
  })

  test('with --json an error is one object on standard error', async () => {
    const { code, stdout, stderr } = await scene.run(['id', '--home', 'nowhere', '--json'])
    assert.equal(code, 10)
    assert.equal(stdout, '')
    assert.deepEqual(JSON.parse(scene.plain(stderr)), {
      type: 'error',
      code: 'cli/NO_HOME',
      message: 'no home at DIR/nowhere',
      hint: 'see whether it is elsewhere; if it is lost, pawl state restore brings it back from a backup; make a new one with: pawl init --home nowhere',
      exit: 10,
    })
  })

  test('trouble with the disk is a calm word, and a stack only when asked for', async () => {
    const line = ['init', '--home', 'x', '--profile', 'dev', '--anchor', '/dev/full/anchors']
    const [calm, asked] = await Promise.all([scene.run(line), scene.run(line, { env: { PAWL_DEBUG: '1' } })])
    assertFails(calm, { exit: 2, code: 'disk/unfit', error: /ENOTDIR/ })
    assert.match(asked.stderr, /^ {4}at /m)
  })

  test('every error says what to do, and key slots are not room on a disk', () => {
    for (const [code, { hint }] of Object.entries(rules)) assert.match(hint, /^\S.{10,}[^.]$/, code)
    const { code, hint, exit } = explain(
      new StateError('ENOSPC', 'all 256 key slots of the anchor are in use'),
    )
    assert.deepEqual({ code, exit }, { code: 'state/ENOSPC', exit: 'failed' })
    assert.match(hint ?? '', /another home for more peers/)
    assert.match(explain(new DiskError('denied', 'open /a')).hint ?? '', /^run it as the user who owns it/)
  })

  test('what nobody foresaw says that nothing acknowledged is lost, and how to see where', () => {
    const { code, message, hint, exit } = explain(new TypeError('undefined is not a function'))
    assert.deepEqual({ code, exit }, { code: 'cli/UNEXPECTED', exit: 'failed' })
    assert.match(message, /^something went wrong that should not be possible: undefined is/)
    assert.match(hint ?? '', /nothing that was acknowledged is lost; .* PAWL_DEBUG=1/)
  })
})

suite('HOST:PORT', () => {
  test('names, addresses and ports are told apart', () => {
    assert.deepEqual(parsePlace('bob.example:7100', '--to'), { host: 'bob.example', port: 7100 })
    assert.deepEqual(parsePlace('[::1]:0', '--listen'), { host: '::1', port: 0 })
    for (const wrong of [
      'bob',
      ':7100',
      'bob:',
      '::1:7100',
      'bob:70000',
      'bob:7100 ',
      '[]:1',
      'bob:0',
      'a b:1',
    ])
      assert.throws(() => parsePlace(wrong, '--to'), { code: 'cli/USAGE' }, wrong)
  })
})
