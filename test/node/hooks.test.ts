import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Environment, openHooks, refuseHooksIn } from '../../src/node/hooks.ts'
import { ending, faultIs, scratch, start } from './support.ts'

const on = { QSL_TEST_HOOKS: '1' }

test('hooks are off unless QSL_TEST_HOOKS is exactly 1', t => {
  const nonces = join(scratch(t), 'nonces')
  for (const value of [undefined, '', '0', 'true', 'yes', '1 ', '01']) {
    const environment = { QSL_TEST_HOOKS: value, PAWL_HOOK_NONCES: nonces, PAWL_HOOK_CRASH: 'commit' }
    assert.equal(openHooks(environment), undefined)
    assert.equal(openHooks({ ...environment, NODE_ENV: 'production' }), undefined)
    refuseHooksIn('prod', environment)
  }
  assert.equal(fs.existsSync(nonces), false)
  assert.deepEqual(openHooks(on), {})
})

const rows: readonly [profile: string, environment: Environment, refused: boolean][] = [
  ['dev', on, false],
  ['staging', on, false],
  ['prod', on, true],
  ['high_security', on, true],
  ['', on, true],
  ['Dev', on, true],
  ['dev', { ...on, NODE_ENV: 'development' }, false],
  ['dev', { ...on, NODE_ENV: 'production' }, true],
  ['staging', { ...on, NODE_ENV: 'production' }, true],
  ['prod', { NODE_ENV: 'production' }, false],
  ['high_security', {}, false],
]

for (const [profile, environment, refused] of rows) {
  const set = Object.entries(environment).map(([name, value]) => `${name}=${value}`)
  test(`profile "${profile}" with ${set.join(' ') || 'nothing set'}: ${refused ? 'EPERM' : 'goes on'}`, () => {
    const act = () => refuseHooksIn(profile, environment)
    if (refused) assert.throws(act, { name: 'HookError', code: 'EPERM' })
    else act()
  })
}

test('with NODE_ENV=production hooks are not even opened', t => {
  const nonces = join(scratch(t), 'nonces')
  const environment = { ...on, NODE_ENV: 'production', PAWL_HOOK_NONCES: nonces }
  for (const crash of [undefined, 'commit', 'not a point!'])
    assert.throws(() => openHooks({ ...environment, PAWL_HOOK_CRASH: crash }), { code: 'EPERM' })
  assert.equal(fs.existsSync(nonces), false)
})

test('until the profile is known no file is made', t => {
  const nonces = join(scratch(t), 'nonces')
  const hooks = openHooks({ ...on, PAWL_HOOK_NONCES: nonces })
  assert.equal(fs.existsSync(nonces), false)
  hooks?.nonces?.append('one')
  assert.equal(fs.existsSync(nonces), true)
})

test('nonces of several processes are whole lines of one file, also of one that was killed', async t => {
  const path = join(scratch(t), 'nonces')
  const source = `import { openHooks } from 'SRC/hooks.ts'
    const hooks = openHooks(process.env)
    for (let i = 0; i < 300; i++) hooks.nonces.append(process.env.NAME.repeat(40) + ' ' + i)
    hooks.crashAt.reached('done')`
  const children = ['a', 'b', 'c'].map(name =>
    start(source, {
      env: { ...process.env, ...on, PAWL_HOOK_NONCES: path, PAWL_HOOK_CRASH: 'done', NAME: name },
    }),
  )
  const endings = await Promise.all(children.map(ending))
  assert.deepEqual(
    endings.map(({ signal }) => signal),
    ['SIGKILL', 'SIGKILL', 'SIGKILL'],
    endings.map(({ err }) => err).join(''),
  )
  const lines = fs.readFileSync(path, 'utf8').trimEnd().split('\n')
  assert.equal(new Set(lines).size, 900)
  assert.ok(lines.every(line => /^(a{40}|b{40}|c{40}) \d+$/.test(line)))
  assert.equal(fs.statSync(path).mode & 0o777, 0o600)
})

test('the record is appended to, refuses what is not a line, and says when it cannot be opened', t => {
  const directory = scratch(t)
  const path = join(directory, 'nonces')
  for (const line of ['first', 'second']) openHooks({ ...on, PAWL_HOOK_NONCES: path })?.nonces?.append(line)
  assert.equal(fs.readFileSync(path, 'utf8'), 'first\nsecond\n')
  const nonces = openHooks({ ...on, PAWL_HOOK_NONCES: path })?.nonces
  assert.throws(() => nonces?.append('two\nlines'), { name: 'AssertionError' })
  assert.throws(() => nonces?.append('x'.repeat(4096)), { name: 'AssertionError' })
  const nowhere = openHooks({ ...on, PAWL_HOOK_NONCES: directory })?.nonces
  assert.throws(() => nowhere?.append('line'), faultIs('unfit', 'EISDIR'))
})

test('a crash point kills at once: the first time, or the n-th, and only there', async () => {
  const source = `import fs from 'node:fs'
    import { openHooks } from 'SRC/hooks.ts'
    const crash = openHooks(process.env).crashAt
    for (let i = 1; i <= 3; i++) {
      crash.reached('elsewhere')
      fs.writeSync(1, 'before ' + i + ' ')
      crash.reached('after-decrypt')
    }`
  for (const [point, signal, out] of [
    ['after-decrypt', 'SIGKILL', 'before 1 '],
    ['after-decrypt:2', 'SIGKILL', 'before 1 before 2 '],
    ['after-decrypt:4', null, 'before 1 before 2 before 3 '],
    ['after', null, 'before 1 before 2 before 3 '],
  ] as const) {
    const end = await ending(start(source, { env: { ...process.env, ...on, PAWL_HOOK_CRASH: point } }))
    assert.deepEqual([end.signal, end.out], [signal, out], `${point} ${end.err}`)
  }
})

test('a crash point that cannot be understood is EINVAL, not ignored', () => {
  for (const text of [
    'commit:0',
    'commit:',
    'commit:x',
    'commit:-1',
    ':1',
    'two words',
    'a:1:2',
    'commit:1e3',
  ])
    assert.throws(
      () => openHooks({ ...on, PAWL_HOOK_CRASH: text }),
      { name: 'HookError', code: 'EINVAL' },
      text,
    )
  assert.equal(
    openHooks({ ...on, PAWL_HOOK_CRASH: 'receive/after-parse:12' })?.crashAt?.point,
    'receive/after-parse',
  )
})
