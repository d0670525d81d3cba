import { BytesError, equal, utf8 } from '../bytes/bytes.ts'
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

/** @throws BytesError for what {@link decodeAmendment} would refuse */
export function encodeAmendment(amendment: Amendment): Uint8Array {
  const { abandoned, adopted, reason, by, at } = checked(amendment)
  return encodeCbor({ format: 1, abandoned: fields(abandoned), adopted: fields(adopted), reason, by, at })
}

/** @throws BytesError */
export function decodeAmendment(bytes: Uint8Array): Amendment {
  const map = decodeCborMap(bytes, ['format', 'abandoned', 'adopted', 'reason', 'by', 'at'])
  if (map.format !== 1) throw new BytesError('amendment: unknown format')
  const reason = amendmentReasons.find(known => known === asText(map.reason))
  if (reason === undefined) throw new BytesError('amendment: unknown reason')
  return checked({
    abandoned: mark(map.abandoned),
    adopted: mark(map.adopted),
    reason,
    by: asText(map.by),
    at: asCount(map.at),
  })
}

function checked(amendment: Amendment): Amendment {
  const { abandoned, adopted, by, at } = amendment
  const author = utf8(by).length
  if (author < 1 || author > 256) throw new BytesError('amendment: an author is 1 to 256 bytes')
  if (!equal(abandoned.domain, adopted.domain)) throw new BytesError('amendment: two domains')
  for (const { domain, number, head } of [abandoned, adopted])
    if (domain.length !== 32 || head.length !== 32 || number < 0)
      throw new BytesError('amendment: not a mark')
  if (at < 0) throw new BytesError('amendment: not a time')
  return amendment
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
