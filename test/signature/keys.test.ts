import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { concat, equal } from '../../src/bytes/bytes.ts'
import { Secret } from '../../src/crypto/secret.ts'
import { signAs, verifyFrom } from '../../src/signature/hybrid.ts'
import { IdentityKeys, newIdentity } from '../../src/signature/identity.ts'
import { flipped } from '../crypto/random.ts'

const kinds = ['classical', 'hybrid', 'pqc'] as const

for (const owes of kinds) {
  test(`${owes} keys written and read again sign for their record`, async () => {
    const { identity, keys } = newIdentity(owes)
    using blob = keys.encode()
    assert.equal(blob.length, owes === 'hybrid' ? 66 : 34)
    keys[Symbol.dispose]()
    using read = IdentityKeys.decode(blob, identity.current)
    const signature = await signAs(read, identity.current, 'p', new Uint8Array(3))
    assert.ok(await verifyFrom(identity.current, 'p', new Uint8Array(3), signature))
    using again = read.encode()
    assert.ok(equal(again.bytes, blob.bytes))
  })

  test(`${owes} keys with one bit turned, cut, or longer are refused`, () => {
    const { identity, keys } = newIdentity(owes)
    using blob = keys.encode()
    // Ed25519 seeds are hashed before they are clamped, so every bit of a seed counts.
    for (let bit = 0; bit < blob.length * 8; bit++) {
      using bad = new Secret(flipped(blob.bytes, bit))
      assert.throws(
        () => IdentityKeys.decode(bad, identity.current),
        { name: 'SignatureError' },
        `bit ${bit}`,
      )
    }
    for (const bytes of [new Uint8Array(0), blob.bytes.slice(0, -1), concat(blob.bytes, Uint8Array.of(0))]) {
      using bad = new Secret(bytes)
      assert.throws(() => IdentityKeys.decode(bad, identity.current), { code: 'EINVAL' })
    }
  })

  test(`${owes} keys are refused for the record of another, of any kind`, () => {
    using keys = IdentityKeys.generate(owes)
    using blob = keys.encode()
    for (const other of kinds) {
      const code = other === owes ? 'EKEY' : 'EINVAL'
      assert.throws(() => IdentityKeys.decode(blob, newIdentity(other).identity.current), { code })
    }
  })
}

test('disposal wipes the seeds, twice if asked, and not the blob that they were read from', () => {
  const { identity, keys } = newIdentity('hybrid')
  using blob = keys.encode()
  const read = IdentityKeys.decode(blob, identity.current)
  const held = [read.seed('ed25519').bytes, read.seed('mldsa87').bytes]
  read[Symbol.dispose]()
  read[Symbol.dispose]()
  for (const bytes of held) assert.deepEqual(bytes, new Uint8Array(32))
  assert.throws(() => read.encode(), /wiped/)
  assert.ok(IdentityKeys.decode(blob, identity.current).belongTo(identity.current))
})

test('keys print without their seeds', () => {
  using keys = IdentityKeys.generate('hybrid')
  const seeds = [keys.seed('ed25519'), keys.seed('mldsa87')]
  for (const text of [inspect(keys, { depth: null, showHidden: true }), JSON.stringify(keys), `${keys}`])
    for (const seed of seeds) {
      assert.ok(!text.includes(Buffer.from(seed.bytes).toString('hex')))
      assert.ok(!text.includes(Array.from(seed.bytes.subarray(0, 4)).join(', ')))
    }
})

test('a key that the kind does not have is a mistake of the caller', () => {
  using keys = IdentityKeys.generate('pqc')
  assert.throws(() => keys.seed('ed25519'), TypeError)
  assert.throws(() => keys.publicKey('ed25519'), TypeError)
})

test('no two identities have a key in common', () => {
  const seen = new Set(
    Array.from({ length: 10 }, () => newIdentity('hybrid').identity.current).flatMap(record => [
      Buffer.from(record.ed25519 ?? []).toString('hex'),
      Buffer.from(record.mldsa87 ?? []).toString('hex'),
    ]),
  )
  assert.equal(seen.size, 20)
})
