import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hkdf } from '@noble/hashes/hkdf.js'
import { hmac } from '@noble/hashes/hmac.js'
import * as noble from '@noble/hashes/sha2.js'
import { concat, equal, fromHex, hex, utf8 } from '../../src/bytes/bytes.ts'
import { hmacSha256, hmacSha512, sha256, sha512 } from '../../src/crypto/hash.ts'
import { expandLabel, hkdfSha256, hkdfSha512 } from '../../src/crypto/kdf.ts'
import { Secret } from '../../src/crypto/secret.ts'
import { randomFrom } from './random.ts'

const twoBlocks = 'abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq'
const fourBlocks =
  'abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu'

test("SHA-256 gives NIST's examples (FIPS 180-4)", () => {
  const known = {
    '': 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    abc: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    [twoBlocks]: '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1',
    ['a'.repeat(1_000_000)]: 'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0',
  }
  for (const [message, digest] of Object.entries(known)) assert.equal(hex(sha256(utf8(message))), digest)
})

test("SHA-512 gives NIST's examples (FIPS 180-4)", () => {
  const known = {
    abc: 'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
    [fourBlocks]:
      '8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909',
  }
  for (const [message, digest] of Object.entries(known)) assert.equal(hex(sha512(utf8(message))), digest)
})

test('HMAC gives RFC 4231 test cases 1, 2 and 6', () => {
  const cases = [
    [
      '0b'.repeat(20),
      utf8('Hi There'),
      'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
      '87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854',
    ],
    [
      hex(utf8('Jefe')),
      utf8('what do ya want for nothing?'),
      '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
      '164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737',
    ],
    [
      'aa'.repeat(131),
      utf8('Test Using Larger Than Block-Size Key - Hash Key First'),
      '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
      '80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598',
    ],
  ] as const
  for (const [key, message, short, long] of cases) {
    assert.equal(hex(hmacSha256(fromHex(key), message)), short)
    assert.equal(hex(hmacSha512(fromHex(key), message)), long)
  }
})

test('hashes and MACs agree with noble on random input of every length around a block, in one part or many', () => {
  const { bytes, upTo } = randomFrom('hashes')
  for (let length = 0; length <= 260; length++) {
    const message = bytes(length)
    const key = bytes(upTo(200))
    assert.ok(equal(sha256(message), noble.sha256(message)))
    assert.ok(equal(sha512(message), noble.sha512(message)))
    const cut = upTo(length)
    const parts = [message.subarray(0, cut), message.subarray(cut)]
    assert.ok(equal(hmacSha256(key, ...parts), hmac(noble.sha256, key, message)))
    assert.ok(equal(hmacSha512(key, ...parts), hmac(noble.sha512, key, message)))
  }
})

for (const [kdf, theirs] of [
  [hkdfSha256, noble.sha256],
  [hkdfSha512, noble.sha512],
] as const) {
  test(`${kdf.name} agrees with noble for every output length up to five blocks, and at its limit`, () => {
    const { bytes, upTo } = randomFrom(kdf.name)
    const lengths = [...Array.from({ length: 5 * kdf.hashBytes }, (_, i) => i + 1), 255 * kdf.hashBytes]
    for (const length of lengths) {
      const [input, salt, info] = [bytes(upTo(80)), bytes(upTo(80)), bytes(upTo(80))]
      using extracted = kdf.extract(salt, input)
      using output = kdf.expand(extracted, info, length)
      assert.ok(equal(output.bytes, hkdf(theirs, input, salt, info, length)), `${length} bytes`)
      assert.ok(equal(kdf.mac(extracted, info), hmac(theirs, extracted.bytes, info)))
    }
    using key = new Secret(bytes(kdf.hashBytes))
    for (const length of [0, -1, 255 * kdf.hashBytes + 1])
      assert.throws(() => kdf.expand(key, new Uint8Array(0), length), RangeError)
  })

  test(`expandLabel over ${kdf.name} is HKDF-Expand of the layout written out by hand`, () => {
    const { bytes, upTo } = randomFrom(`label ${kdf.name}`)
    for (let i = 0; i < 100; i++) {
      const [secret, context, length] = [bytes(kdf.hashBytes), bytes(upTo(255)), 1 + upTo(200)]
      const label = 'c ap traffic'.slice(0, upTo(12))
      const info = concat(
        Uint8Array.of(length >> 8, length & 255, 5 + label.length),
        utf8(`qsp1 ${label}`),
        Uint8Array.of(context.length),
        context,
      )
      using key = new Secret(Uint8Array.from(secret))
      using output = expandLabel(kdf, key, label, context, length)
      // noble's expand takes the extracted key; one HMAC chain by hand is the third opinion.
      let block = new Uint8Array(0)
      let expected = new Uint8Array(0)
      for (let counter = 1; expected.length < length; counter++) {
        block = Uint8Array.from(hmac(theirs, secret, concat(block, info, Uint8Array.of(counter))))
        expected = Uint8Array.from([...expected, ...block])
      }
      assert.ok(equal(output.bytes, expected.subarray(0, length)))
    }
  })
}

test('a label or a context that does not fit its length byte is refused, not cut', () => {
  using key = new Secret(new Uint8Array(64))
  assert.equal(expandLabel(hkdfSha512, key, 'x'.repeat(250), new Uint8Array(255)).length, 64)
  assert.throws(() => expandLabel(hkdfSha512, key, 'x'.repeat(251), new Uint8Array(0)), /does not fit/)
  assert.throws(() => expandLabel(hkdfSha512, key, 'x', new Uint8Array(256)), /does not fit/)
})
