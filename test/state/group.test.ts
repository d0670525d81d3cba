import assert from 'node:assert/strict'
import { createDecipheriv, createHmac } from 'node:crypto'
import { test } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { BytesError } from '../../src/bytes/bytes.ts'
import { append, emptyFrontier, type Frontier, leafHash, root, rooted } from '../../src/bytes/merkle.ts'
import { recordSealings, SealError } from '../../src/crypto/aead.ts'
import { sha256 } from '../../src/crypto/hash.ts'
import { Secret } from '../../src/crypto/secret.ts'
import {
  type Operation,
  openRecord,
  openSecretRecord,
  operationBytes,
  type Placed,
  type ScopeKey,
} from '../../src/state/block.ts'
import { wrap } from '../../src/state/envelope.ts'
import { authenticLeaf, parseGroupHeader, placeRecords, sealGroup } from '../../src/state/group.ts'
import { JournalKeys } from '../../src/state/journal-keys.ts'
import { limits } from '../../src/state/limits.ts'
import { encodeSegmentHeader, parseSegmentHeader } from '../../src/state/segment.ts'
import { bytesOf, sha256Of } from './support.ts'

const storeId = new Uint8Array(32).fill(0xaa)
const salt = new Uint8Array(32).fill(0xcc)
const storeKey = new Secret(new Uint8Array(32).fill(0xbb))
const keys = new JournalKeys({ current: 1, get: number => (number === 1 ? storeKey : undefined) }, storeId)
const meta = { subject: 'me', purpose: 'test', at: 5 }

function scope(slot: number, fill = slot + 1): ScopeKey {
  return { slot, id: new Uint8Array(16).fill(fill), key: new Secret(new Uint8Array(32).fill(fill)) }
}

function put(path: string, payload: Uint8Array, of: ScopeKey): Operation {
  return { kind: 'put', path, scope: of, envelope: wrap(payload, meta), payload }
}

const one = scope(0)
const two = scope(7)

function treeOf(size: number): Frontier {
  let tree = emptyFrontier
  for (let i = 0; i < size; i++) tree = append(sha256, tree, leafHash(sha256, Uint8Array.of(i)))
  return tree
}

function seal(operations: readonly Operation[], part: Partial<Parameters<typeof sealGroup>[0]> = {}) {
  return sealGroup({
    operations,
    before: rooted(sha256, treeOf(5)),
    confirmed: 4,
    salt,
    keys,
    ...part,
  })
}

/** What a reader makes of the bytes: every record opened, or why not. */
function read(bytes: Uint8Array): { path: string; payload: Uint8Array | undefined }[] | 'refused' {
  try {
    const header = parseGroupHeader(bytes)
    if (header === undefined) return 'refused'
    const padded = Math.ceil(header.length / 4096) * 4096
    const padding = bytes.subarray(header.length, padded)
    if (bytes.length < padded || padding.some(byte => byte !== 0)) return 'refused'
    if (authenticLeaf(bytes, header, keys) === undefined) return 'refused'
    return placeRecords(bytes, header).map(placed => ({ path: placed.path, payload: opened(bytes, placed) }))
  } catch (error) {
    if (error instanceof BytesError) return 'refused'
    throw error
  }
}

function opened(bytes: Uint8Array, placed: Placed): Uint8Array | undefined {
  if (placed.kind === 'delete') return undefined
  const key = [one, two].find(({ slot }) => slot === placed.block.scope.slot)?.key
  assert.ok(key !== undefined)
  return openRecord(key, placed.block, blockOf(bytes, placed), placed.index).payload
}

function blockOf(bytes: Uint8Array, placed: Placed): Uint8Array {
  assert.ok(placed.kind === 'put')
  return bytes.subarray(placed.block.offset, placed.block.offset + placed.block.length)
}

function tagOf(placed: readonly Placed[], slot = 0): string {
  for (const record of placed)
    if (record.kind === 'put' && record.block.scope.slot === slot)
      return Buffer.from(record.block.scope.tag).toString('hex')
  throw new Error('nothing is sealed under that scope')
}

const sample = [
  put('/state/a', bytesOf('first'), one),
  { kind: 'delete', path: '/state/b' },
  put('/state/c', bytesOf(''), two),
  put('/state/a', bytesOf('second'), one),
] as const

