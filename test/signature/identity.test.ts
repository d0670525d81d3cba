import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encode as cbor2 } from 'cbor2'
import { base64url, concat, equal, hex } from '../../src/bytes/bytes.ts'
import { type CborValue, decodeCborMap, encodeCbor } from '../../src/bytes/cbor.ts'
import { sha256 } from '../../src/crypto/hash.ts'
import { signAs } from '../../src/signature/hybrid.ts'
import {
  type Identity,
  IdentityKeys,
  identityLimits,
  identityText,
  newIdentity,
  type Owes,
  parseIdentity,
  parseIdentityText,
  recordHead,
  succeed,
  successionPurpose,
  verifyIdentity,
} from '../../src/signature/identity.ts'
import { encodeEntry, parseEntry } from '../../src/signature/record.ts'
import { flipped, randomFrom } from '../crypto/random.ts'

const kinds = ['classical', 'hybrid', 'pqc'] as const
const refused = { name: 'SignatureError', code: 'EINVAL' }
const tooLarge = { name: 'SignatureError', code: 'E2BIG' }

type Fields = { readonly [key: string]: CborValue }

/** An identity that went through these kinds, and the keys of each record. */
async function chainOf(...owes: readonly Owes[]): Promise<{ identity: Identity; keys: IdentityKeys[] }> {
  const first = newIdentity(at(owes, 0))
  const keys = [first.keys]
  let identity = first.identity
  for (const next of owes.slice(1)) {
    const nextKeys = IdentityKeys.generate(next)
    identity = await succeed(identity, keys.at(-1) ?? nextKeys, nextKeys)
    keys.push(nextKeys)
  }
  return { identity, keys }
}

function at<T>(list: readonly T[], index: number): T {
  const one = list.at(index)
  assert.ok(one !== undefined)
  return one
}

function fields(entry: Uint8Array): Fields {
  const keys = ['format', 'number', 'owes', 'previous', 'ed25519?', 'mldsa87?']
  return { ...decodeCborMap(parseEntry(entry).record, keys) }
}

function entryOf(record: Fields, signature: Uint8Array | null = null): Uint8Array {
  return encodeEntry({ record: encodeCbor(record), signature })
}

/** The same chain with its last record changed and signed again by the right keys: only the change is wrong. */
async function resigned(
  identity: Identity,
  signer: IdentityKeys,
  change: Fields,
  without: readonly string[] = [],
) {
  const before = parseIdentity(identity.records.slice(0, -1))
  const all = { ...fields(at(identity.records, -1)), ...change }
  const kept = Object.fromEntries(Object.entries(all).filter(([key]) => !without.includes(key)))
  const record = encodeCbor(kept)
  const signature = await signAs(signer, before.current, successionPurpose, record)
  return [...before.records, encodeEntry({ record, signature })]
}

test('a new identity parses, verifies, and is named by the hash of its first record', async () => {
  for (const owes of kinds) {
    const { identity } = newIdentity(owes)
    const { record, signature } = parseEntry(at(identity.records, 0))
    assert.equal(signature, null)
    assert.deepEqual([identity.number, identity.current.owes, identity.current.previous], [1, owes, null])
    assert.ok(equal(identity.id, sha256(record)))
    assert.ok(await verifyIdentity(parseIdentity(identity.records)))
  }
})

test('a record is the CBOR that another encoder writes for it', () => {
  const { current, records } = newIdentity('hybrid').identity
  assert.equal(hex(parseEntry(at(records, 0)).record), hex(cbor2({ ...current }, { cde: true })))
  assert.deepEqual(Object.keys(current).toSorted(), [
    'ed25519',
    'format',
    'mldsa87',
    'number',
    'owes',
    'previous',
  ])
})

test('an identity goes forward: keys renewed, and classical, hybrid, pqc, also in one leap', async () => {
  for (const path of [
    ['classical', 'classical', 'hybrid', 'hybrid', 'pqc', 'pqc'],
    ['classical', 'pqc'],
    ['hybrid', 'pqc'],
  ] as const) {
    const { identity } = await chainOf(...path)
    assert.equal(identity.number, path.length)
    assert.equal(identity.current.owes, path.at(-1))
    const again = parseIdentity(identity.records)
    assert.deepEqual(again, identity)
    assert.ok(await verifyIdentity(again))
    assert.ok(equal(again.id, parseIdentity(identity.records.slice(0, 1)).id), 'the id stays')
  }
})

