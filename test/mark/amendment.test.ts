import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encode } from 'cbor2'
import { BytesError } from '../../src/bytes/bytes.ts'
import { type CborValue, encodeCbor } from '../../src/bytes/cbor.ts'
import {
  type Amendment,
  amendmentReasons,
  decodeAmendment,
  encodeAmendment,
} from '../../src/mark/amendment.ts'

const domain = new Uint8Array(32).fill(7)
const abandoned = { domain, number: 9, head: new Uint8Array(32).fill(9) }
const adopted = { domain, number: 4, head: new Uint8Array(32).fill(4) }
const amendment: Amendment = { abandoned, adopted, reason: 'recovery', by: 'operator', at: 1_700_000_000_000 }

const map: { readonly [key: string]: CborValue } = { format: 1, ...amendment }

test('an amendment survives its encoding, for every reason', () => {
  for (const reason of amendmentReasons)
    assert.deepEqual(decodeAmendment(encodeAmendment({ ...amendment, reason })), { ...amendment, reason })
})

test('the encoding is the deterministic one of a second implementation', () => {
  assert.deepEqual(Buffer.from(encodeAmendment(amendment)), Buffer.from(encode(map, { cde: true })))
})

test('the author is 1 to 256 bytes, counted as UTF-8, in both directions', () => {
  for (const by of ['x', 'x'.repeat(256), 'é'.repeat(128)])
    assert.equal(decodeAmendment(encodeAmendment({ ...amendment, by })).by, by)
  for (const by of ['', 'x'.repeat(257), 'é'.repeat(129)]) {
    assert.throws(() => encodeAmendment({ ...amendment, by }), BytesError)
    assert.throws(() => decodeAmendment(encodeCbor({ ...map, by })), BytesError)
  }
})

const markFields: readonly (readonly [string, CborValue])[] = [
  ['domain', new Uint8Array(31)],
  ['domain', 'text'],
  ['number', -1],
  ['number', '4'],
  ['head', new Uint8Array(33)],
  ['head', null],
]
const refusals: readonly (readonly [string, CborValue])[] = [
  ['another format', { ...map, format: 2 }],
  ['no format', without('format')],
  ['format zero', { ...map, format: 0 }],
  ['an unknown reason', { ...map, reason: 'because' }],
  ['a reason that is no text', { ...map, reason: 1 }],
  ['an author that is no text', { ...map, by: new Uint8Array(3) }],
  ['a time before 1970', { ...map, at: -1 }],
  ['a time that is no number', { ...map, at: 'noon' }],
  ['a key too many', { ...map, note: 'x' }],
  ...Object.keys(map).map((key): readonly [string, CborValue] => [`no ${key}`, without(key)]),
  ...(['abandoned', 'adopted'] as const).flatMap(which => [
    ...markFields.map(([field, value]): readonly [string, CborValue] => [
      `${which} with a wrong ${field} (${String(value)})`,
      { ...map, [which]: { ...amendment[which], [field]: value } },
    ]),
    [`${which} that is no map`, { ...map, [which]: new Uint8Array(32) }] as const,
    [`${which} with a field too many`, { ...map, [which]: { ...amendment[which], more: 1 } }] as const,
    [
      `${which} of another domain`,
      { ...map, [which]: { ...amendment[which], domain: new Uint8Array(32) } },
    ] as const,
  ]),
  ['no map at all', [1, 2, 3]],
]

for (const [what, value] of refusals)
  test(`an amendment with ${what} is refused`, () => {
    assert.throws(() => decodeAmendment(encodeCbor(value)), BytesError)
  })

test('every other spelling of an amendment is refused: each byte flipped, cut short, or with one behind', () => {
  const good = encodeAmendment(amendment)
  for (let length = 0; length < good.length; length++)
    assert.throws(() => decodeAmendment(good.subarray(0, length)), BytesError)
  assert.throws(() => decodeAmendment(Uint8Array.of(...good, 0)), BytesError)
  const unsorted = encode(new Map(Object.entries(map).reverse()), { sortKeys: null })
  assert.throws(() => decodeAmendment(unsorted), BytesError)
})

test('what could not be read back is not written', () => {
  const wrong: readonly Partial<Amendment>[] = [
    { at: -1 },
    { at: 0.5 },
    { abandoned: { ...abandoned, number: -1 } },
    { adopted: { ...adopted, head: new Uint8Array(0) } },
    { adopted: { ...adopted, domain: new Uint8Array(32) } },
  ]
  for (const part of wrong) assert.throws(() => encodeAmendment({ ...amendment, ...part }), BytesError)
})

function without(key: string): CborValue {
  return Object.fromEntries(Object.entries(map).filter(([name]) => name !== key))
}
