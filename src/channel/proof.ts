import { BytesError } from '../bytes/bytes.ts'
import { Writer } from '../bytes/writer.ts'
import { SignatureError } from '../signature/error.ts'
import { type Identity, parseIdentity } from '../signature/identity.ts'
import { channelLimits } from './limits.ts'
import { decode, encodeMessage, type MessageName } from './message.ts'
import { refusal } from './reasons.ts'

/** What proves who is there: parameters, identity, signature, MAC (docs/spec/channel.md, flights 3 and 4). */
export function encodeServerParameters(dataBytesMax: number): Uint8Array {
  // The QKD offer, absent: policy, key bits, SAE id.
  return encodeMessage('SPARAMS', new Writer(8).u32(dataBytesMax).u8(0).u16(0).u8(0).done())
}

/** The largest plaintext the server takes. @throws ChannelError 13 */
export function parseServerParameters(body: Uint8Array): number {
  return decode(body, reader => {
    const dataBytesMax = checkDataBytes(reader.u32())
    if (reader.u8() !== 0 || reader.u16() !== 0 || reader.u8() !== 0) throw new BytesError('a QKD offer')
    return dataBytesMax
  })
}

export function encodeClientParameters(dataBytesMax: number): Uint8Array {
  return encodeMessage('CPARAMS', new Writer(4).u32(dataBytesMax).done())
}

/** The largest plaintext the client takes. @throws ChannelError 13 */
export function parseClientParameters(body: Uint8Array): number {
  return decode(body, reader => checkDataBytes(reader.u32()))
}

/** The client's answer to the QKD offer, absent: selection and reason. */
export function encodeSelection(): Uint8Array {
  return encodeMessage('QKDSEL', new Writer(2).u8(0).u8(0).done())
}

/** @throws ChannelError 13 */
export function checkSelection(body: Uint8Array): void {
  decode(body, reader => {
    if (reader.u16() !== 0) throw new BytesError('a QKD selection')
  })
}

export function encodeIdentity(name: 'SIDENT' | 'CIDENT', identity: Identity): Uint8Array {
  const body = new Writer(4_096).u8(identity.records.length)
  for (const record of identity.records) body.u32(record.length).bytes(record)
  return encodeMessage(name, body.done())
}

/** Structure and links of the records; their signatures are the driver's to verify. @throws ChannelError 13, 50 */
export function parseIdentityMessage(body: Uint8Array): Identity {
  const records = decode(body, reader => {
    const count = reader.u8()
    if (count < 1 || count > channelLimits.recordsMax) throw new BytesError(`${count} records`)
    return Array.from({ length: count }, () => {
      const length = reader.u32()
      if (length < 1 || length > channelLimits.recordBytesMax) throw new BytesError(`a record of ${length}`)
      return reader.bytes(length)
    })
  })
  try {
    return parseIdentity(records)
  } catch (cause) {
    if (cause instanceof SignatureError) throw refusal(50, 'records that are no identity', cause)
    throw cause
  }
}

export function encodeProof(name: 'SSIG' | 'CSIG' | 'SFIN' | 'CFIN', bytes: Uint8Array): Uint8Array {
  return encodeMessage(name, bytes)
}

/** @throws ChannelError 13 */
export function checkSignature(body: Uint8Array): Uint8Array {
  if (body.length < 1 || body.length > channelLimits.signatureBytesMax)
    throw refusal(13, `a signature of ${body.length} bytes`)
  return body
}

export const serverProof = ['SPARAMS', 'SIDENT', 'SSIG', 'SFIN'] as const satisfies readonly MessageName[]
export const clientProof = [
  'CPARAMS',
  'QKDSEL',
  'CONTINUE',
  'CIDENT',
  'CSIG',
  'CFIN',
] as const satisfies readonly MessageName[]

function checkDataBytes(value: number): number {
  if (value < channelLimits.dataBytesMin || value > channelLimits.dataBytesMax)
    throw new BytesError(`data_bytes_max ${value}`)
  return value
}
