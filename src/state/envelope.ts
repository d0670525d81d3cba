import { BytesError, concat, equal, text, utf8 } from '../bytes/bytes.ts'
import { readHead, writeHead } from '../bytes/cbor.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
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
  return encodeEnvelope({ ...meta, size: payload.length, sha256: sha256(payload) })
}

/** @throws as {@link wrap} */
export function encodeEnvelope(meta: Envelope): Uint8Array {
  // Only what `verify` takes: an envelope that could not be read back must not be made.
  if (!Number.isSafeInteger(meta.at) || meta.at < 0)
    throw new StateError('EINVAL', 'a time is a whole number of milliseconds since 1970')
  const purpose = bounded(meta.purpose, limits.purposeBytesMax, 'purpose')
  const subject = bounded(meta.subject, limits.subjectBytesMax, 'subject')
  // The map written out, keys in canonical order: on the path of every put a general encoder costs more than the hash.
  const writer = new Writer(fixedBytes + purpose.length + subject.length)
  writer.bytes(beforeTime)
  writeHead(writer, 0, meta.at)
  writer.bytes(beforeSize)
  writeHead(writer, 0, meta.size)
  writer.bytes(beforeHash).bytes(meta.sha256).bytes(beforePurpose)
  writeHead(writer, 3, purpose.length)
  writer.bytes(purpose).bytes(beforeSubject)
  writeHead(writer, 3, subject.length)
  return writer.bytes(subject).done()
}

/**
 * @throws StateError EINTEGRITY if the payload is not the one that was wrapped, or the envelope is not one
 */
export function verify(envelope: Uint8Array, payload: Uint8Array): Envelope {
  const claimed = openEnvelope(envelope)
  if (claimed.size !== payload.length || !equal(claimed.sha256, sha256(payload)))
    throw new StateError('EINTEGRITY', 'the payload is not the one its envelope names')
  return claimed
}

/** What an envelope says, without its payload. @throws StateError EINTEGRITY */
export function openEnvelope(bytes: Uint8Array): Envelope {
  try {
    const envelope = fieldsOf(new Reader(bytes))
    if (!equal(encodeEnvelope(envelope), bytes)) throw new BytesError('not in its one form')
    return envelope
  } catch (error) {
    if (error instanceof BytesError) throw new StateError('EINTEGRITY', `envelope: ${error.message}`)
    throw error
  }
}

/** What stands where the fields do: whether all else is as it must be is seen when it is written again. */
function fieldsOf(reader: Reader): Envelope {
  reader.bytes(beforeTime.length)
  const at = readHead(reader, 0)
  reader.bytes(beforeSize.length)
  const size = readHead(reader, 0)
  reader.bytes(beforeHash.length)
  const sha256 = Uint8Array.from(reader.bytes(32))
  reader.bytes(beforePurpose.length)
  const purpose = short(reader, limits.purposeBytesMax)
  reader.bytes(beforeSubject.length)
  const subject = short(reader, limits.subjectBytesMax)
  return { at, size, sha256, purpose, subject }
}

function short(reader: Reader, max: number): string {
  const length = readHead(reader, 3)
  if (length > max) throw new BytesError('text over its bound')
  return length === 0 ? '' : text(reader.bytes(length))
}

function bounded(value: string, max: number, name: string): Uint8Array {
  if (value === '') return nothing
  if (!value.isWellFormed()) throw new StateError('EINVAL', `${name} is not well-formed text`)
  const bytes = utf8(value)
  if (bytes.length > max) throw new StateError('E2BIG', `${name} is over ${max} bytes`)
  return bytes
}

const nothing = new Uint8Array(0)
const fixedBytes = 128
const beforeTime = concat(Uint8Array.of(0xa7, 0x61), utf8('v'), Uint8Array.of(1, 0x62), utf8('ts'))
const beforeSize = concat(
  Uint8Array.of(0x63),
  utf8('alg'),
  Uint8Array.of(0x67),
  utf8('sha-256'),
  Uint8Array.of(0x64),
  utf8('size'),
)
const beforeHash = concat(Uint8Array.of(0x66), utf8('sha256'), Uint8Array.of(0x58, 32))
const beforePurpose = concat(Uint8Array.of(0x67), utf8('purpose'))
const beforeSubject = concat(Uint8Array.of(0x67), utf8('subject'))