test('an identity never goes back, whether by succeed or in a chain that is signed as it should be', async () => {
  for (const [before, after] of [
    ['hybrid', 'classical'],
    ['pqc', 'classical'],
    ['pqc', 'hybrid'],
  ] as const) {
    const { identity, keys } = newIdentity(before)
    using next = IdentityKeys.generate(after)
    await assert.rejects(succeed(identity, keys, next), refused)
    const publicKeys = Object.fromEntries(
      (['ed25519', 'mldsa87'] as const)
        .filter(name => after === 'hybrid' || name === 'ed25519')
        .map(name => [name, next.publicKey(name)]),
    )
    const record = encodeCbor({
      format: 1,
      number: 2,
      owes: after,
      previous: sha256(parseEntry(at(identity.records, 0)).record),
      ...publicKeys,
    })
    const signature = await signAs(keys, identity.current, successionPurpose, record)
    const back = [...identity.records, encodeEntry({ record, signature })]
    assert.throws(() => parseIdentity(back), { ...refused, message: /goes back/ })
  }
})

test('eight records are an identity, nine are not; none are not', async () => {
  const { identity, keys } = await chainOf(...Array<Owes>(8).fill('classical'))
  assert.equal(identity.number, identityLimits.recordsMax)
  assert.ok(await verifyIdentity(identity))
  using next = IdentityKeys.generate('classical')
  await assert.rejects(succeed(identity, at(keys, -1), next), tooLarge)
  assert.throws(() => parseIdentity([...identity.records, at(identity.records, -1)]), tooLarge)
  assert.throws(() => parseIdentity([]), refused)
})

test('all records of the largest identity fit a handshake message of 128 KiB', async () => {
  const { identity } = await chainOf(...Array<Owes>(8).fill('hybrid'))
  const total = identity.records.reduce((sum, record) => sum + record.length, 0)
  assert.ok(total < 64 * 1024, `${total} bytes`)
})

test('a record of more than 16 KiB is refused before it is parsed', () => {
  const noise = new Uint8Array(identityLimits.recordBytesMax + 1)
  assert.throws(() => parseIdentity([noise]), tooLarge)
  assert.throws(() => parseIdentity([noise.subarray(1)]), refused)
  const padded = entryOf({
    ...fields(at(newIdentity('hybrid').identity.records, 0)),
    pad: new Uint8Array(13_000),
  })
  assert.ok(padded.length <= identityLimits.recordBytesMax)
  assert.throws(() => parseIdentity([padded]), refused)
})

test('each field of a first record is held to its rule', () => {
  const good = fields(at(newIdentity('hybrid').identity.records, 0))
  assert.ok(parseIdentity([entryOf(good)]))
  const wrong: Fields[] = [
    { format: 0 },
    { format: 2 },
    { format: '1' },
    { format: null },
    { number: 0 },
    { number: 2 },
    { number: -1 },
    { number: '1' },
    { owes: 'HYBRID' },
    { owes: '' },
    { owes: 'none' },
    { owes: 'constructor' },
    { owes: 1 },
    { owes: null },
    { owes: ['hybrid'] },
    { owes: 'classical' },
    { owes: 'pqc' },
    { previous: new Uint8Array(32) },
    { previous: new Uint8Array(0) },
    { previous: false },
    { ed25519: new Uint8Array(31) },
    { ed25519: new Uint8Array(33) },
    { ed25519: null },
    { mldsa87: new Uint8Array(2591) },
    { mldsa87: new Uint8Array(2593) },
    { mldsa87: null },
    { mldsa65: new Uint8Array(1952) },
    { note: '' },
    { '': null },
  ]
  for (const change of wrong)
    assert.throws(() => parseIdentity([entryOf({ ...good, ...change })]), refused, JSON.stringify(change))
  for (const missing of Object.keys(good)) {
    const rest = Object.fromEntries(Object.entries(good).filter(([key]) => key !== missing))
    assert.throws(() => parseIdentity([entryOf(rest)]), refused, `without ${missing}`)
  }
})

