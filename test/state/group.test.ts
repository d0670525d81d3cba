import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { BytesError } from '../../src/bytes/bytes.ts'
import { append, emptyFrontier, type Frontier, leafHash, root } from '../../src/bytes/merkle.ts'
import { SealError } from '../../src/crypto/aead.ts'
import { sha256 } from '../../src/crypto/hash.ts'
import { Secret } from '../../src/crypto/secret.ts'
import { wrap } from '../../src/state/envelope.ts'
import {
  authenticLeaf,
  type Operation,
  openRecord,
  openSecretRecord,
  operationBytes,
  type Placed,
  parseGroupHeader,
  placeRecords,
  type ScopeKey,
  sealGroup,
} from '../../src/state/group.ts'
import { limits } from '../../src/state/limits.ts'
import { encodeSegmentHeader, parseSegmentHeader } from '../../src/state/segment.ts'
import { bytesOf, sha256Of } from './support.ts'

const storeId = new Uint8Array(32).fill(0xaa)
const salt = new Uint8Array(32).fill(0xcc)
const macKey = new Secret(new Uint8Array(32).fill(0xbb))
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
  return sealGroup({ operations, tree: treeOf(5), confirmed: 4, storeId, salt, macKey, ...part })
}

/** What a reader makes of the bytes: every record opened, or why not. */
function read(bytes: Uint8Array): { path: string; payload: Uint8Array | undefined }[] | 'refused' {
  try {
    const header = parseGroupHeader(bytes)
    if (header === undefined) return 'refused'
    const padded = Math.ceil(header.length / 4096) * 4096
    const padding = bytes.subarray(header.length, padded)
    if (bytes.length < padded || padding.some(byte => byte !== 0)) return 'refused'
    if (authenticLeaf(bytes, header, macKey) === undefined) return 'refused'
    return placeRecords(bytes, header).map(placed => ({ path: placed.path, payload: opened(bytes, placed) }))
  } catch (error) {
    if (error instanceof BytesError) return 'refused'
    throw error
  }
}

function opened(bytes: Uint8Array, placed: Placed): Uint8Array | undefined {
  if (placed.scope === undefined) return undefined
  const key = [one, two].find(({ slot }) => slot === placed.scope?.slot)?.key
  assert.ok(key !== undefined)
  return openRecord(key, placed, bytes.subarray(placed.offset, placed.offset + placed.length)).payload
}

const sample = [
  put('/state/a', bytesOf('first'), one),
  { kind: 'delete', path: '/state/b' },
  put('/state/c', bytesOf(''), two),
  put('/state/a', bytesOf('second'), one),
] as const

test('a group is laid out as the specification has it', () => {
  const { bytes, tree, generation } = seal(sample)
  const at = Buffer.from(bytes)
  assert.equal(at.toString('latin1', 0, 8), 'PAWLGRP1')
  assert.deepEqual([at.readUInt16BE(8), at.readUInt16BE(10)], [1, 0])
  assert.equal(at.readUInt32BE(12), 4)
  const length = at.readUInt32BE(16)
  assert.deepEqual([at.readUIntBE(22, 6), at.readUIntBE(30, 6)], [6, 4])
  assert.deepEqual(at.subarray(36, 68), Buffer.from(storeId))
  assert.deepEqual(at.subarray(68, 100), Buffer.from(root(sha256, treeOf(5))))
  assert.deepEqual(at.subarray(100, 132), Buffer.from(salt))
  assert.equal(at.readUInt32BE(132), crc32(at.subarray(0, 132)))
  assert.equal(at.readUInt16BE(136), 2)
  assert.deepEqual([at.readUInt16BE(138), at.readUInt16BE(188)], [0, 7])
  assert.deepEqual(at.subarray(140, 156), Buffer.from(one.id))
  // The first record: kind, scope, length of the path, length of what is sealed, path.
  assert.deepEqual([at[238], at.readUInt16BE(239), at[241]], [1, 0, 8])
  const envelope = wrap(bytesOf('first'), meta)
  const sealed = at.readUInt32BE(242)
  assert.equal(sealed, 2 + envelope.length + 5 + 16)
  assert.equal(at.toString('latin1', 246, 254), '/state/a')
  // The trailer names the hash of each record; its first is that of the first record.
  const trailer = length - 32 - 4 * 32
  assert.deepEqual(at.subarray(trailer, trailer + 32), sha256Of(at.subarray(238, 254 + sealed)))
  // The MAC covers the leaf's hash and lies outside the leaf.
  const leaf = sha256Of(Buffer.concat([Uint8Array.of(0), at.subarray(0, length - 32)]))
  assert.deepEqual(at.subarray(length - 32, length), createHmac('sha256', macKey.bytes).update(leaf).digest())
  assert.deepEqual(
    Buffer.from(root(sha256, tree)),
    Buffer.from(root(sha256, append(sha256, treeOf(5), leaf))),
  )
  assert.equal(generation, 6)
  assert.equal(bytes.length % 4096, 0)
  assert.ok(bytes.length - length < 4096)
  assert.ok(at.subarray(length).every(byte => byte === 0))
})

