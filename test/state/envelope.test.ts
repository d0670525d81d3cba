import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { asBytes, asCount, asText, type CborValue, decodeCborMap, encodeCbor } from '../../src/bytes/cbor.ts'
import { decodeConfig, encodeConfig, profiles } from '../../src/state/config.ts'
import { type Envelope, openEnvelope, verify, wrap } from '../../src/state/envelope.ts'
import { decodeHomeFile, encodeHomeFile } from '../../src/state/home-file.ts'
import { decodeScope, encodeScope } from '../../src/state/scopes.ts'
import { bytesOf, coded, sha256Of } from './support.ts'

const payload = bytesOf('order 1')
const meta = { subject: 'me', purpose: 'p', at: 1000 }

test('the envelope of a payload is these bytes', () => {
  // Keys by the length of their encoding, then by their bytes; each head and value worked out by hand.
  const expected = Buffer.concat([
    Buffer.from('a7', 'hex'),
    Buffer.from('6176 01'.replaceAll(' ', ''), 'hex'), // v: 1
    Buffer.from('627473 1903e8'.replaceAll(' ', ''), 'hex'), // ts: 1000
    Buffer.from('63616c67 677368612d323536'.replaceAll(' ', ''), 'hex'), // alg: sha-256
    Buffer.from('6473697a65 07'.replaceAll(' ', ''), 'hex'), // size: 7
    Buffer.from('66736861323536 5820'.replaceAll(' ', ''), 'hex'), // sha256: 32 bytes
    sha256Of(payload),
    Buffer.from('67707572706f7365 6170'.replaceAll(' ', ''), 'hex'), // purpose: p
    Buffer.from('677375626a656374 626d65'.replaceAll(' ', ''), 'hex'), // subject: me
  ])
  assert.deepEqual(Buffer.from(wrap(payload, meta)), expected)
})

test('what was wrapped verifies, and says who, what for and when', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 2000 }),
      fc.string({ unit: 'grapheme', maxLength: 20 }),
      fc.string({ maxLength: 40 }),
      fc.maxSafeNat(),
      (bytes, subject, purpose, at) => {
        const found = verify(wrap(bytes, { subject, purpose, at }), bytes)
        assert.deepEqual(
          { ...found, sha256: Buffer.from(found.sha256) },
          {
            size: bytes.length,
            sha256: sha256Of(bytes),
            subject,
            purpose,
            at,
          },
        )
      },
    ),
  )
})

test('no flipped bit of envelope or payload verifies as something else', () => {
  const envelope = wrap(payload, meta)
  for (let at = 0; at < envelope.length * 8; at++) {
    const bad = Uint8Array.from(envelope)
    bad[at >> 3] = (bad[at >> 3] ?? 0) ^ (1 << (at & 7))
    let claimed: ReturnType<typeof verify> | undefined
    try {
      claimed = verify(bad, payload)
    } catch (error) {
      coded('EINTEGRITY')(error)
    }
    // Subject, purpose and time are vouched for by the group, not by the envelope alone.
    if (claimed !== undefined)
      assert.deepEqual([claimed.size, Buffer.from(claimed.sha256)], [7, sha256Of(payload)])
  }
  for (let at = 0; at < payload.length; at++) {
    const bad = Uint8Array.from(payload)
    bad[at] = (bad[at] ?? 0) ^ 1
    assert.throws(() => verify(envelope, bad), coded('EINTEGRITY'))
  }
  assert.throws(() => verify(envelope, payload.subarray(1)), coded('EINTEGRITY'))
  assert.throws(() => verify(envelope.subarray(1), payload), coded('EINTEGRITY'))
  assert.throws(() => verify(Uint8Array.of(...envelope, 0), payload), coded('EINTEGRITY'))
})

const fields: { readonly [key: string]: CborValue } = {
  v: 1,
  alg: 'sha-256',
  size: payload.length,
  sha256: sha256Of(payload),
  subject: 'me',
  purpose: 'p',
  ts: 1000,
}
const wrong: readonly (readonly [string, CborValue])[] = [
  ['a later version', { ...fields, v: 2 }],
  ['another algorithm', { ...fields, alg: 'sha-512' }],
  ['a negative time', { ...fields, ts: -1 }],
  ['a size that is no number', { ...fields, size: '7' }],
  ['a short digest', { ...fields, sha256: sha256Of(payload).subarray(1) }],
  ['a subject that is no text', { ...fields, subject: payload }],
  ['a subject over its bound', { ...fields, subject: 'é'.repeat(65) }],
  ['a purpose over its bound', { ...fields, purpose: 'x'.repeat(129) }],
  ['a key too many', { ...fields, path: '/state/a' }],
  ['no subject', { ...fields, subject: null }],
  ['nothing in it', {}],
]
for (const [what, value] of wrong)
  test(`an envelope with ${what} is refused`, () => {
    assert.throws(() => verify(encodeCbor(value), payload), coded('EINTEGRITY'))
  })

