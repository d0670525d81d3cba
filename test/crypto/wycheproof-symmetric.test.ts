import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concat, equal, fromHex } from '../../src/bytes/bytes.ts'
import { aes256gcm, openSecret, SealError } from '../../src/crypto/aead.ts'
import { hmacSha256 } from '../../src/crypto/hash.ts'
import { hkdfSha256, hkdfSha512 } from '../../src/crypto/kdf.ts'
import { equalSecrets, Secret } from '../../src/crypto/secret.ts'
import { wycheproof } from './vectors.ts'

test('AES-256-GCM seals to every valid Wycheproof ciphertext, and both ways of opening refuse the rest', async t => {
  type Case = { key: string; iv: string; aad: string; msg: string; ct: string; tag: string }
  const cases = wycheproof<Case, { ivSize: number; keySize: number; tagSize: number }>(t, 'aes_gcm')
  let checked = 0
  for (const { tcId, result, ivSize, keySize, tagSize, ...one } of cases ?? []) {
    if (ivSize !== 96 || keySize !== 256 || tagSize !== 128) continue
    using key = new Secret(fromHex(one.key))
    const [iv, aad, msg] = [fromHex(one.iv), fromHex(one.aad), fromHex(one.msg)]
    const sealed = concat(fromHex(one.ct), fromHex(one.tag))
    if (result === 'valid') {
      assert.ok(equal(aes256gcm.seal(key, iv, aad, msg), sealed), `tcId ${tcId}`)
      assert.ok(equal(aes256gcm.open(key, iv, aad, sealed), msg), `tcId ${tcId}`)
      using opened = await openSecret(key, iv, aad, sealed)
      assert.ok(equal(opened.bytes, msg), `tcId ${tcId}`)
    } else {
      assert.throws(() => aes256gcm.open(key, iv, aad, sealed), SealError, `tcId ${tcId}`)
      await assert.rejects(openSecret(key, iv, aad, sealed), SealError, `tcId ${tcId}`)
    }
    checked++
  }
  if (cases) assert.ok(checked >= 60, `${checked} cases were checked`)
})

for (const [name, kdf] of [
  ['hkdf_sha256', hkdfSha256],
  ['hkdf_sha512', hkdfSha512],
] as const) {
  test(`${kdf.name} gives every Wycheproof output and refuses one that is too long`, t => {
    type Case = { ikm: string; salt: string; info: string; size: number; okm: string }
    for (const { tcId, result, ikm, salt, info, size, okm } of wycheproof<Case>(t, name) ?? []) {
      using extracted = kdf.extract(fromHex(salt), fromHex(ikm))
      const expand = () => kdf.expand(extracted, fromHex(info), size)
      if (result === 'valid') {
        using output = expand()
        assert.ok(equal(output.bytes, fromHex(okm)), `tcId ${tcId}`)
      } else assert.throws(expand, RangeError, `tcId ${tcId}`)
    }
  })
}

test('HMAC-SHA-256 gives every Wycheproof tag and none of the modified ones', t => {
  type Case = { key: string; msg: string; tag: string }
  for (const { tcId, result, tagSize, key, msg, tag } of wycheproof<Case, { tagSize: number }>(
    t,
    'hmac_sha256',
  ) ?? []) {
    const ours = hmacSha256(fromHex(key), fromHex(msg)).subarray(0, tagSize / 8)
    assert.equal(equalSecrets(ours, fromHex(tag)), result === 'valid', `tcId ${tcId}`)
  }
})
