import { BytesError, equal, utf8 } from '../bytes/bytes.ts'
import { asBytes, asCount, asText, type CborMap, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { sha256 } from '../crypto/hash.ts'
import { StateError } from './error.ts'
import { limits } from './limits.ts'

/** Who wrote a payload, what for, and when (wall-clock ms since 1970): for people and audit, never for decisions. */
export type Meta = { readonly subject: string; readonly purpose: string; readonly at: number }

/** Integrity envelope v1 (D1): what `verify` needs besides the payload itself. */
export type Envelope = Meta & { readonly size: number; readonly sha256: Uint8Array }

/**
 * The envelope of a payload in canonical CBOR (docs/spec/envelope.md).
 * @throws StateError E2BIG, EINVAL (`at` is no count of milliseconds, or text is not well formed)
 */
export function wrap(payload: Uint8Array, meta: Meta): Uint8Array {
  // Only what `verify` takes: an envelope that could not be read back must not be made.
  if (!Number.isSafeInteger(meta.at) || meta.at < 0)
    throw new StateError('EINVAL', 'a time is a whole number of milliseconds since 1970')
  return encodeCbor({
    v: 1,
    alg: 'sha-256',
    size: payload.length,
    sha256: sha256(payload),
    subject: bounded(meta.subject, limits.subjectBytesMax, 'subject'),
    purpose: bounded(meta.purpose, limits.purposeBytesMax, 'purpose'),
    ts: meta.at,
  })
}

/**
 * @throws StateError EINTEGRITY if the payload is not the one that was wrapped, or the envelope is not one
 */
export function verify(envelope: Uint8Array, payload: Uint8Array): Envelope {
  const claimed = decodeEnvelope(envelope)
  if (claimed.size !== payload.length || !equal(claimed.sha256, sha256(payload)))
    throw new StateError('EINTEGRITY', 'the payload is not the one its envelope names')
  return claimed
}

function decodeEnvelope(bytes: Uint8Array): Envelope {
  try {
    const map = decodeCborMap(bytes, ['v', 'alg', 'size', 'sha256', 'subject', 'purpose', 'ts'])
    if (map.v !== 1 || map.alg !== 'sha-256') throw new BytesError('unknown version or algorithm')
    return {
      size: asCount(map.size),
      sha256: asBytes(map.sha256, 32),
      subject: short(map.subject, limits.subjectBytesMax),
      purpose: short(map.purpose, limits.purposeBytesMax),
      at: asCount(map.ts),
    }
  } catch (error) {
    if (error instanceof BytesError) throw new StateError('EINTEGRITY', `envelope: ${error.message}`)
    throw error
  }
}

function short(value: CborMap[string] | undefined, max: number): string {
  const read = asText(value)
  if (utf8(read).length > max) throw new BytesError('text over its bound')
  return read
}

function bounded(value: string, max: number, name: string): string {
  if (!value.isWellFormed()) throw new StateError('EINVAL', `${name} is not well-formed text`)
  if (utf8(value).length > max) throw new StateError('E2BIG', `${name} is over ${max} bytes`)
  return value
}