test('keys are synthesised as the specification has it', () => {
  const { placed } = seal(sample)
  const hmac = (key: Uint8Array, ...parts: Uint8Array[]) =>
    createHmac('sha256', key).update(Buffer.concat(parts)).digest()
  const number = (value: number, bytes: number) => {
    const out = Buffer.alloc(bytes)
    out.writeUIntBE(value, Math.max(0, bytes - 6), Math.min(6, bytes))
    return out
  }
  const part = (index: number, text: string) => {
    const envelope = wrap(bytesOf(text), meta)
    return [
      number(index, 4),
      Uint8Array.of(8),
      bytesOf('/state/a'),
      number(envelope.length, 4),
      envelope,
      number(text.length, 4),
      bytesOf(text),
    ]
  }
  const label = bytesOf('pawl v1 record tag')
  const tag = hmac(one.key.bytes, label, salt, number(6, 8), ...part(0, 'first'), ...part(3, 'second'))
  assert.deepEqual(Buffer.from(placed[0]?.scope?.tag ?? []), tag)
  assert.deepEqual(Buffer.from(placed[3]?.scope?.tag ?? []), tag, 'one tag for a scope and a group')
  assert.notDeepEqual(Buffer.from(placed[2]?.scope?.tag ?? []), tag)
})

function plain(placed: readonly Placed[]): unknown {
  return placed.map(record => ({
    ...record,
    scope: record.scope && {
      ...record.scope,
      tag: Buffer.from(record.scope.tag),
      id: Buffer.from(record.scope.id),
    },
  }))
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
      const scopes = new Set(placed.flatMap(({ scope }) => (scope === undefined ? [] : [scope.slot]))).size
      const foretold = operations.reduce((sum, operation) => sum + operationBytes(operation), 0)
      assert.equal(header.length, 136 + 2 + 50 * scopes + foretold + 32)
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
  for (const field of [8, 10]) {
    const bad = Buffer.from(bytes)
    bad.writeUInt16BE(2, field)
    bad.writeUInt32BE(crc32(bad.subarray(0, 132)), 132)
    assert.throws(() => parseGroupHeader(bad), BytesError, 'an unknown format is refused, not skipped')
  }
})

test('a record does not open under another path, place, group or scope', () => {
  const { bytes, placed } = seal(sample)
  const other = seal(sample, { tree: treeOf(6) })
  const [first] = placed
  assert.ok(first?.scope !== undefined)
  const sealed = bytes.subarray(first.offset, first.offset + first.length)
  assert.deepEqual(Buffer.from(openRecord(one.key, first, sealed).payload), Buffer.from('first'))
  const moved: readonly (readonly [string, Secret, Omit<Placed, 'offset' | 'length'>])[] = [
    ['another path', one.key, { ...first, path: '/state/z' }],
    ['another place', one.key, { ...first, index: 3 }],
    ['another scope', two.key, first],
    [
      'another group',
      one.key,
      { ...first, scope: { ...first.scope, tag: other.placed[0]?.scope?.tag ?? sealed } },
    ],
  ]
  for (const [what, key, record] of moved)
    assert.throws(() => openRecord(key, record, sealed), SealError, what)
})

test('payloads that are keys are opened as secrets, the same bytes', async () => {
  const { bytes, placed } = seal([put('/pawl/key', bytesOf('private seed'), one)])
  const [record] = placed
  assert.ok(record !== undefined)
  const sealed = bytes.subarray(record.offset, record.offset + record.length)
  const { payload, envelope } = await openSecretRecord(one.key, record, sealed)
  assert.equal(Buffer.from(payload.bytes).toString(), 'private seed')
  assert.deepEqual(Buffer.from(envelope), Buffer.from(wrap(bytesOf('private seed'), meta)))
  const bad = Uint8Array.from(sealed)
  bad[0] = (bad[0] ?? 0) ^ 1
  await assert.rejects(openSecretRecord(one.key, record, bad), SealError)
})

test('one more byte of content, another generation, salt, place or order: another key', () => {
  const tagOf = (operations: readonly Operation[], part: Partial<Parameters<typeof sealGroup>[0]> = {}) =>
    Buffer.from(
      seal(operations, part).placed.find(({ scope }) => scope?.slot === 0)?.scope?.tag ?? [],
    ).toString('hex')
  const a = put('/state/a', bytesOf('x'), one)
  const b = put('/state/b', bytesOf('x'), one)
  const tags = [
    tagOf([a]),
    tagOf([a], { tree: treeOf(6) }),
    tagOf([a], { salt: new Uint8Array(32) }),
    tagOf([b]),
    tagOf([a, b]),
    tagOf([b, a]),
    tagOf([{ kind: 'delete', path: '/state/q' }, a]),
    tagOf([put('/state/a', bytesOf('xy'), one)]),
    tagOf([put('/state/ax', bytesOf(''), one)]),
    tagOf([
      {
        kind: 'put',
        path: '/state/a',
        scope: one,
        envelope: wrap(bytesOf('x'), { ...meta, at: 6 }),
        payload: bytesOf('x'),
      },
    ]),
    tagOf([put('/state/a', bytesOf('x'), scope(0, 9))]),
  ]
  assert.equal(new Set(tags).size, tags.length)
  assert.equal(tagOf([a]), tagOf([a]), 'and the same content has the same')
})

test('a group over its bounds is never made, since no reader would take it', () => {
  const large = put('/state/a', new Uint8Array(1024 * 1024), one)
  assert.throws(() => seal([large, large]), RangeError)
  const many = Array.from({ length: 8193 }, (): Operation => ({ kind: 'delete', path: '/a' }))
  assert.throws(() => seal(many), RangeError)
  assert.ok(seal(many.slice(1)).bytes.length > 0)
})

test('segment header: what is written is read; every flipped byte, another store or key is refused', () => {
  const keys = { storeId, macKey }
  for (const size of [0, 1, 5, 1023]) {
    const header = { number: 3, storeId, before: treeOf(size) }
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
    const otherKey = { storeId, macKey: new Secret(new Uint8Array(32)) }
    assert.throws(() => parseSegmentHeader(bytes, otherKey), BytesError)
    assert.throws(() => parseSegmentHeader(bytes, { storeId: salt, macKey }), BytesError, 'of another store')
  }
})
