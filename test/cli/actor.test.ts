import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import type { Json } from '../../src/bytes/json.ts'
import { Actor, ActorError, type ActorOptions } from '../../src/cli/actor/actor.ts'
import { decodeSnapshot, encodeSnapshot } from '../../src/cli/actor/snapshot.ts'
import { type Marks, marksInMemory } from '../../src/cli/actor/store.ts'
import { realClock } from '../../src/node/clock.ts'
import { openEntropy } from '../../src/node/entropy.ts'
import { parametersOf } from '../../src/state/parameters.ts'
import { root } from './support.ts'

const directory = mkdtempSync(join(tmpdir(), 'pawl-actor-'))
after(() => rmSync(directory, { recursive: true }))

/** The program, given these lines. */
function actor(lines: readonly string[], args: readonly string[] = [], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = spawnSync(join(root, 'bin/pawl'), ['actor', ...args], {
    input: lines.map(line => `${line}\n`).join(''),
    env: { ...process.env, QSL_TEST_HOOKS: '', ...env },
  })
  const texts = String(stdout).split('\n').filter(Boolean)
  return { status, texts, replies: texts.map(line => JSON.parse(line)), stderr: String(stderr) }
}

const refused =
  (code: string, pattern = /./) =>
  (error: unknown) => {
    assert.ok(error instanceof ActorError, String(error))
    assert.equal(error.code, code, error.message)
    assert.match(error.message, pattern)
    return true
  }

/** An actor in this process; its marks outlive it. */
function inProcess(kept = new Map<string, Marks>(), more: Partial<ActorOptions> = {}) {
  const served = new Actor({
    entropy: openEntropy(),
    clock: realClock,
    parameters: parametersOf('dev'),
    hooks: {},
    onRollback: 'continue',
    async marksOf(local) {
      const marks = kept.get(local) ?? marksInMemory()
      kept.set(local, marks)
      return marks
    },
    ...more,
  })
  return (op: string, params: Record<string, Json> = {}) =>
    served.perform(op, new Map(Object.entries(params)))
}

const suite1 = { suite: 'Suite-1' }
type Ask = ReturnType<typeof inProcess>

async function meet(a: Ask, b: Ask): Promise<string> {
  const { msg1_b64 } = await a('handshake_init', suite1)
  const { msg2_b64 } = await b('handshake_respond', { ...suite1, msg1_b64: String(msg1_b64) })
  const { session_id } = await a('handshake_finish', { ...suite1, msg2_b64: String(msg2_b64) })
  return String(session_id)
}

async function pass(from: Ask, to: Ask, session_id: string): Promise<string> {
  const { ciphertext_b64 } = await from('encrypt', { session_id, plaintext_b64: 'eA' })
  const letter = String(ciphertext_b64)
  const { plaintext_b64 } = await to('decrypt', { session_id, ciphertext_b64: letter })
  assert.equal(plaintext_b64, 'eA')
  return letter
}

