import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { hex } from '../../src/bytes/bytes.ts'
import { sha256 } from '../../src/crypto/hash.ts'
import { Secret } from '../../src/crypto/secret.ts'
import { ed25519, mldsa87 } from '../../src/crypto/signature.ts'
import { signatureBytes } from '../../src/signature/hybrid.ts'
import {
  identityLimits,
  identityText,
  parseIdentity,
  successionPurpose,
} from '../../src/signature/identity.ts'
import { encodeEntry, encodeRecord, type IdentityRecord } from '../../src/signature/record.ts'

const page = readFileSync(new URL('../../docs/spec/identity.md', import.meta.url), 'utf8')
const dense = page.replaceAll('\n', '')

test("the page's example is what the code makes of the same seeds", () => {
  using one = new Secret(new Uint8Array(32).fill(1))
  using two = new Secret(new Uint8Array(32).fill(2))
  const keys = { ed25519: ed25519.publicKey(one), mldsa87: mldsa87.publicKey(two) }
  const base = { format: 1, number: 1, previous: null } as const
  const classical: IdentityRecord = { ...base, owes: 'classical', ed25519: keys.ed25519 }
  const hybrid: IdentityRecord = { ...base, owes: 'hybrid', ...keys }
  for (const said of [hex(keys.ed25519), hex(sha256(keys.mldsa87)), hex(encodeRecord(classical))])
    assert.ok(dense.includes(said))
  for (const record of [classical, hybrid]) {
    const bytes = encodeRecord(record)
    assert.ok(page.includes(`${bytes.length} bytes`))
    assert.ok(page.includes(hex(bytes.subarray(0, 13))))
    const { id } = parseIdentity([encodeEntry({ record: bytes, signature: null })])
    assert.ok(page.includes(identityText(id)))
    assert.ok(page.includes(`| ${signatureBytes(record)} |`))
  }
})

test('limits and purpose on the page are those of the code', () => {
  assert.ok(page.includes(`\`${successionPurpose}\``))
  assert.ok(page.includes(identityLimits.recordBytesMax.toLocaleString('en-US')))
  assert.ok(page.includes(`| 1 to ${identityLimits.recordsMax} |`))
})
