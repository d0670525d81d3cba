import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { gcm } from '@noble/ciphers/aes.js'
import { equal, hex } from '../../src/bytes/bytes.ts'
import { aes256gcm, openSecret, recordSealings, SealError, type Sealing } from '../../src/crypto/aead.ts'
import { Secret } from '../../src/crypto/secret.ts'
import { flipped, randomFrom } from './random.ts'

afterEach(() => recordSealings(undefined))

test('AES-256-GCM and noble open what the other sealed, for every length around a block', async () => {
  const { bytes, upTo } = randomFrom('gcm')
  for (let length = 0; length <= 130; length++) {
    const [raw, nonce, associated, message] = [bytes(32), bytes(12), bytes(upTo(60)), bytes(length)]
    using key = new Secret(Uint8Array.from(raw))
    const sealed = aes256gcm.seal(key, nonce, associated, message)
    assert.equal(sealed.length, length + aes256gcm.tagBytes)
    assert.ok(equal(sealed, gcm(raw, nonce, associated).encrypt(message)))
    assert.ok(equal(gcm(raw, nonce, associated).decrypt(sealed), message))
    assert.ok(equal(aes256gcm.open(key, nonce, associated, sealed), message))
    using secret = await openSecret(key, nonce, associated, sealed)
    assert.ok(equal(secret.bytes, message))
  }
})

test('one bit turned over anywhere (key, nonce, associated data, ciphertext, tag) is refused both ways', async () => {
  const { bytes } = randomFrom('gcm bits')
  const [raw, nonce, associated] = [bytes(32), bytes(12), bytes(22)]
  using sealing = new Secret(Uint8Array.from(raw))
  const sealed = aes256gcm.seal(sealing, nonce, associated, bytes(32))
  const good = { key: raw, nonce, associated, sealed }
  for (const field of ['key', 'nonce', 'associated', 'sealed'] as const) {
    for (let bit = 0; bit < good[field].length * 8; bit++) {
      const bad = { ...good, [field]: flipped(good[field], bit) }
      using key = new Secret(Uint8Array.from(bad.key))
      assert.throws(() => aes256gcm.open(key, bad.nonce, bad.associated, bad.sealed), SealError)
      await assert.rejects(openSecret(key, bad.nonce, bad.associated, bad.sealed), SealError)
    }
  }
})

test('every truncation and one byte more are refused both ways', async () => {
  using key = new Secret(new Uint8Array(32).fill(1))
  const [nonce, associated] = [new Uint8Array(12), new Uint8Array(3)]
  const sealed = aes256gcm.seal(key, nonce, associated, new Uint8Array(20))
  const cuts = [...Array(sealed.length).keys()].map(length => sealed.subarray(0, length))
  for (const bad of [...cuts, Uint8Array.of(...sealed, 0)]) {
    assert.throws(() => aes256gcm.open(key, nonce, associated, bad), SealError)
    await assert.rejects(openSecret(key, nonce, associated, bad), SealError)
  }
})

test('a refusal says nothing but that authentication failed', () => {
  using key = new Secret(new Uint8Array(32))
  const open = () => aes256gcm.open(key, new Uint8Array(12), new Uint8Array(0), new Uint8Array(40))
  assert.throws(open, { name: 'SealError', message: 'authentication failed' })
})

test('nonces of other than 12 bytes and keys of other than 32 are a mistake, never hashed into shape', async () => {
  const none = new Uint8Array(0)
  using key = new Secret(new Uint8Array(32))
  for (const length of [0, 8, 11, 13, 16]) {
    const nonce = new Uint8Array(length)
    assert.throws(() => aes256gcm.seal(key, nonce, none, none), TypeError)
    assert.throws(() => aes256gcm.open(key, nonce, none, new Uint8Array(16)), TypeError)
    await assert.rejects(openSecret(key, nonce, none, new Uint8Array(16)), TypeError)
  }
  for (const length of [16, 24, 31, 33]) {
    using short = new Secret(new Uint8Array(length))
    assert.throws(() => aes256gcm.seal(short, new Uint8Array(12), none, none))
    assert.throws(() => aes256gcm.open(short, new Uint8Array(12), none, new Uint8Array(16)))
    await assert.rejects(openSecret(short, new Uint8Array(12), none, new Uint8Array(16)))
  }
})

test('a wiped key neither seals nor opens', async () => {
  const key = new Secret(new Uint8Array(32))
  key[Symbol.dispose]()
  const none = new Uint8Array(0)
  assert.throws(() => aes256gcm.seal(key, new Uint8Array(12), none, none), /wiped/)
  assert.throws(() => aes256gcm.open(key, new Uint8Array(12), none, new Uint8Array(16)), /wiped/)
  await assert.rejects(openSecret(key, new Uint8Array(12), none, new Uint8Array(16)), /wiped/)
})

test('the recorder hears of every sealing by fingerprint, and tells keys and nonces apart', () => {
  const heard: Sealing[] = []
  recordSealings(sealing => heard.push({ ...sealing, nonce: Uint8Array.from(sealing.nonce) }))
  const { bytes } = randomFrom('recorder')
  using first = new Secret(bytes(32))
  using second = new Secret(bytes(32))
  const [one, two] = [bytes(12), bytes(12)]
  const none = new Uint8Array(0)
  for (const [key, nonce] of [
    [first, one],
    [first, two],
    [second, one],
    [first, one],
  ] as const)
    aes256gcm.seal(key, nonce, none, none)
  const pairs = heard.map(({ keyFingerprint, nonce }) => `${hex(keyFingerprint)} ${hex(nonce)}`)
  assert.equal(pairs.length, 4)
  assert.equal(new Set(pairs).size, 3)
  assert.equal(pairs[0], pairs[3])
  for (const { keyFingerprint } of heard)
    assert.ok(
      !hex(first.bytes).includes(hex(keyFingerprint)) && !hex(second.bytes).includes(hex(keyFingerprint)),
    )
})