suite('the actor', () => {
  test('offers debug operations behind the gate alone, and is refused with it in production', () => {
    const asked = [
      '{"id":1,"op":"capabilities"}',
      '{"id":"two","op":"debug_snapshot"}',
      '{"id":3,"op":"debug_restore"}',
    ]
    const without = actor(asked)
    assert.equal(without.status, 0)
    assert.ok(!without.replies[0].result.ops.some((op: string) => op.startsWith('debug')))
    assert.deepEqual(
      without.replies.map(({ id }) => id),
      [1, 'two', 3],
    )
    for (const { error } of without.replies.slice(1)) assert.equal(error.code, 'UNSUPPORTED')
    const on = actor(asked.slice(0, 2), [], { QSL_TEST_HOOKS: '1' })
    assert.ok(on.replies[0].result.ops.includes('debug_restore'))
    assert.ok(on.replies[1].ok)
    const production = actor(asked, [], { QSL_TEST_HOOKS: '1', NODE_ENV: 'production' })
    assert.equal(production.status, 3)
    assert.deepEqual(production.replies, [])
  })

  test('answers each line once, whatever it is, and goes on', () => {
    const lines = [
      'nonsense',
      '',
      '[]',
      '{"id":4}',
      '{"id":5,"op":"fly"}',
      '{"id":6,"op":"handshake_init","params":{"suite":"Suite-9"}}',
      '{"id":7,"op":"decrypt","params":{"session_id":"x","ciphertext_b64":""}}',
      '{"id":8,"op":"handshake_respond","params":{"suite":"Suite-1","msg1_b64":"AAAA"}}',
      '{"id":9,"op":"handshake_respond","params":{"suite":"Suite-1","msg1_b64":"A"}}',
      '{"id":10,"op":"handshake_finish","params":{"suite":"Suite-1","msg2_b64":""}}',
      '{"id":11,"op":"ping"}',
    ]
    const { status, replies } = actor(lines)
    assert.equal(status, 0)
    assert.deepEqual(
      replies.map(({ id, ok, error }) => [id, ok, error?.code]),
      [
        [null, false, 'INVALID'],
        [null, false, 'INVALID'],
        [null, false, 'INVALID'],
        [4, false, 'INVALID'],
        [5, false, 'UNSUPPORTED'],
        [6, false, 'UNSUPPORTED'],
        [7, false, 'INVALID'],
        [8, false, 'CRYPTO'],
        [9, false, 'INVALID'],
        [10, false, 'INVALID'],
        [11, true, undefined],
      ],
    )
  })

  test('gives the id back as it came, whatever JSON it is', () => {
    const ids = [
      '0',
      '-0',
      '9007199254740993',
      '123456789012345678901234567890',
      '1.50',
      '1E+2',
      'null',
      'true',
      '""',
      '"two"',
      '"\\u0061\\/\\ud800"',
      '"id\\":1,\\"id"',
      '"\u00e9\u{1f600}"',
      '[]',
      '[1, {"id":2.0}]',
      '{"id":{"id":[]},"id":0}',
      `${'['.repeat(40)}${']'.repeat(40)}`,
    ]
    const lines = ids.flatMap(id => [
      `{"id":${id},"op":"ping"}`,
      `{"params":{"id":7}, "op":"ping" , "\\u0069d" : ${id}\r}`,
      `{"id":${id},"op":"ping","params":{"x":0.5}}`,
    ])
    const { status, texts } = actor(lines)
    assert.equal(status, 0)
    assert.equal(texts.length, lines.length)
    for (const [i, id] of ids.entries()) {
      const [first, second, third] = texts.slice(3 * i)
      assert.equal(first, `{"id":${id},"ok":true,"result":{}}`)
      assert.equal(second, first)
      assert.ok(third?.startsWith(`{"id":${id},"ok":false,"error":{"code":"INVALID",`), third)
    }
    // What is no JSON has no id, nor has what is no object; of two of them, neither is it.
    const without = [
      '{"id":1,"op":"ping"',
      '{"id":01,"op":"ping"}',
      '[{"id":1}]',
      '{"id":1,"id":2,"op":"ping"}',
    ]
    assert.deepEqual(
      actor(without).replies.map(({ id, error }) => [id, error.code]),
      without.map(() => [null, 'INVALID']),
    )
  })

  test('refuses to start with parameters that are wider or unknown, and names the key', () => {
    const file = join(directory, 'parameters.json')
    const withValues = (values: object) => {
      writeFileSync(file, JSON.stringify({ format: 'pawl-parameters-1', version: 1, values }))
      return actor(['{"id":1,"op":"ping"}'], ['--parameters', file])
    }
    assert.deepEqual(withValues({ 'qsp.max_skip': 10 }).replies, [{ id: 1, ok: true, result: {} }])
    for (const [key, value] of [
      ['dur.rollback_epoch_persist', false],
      ['dur.what', 1],
    ] as const) {
      const { status, replies, stderr } = withValues({ [key]: value })
      assert.equal(status, 2)
      assert.deepEqual(replies, [])
      assert.ok(stderr.includes(key), stderr)
    }
    assert.equal(actor([], ['--on-rollback', 'perhaps']).status, 2)
  })

  test('keeps marks where it is told to, one place for each name and session', () => {
    const marks = join(directory, 'marks')
    mkdirSync(marks)
    const env = { QSL_TEST_HOOKS: '1', QSL_DUR_STORE_DIR: marks }
    for (const name of ['impl_a', 'impl_b'])
      actor(['{"id":1,"op":"handshake_init","params":{"suite":"Suite-1"}}'], ['--name', name], env)
    assert.deepEqual(readdirSync(marks).sort(), ['impl_a', 'impl_b'])
    const [session = assert.fail()] = readdirSync(join(marks, 'impl_a'))
    assert.deepEqual(readdirSync(join(marks, 'impl_a', session)), ['store'])
  })
})

