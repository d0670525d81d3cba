import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { after, before, suite, test } from 'node:test'
import { assertFails, Scene } from './support.ts'

const file = (version: number, more: object[] = []) =>
  `${JSON.stringify(
    {
      format: 'pawl-policy-1',
      version,
      subjects: { bootctl: { uid: 1001 } },
      rules: [
        { subject: 'bootctl', allow: ['get', 'put', 'list'], prefix: '/state/boot/' },
        { subject: 'bootctl', allow: ['get'], path: '/state/motd' },
        ...more,
      ],
    },
    null,
    2,
  )}\n`

const digest = (text: string) => createHash('sha256').update(text).digest('hex')

suite('pawl state policy', { timeout: 120_000 }, () => {
  const scene = new Scene()
  before(async () => {
    await scene.home('a')
    writeFileSync(scene.path('1.json'), file(1))
    writeFileSync(scene.path('2.json'), file(2))
    writeFileSync(
      scene.path('2b.json'),
      file(2, [{ subject: 'bootctl', allow: ['put'], path: '/state/motd' }]),
    )
    writeFileSync(
      scene.path('bad.json'),
      file(3, [{ subject: 'bootctl', allow: ['get'], prefix: '/state/boot' }]),
    )
  })
  after(() => scene.end())

  const policy = (...words: string[]) => scene.run(['state', 'policy', ...words])

  test('what a file allows can be tried before there is a home', async () => {
    const [yes, no] = await Promise.all([
      policy('check', 'bootctl', 'put', '/state/boot/slot', '--policy', '1.json', '--home', 'nowhere'),
      policy('check', 'bootctl', 'put', '/state/motd', '--policy', '1.json', '--home', 'nowhere'),
    ])
    assert.deepEqual(yes, {
      code: 0,
      stdout:
        'allowed: bootctl may put /state/boot/slot: rules[0] allows get, put, list under /state/boot/\n',
      stderr: '',
    })
    assert.deepEqual(no, {
      code: 3,
      stdout:
        'denied: bootctl may not put /state/motd: no rule covers it; the nearest, rules[0], allows that under /state/boot/\n',
      stderr: '',
    })
  })

  test('a home without a policy allows nothing, and has none to show', async () => {
    const [check, json, show, none] = await Promise.all([
      policy('check', 'bootctl', 'get', '/state/motd', '--home', 'a'),
      policy('check', 'bootctl', 'get', '/state/motd', '--home', 'a', '--json'),
      policy('show', '--home', 'a'),
      policy('adopt', '1.json', '--home', 'nowhere'),
    ])
    assert.equal(check.code, 3)
    assert.match(check.stdout, /^denied: .*no policy was adopted, so nothing is allowed\n$/)
    assert.equal(json.code, 3)
    const { allowed, reason, version, digest } = JSON.parse(json.stdout)
    assert.deepEqual(
      { allowed, reason, version, digest },
      { allowed: false, reason: 'no policy', version: null, digest: null },
    )
    assertFails(show, {
      exit: 1,
      code: 'state/ENOENT',
      error: /no policy/,
      hint: /pawl state policy adopt FILE/,
    })
    assertFails(none, { exit: 10, code: 'cli/NO_HOME' })
  })

  test('adopted, it is what check goes by, and show prints the file', async () => {
    const said = await scene.ok('state', 'policy', 'adopt', '2.json', '--home', 'a')
    assert.equal(
      said,
      `policy version 2 is in force: 1 subject, 2 rules, generation 2\nsha256:${digest(file(2))}\n`,
    )
    const again = await scene.ok('state', 'policy', 'adopt', '2.json', '--home', 'a', '--json')
    const [yes, no, json, show, shown] = await Promise.all([
      policy('check', 'bootctl', 'list', '/state/boot/', '--home', 'a'),
      policy('check', 'nobody', 'get', '/state/motd', '--home', 'a'),
      policy('check', 'bootctl', 'get', '/state/motd', '--home', 'a', '--json'),
      policy('show', '--home', 'a'),
      policy('show', '--home', 'a', '--json'),
    ])
    assert.deepEqual(JSON.parse(again), {
      version: 2,
      digest: digest(file(2)),
      generation: 2,
      subjects: 1,
      rules: 2,
      adopted: false,
    })
    assert.equal(yes.code, 0, yes.stderr)
    assert.equal(no.code, 3)
    assert.match(no.stdout, /the policy names no such subject/)
    assert.deepEqual(JSON.parse(json.stdout), {
      allowed: true,
      subject: 'bootctl',
      operation: 'get',
      path: '/state/motd',
      rule: 1,
      reason: null,
      text: 'bootctl may get /state/motd: rules[1] allows get of /state/motd',
      version: 2,
      digest: digest(file(2)),
    })
    assert.equal(show.stdout, file(2))
    assert.match(show.stderr, /^pawl: policy version 2, sha256:[0-9a-f]{64}, adopted 20\S+Z, generation 2\n$/)
    const whole = JSON.parse(shown.stdout)
    assert.deepEqual(whole.policy, JSON.parse(file(2)))
    assert.equal(whole.digest, digest(file(2)))
    assert.equal(Buffer.from(whole.file, 'base64').toString(), file(2))
  })

  test('an older one, another of the same version, and one that is none are refused', async () => {
    assertFails(await policy('adopt', '1.json', '--home', 'a'), {
      exit: 3,
      code: 'state/EROLLBACK',
      error: /policy version 1 is older than version 2/,
      hint: /greater version/,
    })
    assertFails(await policy('adopt', '2b.json', '--home', 'a'), {
      exit: 2,
      code: 'state/EINVAL',
      error: /give this one version 3/,
    })
    assertFails(await policy('adopt', 'bad.json', '--home', 'a'), {
      exit: 2,
      code: 'state/EINVAL',
      error: /policy rules\[2\]\.prefix: a prefix ends with \/: give "\/state\/boot\/"/,
    })
    assertFails(await policy('check', 'bootctl', 'get', '/state/motd', '--policy', 'bad.json'), {
      exit: 2,
      code: 'state/EINVAL',
      error: /rules\[2\]\.prefix/,
    })
    assert.equal((await policy('show', '--home', 'a')).stdout, file(2))
  })

  test('clumsy hands', async () => {
    writeFileSync(scene.path('large.json'), ' '.repeat(256 * 1024 + 1))
    const usage = (error: RegExp, hint?: RegExp) => ({
      exit: 2,
      code: 'cli/USAGE',
      error,
      ...(hint && { hint }),
    })
    for (const [words, expected] of [
      [
        ['check', 'bootctl', 'read', '/state/motd', '--policy', '1.json'],
        usage(/no operation "read"/, /get, put, delete, list, history/),
      ],
      [
        ['check', 'bootctl', 'get', '--policy', '1.json'],
        usage(/missing required argument 'PATH'/, /pawl state policy check --help/),
      ],
      [['check', 'bootctl', 'get', '/state/motd', '--policy', ''], usage(/--policy is empty/)],
      [['check', 'bootctl', 'get', '/state/motd', '--policy', 'no.json'], usage(/no file no\.json/)],
      [['adopt', 'large.json', '--home', 'a'], usage(/large\.json is over 256\.0 KiB/)],
      [['adopt', 'a/home.cbor', '--home', 'a'], usage(/Pawl's own/)],
      [['adopt', '--home', 'a'], usage(/missing required argument 'FILE'/)],
      [[], usage(/pawl state policy needs one of: check, adopt, show/, /pawl state policy --help/)],
      [['chek'], usage(/unknown command 'chek'/, /did you mean check\?/)],
    ] as const)
      assertFails(await policy(...words), expected)
    assertFails(
      await scene.run(['state', 'polcy']),
      usage(/unknown command 'polcy'/, /did you mean policy\?/),
    )
    const typed = await scene.run(['state', 'policy', 'adopt', '-', '--home', 'a'], { input: file(3) })
    assert.equal(typed.code, 0, typed.stderr)
    const judged = await scene.run(['state', 'policy', 'check', 'bootctl', 'get', '../x', '--policy', '-'], {
      input: file(4),
    })
    assert.equal(judged.code, 3)
    assert.match(judged.stdout, /only what lies under \/state\/ can be allowed/)
  })

  test('help teaches it by every way', async () => {
    const [group, inner, leaf] = await Promise.all([
      scene.ok('state', '--help'),
      scene.ok('state', 'policy', '--help'),
      scene.ok('state', 'policy', 'check', '--help'),
    ])
    assert.match(group, /^ {2}state policy check {2}/m)
    assert.match(inner, /^Usage: pawl state policy COMMAND/)
    assert.match(inner, /state policy adopt/)
    assert.doesNotMatch(inner, /state put/)
    assert.match(leaf, /^pawl state policy check: /)
    assert.match(leaf, /Usage: pawl state policy check SUBJECT OP PATH/)
  })
})
