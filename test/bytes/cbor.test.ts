import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BytesError, concat, equal, fromHex, hex } from '../../src/bytes/bytes.ts'
import {
  asArray,
  asBytes,
  asCount,
  asMap,
  asText,
  type CborValue,
  cborLimits,
  decodeCbor,
  decodeCborMap,
  encodeCbor,
} from '../../src/bytes/cbor.ts'
import { vectors } from '../crypto/vectors.ts'

/** Appendix A entries within our subset: safe integers, text, bytes, arrays, text-keyed maps, false, true, null. */
const subset = [
  '00 01 0a 17 1818 1819 1864 1903e8 1a000f4240 1b000000e8d4a51000 20 29 3863 3903e7 f4 f5 f6 40 4401020304',
  '60 6161 6449455446 62225c 62c3bc 63e6b0b4 64f0908591 80 83010203 8301820203820405',
  '98190102030405060708090a0b0c0d0e0f101112131415161718181819 a0 a26161016162820203 826161a161626163',
  'a56161614161626142616361436164614461656145',
]
  .join(' ')
  .split(' ')

test('of RFC 8949 appendix A, exactly the entries within our subset are read, and they are written alike', t => {
  type Entry = { hex: string; roundtrip: boolean; decoded?: unknown }
  const entries = vectors<Entry[]>(t, 'cbor/appendix_a.json')
  if (entries === undefined) return
  const read = entries.filter(entry => {
    try {
      return equal(encodeCbor(decodeCbor(fromHex(entry.hex))), fromHex(entry.hex))
    } catch (error) {
      assert.ok(error instanceof BytesError)
      return false
    }
  })
  assert.deepEqual(read.map(entry => entry.hex).toSorted(), subset.toSorted())
  for (const entry of read)
    if (!/^4/.test(entry.hex))
      assert.equal(JSON.stringify(decodeCbor(fromHex(entry.hex))), JSON.stringify(entry.decoded))
})

test('every other spelling of a value is refused', () => {
  const spellings = {
    'longer head than needed':
      '1800 1817 190000 1900ff 1a0000ffff 1b00000000ffffffff 3800 5800 580101 780161 6800 9800 b800',
    'indefinite length': '5f4101ff 7f6161ff 9f01ff bf616101ff 5fff 9fff bfff ff',
    'keys out of order': 'a2616201616101 a262616101616201 a3616101616301616201',
    'key twice': 'a2616101616102 a2606060f6',
    'key that is no text': 'a10101 a1f601 a1410101 a18000',
    float: 'f90000 f93c00 fa47c35000 fb3ff199999999999a f97e00 f97c00',
    'simple value': 'f7 e0 f0 f818 f8ff f814 f816',
    tag: 'c000 c11a514b67b0 c249010000000000000000 d81800 d9d9f700',
    'reserved head': '1c 1d 1e 1f 3f 5c 7d 9e bc fc fd fe',
    'broken text': '61ff 62c080 63eda080 62c3',
    'integer above 2^53 - 1': '1b0020000000000000 1bffffffffffffffff 3b001fffffffffffff 3bffffffffffffffff',
    prototype: 'a1695f5f70726f746f5f5f01',
    cut: '18 19 1900 41 61 81 a1 a16161 8201',
    'left over': '0000 f6f6 4041 a000',
  }
  for (const [kind, list] of Object.entries(spellings))
    for (const digits of list.split(' '))
      assert.throws(
        () => decodeCbor(fromHex(digits)),
        { name: 'BytesError', message: /CBOR|left|UTF-8|2\^53/ },
        `${kind}: ${digits}`,
      )
  assert.throws(() => decodeCbor(new Uint8Array(0)), BytesError)
})

test('integers are read and written up to 2^53 - 1 both ways', () => {
  for (const value of [0, 23, 24, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER])
    for (const sign of [value, -value]) assert.equal(decodeCbor(encodeCbor(sign)), sign === 0 ? 0 : sign)
})

test('minus zero is written as zero', () => {
  assert.equal(hex(encodeCbor(-0)), '00')
})

test('nesting to the depth limit is read, one deeper is not', () => {
  const nested = (depth: number) => concat(new Uint8Array(depth).fill(0x81), Uint8Array.of(0xf6))
  assert.ok(decodeCbor(nested(cborLimits.depthMax)))
  assert.throws(() => decodeCbor(nested(cborLimits.depthMax + 1)), /too deep/)
  assert.throws(() => decodeCbor(nested(1_000_000)), /too deep/)
  const maps = fromHex(`${'a16161'.repeat(cborLimits.depthMax + 1)}f6`)
  assert.throws(() => decodeCbor(maps), /too deep/)
})

