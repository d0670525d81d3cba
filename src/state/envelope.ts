import { BytesError, equal } from '../bytes/bytes.ts'
import { asBytes, asCount, asText, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { sha256 } from '../crypto/hash.ts'
import { StateError } from './error.ts'
import { limits } from './limits.ts'

/** Who wrote a payload, what for, and when (wall-clock ms since 1970): for people and audit, never for decisions. */
export type Meta = { readonly subject: string; readonly purpose: string; readonly at: number }

/** Integrity envelope v1 (D1): what `verify` needs besides the payload itself. */
export type Envelope = Meta & { readonly size: number; readonly sha256: Uint8Array }

/** The envelope of a payload in canonical CBOR (docs/spec/envelope.md). */
export function wrap(payload: Uint8Array, meta: Meta): Uint8Array {
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
      subject: asText(map.subject),
      purpose: asText(map.purpose),
      at: asCount(map.ts),
    }
  } catch (error) {
    if (error instanceof BytesError) throw new StateError('EINTEGRITY', `envelope: ${error.message}`)
    throw error
  }
}

function bounded(value: string, max: number, name: string): string {
  if (new TextEncoder().encode(value).length > max)
    throw new StateError('E2BIG', `${name} is over ${max} bytes`)
  return value
}
