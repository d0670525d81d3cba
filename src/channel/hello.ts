import { BytesError, concat, equal } from '../bytes/bytes.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { hmacSha256, sha256 } from '../crypto/hash.ts'
import { equalSecrets } from '../crypto/secret.ts'
import { noSession, sessionIdBytes } from './frame.ts'
import { decode, encodeMessage, messageHeaderBytes, messageTypes, parseFlight } from './message.ts'
import { refusal } from './reasons.ts'
import { macOneLabel } from './schedule.ts'

/** The plain messages: CHLO, SHLO, ABORT (docs/spec/channel.md section 3, flights 1 and 2). */
export type ClientHello = {
  readonly versions: readonly number[]
  readonly suites: readonly number[]
  readonly modes: readonly number[]
  readonly random: Uint8Array
  readonly publicKey: Uint8Array
}

export type ServerHello = {
  readonly version: number
  readonly suite: number
  readonly mode: number
  readonly random: Uint8Array
  readonly sessionId: Uint8Array
  readonly ciphertext: Uint8Array
}

export const randomBytes = 32
export const version = 1
const macOneBytes = 16
const versionsMax = 8
const suitesMax = 16
const modesMax = 4

export function encodeClientHello(hello: ClientHello, serverId: Uint8Array): Uint8Array {
  const body = new Writer(2_048)
  list16(body, hello.versions)
  list16(body, hello.suites)
  body.u8(hello.modes.length)
  for (const mode of hello.modes) body.u8(mode)
  body.bytes(hello.random).u16(hello.publicKey.length).bytes(hello.publicKey).u16(0).zeros(macOneBytes)
  const message = encodeMessage('CHLO', body.done())
  const end = message.length - macOneBytes
  message.set(macOne(message.subarray(0, end), serverId), end)
  return message
}

/** Whether the sender of this CHLO, of any version, knows which server it calls. In constant time. */
export function isForServer(payload: Uint8Array, serverId: Uint8Array): boolean {
  if (payload.length < messageHeaderBytes + macOneBytes || payload[0] !== messageTypes.CHLO) return false
  const reader = new Reader(payload.subarray(1))
  if (reader.u32() !== reader.left) return false
  const end = payload.length - macOneBytes
  return equalSecrets(macOne(payload.subarray(0, end), serverId), payload.subarray(end))
}

/** The part that every later version keeps. @throws ChannelError 13 */
export function offeredVersions(payload: Uint8Array): readonly number[] {
  return decode(payload.subarray(messageHeaderBytes), reader => {
    const versions = readList16(reader, versionsMax)
    reader.rest()
    return versions
  })
}

/** @throws ChannelError 13 */
export function parseClientHello(body: Uint8Array): ClientHello {
  return decode(body, reader => {
    const hello = {
      versions: readList16(reader, versionsMax),
      suites: readList16(reader, suitesMax),
      modes: distinct(times(count(reader, modesMax), () => reader.u8())),
      random: reader.bytes(randomBytes),
      publicKey: reader.bytes(reader.u16()),
    }
    // A cookie answers a RETRY, which this version never sends.
    if (reader.u16() !== 0) throw new BytesError('a cookie')
    reader.bytes(macOneBytes)
    return hello
  })
}

export function encodeServerHello(hello: ServerHello): Uint8Array {
  const body = new Writer(2_048).u16(hello.version).u16(hello.suite).u8(hello.mode)
  body.bytes(hello.random).bytes(hello.sessionId).u16(hello.ciphertext.length).bytes(hello.ciphertext)
  return encodeMessage('SHLO', body.done())
}

/** @throws ChannelError 13 */
export function parseServerHello(body: Uint8Array): ServerHello {
  return decode(body, reader => {
    const hello = {
      version: reader.u16(),
      suite: reader.u16(),
      mode: reader.u8(),
      random: reader.bytes(randomBytes),
      sessionId: reader.bytes(sessionIdBytes),
      ciphertext: reader.bytes(reader.u16()),
    }
    if (equal(hello.sessionId, noSession)) throw new BytesError('no session id')
    return hello
  })
}

export type Hint = 11 | 12

export function encodeAbort(reason: Hint): Uint8Array {
  return encodeMessage('ABORT', new Writer(2).u16(reason).done())
}

/** The hint of an ABORT; nothing if this is another message. @throws ChannelError 13 */
export function parseAbort(payload: Uint8Array): Hint | undefined {
  if (payload[0] !== messageTypes.ABORT) return undefined
  const abort = parseFlight(payload, ['ABORT'])('ABORT')
  const reason = decode(abort.body, reader => reader.u16())
  if (!isHint(reason)) throw refusal(13, 'an ABORT with a reason it cannot have')
  return reason
}

function isHint(reason: number): reason is Hint {
  return reason === 11 || reason === 12
}

function macOne(message: Uint8Array, serverId: Uint8Array): Uint8Array {
  return hmacSha256(sha256(concat(macOneLabel, serverId)), message).subarray(0, macOneBytes)
}

function list16(writer: Writer, values: readonly number[]): void {
  writer.u8(values.length)
  for (const value of values) writer.u16(value)
}

function readList16(reader: Reader, max: number): readonly number[] {
  return distinct(times(count(reader, max), () => reader.u16()))
}

function count(reader: Reader, max: number): number {
  const value = reader.u8()
  if (value < 1 || value > max) throw new BytesError(`a list of ${value}`)
  return value
}

function times<T>(number: number, read: () => T): readonly T[] {
  return Array.from({ length: number }, read)
}

function distinct(values: readonly number[]): readonly number[] {
  if (new Set(values).size !== values.length) throw new BytesError('a value twice')
  return values
}