test('items to the limit are read, one more is not; keys count', () => {
  const list = (length: number) => encodeCbor(Array.from({ length }, () => null))
  assert.equal(asArray(decodeCbor(list(cborLimits.itemsMax - 1))).length, cborLimits.itemsMax - 1)
  assert.throws(() => decodeCbor(list(cborLimits.itemsMax)), /too many items/)
  const map = (keys: number) =>
    encodeCbor(Object.fromEntries(Array.from({ length: keys }, (_, i) => [`k${i}`, null])))
  assert.ok(decodeCbor(map(cborLimits.itemsMax / 2 - 1)))
  assert.throws(() => decodeCbor(map(cborLimits.itemsMax / 2)), /too many items/)
})

test('a huge declared length is refused at once and allocates nothing', () => {
  const heads = ['5a', '7a', '9a', 'ba'].map(head => fromHex(`${head}ffffffff`))
  heads.push(...['5b', '7b', '9b', 'bb'].map(head => fromHex(`${head}001fffffffffffff`)))
  // Items of no length at all cannot feed a huge array either: each takes a byte and one of the budget.
  heads.push(Uint8Array.of(...fromHex('9affffffff'), ...new Uint8Array(10_000).fill(0xf6)))
  const before = process.memoryUsage()
  const started = performance.now()
  for (let i = 0; i < 50; i++) for (const bytes of heads) assert.throws(() => decodeCbor(bytes), BytesError)
  const after = process.memoryUsage()
  assert.ok(after.arrayBuffers - before.arrayBuffers < 4 << 20, 'no buffers were allocated for it')
  assert.ok(after.heapUsed - before.heapUsed < 64 << 20, 'the heap did not grow with it')
  assert.ok(performance.now() - started < 2_000)
})

test('what the decoder would refuse, or read as something else, is not written', () => {
  const bad: unknown[] = [
    1.5,
    Number.NaN,
    2 ** 53,
    -(2 ** 53),
    Number.POSITIVE_INFINITY,
    '\ud800',
    'a\udc00',
    undefined,
  ]
  for (const value of bad)
    for (const inside of [value, [value], { a: value }, { a: [{ b: value }] }])
      assert.throws(() => encodeCbor(inside as CborValue), BytesError)
  assert.throws(() => encodeCbor({ '\ud800': 1 }), BytesError)
})

test('decoded bytes are copies: they outlive their buffer', () => {
  const buffer = encodeCbor({ a: Uint8Array.of(1, 2) })
  const { a } = decodeCborMap(buffer, ['a'])
  buffer.fill(0)
  assert.deepEqual(asBytes(a), Uint8Array.of(1, 2))
})

test('a map has its keys and no others, and says nothing of what it was sent', () => {
  const keys = ['a', 'b?']
  assert.ok(decodeCborMap(encodeCbor({ a: 1 }), keys))
  assert.ok(decodeCborMap(encodeCbor({ a: 1, b: null }), keys))
  for (const bad of [{}, { b: 1 }, { a: 1, c: 1 }, { a: 1, 'b?': 1 }, [], null, 'a', Uint8Array.of(1)])
    assert.throws(() => decodeCborMap(encodeCbor(bad), keys), BytesError)
  for (const inherited of ['toString', 'constructor', 'hasOwnProperty']) {
    assert.throws(() => asMap(decodeCbor(encodeCbor({})), [inherited]), BytesError)
    assert.ok(asMap(decodeCbor(encodeCbor({ [inherited]: 1 })), [inherited]))
  }
  assert.throws(
    () => decodeCborMap(encodeCbor({ a: 1, '\u001b[2J attack': 1 }), keys),
    (error: Error) => !error.message.includes('attack'),
  )
})

test('the readers of values refuse other types, lengths and ranges', () => {
  assert.throws(() => asBytes('a'), BytesError)
  assert.throws(() => asBytes(undefined), BytesError)
  assert.throws(() => asBytes(new Uint8Array(31), 32), BytesError)
  assert.equal(asBytes(new Uint8Array(32), 32).length, 32)
  assert.throws(() => asText(new Uint8Array(1)), BytesError)
  assert.equal(asText(''), '')
  for (const bad of [-1, 0.5, 11, '1', null, undefined, true])
    assert.throws(() => asCount(bad, 10), BytesError)
  assert.equal(asCount(10, 10), 10)
  assert.throws(() => asArray({ length: 0 }), BytesError)
  assert.throws(() => asArray([1, 2], 1), BytesError)
  assert.throws(() => asMap([], []), BytesError)
  assert.equal(hex(encodeCbor(asMap({}, []))), 'a0')
})
