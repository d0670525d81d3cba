import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BytesError, equal, hex } from '../../src/bytes/bytes.ts'
import { Reader } from '../../src/bytes/reader.ts'
import { Writer } from '../../src/bytes/writer.ts'

const widths = [
  ['u8', 1, 0xff],
  ['u16', 2, 0xffff],
  ['u32', 4, 0xffff_ffff],
  ['u64', 8, Number.MAX_SAFE_INTEGER],
] as const

for (const [name, bytes, max] of widths) {
  test(`${name} carries 0, 1 and its maximum in network order, and refuses one past it`, () => {
    for (const value of [0, 1, 0x7f, max - 1, max]) {
      const written = new Writer(0)[name](value).done()
      assert.equal(hex(written), value.toString(16).padStart(2 * bytes, '0'))
      const reader = new Reader(written)
      assert.equal(reader[name](), value)
      reader.end()
    }
    for (const bad of [max + 1, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])
      assert.throws(() => new Writer()[name](bad), BytesError)
  })

  test(`${name} needs ${bytes} bytes: one fewer is refused and moves nothing`, () => {
    for (let length = 0; length < bytes; length++) {
      const reader = new Reader(new Uint8Array(length))
      assert.throws(() => reader[name](), BytesError)
      assert.equal(reader.left, length)
    }
  })
}

test('a u64 above 2^53 - 1 is refused, not rounded', () => {
  for (const digits of ['0020000000000000', '0020000000000001', 'ffffffffffffffff', '8000000000000000'])
    assert.throws(() => new Reader(Uint8Array.from(Buffer.from(digits, 'hex'))).u64(), BytesError)
})

test('bytes of exactly what is left can be read, one more cannot', () => {
  const reader = new Reader(Uint8Array.of(1, 2, 3))
  assert.throws(() => reader.bytes(4), BytesError)
  assert.throws(() => reader.bytes(2 ** 53), BytesError)
  assert.ok(equal(reader.bytes(3), Uint8Array.of(1, 2, 3)))
  assert.equal(reader.bytes(0).length, 0)
  assert.throws(() => reader.bytes(1), BytesError)
})

test('a length that is negative, broken or no number never moves the cursor', () => {
  const reader = new Reader(Uint8Array.of(1, 2, 3))
  reader.u8()
  for (const bad of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    assert.throws(() => reader.bytes(bad), BytesError)
    assert.equal(reader.offset, 1)
    const writer = new Writer().u8(7)
    assert.throws(() => writer.zeros(bad), BytesError)
    assert.equal(writer.length, 1)
  }
})

test('what is left over is refused', () => {
  const reader = new Reader(Uint8Array.of(1, 2))
  reader.u8()
  assert.throws(() => reader.end(), /1 bytes left over/)
  assert.ok(equal(reader.rest(), Uint8Array.of(2)))
  reader.end()
})

test('a reader over a part of a larger buffer stays inside it', () => {
  const whole = Uint8Array.of(9, 9, 1, 2, 9, 9)
  const reader = new Reader(whole.subarray(2, 4))
  assert.equal(reader.u16(), 0x0102)
  assert.throws(() => reader.u8(), BytesError)
})

test('a writer grows from any capacity, and a refused number leaves it as it was', () => {
  for (const capacity of [0, 1, 3, 1000]) {
    const writer = new Writer(capacity).u8(1).zeros(5).bytes(Uint8Array.of(2, 3)).u16(4)
    assert.throws(() => writer.u8(256), BytesError)
    assert.equal(writer.length, 10)
    assert.equal(hex(writer.done()), '01000000000002030004')
  }
})