test('an entry has a record and a signature and nothing else, in canonical form', () => {
  const [entry = new Uint8Array(0)] = newIdentity('hybrid').identity.records
  const { record } = parseEntry(entry)
  const wrong: CborValue[] = [null, [], [record, null], record, { record }, { signature: null }]
  wrong.push(
    { record, signature: null, more: null },
    { record, signature: false },
    { record: 'x', signature: null },
  )
  wrong.push({ record: null, signature: null }, { record: new Uint8Array(0), signature: null })
  for (const bad of wrong) assert.throws(() => parseIdentity([encodeCbor(bad)]), refused)
  const leftOver = concat(entry, Uint8Array.of(0))
  const inside = encodeCbor({ record: concat(record, Uint8Array.of(0)), signature: null })
  // Format 1 spelled with two bytes: the same record to a lax reader, with another hash.
  const digits = hex(record).replace('66666f726d617401', '66666f726d61741801')
  assert.notEqual(digits, hex(record))
  const lax = encodeCbor({ record: Uint8Array.from(Buffer.from(digits, 'hex')), signature: null })
  for (const bad of [leftOver, inside, lax, new Uint8Array(0)])
    assert.throws(() => parseIdentity([bad]), refused)
})

test('the first record carries no signature, every later one carries one', async () => {
  const { identity, keys } = await chainOf('hybrid', 'hybrid')
  const [first = new Uint8Array(0), second = new Uint8Array(0)] = identity.records
  const self = await signAs(
    at(keys, 0),
    parseIdentity([first]).current,
    successionPurpose,
    parseEntry(first).record,
  )
  assert.throws(() => parseIdentity([encodeEntry({ ...parseEntry(first), signature: self })]), refused)
  assert.throws(
    () => parseIdentity([first, encodeEntry({ ...parseEntry(second), signature: null })]),
    refused,
  )
})

test('records out of order, repeated, left out or of another identity are refused', async () => {
  const [mine, other] = [await chainOf('hybrid', 'hybrid', 'pqc'), await chainOf('hybrid', 'hybrid', 'pqc')]
  const [a, b, c] = mine.identity.records
  const [x, y, z] = other.identity.records
  assert.ok(a && b && c && x && y && z)
  for (const bad of [
    [b],
    [c],
    [a, c],
    [b, a],
    [a, a],
    [a, b, b],
    [a, c, b],
    [b, c],
    [a, y],
    [x, b],
    [a, b, z],
    [x, y, c],
  ])
    assert.throws(() => parseIdentity(bad), refused)
  assert.ok(parseIdentity([a, b]), 'a prefix is an identity; that it is older, a peer that remembers sees')
})

test('a later record that is wrong in number or link is refused even when the right keys signed it', async () => {
  const { identity, keys } = await chainOf('hybrid', 'hybrid')
  const signer = at(keys, 0)
  assert.ok(await verifyIdentity(parseIdentity(await resigned(identity, signer, {}))))
  for (const change of [
    { number: 1 },
    { number: 3 },
    { number: 9 },
    { previous: null },
    { previous: new Uint8Array(32) },
    { previous: identity.id.slice(0, 31) },
    { previous: flipped(identity.id, 3) },
    { number: 1, previous: null },
    { format: 2 },
    { extra: 1 },
  ]) {
    const bad = await resigned(identity, signer, change)
    assert.throws(() => parseIdentity(bad), refused, JSON.stringify(change))
  }
  for (const missing of ['previous', 'mldsa87', 'ed25519']) {
    const bad = await resigned(identity, signer, {}, [missing])
    assert.throws(() => parseIdentity(bad), refused, `without ${missing}`)
  }
})