test('a group is laid out as the specification has it', () => {
  const { bytes, after, generation } = seal(sample)
  const at = Buffer.from(bytes)
  assert.equal(at.toString('latin1', 0, 8), 'PAWLGRP1')
  assert.deepEqual(
    [at.readUInt16BE(8), at.readUInt16BE(10)],
    [1, 1],
    'format, and the number of the store key',
  )
  assert.equal(at.readUInt32BE(12), 4)
  const length = at.readUInt32BE(16)
  assert.deepEqual([at.readUIntBE(22, 6), at.readUIntBE(30, 6)], [6, 4])
  assert.deepEqual(at.subarray(36, 68), Buffer.from(storeId))
  assert.deepEqual(at.subarray(68, 100), Buffer.from(root(sha256, treeOf(5))))
  assert.deepEqual(at.subarray(100, 132), Buffer.from(salt))
  assert.equal(at.readUInt32BE(132), crc32(at.subarray(0, 132)))
  assert.deepEqual([at.readUInt16BE(136), at.readUInt16BE(138)], [2, 4])
  assert.deepEqual([at.readUInt16BE(140), at.readUInt16BE(190)], [0, 7])
  assert.deepEqual(at.subarray(142, 158), Buffer.from(one.id))
  // The first block: scope, records, length of what is sealed; for its record the length of path and plaintext, path.
  const envelope = wrap(bytesOf('first'), meta)
  const plaintext = 2 + envelope.length + 5
  assert.deepEqual([at.readUInt16BE(240), at.readUInt16BE(242), at.readUInt32BE(244)], [0, 1, plaintext + 16])
  assert.deepEqual([at[248], at.readUInt32BE(249)], [8, plaintext])
  assert.equal(at.toString('latin1', 253, 261), '/state/a')
  // The second block: deletes, which have a head only.
  const second = 261 + plaintext + 16
  assert.deepEqual(
    [at.readUInt16BE(second), at.readUInt16BE(second + 2), at.readUInt32BE(second + 4)],
    [0xffff, 1, 0],
  )
  assert.deepEqual([at[second + 8], at.readUInt32BE(second + 9)], [8, 0])
  assert.equal(at.toString('latin1', second + 13, second + 21), '/state/b')
  // The trailer names the hash of each block; its first is that of the first block.
  const trailer = length - 32 - 4 * 32
  assert.deepEqual(at.subarray(trailer, trailer + 32), sha256Of(at.subarray(240, second)))
  // The leaf is all but the blocks, for which their hashes stand. The MAC covers its hash and lies outside it.
  const [front, back] = [at.subarray(0, 240), at.subarray(trailer, length - 32)]
  const leaf = sha256Of(Buffer.concat([Uint8Array.of(0), front, back]))
  assert.deepEqual(
    at.subarray(length - 32, length),
    createHmac('sha256', keys.macKey.bytes).update(leaf).digest(),
  )
  assert.deepEqual(after, rooted(sha256, append(sha256, treeOf(5), leaf)))
  assert.equal(generation, 6)
  assert.equal(bytes.length % 4096, 0)
  assert.ok(bytes.length - length < 4096)
  assert.ok(at.subarray(length).every(byte => byte === 0))
})

test('keys are synthesised, and blocks sealed, as the specification has it', () => {
  const { bytes, placed } = seal(sample)
  const hmac = (key: Uint8Array, ...parts: Uint8Array[]) =>
    createHmac('sha256', key).update(Buffer.concat(parts)).digest()
  const number = (value: number, length: number) =>
    Buffer.from(value.toString(16).padStart(2 * length, '0'), 'hex')
  const plaintext = (text: string) => {
    const envelope = wrap(bytesOf(text), meta)
    return Buffer.concat([number(envelope.length, 2), envelope, bytesOf(text)])
  }
  const head = (text: string) => {
    const { length } = plaintext(text)
    const record = [number(8, 1), number(length, 4), bytesOf('/state/a')]
    return Buffer.concat([number(0, 2), number(1, 2), number(length + 16, 4), ...record])
  }
  const part = (index: number, text: string) => [number(index, 4), head(text), plaintext(text)]
  const start = [bytesOf('pawl v1 block tag'), salt, number(6, 8)]
  const tag = hmac(one.key.bytes, ...start, ...part(0, 'first'), ...part(3, 'second'))
  assert.equal(tagOf(placed), tag.toString('hex'))
  assert.notEqual(tagOf(placed, 7), tagOf(placed))
  // Opened here by other means: the key from the tag, the block's place as the nonce, the head as associated data.
  const [last] = placed.slice(-1)
  assert.ok(last?.kind === 'put' && last.block.index === 3)
  const block = Buffer.from(blockOf(bytes, last))
  const key = hmac(one.key.bytes, bytesOf('pawl v1 block key'), tag)
  const decipher = createDecipheriv('aes-256-gcm', key, Buffer.concat([Buffer.alloc(8), number(3, 4)]))
  decipher.setAAD(head('second'))
  decipher.setAuthTag(block.subarray(-16))
  const open = decipher.update(block.subarray(head('second').length, -16))
  decipher.final()
  assert.deepEqual(open, plaintext('second'))
})

