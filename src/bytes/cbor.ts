import { type EncodeOptions, encode, rfc8949EncodeOptions } from 'cborg'
import { BytesError, equal, text } from './bytes.ts'
import { Reader } from './reader.ts'

/** What our fixed maps hold. Map keys are text; integers are within +-(2^53 - 1). */
export type CborValue =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly CborValue[]
  | { readonly [key: string]: CborValue }

export type CborMap = { readonly [key: string]: CborValue }

export const cborLimits = { depthMax: 4, itemsMax: 4096 } as const

/**
 * Core deterministic encoding (RFC 8949 section 4.2.1) of integers, text, bytes, arrays and text-keyed maps. What
 * the decoder would refuse, or would read as something else, is refused here already.
 * @throws BytesError
 */
export function encodeCbor(value: CborValue): Uint8Array {
  return encode(value, encodeOptions)
}

const encodeOptions: EncodeOptions = {
  ...rfc8949EncodeOptions,
  typeEncoders: {
    number(value: number) {
      if (!Number.isSafeInteger(value)) throw new BytesError('CBOR: not an integer within 2^53 - 1')
      return null
    },
    string(value: string) {
      if (!value.isWellFormed()) throw new BytesError('CBOR: text with half a surrogate pair')
      return null
    },
    undefined() {
      throw new BytesError('CBOR: undefined')
    },
  },
}

/**
 * The inverse, bounded and strict: what does not re-encode to the same bytes is refused, so every value has
 * one spelling (D1).
 * @throws BytesError
 */
export function decodeCbor(bytes: Uint8Array): CborValue {
  const reader = new Reader(bytes)
  const value = item(reader, { left: cborLimits.itemsMax }, 0)
  reader.end()
  if (!equal(encode(value, rfc8949EncodeOptions), bytes))
    throw new BytesError('CBOR is not in canonical form')
  return value
}

/** Decodes a map with exactly these keys (`?` behind a key makes it optional). */
export function decodeCborMap(bytes: Uint8Array, keys: readonly string[]): CborMap {
  const value = decodeCbor(bytes)
  return asMap(value, keys)
}

export function asMap(value: CborValue | undefined, keys: readonly string[]): CborMap {
  if (!isMap(value)) throw new BytesError('CBOR: a map was expected')
  const allowed = new Set(keys.map(key => key.replace('?', '')))
  for (const key of Object.keys(value))
    if (!allowed.has(key)) throw new BytesError('CBOR: a key that this map does not have')
  for (const key of keys)
    if (!key.endsWith('?') && !Object.hasOwn(value, key)) throw new BytesError(`CBOR: key ${key} is missing`)
  return value
}

export function asBytes(value: CborValue | undefined, length?: number): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new BytesError('CBOR: a byte string was expected')
  if (length !== undefined && value.length !== length)
    throw new BytesError(`CBOR: ${length} bytes were expected`)
  return value
}

export function asText(value: CborValue | undefined): string {
  if (typeof value !== 'string') throw new BytesError('CBOR: a text string was expected')
  return value
}

/** A non-negative integer, at most `max`. */
export function asCount(value: CborValue | undefined, max: number = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > max)
    throw new BytesError('CBOR: a count was expected')
  return value
}

export function asArray(
  value: CborValue | undefined,
  max: number = cborLimits.itemsMax,
): readonly CborValue[] {
  if (!Array.isArray(value) || value.length > max) throw new BytesError('CBOR: an array was expected')
  return value
}

function isMap(value: CborValue | undefined): value is CborMap {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
  )
}

function item(reader: Reader, budget: { left: number }, depth: number): CborValue {
  if (depth > cborLimits.depthMax) throw new BytesError('CBOR: nested too deep')
  if (budget.left-- <= 0) throw new BytesError('CBOR: too many items')
  const head = reader.u8()
  const major = head >> 5
  if (major === 7) {
    if (head === 0xf4) return false
    if (head === 0xf5) return true
    if (head === 0xf6) return null
    throw new BytesError('CBOR: simple value or float')
  }
  const count = argument(reader, head & 31)
  switch (major) {
    case 0:
      return count
    case 1:
      return -1 - count
    case 2:
      return Uint8Array.from(reader.bytes(count))
    case 3:
      return text(reader.bytes(count))
    case 4: {
      const items: CborValue[] = []
      for (let i = 0; i < count; i++) items.push(item(reader, budget, depth + 1))
      return items
    }
    case 5: {
      const map: { [key: string]: CborValue } = Object.create(null)
      for (let i = 0; i < count; i++) {
        const key = item(reader, budget, depth + 1)
        if (typeof key !== 'string' || key === '__proto__' || Object.hasOwn(map, key))
          throw new BytesError('CBOR: map keys are distinct text strings')
        map[key] = item(reader, budget, depth + 1)
      }
      return map
    }
    default:
      throw new BytesError('CBOR: tags are not used')
  }
}

function argument(reader: Reader, info: number): number {
  if (info < 24) return info
  if (info === 24) return reader.u8()
  if (info === 25) return reader.u16()
  if (info === 26) return reader.u32()
  if (info === 27) return reader.u64()
  throw new BytesError('CBOR: indefinite length')
}
