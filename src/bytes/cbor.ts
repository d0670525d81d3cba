import { BytesError, equal, text, utf8 } from './bytes.ts'
import { Reader } from './reader.ts'
import { Writer } from './writer.ts'

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
  const writer = new Writer()
  write(writer, value, 0)
  return writer.done()
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
  if (!equal(encodeCbor(value), bytes)) throw new BytesError('CBOR is not in canonical form')
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

export function asBoolean(value: CborValue | undefined): boolean {
  if (typeof value !== 'boolean') throw new BytesError('CBOR: true or false was expected')
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

function write(writer: Writer, value: CborValue, depth: number): void {
  if (depth > cborLimits.depthMax) throw new BytesError('CBOR: nested too deep')
  if (value === null) writer.u8(0xf6)
  else if (typeof value === 'boolean') writer.u8(value ? 0xf5 : 0xf4)
  else if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new BytesError('CBOR: not an integer within 2^53 - 1')
    writeHead(writer, value < 0 ? 1 : 0, value < 0 ? -1 - value : value)
  } else if (typeof value === 'string') writeText(writer, value)
  else if (value instanceof Uint8Array) {
    writeHead(writer, 2, value.length)
    writer.bytes(value)
  } else if (Array.isArray(value)) {
    writeHead(writer, 4, value.length)
    for (const one of value) write(writer, one, depth + 1)
  } else if (isMap(value)) {
    const entries = Object.entries(value)
    writeHead(writer, 5, entries.length)
    for (const [key, one] of entries.sort(byEncodedKey)) {
      if (key === '__proto__') throw new BytesError('CBOR: a key that no map may have')
      writeText(writer, key)
      write(writer, one, depth + 1)
    }
  } else throw new BytesError(`CBOR: ${typeof value}`)
}

/** The bytewise order of encoded keys: shorter ones first, then by their bytes. */
function byEncodedKey([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  if (isAscii(a) && isAscii(b)) return a.length - b.length || (a < b ? -1 : 1)
  const [left, right] = [utf8(a), utf8(b)]
  if (left.length !== right.length) return left.length - right.length
  for (let i = 0; i < left.length; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

function isAscii(value: string): boolean {
  for (let i = 0; i < value.length; i++) if (value.charCodeAt(i) > 0x7f) return false
  return true
}

function writeText(writer: Writer, value: string): void {
  if (value.length < 256 && isAscii(value)) {
    writeHead(writer, 3, value.length)
    writer.ascii(value)
    return
  }
  if (!value.isWellFormed()) throw new BytesError('CBOR: text with half a surrogate pair')
  const bytes = utf8(value)
  writeHead(writer, 3, bytes.length)
  writer.bytes(bytes)
}

/** Of the shortest form. */
export function writeHead(writer: Writer, major: number, count: number): void {
  const kind = major << 5
  if (count < 24) writer.u8(kind | count)
  else if (count < 0x100) writer.u8(kind | 24).u8(count)
  else if (count < 0x1_0000) writer.u8(kind | 25).u16(count)
  else if (count < 0x1_0000_0000) writer.u8(kind | 26).u32(count)
  else writer.u8(kind | 27).u64(count)
}

/** Of this major type, in whatever form. */
export function readHead(reader: Reader, major: number): number {
  const head = reader.u8()
  if (head >> 5 !== major) throw new BytesError(`CBOR: major type ${major} was expected`)
  return argument(reader, head & 31)
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