function plain(placed: readonly Placed[]): unknown {
  return placed.map(record => {
    if (record.kind === 'delete') return record
    const { id, tag, slot } = record.block.scope
    return { ...record, block: { ...record.block, scope: [slot, Buffer.from(id), Buffer.from(tag)] } }
  })
}

const anyOperation = fc.oneof(
  fc.record({
    kind: fc.constant('put' as const),
    path: fc.string({ unit: fc.constantFrom(...'abcXYZ09._-~!'), minLength: 1, maxLength: 240 }),
    payload: fc.uint8Array({ maxLength: 3000 }),
    of: fc.constantFrom(one, two),
  }),
  fc.record({
    kind: fc.constant('delete' as const),
    path: fc.string({ unit: fc.constantFrom(...'abcXYZ09'), minLength: 1, maxLength: 255 }),
  }),
)

test('what was sealed is what is read, in its order; the size is the one foretold', () => {
  fc.assert(
    fc.property(fc.array(anyOperation, { maxLength: 30 }), wanted => {
      const operations = wanted.map(
        (o): Operation =>
          o.kind === 'put' ? put(o.path, o.payload, o.of) : { kind: 'delete', path: o.path },
      )
      const { bytes, placed } = seal(operations)
      const header = parseGroupHeader(bytes)
      assert.ok(header !== undefined)
      assert.deepEqual(plain(placeRecords(bytes, header)), plain(placed))
      const found = read(bytes)
      assert.ok(found !== 'refused')
      assert.deepEqual(
        found.map(({ path, payload }) => [path, payload === undefined ? 'deleted' : Buffer.from(payload)]),
        wanted.map(o => [o.path, o.kind === 'put' ? Buffer.from(o.payload) : 'deleted']),
      )
      const foretold = operations.reduce((sum, operation) => sum + operationBytes(operation), 0)
      assert.ok(
        header.length <= 136 + 4 + 50 * 2 + foretold + 32,
        'what a batch is counted as is never too little',
      )
    }),
    { numRuns: 100 },
  )
})

test('a flip of any byte of a group is refused: header, scopes, records, trailer, MAC, padding', () => {
  const { bytes } = seal(sample)
  const good = read(bytes)
  assert.ok(good !== 'refused' && good.length === 4)
  for (let at = 0; at < bytes.length; at++) {
    const bad = Uint8Array.from(bytes)
    bad[at] = (bad[at] ?? 0) ^ (1 << (at % 8))
    assert.equal(read(bad), 'refused', `byte ${at}`)
  }
  for (let length = 0; length < bytes.length; length += 61)
    assert.equal(read(bytes.subarray(0, length)), 'refused', `${length} bytes`)
})

test('a header that lies about its length, its records or its place is not followed, CRC or not', () => {
  const { bytes } = seal(sample)
  const lies: readonly (readonly [string, (at: Buffer) => void])[] = [
    ['longer than a group may be', at => at.writeUInt32BE(limits.groupBytesMax + 1, 16)],
    ['4 GiB', at => at.writeUInt32BE(0xffff_ffff, 16)],
    ['shorter than its header', at => at.writeUInt32BE(100, 16)],
    ['too many records', at => at.writeUInt32BE(limits.groupRecordsMax + 1, 12)],
    ['generation 0', at => at.writeBigUInt64BE(0n, 20)],
    ['confirmed itself', at => at.writeBigUInt64BE(6n, 28)],
  ]
  for (const [what, lie] of lies) {
    const bad = Buffer.from(bytes)
    lie(bad)
    bad.writeUInt32BE(crc32(bad.subarray(0, 132)), 132)
    assert.equal(parseGroupHeader(bad), undefined, what)
  }
  const bad = Buffer.from(bytes)
  bad.writeUInt16BE(2, 8)
  bad.writeUInt32BE(crc32(bad.subarray(0, 132)), 132)
  assert.throws(() => parseGroupHeader(bad), BytesError, 'an unknown format is refused, not skipped')
})

