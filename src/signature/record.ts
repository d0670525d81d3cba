import { BytesError } from '../bytes/bytes.ts'
import { asBytes, asCount, asText, type CborMap, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { ed25519, mldsa87, type SignatureAlgorithm } from '../crypto/signature.ts'
import { SignatureError } from './error.ts'

/** The algorithms a record can hold a key of, in the order their signatures are laid out. */
export const algorithms = { ed25519, mldsa87 } as const satisfies Record<string, SignatureAlgorithm>
export type KeyName = keyof typeof algorithms

/**
 * Which signatures an identity owes, in the only order it may move through (C4). All of them, always: hybrid is
 * AND. Nothing here is negotiated.
 */
export const owed = {
  classical: ['ed25519'],
  hybrid: ['ed25519', 'mldsa87'],
  pqc: ['mldsa87'],
} as const satisfies Record<string, readonly KeyName[]>
export type Owes = keyof typeof owed

export const identityLimits = { recordsMax: 8, recordBytesMax: 16_384 } as const

/** One record of an identity: the keys `owes` asks for and no others. */
export type IdentityRecord = {
  readonly format: 1
  /** First 1, then consecutive. */
  readonly number: number
  /** SHA-256 of the record before this one; null in the first. */
  readonly previous: Uint8Array | null
} & (
  | { readonly owes: 'classical'; readonly ed25519: Uint8Array; readonly mldsa87?: never }
  | { readonly owes: 'hybrid'; readonly ed25519: Uint8Array; readonly mldsa87: Uint8Array }
  | { readonly owes: 'pqc'; readonly ed25519?: never; readonly mldsa87: Uint8Array }
)

/** Canonical CBOR (RFC 8949 section 4.2.1): what is hashed, signed and sent. */
export function encodeRecord(record: IdentityRecord): Uint8Array {
  return encodeCbor(record)
}

/** @throws SignatureError */
export function parseRecord(bytes: Uint8Array): IdentityRecord {
  return strictly(bytes, ['format', 'number', 'owes', 'previous', 'ed25519?', 'mldsa87?'], map => {
    const { format, number, owes, previous, ed25519, mldsa87 } = map
    if (format !== 1) throw new BytesError('unknown format')
    const base = {
      format,
      number: asCount(number, identityLimits.recordsMax),
      previous: previous === null ? null : asBytes(previous, 32),
    } as const
    if (base.number === 0) throw new BytesError('records are numbered from 1')
    if ((base.number === 1) !== (base.previous === null))
      throw new BytesError('the first record, and no other, has no previous one')
    switch (asText(owes)) {
      case 'classical':
        absent(mldsa87)
        return { ...base, owes: 'classical', ed25519: key('ed25519', ed25519) }
      case 'hybrid':
        return { ...base, owes: 'hybrid', ed25519: key('ed25519', ed25519), mldsa87: key('mldsa87', mldsa87) }
      case 'pqc':
        absent(ed25519)
        return { ...base, owes: 'pqc', mldsa87: key('mldsa87', mldsa87) }
      default:
        throw new BytesError('unknown value of owes')
    }
  })
}

/** A record as it travels: its bytes, and the signature of the record before it (null for the first). */
export type Entry = { readonly record: Uint8Array; readonly signature: Uint8Array | null }

export function encodeEntry(entry: Entry): Uint8Array {
  return encodeCbor(entry)
}

/** @throws SignatureError */
export function parseEntry(bytes: Uint8Array): Entry {
  return strictly(bytes, ['record', 'signature'], ({ record, signature }) => ({
    record: asBytes(record),
    signature: signature === null ? null : asBytes(signature),
  }))
}

function key(name: KeyName, value: CborMap[string] | undefined): Uint8Array {
  return asBytes(value, algorithms[name].publicBytes)
}

function absent(value: CborMap[string] | undefined): void {
  if (value !== undefined) throw new BytesError('a key that is not owed')
}

function strictly<T>(bytes: Uint8Array, keys: readonly string[], read: (map: CborMap) => T): T {
  if (bytes.length > identityLimits.recordBytesMax)
    throw new SignatureError('E2BIG', 'identity record too large')
  try {
    return read(decodeCborMap(bytes, keys))
  } catch (cause) {
    if (!(cause instanceof BytesError)) throw cause
    throw new SignatureError('EINVAL', `identity record: ${cause.message}`, { cause })
  }
}
