import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ml_dsa87 } from '@noble/post-quantum/ml-dsa.js'
import { equal, fromHex } from '../../src/bytes/bytes.ts'
import { Secret } from '../../src/crypto/secret.ts'
import { ed25519, mldsa87 } from '../../src/crypto/signature.ts'
import { wycheproof } from './vectors.ts'

const none = new Uint8Array(0)

test('Ed25519 accepts every valid Wycheproof signature and no invalid one', async t => {
  type Case = { msg: string; sig: string }
  const cases = wycheproof<Case, { publicKey: { pk: string } }>(t, 'ed25519')
  for (const { tcId, result, publicKey, msg, sig } of cases ?? []) {
    const good = await ed25519.verify(fromHex(publicKey.pk), fromHex(msg), none, fromHex(sig))
    assert.equal(good, result === 'valid', `tcId ${tcId}`)
  }
})

test('ML-DSA-87 accepts every valid Wycheproof signature and no invalid one, contexts included', async t => {
  type Case = { msg: string; sig: string; ctx?: string }
  const cases = wycheproof<Case, { publicKey: string }>(t, 'mldsa_87_verify')
  for (const { tcId, result, publicKey, msg, sig, ctx = '' } of cases ?? []) {
    const good = await mldsa87.verify(fromHex(publicKey), fromHex(msg), fromHex(ctx), fromHex(sig))
    assert.equal(good, result === 'valid', `tcId ${tcId}`)
  }
})

test("ML-DSA-87 seeds give Wycheproof's public keys, and its deterministic signatures verify", async t => {
  type Case = { msg?: string; sig: string; ctx?: string; rnd?: string }
  const cases = wycheproof<Case, { privateSeed: string; publicKey: string }>(t, 'mldsa_87_sign_seed')
  if (cases === undefined) return
  let signed = 0
  const known = new Set<string>()
  for (const { tcId, result, privateSeed, publicKey, msg, sig, ctx = '', rnd } of cases) {
    if (msg === undefined) continue // the internal interface on a given mu, which nobody here can call
    using seed = new Secret(fromHex(privateSeed))
    if (result === 'invalid') {
      await assert.rejects(mldsa87.sign(seed, fromHex(msg), fromHex(ctx)), `tcId ${tcId}`)
      continue
    }
    if (!known.has(privateSeed))
      assert.ok(equal(mldsa87.publicKey(seed), fromHex(publicKey)), `public key of tcId ${tcId}`)
    known.add(privateSeed)
    const { secretKey } = ml_dsa87.keygen(seed.bytes)
    const extraEntropy = rnd === undefined ? false : fromHex(rnd)
    const theirs = ml_dsa87.sign(fromHex(msg), secretKey, { context: fromHex(ctx), extraEntropy })
    assert.ok(equal(theirs, fromHex(sig)), `deterministic signature of tcId ${tcId}`)
    assert.ok(
      await mldsa87.verify(fromHex(publicKey), fromHex(msg), fromHex(ctx), fromHex(sig)),
      `tcId ${tcId}`,
    )
    signed++
  }
  assert.ok(signed >= 70, `${signed} signatures were compared`)
})
