import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { utf8 } from '../../src/bytes/bytes.ts'
import { profiles } from '../../src/state/config.ts'
import { StateError } from '../../src/state/error.ts'
import {
  adoptParameters,
  checkParameters,
  type ParameterName,
  parameterRows,
  parametersIn,
  parametersOf,
  parseParameters,
} from '../../src/state/parameters.ts'
import { tableRows } from '../channel/spec-tables.ts'
import { IdleClock, introduced, run } from '../session/world.ts'

const file = (values: object, version = 1) =>
  utf8(JSON.stringify({ format: 'pawl-parameters-1', version, values }))

const refused =
  (code: string, ...names: string[]) =>
  (error: unknown) => {
    assert.ok(error instanceof StateError, String(error))
    assert.equal(error.code, code)
    for (const name of names) assert.ok(error.message.includes(name), error.message)
    return true
  }

const rows = tableRows('parameters.md', '| key | baseline | range | tighter |').map(
  ([name = '', value = '', range = '', tighter = '']) => [name, value, range, tighter] as const,
)
const names = rows.map(([name]) => name.replaceAll('`', ''))
const numbers = rows.flatMap(([name, value, range, tighter]) => {
  const [least, most] = range.split(' to ').map(Number)
  return most === undefined
    ? []
    : [{ name: name.replaceAll('`', ''), value: Number(value), least, most, tighter }]
})

suite('parameters', () => {
  test('the page has them all, with the values that are in force', () => {
    const { values } = parametersOf('prod')
    assert.deepEqual(
      names,
      [...names].filter(name => values.has(name as ParameterName)),
    )
    assert.equal(values.size, names.length)
    for (const [name, value] of rows)
      assert.equal(String(values.get(name.replaceAll('`', '') as ParameterName)), value)
    assert.ok(numbers.length > 5)
  })

  test('a number may go to the end of its range on the tighter side, and no step on the other', () => {
    for (const { name, value, least = 0, most, tighter } of numbers) {
      const [end, wider] = tighter === 'lower' ? [least, value + 1] : [most, value - 1]
      const { values } = parametersOf('prod', parseParameters(file({ [name]: end })))
      assert.equal(values.get(name as ParameterName), end)
      if (wider <= most) {
        const site = parseParameters(file({ [name]: wider }))
        assert.throws(() => parametersOf('prod', site), refused('EINVAL', name, 'wider'))
      }
      for (const beyond of [least - 1, most + 1, '1', null, true])
        assert.throws(() => parseParameters(file({ [name]: beyond })), refused('EINVAL', name))
    }
  })

  test('what is true stays true, in every profile; what is false may become it', () => {
    const { values } = parametersOf('prod')
    for (const [name, value] of values) {
      if (typeof value === 'number') continue
      for (const profile of profiles) {
        const asked = parseParameters(file({ [name]: false }))
        if (parametersOf(profile).holds(name))
          assert.throws(() => parametersOf(profile, asked), refused('EINVAL', name))
        else assert.equal(parametersOf(profile, asked).holds(name), false)
        assert.equal(parametersOf(profile, parseParameters(file({ [name]: true }))).holds(name), true)
      }
      assert.throws(() => parseParameters(file({ [name]: 1 })), refused('EINVAL', name))
    }
  })

  test('a site may not widen what its profile has tightened', () => {
    const site = parseParameters(file({ 'dur.max_out_of_order_messages': 64 }))
    assert.equal(parametersOf('prod', site).count('dur.max_out_of_order_messages'), 64)
    assert.throws(
      () => parametersOf('high_security', site),
      refused('EINVAL', 'dur.max_out_of_order_messages'),
    )
  })

  test('each is said with the layer that it is from', () => {
    const site = parseParameters(file({ 'qsp.max_skip': 10, 'letter.epochs_followed': 32 }))
    const from = (name: string) => parameterRows('high_security', site).find(row => row.name === name)
    assert.deepEqual(from('qsp.max_skip'), {
      name: 'qsp.max_skip',
      value: 10,
      from: 'site',
      range: '0 to 1000, lower is tighter',
    })
    assert.equal(from('letter.epochs_followed')?.from, 'site', 'as the profile has it, and said again')
    assert.equal(from('dur.max_out_of_order_messages')?.from, 'profile')
    assert.equal(from('qsp.max_body_ct_len')?.from, 'baseline')
    assert.deepEqual(
      parameterRows('prod').map(({ name }) => name),
      names,
    )
  })

  test('a file that is not exactly one is refused, with what is wrong', () => {
    const wrong: readonly (readonly [string, string])[] = [
      ['{}', 'format'],
      ['', 'JSON'],
      ['[]', 'object'],
      ['{"format":"pawl-parameters-1","version":0,"values":{}}', 'version'],
      ['{"format":"pawl-parameters-1","version":1,"values":[]}', 'values'],
      ['{"format":"pawl-parameters-1","version":1,"values":{},"more":1}', 'more'],
      ['{"format":"pawl-parameters-1","version":1,"values":{"dur.unheard_of":1}}', 'dur.unheard_of'],
      ['{"format":"pawl-parameters-1","version":1,"values":{"toString":1}}', 'toString'],
      [' '.repeat(64 * 1024 + 1), '65536'],
    ]
    for (const [text, named] of wrong)
      assert.throws(() => parseParameters(utf8(text)), refused('EINVAL', named))
    assert.throws(() => parametersOf('prod').count('letter.replay_digests'), TypeError)
    assert.throws(() => parametersOf('prod').holds('qsp.max_skip'), TypeError)
  })

  test('a home adopts a greater version only, and never one that is wider', async () => {
    const { endpoint, close } = await run((await introduced())[0], new IdleClock())
    const { store } = endpoint
    assert.equal((await parametersIn(store)).count('dur.max_out_of_order_messages'), 64)
    await adoptParameters(store, file({ 'dur.max_out_of_order_messages': 16 }, 2))
    assert.equal((await parametersIn(store)).count('dur.max_out_of_order_messages'), 16)
    assert.equal(
      (await adoptParameters(store, file({ 'dur.max_out_of_order_messages': 16 }, 2))).isNew,
      false,
    )
    await assert.rejects(adoptParameters(store, file({}, 1)), refused('EROLLBACK', 'parameters version 1'))
    await assert.rejects(adoptParameters(store, file({}, 2)), refused('EINVAL', 'version 2'))
    const wide = file({ 'qsp.max_skip': 1000, 'dur.replay_entry_ttl_seconds': 3600 }, 3)
    await assert.rejects(adoptParameters(store, wide), refused('EINVAL', 'dur.replay_entry_ttl_seconds'))
    // A site may take back what it tightened itself, under a greater version.
    await adoptParameters(store, file({}, 3))
    assert.equal((await parametersIn(store)).count('dur.max_out_of_order_messages'), 64)
    await checkParameters(store)
    const lines: string[] = []
    for await (const line of store.audit()) lines.push(line)
    assert.equal(lines.filter(line => line.includes('"action":"parameters"')).length, 2)
    await close()
  })
})
