import { concat } from '../bytes/bytes.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { channelLimits } from './limits.ts'
import type { CloseReason } from './reasons.ts'

/** The frame on the wire (C1, C2; docs/spec/channel.md section 2): 22 bytes of header, then the payload. */
export const headerBytes = 22
export const sessionIdBytes = 8
export const tagBytes = 16

export const frameTypes = { handshake: 1, data: 2, rekey: 3, close: 4 } as const
export type FrameType = (typeof frameTypes)[keyof typeof frameTypes]

/** The session id before there is a session. */
export const noSession: Uint8Array = new Uint8Array(sessionIdBytes)

export type Frame = {
  readonly type: FrameType
  readonly sessionId: Uint8Array
  readonly epoch: number
  readonly seq: number
  /** The header as it came, which is the associated data. */
  readonly header: Uint8Array
  /** A view: valid until the reader is asked for the next event. */
  readonly payload: Uint8Array
}

export type Header = Omit<Frame, 'payload' | 'header'> & { readonly payloadBytes: number }

export type HeaderVerdict =
  | { readonly ok: true; readonly header: Header }
  | { readonly ok: false; readonly reason: CloseReason }

export function encodeHeader(header: Header): Uint8Array {
  return new Writer(headerBytes)
    .u8(header.type)
    .u8(0)
    .bytes(header.sessionId)
    .u32(header.epoch)
    .u32(header.seq)
    .u32(header.payloadBytes)
    .done()
}

/** The first frame of a direction: handshake messages that no key seals. */
export function plainFrame(message: Uint8Array): Uint8Array {
  const header = { type: frameTypes.handshake, sessionId: noSession, epoch: 0, seq: 1 }
  return concat(encodeHeader({ ...header, payloadBytes: message.length }), message)
}

/** Judges 22 bytes by themselves: type, flags and length. What a state expects is judged in `traffic.ts`. */
export function parseHeader(bytes: Uint8Array): HeaderVerdict {
  const reader = new Reader(bytes)
  const type = reader.u8()
  if (!isFrameType(type)) return { ok: false, reason: 10 }
  if (reader.u8() !== 0) return { ok: false, reason: 10 }
  const header = {
    type,
    sessionId: reader.bytes(sessionIdBytes),
    epoch: reader.u32(),
    seq: reader.u32(),
    payloadBytes: reader.u32(),
  }
  if (header.payloadBytes > payloadBytesMax(header)) return { ok: false, reason: 15 }
  return { ok: true, header }
}

/** epoch (4), four zero bytes, seq (4): C2's eight-byte seq, whose upper half is never used. */
export function nonceOf(epoch: number, seq: number): Uint8Array {
  return new Writer(12).u32(epoch).u32(0).u32(seq).done()
}

/** The first frame of each direction, which no key seals. */
export function isPlain(header: Pick<Header, 'epoch' | 'seq'>): boolean {
  return header.epoch === 0 && header.seq === 1
}

function payloadBytesMax(header: Header): number {
  switch (header.type) {
    case frameTypes.handshake:
      return isPlain(header) ? channelLimits.plainFrameBytesMax : channelLimits.handshakeFrameBytesMax
    case frameTypes.data:
      return channelLimits.dataBytesMax + tagBytes
    case frameTypes.rekey:
      return channelLimits.rekeyFrameBytesMax
    case frameTypes.close:
      return 2 + 4 + channelLimits.closeTextBytesMax + tagBytes
  }
}

function isFrameType(value: number): value is FrameType {
  return value >= frameTypes.handshake && value <= frameTypes.close
}