test('a later record is accepted only with all signatures that the one before owes', async () => {
  const { identity, keys } = await chainOf('hybrid', 'pqc')
  const [first, last] = [at(identity.records, 0), parseEntry(at(identity.records, 1))]
  assert.ok(last.signature)
  const signer = parseIdentity([first]).current
  const elsewhere = await signAs(at(keys, 0), signer, 'another purpose', last.record)
  const otherRecord = await signAs(at(keys, 0), signer, successionPurpose, parseEntry(first).record)
  const classical = last.signature.subarray(0, 64)
  const half: Uint8Array[] = [
    concat(classical, new Uint8Array(4627)),
    concat(new Uint8Array(64), last.signature.subarray(64)),
    concat(classical, otherRecord.subarray(64)),
    concat(classical, elsewhere.subarray(64)),
    concat(elsewhere.subarray(0, 64), last.signature.subarray(64)),
    elsewhere,
    otherRecord,
  ]
  for (const signature of half) {
    const forged = parseIdentity([first, encodeEntry({ record: last.record, signature })])
    assert.equal(await verifyIdentity(forged), false)
  }
  for (const signature of [classical, last.signature.subarray(64), concat(last.signature, Uint8Array.of(0))])
    assert.throws(() => parseIdentity([first, encodeEntry({ record: last.record, signature })]), refused)
})

test('a successor signed by itself, or by a stranger, is parsed and does not verify', async () => {
  const { identity, keys } = await chainOf('hybrid', 'hybrid')
  const [first, last] = [at(identity.records, 0), parseEntry(at(identity.records, 1))]
  const stranger = newIdentity('hybrid')
  const signatures = [
    await signAs(at(keys, 1), identity.current, successionPurpose, last.record),
    await signAs(stranger.keys, stranger.identity.current, successionPurpose, last.record),
  ]
  for (const signature of signatures) {
    const forged = parseIdentity([first, encodeEntry({ record: last.record, signature })])
    assert.equal(await verifyIdentity(forged), false)
  }
})

test('one bad link anywhere spoils the chain', async () => {
  const { identity } = await chainOf('classical', 'classical', 'hybrid', 'pqc', 'pqc')
  assert.ok(await verifyIdentity(identity))
  for (let i = 1; i < identity.records.length; i++) {
    const { record, signature } = parseEntry(at(identity.records, i))
    assert.ok(signature)
    const entry = encodeEntry({ record, signature: flipped(signature, 8 * i) })
    assert.equal(await verifyIdentity(parseIdentity(identity.records.with(i, entry))), false)
  }
})

test('a turned bit anywhere in any entry is refused, or gives another identity', async () => {
  const { identity } = await chainOf('hybrid', 'pqc')
  const { upTo } = randomFrom('identity bits')
  const outcomes = { parse: 0, verify: 0, otherId: 0 }
  for (const [index, entry] of identity.records.entries()) {
    const heads = Array.from({ length: 400 }, (_, bit) => bit)
    const sample = Array.from({ length: 200 }, () => upTo(entry.length * 8 - 1))
    for (const bit of [...heads, ...sample]) {
      const entries = identity.records.with(index, flipped(entry, bit))
      let read: Identity
      try {
        read = parseIdentity(entries)
      } catch (error) {
        assert.ok(error instanceof Error && error.name === 'SignatureError')
        outcomes.parse++
        continue
      }
      if (!equal(read.id, identity.id)) outcomes.otherId++
      else {
        assert.equal(await verifyIdentity(read), false, `entry ${index}, bit ${bit}`)
        outcomes.verify++
      }
    }
  }
  // A change of the first record breaks the link of the second; alone it is simply somebody else.
  const alone = parseIdentity([flipped(at(identity.records, 0), 8 * 200)])
  assert.ok(!equal(alone.id, identity.id))
  assert.equal(outcomes.otherId, 0)
  assert.ok(outcomes.parse > 500 && outcomes.verify > 100, JSON.stringify(outcomes))
})

test('noise is refused by one kind of error', () => {
  const { bytes, upTo } = randomFrom('identity noise')
  const entry = at(newIdentity('hybrid').identity.records, 0)
  for (let i = 0; i < 1_000; i++) {
    const cut = upTo(entry.length - 1)
    const bad = i % 2 ? bytes(upTo(300)) : concat(entry.subarray(0, cut), bytes(upTo(30)))
    assert.throws(() => parseIdentity([bad]), refused)
  }
})

