import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BytesError } from '../../src/bytes/bytes.ts'
import { emptyFrontier, rooted } from '../../src/bytes/merkle.ts'
import { sha256 } from '../../src/crypto/hash.ts'
import { Secret } from '../../src/crypto/secret.ts'
import { decodeChunk, encodeChunk, encodeLines } from '../../src/state/audit.ts'
import { openEnvelope, wrap } from '../../src/state/envelope.ts'
import { StateError } from '../../src/state/error.ts'
import { parseGroupHeader, placeRecords, sealGroup } from '../../src/state/group.ts'
import { JournalKeys } from '../../src/state/journal-keys.ts'
import { decodeAnswer, decodeRequest, encodeFailure, encodeFrame, Frames } from '../../src/state/protocol.ts'
import { decodeScope, encodeScope } from '../../src/state/scopes.ts'
import { encodeSegmentHeader, parseSegmentHeader } from '../../src/state/segment.ts'
import { Random } from '../simulator/random.ts'

const cases = Number(process.env.CASES ?? 5_000_000)
const random = new Random(Number(process.env.SEED ?? 1))
const below = (bound: number) => random.word() % bound

const storeKey = new Secret(new Uint8Array(32).fill(2))
const keys = new JournalKeys({ current: 1, get: () => storeKey }, new Uint8Array(32).fill(1))
const scope = { slot: 0, id: new Uint8Array(16).fill(3), key: new Secret(new Uint8Array(32).fill(4)) }
const meta = { subject: 'boot', purpose: 'p', at: 1_700_000_000_000 }
const put = (path: string, size: number) => {
  const payload = new Uint8Array(size).fill(5)
  return { kind: 'put' as const, path, scope, envelope: wrap(payload, meta), payload }
}
const group = sealGroup({
  operations: [
    put('/state/a', 10),
    put('/state/b', 0),
    { kind: 'delete', path: '/state/c' },
    put('/state/d', 99),
  ],
  before: rooted(sha256, emptyFrontier),
  confirmed: 0,
  salt: new Uint8Array(32),
  keys,
}).bytes
const body = (frame: Uint8Array) => frame.subarray(4)
const record = { envelope: wrap(new Uint8Array(3), meta), payload: new Uint8Array(3) }
const requests = [
  { id: 1, op: 'put', path: '/state/a', ...record },
  { id: 2, op: 'batch', changes: [{ path: '/state/a', ...record }, { path: '/state/b' }], deadline: 5 },
  { id: 3, op: 'list', prefix: '/state/', after: '/state/a' },
  { id: 4, op: 'get', path: '/state/a', fresh: true },
].map(request => body(encodeFrame(request)))

/** Valid bytes, and what reads them. */
const parsers: Readonly<Record<string, readonly [readonly Uint8Array[], (bytes: Uint8Array) => unknown]>> = {
  envelope: [[wrap(new Uint8Array(9), meta)], openEnvelope],
  request: [requests, decodeRequest],
  answer: [
    [
      body(encodeFrame({ id: 1, ok: { generation: 5, paths: ['/state/a'], more: false } })),
      body(encodeFailure(2, new StateError('ENOSPC', 'full'))),
    ],
    decodeAnswer,
  ],
  'group header': [[group.subarray(0, 136)], parseGroupHeader],
  group: [
    [group],
    bytes => {
      const header = parseGroupHeader(group)
      assert.ok(header !== undefined)
      return placeRecords(bytes, header)
    },
  ],
  'segment header': [
    [
      encodeSegmentHeader(
        {
          number: 1,
          storeId: keys.storeId,
          storeKey: 1,
          before: { size: 3, roots: [new Uint8Array(32), new Uint8Array(32)] },
        },
        keys,
      ),
    ],
    bytes => parseSegmentHeader(bytes, keys),
  ],
  scope: [
    [
      encodeScope({
        name: 'x',
        id: scope.id,
        slot: 1,
        state: 'live',
        check: new Uint8Array(32),
        recoverable: false,
      }),
    ],
    decodeScope,
  ],
  'audit chunk': [[encodeChunk(7, encodeLines(['{"a":1}', '{}']))], decodeChunk],
  frames: [
    [encodeFrame({ a: 1 }), encodeFrame({ b: new Uint8Array(50) })],
    bytes => {
      const frames = new Frames()
      for (let at = 0; at < bytes.length; at += 7) {
        frames.push(bytes.subarray(at, at + 7))
        frames.next()
      }
    },
  ],
}

function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(parts))
}

/** One to three changes: bytes, lengths, cuts, insertions, and pieces of one put into another. */
function mutated(good: Uint8Array, others: readonly Uint8Array[]): Uint8Array {
  let bytes = Uint8Array.from(good)
  for (let changes = 1 + below(3); changes > 0; changes--) {
    const at = below(Math.max(1, bytes.length))
    switch (below(6)) {
      case 0:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << below(8))
        break
      case 1:
        bytes[at] = [0, 0xff, 0x7f, 0x80, 0x1b, 0x5f, 0x9f, 0xbf, 0xa0][below(9)] ?? 0
        break
      case 2:
        bytes = bytes.slice(0, at)
        break
      case 3:
        bytes = joined(bytes.subarray(0, at), Uint8Array.of(below(256)), bytes.subarray(at))
        break
      case 4:
        bytes = joined(bytes.subarray(0, at), bytes.subarray(at + 1 + below(4)))
        break
      default: {
        const other = others[below(others.length)] ?? good
        const from = below(other.length)
        bytes.set(other.subarray(from, from + Math.min(bytes.length - at, 1 + below(8))), at)
      }
    }
  }
  return bytes
}

/** These say `undefined` of what is none. */
const mayBeAbsent: ReadonlySet<string> = new Set(['group header'])
const msMax = 120_000

for (const [name, [good, parse]] of Object.entries(parsers))
  test(`${name}: whatever is damaged is read or refused with a code, and nothing else`, t => {
    const counts = { read: 0, refused: 0 }
    for (const bytes of good) parse(bytes)
    const until = performance.now() + msMax
    let done = 0
    for (; done < cases && (done % 1000 > 0 || performance.now() < until); done++) {
      const bytes = mutated(good[done % good.length] ?? new Uint8Array(0), good)
      try {
        if (parse(bytes) === undefined && mayBeAbsent.has(name)) counts.refused++
        else counts.read++
      } catch (error) {
        if (!(error instanceof BytesError || error instanceof StateError))
          assert.fail(`${name}, case ${done}: ${Buffer.from(bytes).toString('hex')}: ${String(error)}`)
        counts.refused++
      }
    }
    t.diagnostic(JSON.stringify(counts))
    assert.ok(counts.refused > done / 20)
  })
