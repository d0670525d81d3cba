import { BytesError } from '../bytes/bytes.ts'
import { asBytes, asCount, asMap, asText, type CborMap, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import type { Mark } from './mark.ts'

/**
 * The one exception to the rule: a record that says from which mark a domain went on at which other mark, why, and
 * on whose word. Recovery after rollback, a change of keeper and the reconciliation of a fork are amendments;
 * there is no other way round. It counts only with a signature over {@link encodeAmendment} by the domain's key.
 */
export type Amendment = {
  readonly abandoned: Mark
  readonly adopted: Mark
  readonly reason: AmendmentReason
  /** Who decided, as the audit shows it. 1 to 256 bytes of UTF-8. */
  readonly by: string
  /** Wall-clock milliseconds since 1970, for people; nothing is decided by it. */
  readonly at: number
}

export const amendmentReasons = [
  'recovery',
  'keeper-change',
  'keeper-lost',
  'reconciliation',
  'reset',
] as const
export type AmendmentReason = (typeof amendmentReasons)[number]

export function encodeAmendment(amendment: Amendment): Uint8Array {
  const { abandoned, adopted, reason, by, at } = amendment
  return encodeCbor({ format: 1, abandoned: fields(abandoned), adopted: fields(adopted), reason, by, at })
}

/** @throws BytesError */
export function decodeAmendment(bytes: Uint8Array): Amendment {
  const map = decodeCborMap(bytes, ['format', 'abandoned', 'adopted', 'reason', 'by', 'at'])
  asCount(map.format, 1)
  const reason = amendmentReasons.find(known => known === asText(map.reason))
  const by = asText(map.by)
  if (map.format !== 1 || reason === undefined || by.length < 1 || by.length > 256)
    throw new BytesError('amendment: unknown format, reason or author')
  return {
    abandoned: mark(map.abandoned),
    adopted: mark(map.adopted),
    reason,
    by,
    at: asCount(map.at),
  }
}

function fields(mark: Mark): CborMap {
  return { domain: mark.domain, number: mark.number, head: mark.head }
}

function mark(value: CborMap[string] | undefined): Mark {
  const map = asMap(value, ['domain', 'number', 'head'])
  return {
    domain: asBytes(map.domain, 32),
    number: asCount(map.number),
    head: asBytes(map.head, 32),
  }
}
