import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  BytesError,
  base64url,
  concat,
  equal,
  fromBase64url,
  fromHex,
  hex,
  text,
  utf8,
} from '../../src/bytes/bytes.ts'
import { randomFrom } from '../crypto/random.ts'

test('base64url and hex agree with Node and turn back, for every length', () => {
  const { bytes } = randomFrom('base64url')
  for (let length = 0; length <= 130; length++) {
    const value = bytes(length)
    assert.equal(base64url(value), Buffer.from(value).toString('base64url'))
    assert.equal(hex(value), Buffer.from(value).toString('hex'))
    assert.ok(equal(fromBase64url(base64url(value)), value))
    assert.ok(equal(fromHex(hex(value)), value))
  }
})

test('base64url has one spelling: of all strings of up to 3 characters, exactly the canonical ones are read', () => {
  const characters = 'ABEIQcdgwxyz0123789-_+/= \n\0é'
  for (const a of characters) {
    assert.throws(() => fromBase64url(a), BytesError)
    for (const b of characters) {
      check(a + b)
      for (const c of characters) check(a + b + c)
    }
  }
})

function check(digits: string): void {
  const loose = Buffer.from(digits, 'base64url')
  if (loose.toString('base64url') === digits) assert.ok(equal(fromBase64url(digits), loose))
  else assert.throws(() => fromBase64url(digits), BytesError)
}

test('padding, white space, the other alphabet and half a surrogate pair are refused in base64url', () => {
  for (const digits of [
    'AA==',
    'AAA=',
    ' AAA',
    'AAA ',
    'AA\nA',
    'A+A/',
    'AAAA\u0000',
    '\ud800AAA',
    'AAAé',
    'A',
  ])
    assert.throws(() => fromBase64url(digits), BytesError)
})

test('hex is lower case and even', () => {
  for (const digits of ['0', 'AA', '0x00', 'zz', '00 ', ' 00', '0 0 '])
    assert.throws(() => fromHex(digits), BytesError)
})

test('text is strict UTF-8: overlong, surrogates, cut and stray bytes are refused; a byte order mark is kept', () => {
  for (const bad of ['c080', 'eda080', 'f4908080', 'e282', '80', 'ff', 'f8888080'])
    assert.throws(() => text(fromHex(bad)), BytesError)
  assert.equal(text(fromHex('efbbbf41')), '\ufeffA')
  for (const good of ['', 'é', '水', '𐅑', '\0']) assert.equal(text(utf8(good)), good)
})

test('concat copies, and equal compares content and length', () => {
  const part = Uint8Array.of(1, 2)
  const whole = concat(part, new Uint8Array(0), Uint8Array.of(3))
  part.fill(9)
  assert.ok(equal(whole, Uint8Array.of(1, 2, 3)))
  assert.ok(!equal(whole, Uint8Array.of(1, 2)))
  assert.ok(!equal(whole, Uint8Array.of(1, 2, 4)))
  assert.equal(concat().length, 0)
})
