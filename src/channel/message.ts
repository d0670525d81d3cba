import { BytesError } from '../bytes/bytes.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { refusal } from './reasons.ts'

/** Messages of handshakes and rekeys: type u8, length u32, body (docs/spec/channel.md section 3, rekey.md section 1). */
export const messageTypes = {
  CHLO: 1,
  SHLO: 2,
  RETRY: 3,
  ABORT: 4,
  SPARAMS: 5,
  SIDENT: 6,
  SSIG: 7,
  SFIN: 8,
  CPARAMS: 9,
  QKDSEL: 10,
  CONTINUE: 11,
  CIDENT: 12,
  CSIG: 13,
  CFIN: 14,
  SDONE: 15,
  RKINIT: 16,
  RKACK: 17,
  RKCOMMIT: 18,
  RKSWITCH: 19,
  RKPLEASE: 20,
} as const
export type MessageName = keyof typeof messageTypes

/** A message as it travels, which is what the transcript takes in, and its body. */
export type Message = { readonly whole: Uint8Array; readonly body: Uint8Array }

export const messageHeaderBytes = 5

export function encodeMessage(name: MessageName, body: Uint8Array): Uint8Array {
  return new Writer(messageHeaderBytes + body.length)
    .u8(messageTypes[name])
    .u32(body.length)
    .bytes(body)
    .done()
}

/**
 * The messages of a flight, by name. Copies: they outlive the frame that brought them.
 * @throws ChannelError 13 unless it is exactly these, in this order
 */
export function parseFlight<Name extends MessageName>(
  payload: Uint8Array,
  names: readonly Name[],
): (name: Name) => Message {
  const bytes = Uint8Array.from(payload)
  const messages = new Map<MessageName, Message>()
  decode(bytes, reader => {
    for (const name of names) {
      const start = reader.offset
      if (reader.u8() !== messageTypes[name]) throw new BytesError(`not ${name}`)
      const body = reader.bytes(reader.u32())
      messages.set(name, { whole: bytes.subarray(start, reader.offset), body })
    }
  })
  return name => {
    const message = messages.get(name)
    if (message === undefined) throw new TypeError(`${name} was not asked for`)
    return message
  }
}

/** Reads a whole format: what is malformed or left over is refused with 13. */
export function decode<T>(bytes: Uint8Array, read: (reader: Reader) => T): T {
  try {
    const reader = new Reader(bytes)
    const value = read(reader)
    reader.end()
    return value
  } catch (cause) {
    if (cause instanceof BytesError) throw refusal(13, `malformed: ${cause.message}`, cause)
    throw cause
  }
}
