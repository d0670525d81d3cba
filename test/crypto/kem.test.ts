import assert from 'node:assert/strict'
import { test } from 'node:test'
import { x25519 } from '@noble/curves/ed25519.js'
import { ml_kem1024 } from '@noble/post-quantum/ml-kem.js'
import { concat, equal } from '../../src/bytes/bytes.ts'
import { KemError, mlkem1024x25519 as kem, mlkem1024x25519FromSeeds } from '../../src/crypto/kem.ts'
import { suites } from '../../src/crypto/suite.ts'
import { flipped, randomFrom } from './random.ts'

const rounds = 40

test('what noble encapsulates to our key share, we decapsulate: ML-KEM part first, in key, ciphertext and secret', () => {
  const { bytes } = randomFrom('kem to us')
  for (let i = 0; i < rounds; i++) {
    const pair = kem.generate()
    const [lattice, curve] = [pair.publicKey.subarray(0, 1568), pair.publicKey.subarray(1568)]
    const theirs = ml_kem1024.encapsulate(lattice, bytes(32))
    const scalar = bytes(32)
    using shared = kem.decapsulate(pair, concat(theirs.cipherText, x25519.getPublicKey(scalar)))
    assert.ok(equal(shared.bytes, concat(theirs.sharedSecret, x25519.getSharedSecret(scalar, curve))))
  }
})

test('what we encapsulate to a key share of noble, noble decapsulates', () => {
  const { bytes } = randomFrom('kem from us')
  for (let i = 0; i < rounds; i++) {
    const lattice = ml_kem1024.keygen(bytes(64))
    const scalar = bytes(32)
    const { ciphertext, shared } = kem.encapsulate(concat(lattice.publicKey, x25519.getPublicKey(scalar)))
    using secret = shared
    const kemPart = ml_kem1024.decapsulate(ciphertext.subarray(0, 1568), lattice.secretKey)
    const curvePart = x25519.getSharedSecret(scalar, ciphertext.subarray(1568))
    assert.ok(equal(secret.bytes, concat(kemPart, curvePart)))
  }
})

test('keys from seeds are the keys that noble derives from them', () => {
  const { bytes } = randomFrom('kem seeds')
  for (let i = 0; i < rounds; i++) {
    const [seed, scalar] = [bytes(64), bytes(32)]
    const { publicKey } = mlkem1024x25519FromSeeds(seed, scalar)
    assert.ok(equal(publicKey, concat(ml_kem1024.keygen(seed).publicKey, x25519.getPublicKey(scalar))))
  }
})

test('both ends agree, lengths are as declared, and no two runs share anything', () => {
  for (const suite of suites) {
    const seen = new Set<string>()
    for (let i = 0; i < 8; i++) {
      const pair = suite.kem.generate()
      const { ciphertext, shared } = suite.kem.encapsulate(pair.publicKey)
      using ours = shared
      using theirs = suite.kem.decapsulate(pair, ciphertext)
      assert.equal(pair.publicKey.length, suite.kem.publicBytes)
      assert.equal(ciphertext.length, suite.kem.ciphertextBytes)
      assert.equal(ours.length, suite.kem.sharedBytes)
      assert.ok(equal(ours.bytes, theirs.bytes))
      for (const value of [pair.publicKey, ciphertext, ours.bytes])
        seen.add(Buffer.from(value).toString('hex'))
    }
    assert.equal(seen.size, 24)
  }
})

test('a turned bit in the ciphertext changes its own half of the secret and not the other (FIPS 203 6.3)', () => {
  const pair = kem.generate()
  const { ciphertext, shared } = kem.encapsulate(pair.publicKey)
  using good = shared
  using lattice = kem.decapsulate(pair, flipped(ciphertext, 5))
  using curve = kem.decapsulate(pair, flipped(ciphertext, 1568 * 8 + 5))
  assert.ok(!equal(lattice.bytes.subarray(0, 32), good.bytes.subarray(0, 32)))
  assert.ok(equal(lattice.bytes.subarray(32), good.bytes.subarray(32)))
  assert.ok(equal(curve.bytes.subarray(0, 32), good.bytes.subarray(0, 32)))
  assert.ok(!equal(curve.bytes.subarray(32), good.bytes.subarray(32)))
})

/** Every u of order dividing 8, and the spellings of them above p (RFC 7748 section 6.1). */
const lowOrder = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
].map(digits => Uint8Array.from(Buffer.from(digits, 'hex')))

test('a low-order X25519 point is a KemError at both ends, with the top bit set too', () => {
  const pair = kem.generate()
  const { ciphertext } = kem.encapsulate(pair.publicKey)
  for (const point of lowOrder.flatMap(point => [point, flipped(point, 255)])) {
    const share = concat(pair.publicKey.subarray(0, 1568), point)
    assert.throws(() => kem.encapsulate(share), KemError)
    assert.throws(() => kem.decapsulate(pair, concat(ciphertext.subarray(0, 1568), point)), KemError)
  }
})

test('a key share one byte short or long, or empty, is a KemError', () => {
  const pair = kem.generate()
  const { ciphertext } = kem.encapsulate(pair.publicKey)
  for (const good of [pair.publicKey, ciphertext]) {
    for (const bad of [
      new Uint8Array(0),
      good.subarray(1),
      good.subarray(0, -1),
      concat(good, Uint8Array.of(0)),
    ]) {
      assert.throws(() => kem.encapsulate(bad), KemError)
      assert.throws(() => kem.decapsulate(pair, bad), KemError)
    }
  }
})

test('a lattice key with a coefficient that is not reduced is a KemError (FIPS 203 7.2)', () => {
  const { publicKey } = kem.generate()
  const bad = Uint8Array.from(publicKey)
  bad.set([0xff, 0xff, 0xff])
  assert.throws(() => kem.encapsulate(bad), KemError)
})

test('a key pair of another mechanism is a mistake of the caller', () => {
  const pair = { publicKey: new Uint8Array(0), parts: [] }
  assert.throws(() => kem.decapsulate(pair, new Uint8Array(kem.ciphertextBytes)), TypeError)
})

test('suites are told apart by id', () => {
  assert.equal(new Set(suites.map(suite => suite.id)).size, suites.length)
})
