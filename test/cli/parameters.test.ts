import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { after, before, suite, test } from 'node:test'
import { assertFails, freePort, Scene } from './support.ts'

const file = (version: number, values: object) =>
  `${JSON.stringify({ format: 'pawl-parameters-1', version, values }, null, 2)}\n`
const first = file(1, { 'qsp.max_body_ct_len': 16_384 })
const second = file(2, { 'qsp.max_body_ct_len': 4_096, 'letter.replay_digests': true })
const digest = (text: string) => createHash('sha256').update(text).digest('hex')

suite('pawl state parameters', { timeout: 120_000 }, () => {
  const scene = new Scene()
  before(async () => {
    await scene.home('a')
    writeFileSync(scene.path('1.json'), first)
    writeFileSync(scene.path('2.json'), second)
    writeFileSync(scene.path('2b.json'), file(2, {}))
    writeFileSync(scene.path('wide.json'), file(3, { 'dur.max_out_of_order_messages': 65 }))
    writeFileSync(scene.path('unknown.json'), file(3, { 'qsp.max_what': 1 }))
  })
  after(() => scene.end())

  const parameters = (...words: string[]) => scene.run(['state', 'parameters', ...words, '--home', 'a'])
  const shown = async () => {
    const { code, stdout } = await parameters('show', '--json')
    assert.equal(code, 0)
    const { parameters: rows, ...rest } = JSON.parse(stdout)
    return { rest, of: (name: string) => rows.find((row: { name: string }) => row.name === name) }
  }

  test('before anything is adopted, each is of the baseline', async () => {
    const { code, stdout, stderr } = await parameters('show')
    assert.equal(code, 0)
    assert.equal(stderr, 'pawl: profile dev; no parameters were adopted\n')
    const lines = stdout.split('\n')
    assert.equal(lines.length, 17)
    assert.ok(
      lines.includes(
        'dur.max_out_of_order_messages           64       baseline  0 to 1024, lower is tighter',
      ),
      stdout,
    )
    assert.ok(
      lines.includes(
        'qsp.max_body_ct_len                     1000000  baseline  2048 to 1000000, lower is tighter',
      ),
    )
    assert.ok(
      lines.includes('letter.replay_digests                   false    baseline  true is tighter than false'),
    )
    const { rest } = await shown()
    assert.deepEqual(rest, {
      profile: 'dev',
      version: null,
      digest: null,
      generation: null,
      at: null,
    })
  })

  test('adopted, they are in force, by whichever process holds the home', async () => {
    assert.equal(
      await scene.ok('state', 'parameters', 'adopt', '1.json', '--home', 'a'),
      `parameters version 1 are in force, generation 2\nsha256:${digest(first)}\n`,
    )
    const after1 = await shown()
    const { at, ...rest } = after1.rest
    assert.deepEqual(rest, { profile: 'dev', version: 1, digest: digest(first), generation: 2 })
    assert.equal(new Date(at).toISOString(), at)
    assert.deepEqual(after1.of('qsp.max_body_ct_len'), {
      name: 'qsp.max_body_ct_len',
      value: 16_384,
      from: 'site',
      range: '2048 to 1000000, lower is tighter',
    })
    await scene.home('b')
    await scene.ok('peer', 'add', 'b', (await scene.ok('id', '--home', 'b')).trim(), '--home', 'a')
    const listen = `127.0.0.1:${await freePort()}`
    const receiver = scene.start([
      'receive',
      '--home',
      'a',
      '--from',
      'b',
      '--out',
      'got',
      '--listen',
      listen,
    ])
    await receiver.line(/^listening on /m)
    const held = await parameters('adopt', '2.json', '--json')
    assert.equal(held.code, 0, held.stderr)
    const { generation, ...said } = JSON.parse(held.stdout)
    assert.deepEqual(said, { version: 2, digest: digest(second), adopted: true })
    assert.equal(JSON.parse((await parameters('adopt', '2.json', '--json')).stdout).adopted, false)
    assert.equal((await shown()).rest.generation, generation)
    assert.equal((await shown()).of('letter.replay_digests').from, 'site')
    assertFails(await parameters('adopt', '1.json'), { exit: 3, code: 'state/EROLLBACK', error: /version 1/ })
    assertFails(await parameters('adopt', 'wide.json'), {
      exit: 2,
      code: 'state/EINVAL',
      error: /dur\.max_out_of_order_messages/,
    })
    assert.equal((await receiver.kill('SIGTERM')).code, 0)
  })

  test('an older file, another of the same version, a wider and an unknown key are refused, and say what to do', async () => {
    for (const [name, exit, code, error, hint] of [
      ['1.json', 3, 'state/EROLLBACK', /parameters version 1 is older than version 2/, /greater version/],
      ['2b.json', 2, 'state/EINVAL', /give this one version 3/, /pawl state parameters show/],
      [
        'wide.json',
        2,
        'state/EINVAL',
        /dur\.max_out_of_order_messages: 65 .*wider than 64/,
        /pawl state parameters show/,
      ],
      ['unknown.json', 2, 'state/EINVAL', /qsp\.max_what/, /pawl state parameters show/],
    ] as const)
      assertFails(await parameters('adopt', name), { exit, code, error, hint })
    assert.equal((await shown()).rest.version, 2)
    assertFails(await scene.run(['state', 'parameters']), {
      exit: 2,
      code: 'cli/USAGE',
      error: /needs one of: adopt, show/,
    })
  })
})
