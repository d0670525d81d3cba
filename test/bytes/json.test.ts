import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { BytesError } from '../../src/bytes/bytes.ts'
import { asciiJson, type Json, jsonLimits, parseJson } from '../../src/bytes/json.ts'
import { jsonTexts } from './json-texts.ts'

/** As `JSON.parse` has it, so that the two can be compared. */
function plain(value: Json): unknown {
  if (value instanceof Map)
    return Object.fromEntries([...value].map(([name, member]) => [name, plain(member)]))
  return Array.isArray(value) ? value.map(plain) : value
}

/** What is JSON and still refused, by what the message says of it. */
const restrictions =
  /a name that this object has already|numbers are whole|nested over|half a surrogate pair|a number over 2\^53/

suite('strict JSON', () => {
  test('what it takes it reads as JSON.parse does', () => {
    for (const source of [
      'null',
      ' true\n',
      '\t"a"\r\n',
      '[]',
      '[ ]',
      '{}',
      '{ }',
      '0',
      '-1',
      '9007199254740991',
      '-9007199254740991',
      '[1,[2,[3,{"a":[]}]]]',
      '{"a": 1, "b": {"a": 1}, "": null, "__proto__x": [false]}',
      '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00é😀\u007f"',
    ])
      assert.deepEqual(plain(parseJson(source)), JSON.parse(source), source)
    const named = parseJson('{"__proto__": 1, "constructor": 2}')
    assert.ok(named instanceof Map)
    assert.deepEqual([...named], Object.entries(JSON.parse('{"__proto__": 1, "constructor": 2}')))
  })

  test('what it refuses, and where', () => {
    const deep = '['.repeat(jsonLimits.depthMax + 1) + ']'.repeat(jsonLimits.depthMax + 1)
    assert.doesNotThrow(() => parseJson(deep.slice(1, -1)))
    for (const [source, message] of [
      ['', /^line 1, column 1: a value was expected$/],
      ['\ufeff{}', /^line 1, column 1: a byte order mark/],
      ['{"a": 1,\n "a": 2}', /^line 2, column 2: a name that this object has already$/],
      ['{"a": 1, "\\u0061": 2}', /^line 1, column 10: a name that this object has already$/],
      ['{"a": [{"b": 1, "c": 2, "b": 1}]}', /column 25: a name that this object has already$/],
      ['[1.0]', /^line 1, column 2: numbers are whole/],
      ['[1e2]', /numbers are whole/],
      ['-0', /numbers are whole/],
      ['01', /^line 1, column 2: the end was expected$/],
      ['9007199254740992', /^line 1, column 1: a number over 2\^53 - 1$/],
      ['-9007199254740992', /a number over 2\^53 - 1$/],
      ['1'.repeat(400), /a number over 2\^53 - 1$/],
      ['+1', /a value was expected$/],
      ['NaN', /a value was expected$/],
      ['tru', /a value was expected$/],
      ['truex', /the end was expected$/],
      ['[1,]', /^line 1, column 4: a value was expected$/],
      ['[1 2]', /^line 1, column 4: , or \] was expected$/],
      ['[1', /^line 1, column 3: , or \] was expected$/],
      ['{"a" 1}', /^line 1, column 6: : was expected$/],
      ['{"a": 1,}', /^line 1, column 9: a name in quotes was expected$/],
      ["{'a': 1}", /a name in quotes was expected$/],
      ['{"a": 1; }', /^line 1, column 8: , or \} was expected$/],
      ['{} {}', /^line 1, column 4: the end was expected$/],
      ['"a', /^line 1, column 1: a string that is never closed$/],
      ['"a\\"', /a string that is never closed$/],
      ['"a\nb"', /a string that is not JSON$/],
      ['"\\x41"', /a string that is not JSON$/],
      ['"\\ud800"', /half a surrogate pair$/],
      ['"\\udc00\\ud800"', /half a surrogate pair$/],
      ['// a\n1', /a value was expected$/],
      ['\u00a01', /a value was expected$/],
      [deep, /^line 1, column 9: nested over 8 deep$/],
    ] as const)
      assert.throws(
        () => parseJson(source),
        error => error instanceof BytesError && message.test(error.message),
        source,
      )
  })

  test('what was read before does not change what is read: V8 14 takes the second name for the first', () => {
    for (const name of ['\\', '\n', '"']) {
      const read = parseJson(`{"": [], ${JSON.stringify(name)}: 0}`)
      assert.ok(read instanceof Map)
      assert.deepEqual([...read.keys()], ['', name])
    }
  })

  test('a long text is neither slow nor too deep for the stack', () => {
    const begun = performance.now()
    for (const source of [
      '['.repeat(1_000_000),
      '{"a":'.repeat(200_000),
      `"${'\\'.repeat(999_999)}`,
      ' '.repeat(1_000_000),
    ])
      assert.throws(() => parseJson(source), BytesError)
    assert.equal(parseJson(`"${'a\\n'.repeat(300_000)}"`), 'a\n'.repeat(300_000))
    assert.ok(performance.now() - begun < 2_000)
  })

  test('any text is quoted in visible ASCII, and read back', () => {
    assert.equal(asciiJson('a\u001b[2J\u009b"é\u{1f600}'), '"a\\u001b[2J\\u009b\\"\\u00e9\\ud83d\\ude00"')
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), text => {
        assert.match(asciiJson(text), /^[ -~]*$/)
        assert.equal(parseJson(asciiJson(text)), text)
      }),
    )
  })

  test('any text: either the value that JSON.parse reads, or a refusal; never more than JSON is', () => {
    fc.assert(
      fc.property(jsonTexts, source => {
        // Once JSON.parse of V8 14 has seen a name with a backslash in it, it takes others for that one.
        if (/\\\\|\\u005c/i.test(source)) return
        let expected: { readonly value: unknown } | undefined
        try {
          expected = { value: JSON.parse(source) }
        } catch {
          expected = undefined
        }
        try {
          const value = plain(parseJson(source))
          assert.ok(expected !== undefined, `taken, and no JSON: ${source}`)
          assert.deepEqual(value, expected.value)
        } catch (error) {
          if (!(error instanceof BytesError)) throw error
          if (expected !== undefined) assert.match(error.message, restrictions, source)
        }
      }),
      { numRuns: 3_000 },
    )
  })
})
