/** JSON, what is nearly JSON, and what is not: by structure, so that most of it gets far into a parser. */
import fc from 'fast-check'

const words = ['a', 'b', '', '__proto__', '\u00e9', '😀', '\\', '"', '\n', 'constructor']

/** Values as text, by hand: JSON.stringify would never write one name twice, nor one string in two ways. */
const { value } = fc.letrec<{ value: string; text: string; member: string }>(tie => ({
  text: fc.oneof(
    fc.constantFrom(...words).map(word => JSON.stringify(word)),
    fc.constantFrom('"\\u0061"', '"\\ud83d\\ude00"', '"\\ud83d"', '"\\/"', '"\t"', '"\\x"', '"'),
    fc.string({ unit: 'binary', maxLength: 6 }).map(word => JSON.stringify(word)),
  ),
  member: fc.tuple(tie('text'), tie('value')).map(([name, member]) => `${name}:${member}`),
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom('0', '1', '-1', '-0', '1.5', '1e3', '9007199254740993', '007', 'null', 'true', 'false'),
    tie('text'),
    fc.array(tie('value'), { maxLength: 4 }).map(items => `[${items.join(',')}]`),
    fc.array(tie('member'), { maxLength: 4 }).map(members => `{${members.join(', ')}}`),
  ),
}))

const edit = fc.record({
  at: fc.nat({ max: 200 }),
  cut: fc.nat({ max: 3 }),
  put: fc.constantFrom('', ',', ':', '{', '}', '[', ']', '"', '\\', ' ', '\n', '0', '-', '.', 'u', '\u0000'),
})

export const jsonTexts: fc.Arbitrary<string> = fc
  .tuple(value, fc.oneof(fc.constant([]), fc.array(edit, { minLength: 1, maxLength: 2 })))
  .map(([text, edits]) =>
    edits.reduce((before, { at, cut, put }) => {
      const where = before.length === 0 ? 0 : at % before.length
      return before.slice(0, where) + put + before.slice(where + cut)
    }, text),
  )
