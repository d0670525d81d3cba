import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ed25519 as nobleEd25519 } from '@noble/curves/ed25519.js'
import { ml_dsa87 } from '@noble/post-quantum/ml-dsa.js'
import { concat, equal, hex, utf8 } from '../../src/bytes/bytes.ts'
import { ed25519, mldsa87 } from '../../src/crypto/signature.ts'
import { purposeMessage, signAs, signatureBytes, verifyFrom } from '../../src/signature/hybrid.ts'
import { IdentityKeys, type IdentityRecord, newIdentity, type Owes } from '../../src/signature/identity.ts'
import { flipped, randomFrom } from '../crypto/random.ts'

const lengths = { classical: 64, hybrid: 64 + 4627, pqc: 4627 } as const
const purpose = 'test purpose'
const payload = utf8('transfer 5 to alice')
const none = new Uint8Array(0)

type Signed = { readonly record: IdentityRecord; readonly keys: IdentityKeys; readonly signature: Uint8Array }

async function signed(owes: Owes): Promise<Signed> {
  const { identity, keys } = newIdentity(owes)
  return { record: identity.current, keys, signature: await signAs(keys, identity.current, purpose, payload) }
}

/** The planted bug: a verifier that is content with either of the two signatures. */
async function orVerifier(record: IdentityRecord, signature: Uint8Array): Promise<boolean> {
  const message = purposeMessage(purpose, payload)
  const { ed25519: classical = none, mldsa87: modern = none } = record
  return (
    (await ed25519.verify(classical, message, none, signature.subarray(0, 64))) ||
    (await mldsa87.verify(modern, message, utf8(purpose), signature.subarray(-4627)))
  )
}

for (const owes of ['classical', 'hybrid', 'pqc'] as const) {
  test(`${owes}: the signature has exactly the parts that the record owes, and verifies`, async () => {
    const { record, signature } = await signed(owes)
    assert.equal(signature.length, lengths[owes])
    assert.equal(signatureBytes(record), lengths[owes])
    assert.equal(await verifyFrom(record, purpose, payload, signature), true)
  })

  test(`${owes}: another purpose, payload or record is refused`, async () => {
    const { record, signature } = await signed(owes)
    for (const other of ['test purposf', 'test purpos', 'test purpose ', ' test purpose', 'Test purpose'])
      assert.equal(await verifyFrom(record, other, payload, signature), false)
    for (const other of [none, payload.subarray(1), concat(payload, Uint8Array.of(0)), flipped(payload, 0)])
      assert.equal(await verifyFrom(record, purpose, other, signature), false)
    const stranger = newIdentity(owes).identity.current
    assert.equal(await verifyFrom(stranger, purpose, payload, signature), false)
  })

  test(`${owes}: every length but the right one is refused`, async () => {
    const { record, signature } = await signed(owes)
    const wrong = [
      none,
      signature.subarray(1),
      signature.subarray(0, -1),
      concat(signature, Uint8Array.of(0)),
    ]
    wrong.push(concat(signature, signature), concat(Uint8Array.of(0), signature))
    for (const other of Object.values(lengths)) if (other !== lengths[owes]) wrong.push(new Uint8Array(other))
    for (const bad of wrong) assert.equal(await verifyFrom(record, purpose, payload, bad), false)
  })

  test(`${owes}: a turned bit anywhere in the signature is refused`, async () => {
    const { record, signature } = await signed(owes)
    const { upTo } = randomFrom(owes)
    const bits =
      lengths[owes] <= 64 ? [...Array(512).keys()] : [...Array(64).keys()].map(i => i * 8 + upTo(7))
    // The edges of each part of ML-DSA-87 (FIPS 204 7.2: challenge, response, hint), then a sample of all.
    const start = owes === 'hybrid' ? 64 : 0
    if (owes !== 'classical')
      for (const byte of [0, 63, 64, 64 + 4479, 64 + 4480, 4626 - 83, 4626])
        bits.push((start + byte) * 8 + upTo(7))
    for (let i = 0; i < 150; i++) bits.push(upTo(lengths[owes] * 8 - 1))
    const verdicts = await Promise.all(
      bits.map(bit => verifyFrom(record, purpose, payload, flipped(signature, bit))),
    )
    assert.deepEqual(new Set(verdicts), new Set([false]))
  })
}

test('what is signed is 64 spaces, the purpose, a zero byte, the payload; ML-DSA has the purpose as context too', async () => {
  const { record, signature } = await signed('hybrid')
  const message = concat(utf8(' '.repeat(64)), utf8(purpose), Uint8Array.of(0), payload)
  assert.equal(hex(purposeMessage(purpose, payload)), hex(message))
  assert.equal(record.owes, 'hybrid')
  const { ed25519: classical = none, mldsa87: modern = none } = record
  assert.ok(nobleEd25519.verify(signature.subarray(0, 64), message, classical, { zip215: false }))
  assert.ok(ml_dsa87.verify(signature.subarray(64), message, modern, { context: utf8(purpose) }))
  assert.ok(!ml_dsa87.verify(signature.subarray(64), message, modern))
})

test('a signature put together by noble from the same seeds is accepted', async () => {
  const { record, keys } = await signed('hybrid')
  const message = purposeMessage(purpose, payload)
  const modern = ml_dsa87.keygen(keys.seed('mldsa87').bytes)
  const theirs = concat(
    nobleEd25519.sign(message, keys.seed('ed25519').bytes),
    ml_dsa87.sign(message, modern.secretKey, { context: utf8(purpose) }),
  )
  assert.equal(await verifyFrom(record, purpose, payload, theirs), true)
})

