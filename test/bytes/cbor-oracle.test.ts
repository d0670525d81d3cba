import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cdeDecodeOptions, decode, encode } from 'cbor2'
import { BytesError, equal, hex } from '../../src/bytes/bytes.ts'
import { type CborValue, cborLimits, decodeCbor, encodeCbor } from '../../src/bytes/cbor.ts'
import { randomFrom } from '../crypto/random.ts'

const { bytes, upTo } = randomFrom('cbor oracle')

function value(depth: number): CborValue {
  const kind = upTo(depth < cborLimits.depthMax ? 7 : 5)
  if (kind === 0) return upTo(1) === 0 ? null : upTo(1) === 0
  if (kind === 1) return upTo(0xffff_fffe) * 2 ** (upTo(1) * upTo(21))
  if (kind === 2) return -1 - upTo(300)
  if (kind === 3) return bytes(upTo(40))
  if (kind < 6) return 'añ水𐅑\u0000'.repeat(upTo(3)).slice(upTo(4)).toWellFormed()
  const length = upTo(4)
  if (kind === 6) return Array.from({ length }, () => value(depth + 1))
  const key = () => (upTo(2) === 0 ? 'zañ水𐅑é'.slice(upTo(3)).toWellFormed() : hex(bytes(upTo(14))))
  return Object.fromEntries(Array.from({ length }, () => [key(), value(depth + 1)]))
}

/** What cbor2 says of the bytes under Common Deterministic Encoding, floats and undefined left out as we do. */
function oracle(input: Uint8Array): { readonly value: unknown } | undefined {
  try {
    const options = {
      ...cdeDecodeOptions,
      rejectFloats: true,
      rejectUndefined: true,
      rejectDuplicateKeys: true,
    }
    // A plain copy: of a Buffer cbor2 makes Buffers.
    return { value: decode(Uint8Array.from(input), options) }
  } catch {
    return undefined
  }
}

/** Whether a value that cbor2 read lies within our subset and limits. */
function isOurs(read: unknown, budget = { left: cborLimits.itemsMax }, depth = 0): boolean {
  if (depth > cborLimits.depthMax || budget.left-- <= 0) return false
  if (read === null || typeof read === 'boolean' || typeof read === 'string') return true
  if (typeof read === 'number') return Number.isSafeInteger(read) && !Object.is(read, -0)
  if (Array.isArray(read)) return read.every(one => isOurs(one, budget, depth + 1))
  if (typeof read !== 'object') return false
  const prototype = Object.getPrototypeOf(read)
  if (prototype === Uint8Array.prototype) return true
  if (prototype !== Object.prototype) return false
  return Object.entries(read).every(([key, one]) => {
    budget.left--
    return key !== '__proto__' && isOurs(one, budget, depth + 1)
  })
}

function ours(input: Uint8Array): { readonly value: CborValue } | undefined {
  try {
    return { value: decodeCbor(input) }
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    return undefined
  }
}

/** @returns whether it was accepted */
function compare(input: Uint8Array): boolean {
  const [mine, theirs] = [ours(input), oracle(input)]
  if (mine === undefined) {
    assert.ok(theirs === undefined || !isOurs(theirs.value), `refused, though lawful: ${hex(input)}`)
    return false
  }
  assert.ok(theirs !== undefined && isOurs(theirs.value), `accepted, though not lawful: ${hex(input)}`)
  assert.deepEqual(plain(mine.value), theirs.value, hex(input))
  assert.ok(equal(encodeCbor(mine.value), input))
  return true
}

/** Our maps have no prototype; for the comparison they get one. */
function plain(value: CborValue): unknown {
  return structuredClone(value)
}

test('what we write, cbor2 writes alike under Common Deterministic Encoding, and both read it back', () => {
  for (let i = 0; i < 3_000; i++) {
    const one = value(0)
    const encoded = encodeCbor(one)
    assert.equal(hex(encoded), hex(encode(one, { cde: true })))
    assert.ok(compare(encoded))
  }
})

test('of 40,000 damaged encodings we accept exactly those that cbor2 accepts within our subset', () => {
  let accepted = 0
  for (let i = 0; i < 40_000; i++) if (compare(damaged(encodeCbor(value(1))))) accepted++
  // Both kinds occur, or the comparison would say little.
  assert.ok(accepted > 2_000 && accepted < 38_000, `${accepted} accepted`)
})

test('of 40,000 short strings made of CBOR heads we accept exactly those that cbor2 accepts within our subset', () => {
  const heads = [
    0, 1, 0x17, 0x18, 0x19, 0x1b, 0x20, 0x38, 0x40, 0x41, 0x58, 0x60, 0x61, 0x62, 0x78, 0x80, 0x81, 0x82,
  ]
  heads.push(0x98, 0x9f, 0xa0, 0xa1, 0xa2, 0xb8, 0xbf, 0xc0, 0xd8, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xff)
  let accepted = 0
  for (let i = 0; i < 40_000; i++) {
    const input = Uint8Array.from({ length: 1 + upTo(7) }, () => heads[upTo(heads.length - 1)] ?? 0)
    if (compare(input)) accepted++
  }
  assert.ok(accepted > 400, `${accepted} accepted`)
})

test('every string of one or two bytes is decided as cbor2 decides it', () => {
  for (let first = 0; first < 256; first++) {
    compare(Uint8Array.of(first))
    for (let second = 0; second < 256; second++) compare(Uint8Array.of(first, second))
  }
})

function damaged(good: Uint8Array): Uint8Array {
  const at = upTo(good.length - 1)
  const [before, after] = [good.subarray(0, at), good.subarray(at + 1)]
  switch (upTo(4)) {
    case 0:
      return Uint8Array.of(...before, (good[at] ?? 0) ^ (1 << upTo(7)), ...after)
    case 1:
      return Uint8Array.of(...before, ...after)
    case 2:
      return Uint8Array.of(...before, ...bytes(1), ...good.subarray(at))
    case 3:
      return Uint8Array.from(before)
    default:
      return Uint8Array.of(...before, ...bytes(1), ...after)
  }
}
