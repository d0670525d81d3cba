import assert from 'node:assert/strict'
import { test } from 'node:test'
import { format, inspect } from 'node:util'
import { equalSecrets, Secret } from '../../src/crypto/secret.ts'

test('a secret is wiped when its scope ends, on every way out', () => {
  const bytes = Uint8Array.of(1, 2, 3)
  const use = () => {
    using secret = new Secret(bytes)
    assert.equal(secret.length, 3)
    throw new Error('on the way out')
  }
  assert.throws(use, /on the way out/)
  assert.deepEqual(bytes, new Uint8Array(3))
})

test('use after the wipe throws, and a second wipe does nothing', () => {
  const secret = new Secret(Uint8Array.of(1))
  secret[Symbol.dispose]()
  secret[Symbol.dispose]()
  assert.throws(() => secret.bytes, /used after it was wiped/)
  assert.throws(() => secret.length, /used after it was wiped/)
  assert.throws(() => secret.copy(), /used after it was wiped/)
})

test('a copy has bytes and a lifetime of its own', () => {
  const secret = new Secret(Uint8Array.of(7, 8))
  using copy = secret.copy()
  secret[Symbol.dispose]()
  assert.deepEqual(copy.bytes, Uint8Array.of(7, 8))
})

test('a secret prints as [secret] wherever values are printed', () => {
  using secret = new Secret(new TextEncoder().encode('attack at dawn'))
  const digits = Buffer.from(secret.bytes).toString('hex')
  const printed = [
    `${secret}`,
    String(secret),
    secret.toString(),
    JSON.stringify(secret),
    JSON.stringify({ deep: [secret] }),
    inspect(secret),
    inspect({ deep: [{ secret }] }, { depth: null, showHidden: true }),
    format('%s %o %O %j', secret, secret, secret, secret),
    inspect(new Error('with a cause', { cause: secret })),
  ]
  for (const text of printed) {
    assert.match(text, /\[secret\]/)
    assert.doesNotMatch(text, /attack|97, 116/)
    assert.ok(!text.includes(digits))
  }
  for (const text of [inspect(secret, { customInspect: false }), inspect(structuredClone({ ...secret }))])
    assert.doesNotMatch(text, /attack|97, 116/)
  assert.deepEqual(Object.keys(secret), [])
})

test('comparison says no to other bytes and to other lengths, and does not throw', () => {
  assert.ok(equalSecrets(Uint8Array.of(1, 2), Uint8Array.of(1, 2)))
  assert.ok(equalSecrets(new Uint8Array(0), new Uint8Array(0)))
  assert.ok(!equalSecrets(Uint8Array.of(1, 2), Uint8Array.of(1, 3)))
  assert.ok(!equalSecrets(Uint8Array.of(1, 2), Uint8Array.of(1, 2, 0)))
})
