import { BytesError, equal } from '../bytes/bytes.ts'
import type { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { channelLimits } from './limits.ts'
import { decode, encodeMessage } from './message.ts'
import { secretIdBytes } from './schedule.ts'

/** The continuity block and its answer (docs/spec/channel.md section 3, Continuity). Heads are opaque here. */
export type Positions = {
  readonly nextSend: number
  readonly headBeforeSend: Uint8Array
  readonly nextExpected: number
  readonly headBeforeExpected: Uint8Array
  /** The first message that can still be sent. */
  readonly firstKept: number
  readonly headBeforeKept: Uint8Array
  /** By which this end went on from where it was, while the other end may not know of it; else zeros. */
  readonly amendment: Uint8Array
}

export type Offer = { readonly id: Uint8Array; readonly binder: Uint8Array }

export type ContinueBlock = { readonly offers: readonly Offer[]; readonly positions: Positions }

export type Results = {
  /** The id that the server goes on from; nothing for none. */
  readonly chosen: Uint8Array | undefined
  readonly positions: Positions
  readonly firstEpoch: number
}

export const headBytes = 32
const noId = new Uint8Array(secretIdBytes)
const amendmentBytes = 32
const positionsBytes = 3 * (8 + headBytes) + amendmentBytes
const resultsBytes = 2 + 1 + secretIdBytes + positionsBytes + 4

export function encodeContinue(block: ContinueBlock): Uint8Array {
  const body = new Writer(256).u8(block.offers.length)
  for (const { id, binder } of block.offers) body.bytes(id).bytes(binder)
  writePositions(body, block.positions)
  return encodeMessage('CONTINUE', body.done())
}

/** @throws ChannelError 13 */
export function parseContinue(body: Uint8Array, binderBytes: number): ContinueBlock {
  return decode(body, reader => {
    const count = reader.u8()
    if (count > channelLimits.offersMax) throw new BytesError(`${count} offers`)
    const offers = Array.from({ length: count }, () => ({
      id: reader.bytes(secretIdBytes),
      binder: reader.bytes(binderBytes),
    }))
    const [first, second] = offers
    if (first && second && equal(first.id, second.id)) throw new BytesError('an id twice')
    return { offers, positions: readPositions(reader) }
  })
}

export function encodeResults(results: Results): Uint8Array {
  // QKD result and its reason, absent.
  const body = new Writer(resultsBytes).u8(0).u8(0)
  body.u8(results.chosen === undefined ? 0 : 1).bytes(results.chosen ?? noId)
  writePositions(body, results.positions)
  return body.u32(results.firstEpoch).done()
}

/** The body of SDONE: results, as bytes too, and SCONF. @throws ChannelError 13 */
export function parseDone(
  body: Uint8Array,
  confirmationBytes: number,
): { readonly results: Results; readonly encoded: Uint8Array; readonly confirmation: Uint8Array } {
  return decode(body, reader => {
    const encoded = body.subarray(0, resultsBytes)
    if (reader.u16() !== 0) throw new BytesError('a QKD result')
    const results = {
      chosen: readChosen(reader),
      positions: readPositions(reader),
      firstEpoch: reader.u32(),
    }
    return { results, encoded, confirmation: reader.bytes(confirmationBytes) }
  })
}

function readChosen(reader: Reader): Uint8Array | undefined {
  const chosen = reader.u8()
  const id = reader.bytes(secretIdBytes)
  if (chosen === 1) return id
  if (chosen !== 0 || !equal(id, noId)) throw new BytesError('neither an id nor none')
  return undefined
}

/** @throws TypeError on numbers and heads that are no position: a mistake of the caller's */
export function checkPositions(positions: Positions): Positions {
  const { nextSend, headBeforeSend, nextExpected, headBeforeExpected, firstKept, headBeforeKept } = positions
  for (const number of [nextSend, nextExpected, firstKept])
    if (!Number.isSafeInteger(number) || number < 1) throw new TypeError('messages are numbered from 1')
  if (firstKept > nextSend) throw new TypeError('what is kept was numbered')
  for (const head of [headBeforeSend, headBeforeExpected, headBeforeKept])
    if (head.length !== headBytes) throw new TypeError(`a head is ${headBytes} bytes`)
  if (positions.amendment.length !== amendmentBytes) throw new TypeError('an amendment has an id of 32 bytes')
  return positions
}

export function writePositions(writer: Writer, positions: Positions): void {
  checkPositions(positions)
  writer.u64(positions.nextSend).bytes(positions.headBeforeSend)
  writer.u64(positions.nextExpected).bytes(positions.headBeforeExpected)
  writer.u64(positions.firstKept).bytes(positions.headBeforeKept)
  writer.bytes(positions.amendment)
}

/** @throws BytesError */
export function readPositions(reader: Reader): Positions {
  const positions = {
    nextSend: readNumber(reader),
    headBeforeSend: reader.bytes(headBytes),
    nextExpected: readNumber(reader),
    headBeforeExpected: reader.bytes(headBytes),
    firstKept: readNumber(reader),
    headBeforeKept: reader.bytes(headBytes),
    amendment: reader.bytes(amendmentBytes),
  }
  if (positions.firstKept > positions.nextSend) throw new BytesError('what is kept was not numbered')
  return positions
}

function readNumber(reader: Reader): number {
  const number = reader.u64()
  if (number === 0) throw new BytesError('message number 0')
  return number
}
