import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ml_kem1024 } from '@noble/post-quantum/ml-kem.js'
import { concat, equal, fromHex } from '../../src/bytes/bytes.ts'
import { KemError, mlkem1024x25519, mlkem1024x25519FromSeeds } from '../../src/crypto/kem.ts'
import { wycheproof } from './vectors.ts'

const basePoint = Uint8Array.of(9, ...new Uint8Array(31))
const scalar = new Uint8Array(32).fill(0x42)

test('ML-KEM-1024 decapsulates every valid Wycheproof ciphertext and refuses every malformed one', t => {
  type Case = { seed: string; ek?: string; c: string; K?: string }
  for (const { tcId, result, seed, ek, c, K = '' } of wycheproof<Case>(t, 'mlkem_1024') ?? []) {
    const ciphertext = concat(fromHex(c), basePoint)
    if (result === 'valid') {
      const pair = mlkem1024x25519FromSeeds(fromHex(seed), scalar)
      if (ek !== undefined) assert.ok(equal(pair.publicKey.subarray(0, 1568), fromHex(ek)), `tcId ${tcId}`)
      using shared = mlkem1024x25519.decapsulate(pair, ciphertext)
      assert.ok(equal(shared.bytes.subarray(0, 32), fromHex(K)), `tcId ${tcId}`)
    } else if (seed.length !== 128) {
      assert.throws(() => mlkem1024x25519FromSeeds(fromHex(seed), scalar), `tcId ${tcId}`)
    } else {
      const pair = mlkem1024x25519FromSeeds(fromHex(seed), scalar)
      assert.throws(() => mlkem1024x25519.decapsulate(pair, ciphertext), KemError, `tcId ${tcId}`)
    }
  }
})

test("ML-KEM-1024 seeds give Wycheproof's encapsulation keys", t => {
  for (const { tcId, seed, ek } of wycheproof<{ seed: string; ek: string }>(t, 'mlkem_1024_keygen_seed') ??
    []) {
    const pair = mlkem1024x25519FromSeeds(fromHex(seed), scalar)
    assert.ok(equal(pair.publicKey.subarray(0, 1568), fromHex(ek)), `tcId ${tcId}`)
  }
})

test('ML-KEM-1024 refuses encapsulation keys that are not reduced or not of the length (FIPS 203 7.2)', t => {
  type Case = { ek: string; m: string; c: string; K: string }
  for (const { tcId, result, ek, m, c, K } of wycheproof<Case>(t, 'mlkem_1024_encaps') ?? []) {
    const share = concat(fromHex(ek), basePoint)
    if (result === 'invalid') {
      assert.throws(() => mlkem1024x25519.encapsulate(share), KemError, `tcId ${tcId}`)
      continue
    }
    // Ours draws its own m. That noble gives the expected answer makes it an oracle for the differential tests.
    const theirs = ml_kem1024.encapsulate(fromHex(ek), fromHex(m))
    assert.ok(equal(theirs.cipherText, fromHex(c)) && equal(theirs.sharedSecret, fromHex(K)), `tcId ${tcId}`)
    using shared = mlkem1024x25519.encapsulate(share).shared
    assert.equal(shared.length, 64)
  }
})

test('X25519 gives every Wycheproof secret, twists and non-canonical points included, and refuses low order', t => {
  type Case = { public: string; private: string; shared: string }
  const cases = wycheproof<Case>(t, 'x25519')
  if (cases === undefined) return
  const seed = new Uint8Array(64).fill(7)
  const { cipherText } = ml_kem1024.encapsulate(ml_kem1024.keygen(seed).publicKey)
  let refused = 0
  for (const { tcId, flags, public: point, private: own, shared: expected } of cases) {
    const pair = mlkem1024x25519FromSeeds(seed, fromHex(own))
    const decapsulate = () => mlkem1024x25519.decapsulate(pair, concat(cipherText, fromHex(point)))
    if (flags.includes('ZeroSharedSecret')) {
      assert.throws(decapsulate, KemError, `tcId ${tcId}`)
      const share = concat(pair.publicKey.subarray(0, 1568), fromHex(point))
      assert.throws(() => mlkem1024x25519.encapsulate(share), KemError, `tcId ${tcId}`)
      refused++
    } else {
      using shared = decapsulate()
      assert.ok(equal(shared.bytes.subarray(32), fromHex(expected)), `tcId ${tcId}`)
    }
  }
  assert.ok(refused > 20)
})