test('verification is about the bytes: an identity whose description was changed is a mistake, not a verdict', async () => {
  const [{ identity }, other] = [await chainOf('hybrid', 'pqc'), newIdentity('pqc').identity]
  for (const lie of [{ id: other.id }, { number: 1 }, { current: other.current }, { records: other.records }])
    await assert.rejects(verifyIdentity({ ...identity, ...lie }), refused)
})

test("only the newest record's keys can go on", async () => {
  const { identity, keys } = await chainOf('hybrid', 'hybrid')
  using next = IdentityKeys.generate('pqc')
  using stranger = IdentityKeys.generate('hybrid')
  for (const wrong of [at(keys, 0), stranger, next])
    await assert.rejects(succeed(identity, wrong, next), { name: 'SignatureError', code: 'EKEY' })
  assert.ok(await verifyIdentity(await succeed(identity, at(keys, 1), next)))
})

test('a parsed identity does not share its bytes with what it was parsed from', () => {
  const entry = Uint8Array.from(at(newIdentity('hybrid').identity.records, 0))
  const identity = parseIdentity([entry])
  const before = hex(at(identity.records, 0))
  entry.fill(0)
  assert.equal(hex(at(identity.records, 0)), before)
  assert.notEqual(
    identity.current.ed25519?.every(byte => byte === 0),
    true,
  )
})

test('the head of each record is its hash, and a peer that remembers one sees another history', async () => {
  const { identity, keys } = await chainOf('hybrid', 'hybrid', 'pqc')
  assert.ok(equal(recordHead(identity, 1) ?? new Uint8Array(0), identity.id))
  const { previous } = fields(at(identity.records, 2))
  assert.deepEqual(Uint8Array.from(recordHead(identity, 2) ?? []), previous)
  assert.deepEqual(recordHead(identity), recordHead(identity, 3))
  for (const number of [0, 4, -1]) assert.equal(recordHead(identity, number), undefined)
  using next = IdentityKeys.generate('hybrid')
  const fork = await succeed(parseIdentity(identity.records.slice(0, 1)), at(keys, 0), next)
  assert.ok(await verifyIdentity(fork), 'a fork verifies by itself')
  assert.notDeepEqual(recordHead(fork, 2), recordHead(identity, 2))
})

test('an identity is printed as pawl1: and 43 characters, and read back', () => {
  const { bytes } = randomFrom('identity text')
  for (let i = 0; i < 200; i++) {
    const id = bytes(32)
    const text = identityText(id)
    assert.match(text, /^pawl1:[A-Za-z0-9_-]{43}$/)
    assert.ok(equal(parseIdentityText(text), id))
  }
  assert.equal(identityText(new Uint8Array(32)), `pawl1:${'A'.repeat(43)}`)
  for (const length of [0, 31, 33]) assert.throws(() => identityText(new Uint8Array(length)), TypeError)
})

test('an identity has one spelling', () => {
  const id = new Uint8Array(32).fill(0xa5)
  const good = identityText(id)
  const body = base64url(id)
  assert.ok(parseIdentityText(good))
  const wrong = [
    '',
    'pawl1:',
    body,
    `pawl2:${body}`,
    `PAWL1:${body}`,
    `Pawl1:${body}`,
    `pawl1: ${body}`,
    `pawl1${body}`,
  ]
  wrong.push(
    ` ${good}`,
    `${good} `,
    `${good}\n`,
    `\n${good}`,
    `${good}=`,
    `${good}A`,
    good.slice(0, -1),
    `${good}\n${good}`,
  )
  wrong.push(
    `pawl1:${body.slice(0, 42)}=`,
    `pawl1:+${body.slice(1)}`,
    `pawl1:/${body.slice(1)}`,
    `pawl1:é${body.slice(1)}`,
  )
  for (const text of wrong) assert.throws(() => parseIdentityText(text), refused, JSON.stringify(text))
  // 43 characters hold 258 bits: the last one has two that must be zero.
  const last = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_']
  const accepted = last.filter(character => {
    try {
      return parseIdentityText(good.slice(0, -1) + character)
    } catch {
      return false
    }
  })
  assert.equal(accepted.length, 16)
})