test('records of one scope in a row are one block of at most 64 KiB; a larger record has a block of its own', () => {
  const sized = (length: number) => put('/state/a', new Uint8Array(length), one)
  const indexes = (operations: readonly Operation[]) =>
    seal(operations).placed.map(record => (record.kind === 'put' ? record.block.index : 'deleted'))
  const gone: Operation = { kind: 'delete', path: '/state/b' }
  assert.deepEqual(indexes(Array.from({ length: 5 }, () => sized(10))), [0, 0, 0, 0, 0])
  assert.deepEqual(indexes([sized(10), gone, gone, sized(10)]), [0, 'deleted', 'deleted', 2])
  assert.deepEqual(indexes([sized(10), put('/state/a', bytesOf('x'), two), sized(10)]), [0, 1, 2])
  assert.deepEqual(indexes([sized(40_000), sized(20_000), sized(20_000)]), [0, 0, 1])
  assert.deepEqual(indexes([sized(10), sized(200_000), sized(10)]), [0, 1, 2])
})

test('a record does not open in another block, place, group or scope, nor with another path', () => {
  const { bytes, placed } = seal(sample)
  const other = seal(sample, { before: rooted(sha256, treeOf(6)) })
  const [first] = placed
  assert.ok(first?.kind === 'put')
  const block = blockOf(bytes, first)
  assert.deepEqual(Buffer.from(openRecord(one.key, first.block, block, 0).payload), Buffer.from('first'))
  const renamed = Uint8Array.from(block)
  renamed[20] = 'z'.charCodeAt(0)
  const tag = Buffer.from(tagOf(other.placed), 'hex')
  const moved = [
    ['with another path', one.key, first.block, renamed],
    ['at another place', one.key, { ...first.block, index: 3 }, block],
    ['in another scope', two.key, first.block, block],
    ['in another group', one.key, { ...first.block, scope: { ...first.block.scope, tag } }, block],
  ] as const
  for (const [what, key, at, sealed] of moved)
    assert.throws(() => openRecord(key, at, sealed, 0), SealError, what)
  assert.throws(() => openRecord(one.key, first.block, block, 1), BytesError, 'there is no second record')
})

test('payloads that are keys are opened as secrets, the same bytes', async () => {
  const { bytes, placed } = seal([
    put('/pawl/other', bytesOf('x'), one),
    put('/pawl/key', bytesOf('private seed'), one),
  ])
  const record = placed[1]
  assert.ok(record?.kind === 'put')
  const block = blockOf(bytes, record)
  const { payload, envelope } = await openSecretRecord(one.key, record.block, block, record.index)
  assert.equal(Buffer.from(payload.bytes).toString(), 'private seed')
  assert.deepEqual(Buffer.from(envelope), Buffer.from(wrap(bytesOf('private seed'), meta)))
  const bad = Uint8Array.from(block)
  bad[bad.length - 1] = (bad[bad.length - 1] ?? 0) ^ 1
  await assert.rejects(openSecretRecord(one.key, record.block, bad, record.index), SealError)
})