suite('what the contract refuses', () => {
  test('NT-QSP-0006: the same ciphertext twice', async () => {
    const [a, b] = [inProcess(), inProcess()]
    const session_id = await meet(a, b)
    const letter = await pass(a, b, session_id)
    await assert.rejects(
      b('decrypt', { session_id, ciphertext_b64: letter }),
      refused('CRYPTO', /^channel\/REPLAY/),
    )
    await pass(a, b, session_id)
  })

  test('NT-QSP-0011: a state blob that was changed is refused, and nothing of it is there', async () => {
    const kept = new Map<string, Marks>()
    const [a, b] = [inProcess(), inProcess(kept)]
    const session_id = await meet(a, b)
    await pass(a, b, session_id)
    const { snapshot_b64 } = await b('debug_snapshot')
    const [whole = assert.fail()] = decodeSnapshot(String(snapshot_b64))
    for (const [i, record] of whole.contents.records.entries()) {
      const payload = Uint8Array.from(record.payload)
      payload[20] = (payload[20] ?? 0) ^ 1
      const records = whole.contents.records.with(i, { ...record, payload })
      const changed = encodeSnapshot([{ ...whole, contents: { ...whole.contents, records } }])
      const other = inProcess(kept)
      await assert.rejects(other('debug_restore', { snapshot_b64: changed }), refused('CRYPTO', /EROLLBACK/))
      await assert.rejects(other('encrypt', { session_id, plaintext_b64: 'eA' }), refused('INVALID'))
    }
    for (const cut of ['', 'eA', String(snapshot_b64).slice(0, -8)])
      await assert.rejects(inProcess(kept)('debug_restore', { snapshot_b64: cut }), refused('INVALID'))
    const ahead = { ...whole, contents: { ...whole.contents, generation: whole.contents.generation + 1 } }
    await assert.rejects(
      inProcess(kept)('debug_restore', { snapshot_b64: encodeSnapshot([ahead]) }),
      refused('CRYPTO', /EROLLBACK/),
    )
    const same = inProcess(kept)
    await same('debug_restore', { snapshot_b64: String(snapshot_b64) })
    await pass(a, same, session_id)
  })

  test('NT-QSP-0012: cut off at each commit boundary, a letter was opened or was not, and is never lost or opened twice', async () => {
    for (const point of [
      'letter/parsed',
      'letter/opened',
      'letter/committing',
      'letter/marking',
      'letter/committed',
    ]) {
      const kept = new Map<string, Marks>()
      let dies = false
      const crashAt = (reached: string) => {
        if (dies && reached === point) throw new Error('dead')
      }
      const [a, b] = [inProcess(), inProcess(kept, { hooks: { crashAt } })]
      const session_id = await meet(a, b)
      await pass(a, b, session_id)
      await pass(b, a, session_id)
      const { ciphertext_b64 } = await a('encrypt', { session_id, plaintext_b64: 'eA' })
      const letter = { session_id, ciphertext_b64: String(ciphertext_b64) }
      dies = true
      await assert.rejects(b('decrypt', letter), refused('INTERNAL', /dead/))
      dies = false
      // Its memory is its disk: what a process after it would find.
      const { snapshot_b64 } = await b('debug_snapshot')
      const next = inProcess(kept)
      await next('debug_restore', { snapshot_b64: String(snapshot_b64) })
      const isOpened = point === 'letter/marking' || point === 'letter/committed'
      if (isOpened || point === 'letter/committing')
        await assert.rejects(next('decrypt', letter), refused('CRYPTO', /^channel\/REPLAY/))
      else assert.deepEqual(await next('decrypt', letter), { plaintext_b64: 'eA' })
      await pass(a, next, session_id)
    }
  })

  test('a snapshot without the marks of its sessions is put back to nothing', async () => {
    const [a, b] = [inProcess(), inProcess()]
    await pass(a, b, await meet(a, b))
    const { snapshot_b64 } = await b('debug_snapshot')
    await assert.rejects(
      inProcess()('debug_restore', { snapshot_b64: String(snapshot_b64) }),
      refused('CRYPTO', /EINTEGRITY/),
    )
  })

  test('a session is with whoever was met first, and with nobody else', async () => {
    const kept = new Map<string, Marks>()
    const [a, b] = [inProcess(), inProcess(kept)]
    const session_id = await meet(a, b)
    const { snapshot_b64 } = await b('debug_snapshot')
    const [waiting = assert.fail()] = decodeSnapshot(String(snapshot_b64))
    const pinned = new Uint8Array(32).fill(7)
    const { ciphertext_b64 } = await a('encrypt', { session_id, plaintext_b64: 'eA' })
    const other = inProcess(kept)
    await other('debug_restore', { snapshot_b64: encodeSnapshot([{ ...waiting, pinned }]) })
    const letter = { session_id, ciphertext_b64: String(ciphertext_b64) }
    await assert.rejects(other('decrypt', letter), refused('CRYPTO', /^channel\/UNKNOWN_IDENTITY/))
    assert.deepEqual(await b('decrypt', letter), { plaintext_b64: 'eA' })
  })

  test('a session put back to before its handshake was done is discarded, whatever was asked', async () => {
    const kept = new Map<string, Marks>()
    const [a, b] = [inProcess(), inProcess(kept)]
    const session_id = await meet(a, b)
    const { snapshot_b64 } = await b('debug_snapshot')
    await pass(a, b, session_id)
    const other = inProcess(kept)
    const { sessions } = await other('debug_restore', { snapshot_b64: String(snapshot_b64) })
    assert.deepEqual(sessions, [{ outcome: 'discarded', code: 'ROLLBACK_DETECTED' }])
    await pass(a, other, await meet(a, other))
  })

  test('there is room for so many sessions, and reset makes room', async () => {
    const a = inProcess()
    for (let i = 0; i < 64; i++) await a('handshake_init', suite1)
    await assert.rejects(a('handshake_init', suite1), refused('INVALID', /64/))
    assert.deepEqual(await a('reset', { seed: 'x' }), { deterministic: false })
    await a('handshake_init', suite1)
  })
})
