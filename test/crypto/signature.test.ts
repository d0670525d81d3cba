import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ed25519 as nobleEd25519 } from '@noble/curves/ed25519.js'
import { ml_dsa87 } from '@noble/post-quantum/ml-dsa.js'
import { equal, fromHex, hex } from '../../src/bytes/bytes.ts'
import { Secret } from '../../src/crypto/secret.ts'
import { ed25519, mldsa87, newSeed } from '../../src/crypto/signature.ts'
import { flipped, randomFrom } from './random.ts'

const none = new Uint8Array(0)
const strict = { zip215: false }

test('Ed25519 gives RFC 8032 section 7.1 tests 1 to 3', async () => {
  const cases = [
    [
      '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
      'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
      '',
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
    ],
    [
      '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
      '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
      '72',
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
    ],
    [
      'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
      'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
      'af82',
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
    ],
  ] as const
  for (const [seedHex, publicHex, message, signature] of cases) {
    using seed = new Secret(fromHex(seedHex))
    assert.equal(hex(ed25519.publicKey(seed)), publicHex)
    assert.equal(hex(await ed25519.sign(seed, fromHex(message), none)), signature)
    assert.ok(await ed25519.verify(fromHex(publicHex), fromHex(message), none, fromHex(signature)))
  }
})

test('Ed25519 and noble sign alike and verify each other', async () => {
  const { bytes, upTo } = randomFrom('ed25519')
  for (let i = 0; i < 60; i++) {
    const [raw, message] = [bytes(32), bytes(upTo(300))]
    using seed = new Secret(Uint8Array.from(raw))
    const publicKey = ed25519.publicKey(seed)
    const signature = await ed25519.sign(seed, message, none)
    assert.ok(equal(publicKey, nobleEd25519.getPublicKey(raw)))
    assert.ok(equal(signature, nobleEd25519.sign(message, raw)))
    assert.ok(nobleEd25519.verify(signature, message, publicKey, strict))
    const bad = flipped(signature, upTo(511))
    assert.equal(
      await ed25519.verify(publicKey, message, none, bad),
      nobleEd25519.verify(bad, message, publicKey, strict),
    )
  }
})

test('ML-DSA-87 and noble derive the same keys and verify each other, with contexts from empty to 255 bytes', async () => {
  const { bytes, upTo } = randomFrom('mldsa')
  for (const contextBytes of [0, 1, 17, 254, 255]) {
    const [raw, message, context] = [bytes(32), bytes(upTo(300)), bytes(contextBytes)]
    using seed = new Secret(Uint8Array.from(raw))
    const theirs = ml_dsa87.keygen(raw)
    assert.ok(equal(mldsa87.publicKey(seed), theirs.publicKey))
    const signature = await mldsa87.sign(seed, message, context)
    assert.ok(ml_dsa87.verify(signature, message, theirs.publicKey, { context }))
    const back = ml_dsa87.sign(message, theirs.secretKey, { context })
    assert.ok(await mldsa87.verify(theirs.publicKey, message, context, back))
    const bad = flipped(signature, upTo(8 * 4627 - 1))
    assert.ok(!(await mldsa87.verify(theirs.publicKey, message, context, bad)))
    assert.ok(!ml_dsa87.verify(bad, message, theirs.publicKey, { context }))
  }
})

test('ML-DSA-87 is hedged: two signatures of one message differ and both are good', async () => {
  using seed = newSeed()
  const message = Uint8Array.of(1)
  const [one, two] = await Promise.all([mldsa87.sign(seed, message, none), mldsa87.sign(seed, message, none)])
  assert.ok(!equal(one, two))
  for (const signature of [one, two])
    assert.ok(await mldsa87.verify(mldsa87.publicKey(seed), message, none, signature))
})

test('an ML-DSA-87 signature is good under its own context only', async () => {
  using seed = newSeed()
  const [message, context] = [Uint8Array.of(1), Uint8Array.of(2)]
  const publicKey = mldsa87.publicKey(seed)
  const signature = await mldsa87.sign(seed, message, context)
  assert.ok(await mldsa87.verify(publicKey, message, context, signature))
  for (const other of [none, Uint8Array.of(3), Uint8Array.of(2, 0), new Uint8Array(256)])
    assert.ok(!(await mldsa87.verify(publicKey, message, other, signature)))
})

for (const algorithm of [ed25519, mldsa87]) {
  test(`${algorithm.name} verification says no to keys and signatures of other lengths, and to noise`, async () => {
    using seed = newSeed()
    const { bytes } = randomFrom(algorithm.name)
    const message = bytes(20)
    const publicKey = algorithm.publicKey(seed)
    const signature = await algorithm.sign(seed, message, none)
    assert.equal(publicKey.length, algorithm.publicBytes)
    assert.equal(signature.length, algorithm.signatureBytes)
    assert.ok(await algorithm.verify(publicKey, message, none, signature))
    const keys = [none, publicKey.subarray(1), Uint8Array.of(...publicKey, 0), bytes(publicKey.length)]
    keys.push(new Uint8Array(publicKey.length), new Uint8Array(publicKey.length).fill(255))
    for (const key of keys) assert.ok(!(await algorithm.verify(key, message, none, signature)))
    const signatures = [none, signature.subarray(1), Uint8Array.of(...signature, 0), bytes(signature.length)]
    signatures.push(new Uint8Array(signature.length), new Uint8Array(signature.length).fill(255))
    for (const bad of signatures) assert.ok(!(await algorithm.verify(publicKey, message, none, bad)))
  })

  test(`${algorithm.name} takes a seed of 32 bytes and does not read past a shorter one`, async () => {
    const memory = new Uint8Array(64).fill(9)
    for (const length of [0, 16, 31, 33]) {
      using seed = new Secret(memory.subarray(0, length))
      assert.throws(() => algorithm.publicKey(seed), TypeError)
      await assert.rejects(algorithm.sign(seed, none, none), TypeError)
    }
    using seed = newSeed()
    using within = new Secret(Uint8Array.of(0, 0, 0, ...seed.bytes, 0).subarray(3, 35))
    assert.ok(equal(algorithm.publicKey(seed), algorithm.publicKey(within)))
  })
}

test('Ed25519 refuses a context, which it could not bind', async () => {
  using seed = newSeed()
  await assert.rejects(ed25519.sign(seed, none, Uint8Array.of(1)), TypeError)
  const publicKey = ed25519.publicKey(seed)
  await assert.rejects(ed25519.verify(publicKey, none, Uint8Array.of(1), new Uint8Array(64)), TypeError)
})

test('Ed25519 refuses small-order keys, which would verify any message', async () => {
  const smallOrder = [
    '0100000000000000000000000000000000000000000000000000000000000000',
    'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    '0000000000000000000000000000000000000000000000000000000000000000',
    '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
    'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  ]
  for (const key of smallOrder)
    for (const r of smallOrder) {
      const signature = fromHex(r + '00'.repeat(32))
      for (let i = 0; i < 8; i++) {
        const message = Uint8Array.of(i)
        assert.ok(!(await ed25519.verify(fromHex(key), message, none, signature)), `${key} over message ${i}`)
      }
    }
})