test('one more byte of content, another generation, salt, place, neighbour or order: another key', () => {
  const keyOf = (operations: readonly Operation[], part: Partial<Parameters<typeof sealGroup>[0]> = {}) =>
    tagOf(seal(operations, part).placed)
  const a = put('/state/a', bytesOf('x'), one)
  const b = put('/state/b', bytesOf('x'), one)
  const gone: Operation = { kind: 'delete', path: '/state/q' }
  const later: Operation = {
    kind: 'put',
    path: '/state/a',
    scope: one,
    envelope: wrap(bytesOf('x'), { ...meta, at: 6 }),
    payload: bytesOf('x'),
  }
  const tags = [
    keyOf([a]),
    keyOf([a], { before: rooted(sha256, treeOf(6)) }),
    keyOf([a], { salt: new Uint8Array(32) }),
    keyOf([b]),
    keyOf([a, b]),
    keyOf([b, a]),
    keyOf([a, gone, b]),
    // The same blocks at other places: the places are the nonces, so the keys have to differ.
    keyOf([gone, a]),
    keyOf([gone, a, gone, b]),
    keyOf([a, put('/state/c', bytesOf('x'), two), gone, b]),
    keyOf([put('/state/a', bytesOf('xy'), one)]),
    keyOf([put('/state/ax', bytesOf(''), one)]),
    keyOf([later]),
    keyOf([put('/state/a', bytesOf('x'), scope(0, 9))]),
  ]
  assert.equal(new Set(tags).size, tags.length)
  assert.equal(keyOf([a]), keyOf([a]), 'and the same content has the same')
})

test('whatever two groups of one salt and generation seal, a key and a nonce that meet seal the same bytes', t => {
  t.after(() => recordSealings(undefined))
  const piece = fc.constantFrom('a', 'b', 'delete', 'other')
  const operation = (kind: string): Operation => {
    if (kind === 'delete') return { kind: 'delete', path: '/state/q' }
    return kind === 'other' ? put('/state/o', bytesOf('o'), two) : put(`/state/${kind}`, bytesOf(kind), one)
  }
  const sealed = (kinds: readonly string[]) => {
    const pairs: string[] = []
    recordSealings(({ keyFingerprint, nonce }) =>
      pairs.push(`${Buffer.from(keyFingerprint).toString('hex')} ${Buffer.from(nonce).toString('hex')}`),
    )
    const { bytes, placed } = seal(kinds.map(operation))
    recordSealings(undefined)
    const blocks = new Map<number, string>()
    for (const record of placed)
      if (record.kind === 'put')
        blocks.set(record.block.index, Buffer.from(blockOf(bytes, record)).toString('hex'))
    const found = [...blocks].sort(([x], [y]) => x - y).map(([, block]) => block)
    return new Map(pairs.map((pair, at) => [pair, found[at]]))
  }
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 5 }), fc.array(piece, { maxLength: 5 }), (one, other) => {
      const [first, second] = [sealed(one), sealed(other)]
      for (const [pair, block] of first) if (second.has(pair)) assert.equal(second.get(pair), block)
    }),
    { numRuns: 500 },
  )
})

test('a group over its bounds is never made, since no reader would take it', () => {
  const large = put('/state/a', new Uint8Array(1024 * 1024), one)
  assert.throws(() => seal([large, large]), RangeError)
  const many = Array.from({ length: 8193 }, (): Operation => ({ kind: 'delete', path: '/a' }))
  assert.throws(() => seal(many), RangeError)
  assert.ok(seal(many.slice(1)).bytes.length > 0)
})

test('segment header: what is written is read; every flipped byte, another store or key is refused', () => {
  for (const size of [0, 1, 5, 1023]) {
    const header = { number: 3, storeId, storeKey: 1, before: treeOf(size) }
    const bytes = encodeSegmentHeader(header, keys)
    assert.equal(bytes.length, 4096)
    const found = parseSegmentHeader(bytes, keys)
    assert.deepEqual([found.number, found.before.size], [3, size])
    assert.deepEqual(Buffer.from(root(sha256, found.before)), Buffer.from(root(sha256, header.before)))
    if (size > 5) continue
    for (let at = 0; at < 4096; at++) {
      const bad = Uint8Array.from(bytes)
      bad[at] = (bad[at] ?? 0) ^ (1 << (at % 8))
      assert.throws(() => parseSegmentHeader(bad, keys), BytesError, `byte ${at}`)
    }
    const zero = new Secret(new Uint8Array(32))
    const otherKey = new JournalKeys({ current: 1, get: () => zero }, storeId)
    const noKey = new JournalKeys(
      { current: 2, get: number => (number === 2 ? storeKey : undefined) },
      storeId,
    )
    assert.throws(() => parseSegmentHeader(bytes, noKey), /store key 1/)
    assert.throws(() => parseSegmentHeader(bytes, otherKey), BytesError)
    assert.throws(
      () => parseSegmentHeader(bytes, new JournalKeys({ current: 1, get: () => storeKey }, salt)),
      BytesError,
      'of another store',
    )
  }
})