test('hybrid is AND: one good part beside a missing, empty, foreign or damaged other is refused (an OR-verifier is not)', async () => {
  const { record, signature } = await signed('hybrid')
  const stranger = await signed('hybrid')
  const [classical, modern] = [signature.subarray(0, 64), signature.subarray(64)]
  const half = {
    'classical part only, the rest zero': concat(classical, new Uint8Array(4627)),
    'modern part only, the rest zero': concat(new Uint8Array(64), modern),
    'modern part of a stranger': concat(classical, stranger.signature.subarray(64)),
    'classical part of a stranger': concat(stranger.signature.subarray(0, 64), modern),
    'modern part damaged': concat(classical, flipped(modern, 77)),
    'classical part damaged': concat(flipped(classical, 77), modern),
    'modern part stripped': classical,
    'classical part stripped': modern,
    'classical part repeated in place of the modern one': concat(...Array(73).fill(classical)).subarray(
      0,
      4691,
    ),
  }
  for (const [kind, blob] of Object.entries(half)) {
    assert.equal(await verifyFrom(record, purpose, payload, blob), false, kind)
    assert.equal(await orVerifier(record, blob), true, `the planted OR-verifier is fooled: ${kind}`)
  }
  const swapped = concat(modern, classical)
  assert.equal(await verifyFrom(record, purpose, payload, swapped), false, 'swapped')
})

test('two good parts over different payloads, or for different purposes, do not add up to one signature', async () => {
  const { record, keys, signature } = await signed('hybrid')
  const other = await signAs(keys, record, purpose, utf8('transfer 500 to mallory'))
  const elsewhere = await signAs(keys, record, 'other purpose', payload)
  for (const second of [other, elsewhere]) {
    const spliced = [
      concat(signature.subarray(0, 64), second.subarray(64)),
      concat(second.subarray(0, 64), signature.subarray(64)),
    ]
    for (const bad of spliced) assert.equal(await verifyFrom(record, purpose, payload, bad), false)
  }
  // Both parts are live: two signatures of the same thing may be spliced, being both of it.
  const again = await signAs(keys, record, purpose, payload)
  const mixed = concat(signature.subarray(0, 64), again.subarray(64))
  assert.equal(await verifyFrom(record, purpose, payload, mixed), true)
})

test('ML-DSA without the context, or with another, is refused though the message is right', async () => {
  const { record, keys, signature } = await signed('hybrid')
  const message = purposeMessage(purpose, payload)
  for (const context of [none, utf8('other purpose')]) {
    const modern = await mldsa87.sign(keys.seed('mldsa87'), message, context)
    const blob = concat(signature.subarray(0, 64), modern)
    assert.equal(await verifyFrom(record, purpose, payload, blob), false)
  }
})

test('a part over the bare payload is refused though the context is right', async () => {
  const { record, keys, signature } = await signed('hybrid')
  const bare = await ed25519.sign(keys.seed('ed25519'), payload, none)
  const bareModern = await mldsa87.sign(keys.seed('mldsa87'), payload, utf8(purpose))
  for (const blob of [concat(bare, signature.subarray(64)), concat(signature.subarray(0, 64), bareModern)])
    assert.equal(await verifyFrom(record, purpose, payload, blob), false)
})

test('the border between purpose and payload cannot be moved', async () => {
  const { record, keys } = await signed('hybrid')
  const signature = await signAs(keys, record, 'ab', utf8('c'))
  assert.equal(await verifyFrom(record, 'a', utf8('bc'), signature), false)
  assert.equal(await verifyFrom(record, 'abc', none, signature), false)
  assert.ok(!equal(purposeMessage('ab', utf8('c')), purposeMessage('a', utf8('b\0c'))))
})

test('purposes of 1 and of 255 characters are signed under; empty, longer, or not printable ones are a mistake', async () => {
  const { record, keys } = await signed('hybrid')
  for (const good of ['x', 'x'.repeat(255), ' ~'])
    assert.equal(await verifyFrom(record, good, payload, await signAs(keys, record, good, payload)), true)
  for (const bad of ['', 'x'.repeat(256), 'a\0b', 'a\n', 'é', '\x7f', '\t']) {
    assert.throws(() => purposeMessage(bad, payload), TypeError)
    await assert.rejects(signAs(keys, record, bad, payload), TypeError)
    await assert.rejects(verifyFrom(record, bad, payload, new Uint8Array(4691)), TypeError)
  }
})

test("keys that are not the record's do not sign", async () => {
  const { record, keys } = await signed('hybrid')
  for (const owes of ['classical', 'hybrid', 'pqc'] as const) {
    using other = IdentityKeys.generate(owes)
    await assert.rejects(signAs(other, record, purpose, payload), { name: 'SignatureError', code: 'EKEY' })
  }
  const { mldsa87: modern, ...rest } = record
  assert.ok(modern)
  const narrowed = { ...rest, owes: 'classical' } as IdentityRecord
  await assert.rejects(signAs(keys, narrowed, purpose, payload), { code: 'EKEY' })
})

test('wiped keys do not sign', async () => {
  const { record, keys } = await signed('hybrid')
  keys[Symbol.dispose]()
  await assert.rejects(signAs(keys, record, purpose, payload), /wiped/)
})