test('an envelope in another order of keys, or with a longer number, is refused', () => {
  const good = Buffer.from(wrap(payload, meta))
  const longer = Buffer.concat([good.subarray(0, 3), Buffer.from('1801', 'hex'), good.subarray(4)])
  assert.throws(() => verify(longer, payload), coded('EINTEGRITY'))
  const swapped = Buffer.concat([
    good.subarray(0, 1),
    good.subarray(4, 10),
    good.subarray(1, 4),
    good.subarray(10),
  ])
  assert.throws(() => verify(swapped, payload), coded('EINTEGRITY'))
})

test('whatever is done to an envelope, it is read as any reader of CBOR reads it, or refused', () => {
  const part = fc.oneof(
    fc.uint8Array({ maxLength: 4 }),
    fc.constantFrom(...[0x18, 0x19, 0x1b, 0x5f, 0x7f, 0xa7, 0xff].map(byte => Uint8Array.of(byte))),
  )
  const edit = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), gone: fc.nat(3), part })
  const property = fc.property(
    fc.string({ maxLength: 30 }),
    fc.maxSafeNat(),
    fc.array(edit, { maxLength: 2 }),
    (subject, at, edits) => {
      let bytes = wrap(payload, { subject, purpose: 'p', at })
      for (const { at, gone, part } of edits) {
        const place = Math.floor(at * bytes.length)
        bytes = Buffer.concat([bytes.subarray(0, place), part, bytes.subarray(place + gone)])
      }
      assert.deepEqual(
        outcome(() => openEnvelope(bytes)),
        outcome(() => readSlowly(bytes)),
      )
    },
  )
  fc.assert(property, { numRuns: 5000 })
})

/** By the general decoder, which refuses every form but one. */
function readSlowly(bytes: Uint8Array): Envelope {
  const map = decodeCborMap(bytes, ['v', 'alg', 'size', 'sha256', 'subject', 'purpose', 'ts'])
  assert.deepEqual([map.v, map.alg], [1, 'sha-256'])
  const [purpose, subject] = [asText(map.purpose), asText(map.subject)]
  for (const short of [purpose, subject]) assert.ok(Buffer.byteLength(short) <= 128)
  return { at: asCount(map.ts), size: asCount(map.size), sha256: asBytes(map.sha256, 32), purpose, subject }
}

function outcome(read: () => Envelope): Envelope | 'refused' {
  try {
    return read()
  } catch {
    return 'refused'
  }
}

test('metadata is bounded in bytes, and nothing is wrapped that would not verify', () => {
  const atBound = { subject: 'é'.repeat(64), purpose: 'x'.repeat(128), at: 0 }
  assert.equal(verify(wrap(payload, atBound), payload).subject, atBound.subject)
  assert.throws(() => wrap(payload, { ...meta, subject: 'é'.repeat(65) }), coded('E2BIG', 'subject'))
  assert.throws(() => wrap(payload, { ...meta, purpose: 'x'.repeat(129) }), coded('E2BIG', 'purpose'))
  for (const at of [-1, 0.5, Number.NaN, 2 ** 53])
    assert.throws(() => wrap(payload, { ...meta, at }), coded('EINVAL'))
  assert.throws(() => wrap(payload, { ...meta, subject: '\ud800' }), coded('EINVAL'))
})

test('configuration: what is written is read, every other value is refused', () => {
  for (const keeper of ['file', 'none'] as const)
    for (const profile of profiles)
      assert.deepEqual(decodeConfig(encodeConfig({ keeper, profile })), { keeper, profile })
  const good = { format: 1, keeper: 'file', profile: 'dev' }
  for (const part of [
    { format: 2 },
    { keeper: 'toString' },
    { keeper: 'etcd' },
    { profile: 'root' },
    { profile: 1 },
  ])
    assert.throws(() => decodeConfig(encodeCbor({ ...good, ...part })), coded('EINTEGRITY'))
})

test('home file: what is written is read, every flipped bit is refused', () => {
  const file = { storeId: new Uint8Array(32).fill(3), anchor: '/var/lib/pawl/ab' }
  const bytes = encodeHomeFile(file)
  assert.deepEqual(decodeHomeFile(bytes), file)
  for (let at = 0; at < bytes.length * 8; at++) {
    const bad = Uint8Array.from(bytes)
    bad[at >> 3] = (bad[at >> 3] ?? 0) ^ (1 << (at & 7))
    assert.throws(() => decodeHomeFile(bad))
  }
})

test('scope records: what is written is read, another state or format is refused', () => {
  const scope = {
    name: 'session 1',
    id: new Uint8Array(16).fill(1),
    slot: 3,
    state: 'shredding',
    check: new Uint8Array(32).fill(2),
    recoverable: true,
  } as const
  assert.deepEqual(decodeScope(encodeScope(scope)), scope)
  for (const part of [
    { format: 2 },
    { state: 'gone' },
    { slot: 65_536 },
    { id: new Uint8Array(15) },
    { check: null },
    { recoverable: 1 },
  ])
    assert.throws(() => decodeScope(encodeCbor({ format: 1, ...scope, ...part })))
})
