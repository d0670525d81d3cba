import { BytesError } from '../bytes/bytes.ts'
import {
  asArray,
  asBytes,
  asCount,
  asMap,
  asText,
  type CborMap,
  type CborValue,
  decodeCbor,
  encodeCbor,
} from '../bytes/cbor.ts'
import { Writer } from '../bytes/writer.ts'
import { isOutcome, isStateCode, StateError } from './error.ts'

/** docs/spec/stated.md. */
export const protocolLimits = {
  frameBytesMax: 2 * 1024 * 1024 + 64 * 1024,
  inFlightMax: 64,
  changesMax: 256,
  pathsMax: 1000,
  historyMax: 500,
} as const

export type WireChange =
  | { readonly path: string; readonly envelope: Uint8Array; readonly payload: Uint8Array }
  | { readonly path: string }

export type Request =
  | { readonly op: 'change'; readonly changes: readonly WireChange[]; readonly deadline: number | undefined }
  | { readonly op: 'get'; readonly path: string; readonly fresh: boolean }
  | { readonly op: 'list'; readonly prefix: string; readonly after: string }
  | { readonly op: 'history'; readonly path: string }
  | { readonly op: 'figures' }
  | { readonly op: 'compact' }

export function encodeFrame(map: CborMap): Uint8Array {
  const body = encodeCbor(map)
  return new Writer(4 + body.length).u32(body.length).bytes(body).done()
}

/** What may be asked: the keys of each operation's map, `?` behind those that may be left out. */
export type Operations = { readonly [op: string]: readonly string[] }

/** A request whose keys are those of its operation; their values are not looked at yet. */
export type Call = { readonly id: number; readonly op: string; readonly map: CborMap }

/** @throws BytesError for what is none of these operations, too */
export function decodeCall(frame: Uint8Array, operations: Operations): Call {
  const value = decodeCbor(frame)
  const all = Object.values(operations).flat()
  const { id, op } = asMap(value, ['id', 'op', ...all.map(key => `${key.replace('?', '')}?`)])
  const keys = Object.hasOwn(operations, asText(op)) ? operations[asText(op)] : undefined
  if (keys === undefined) throw new BytesError('an operation that is not known')
  const number = asCount(id)
  if (number === 0) throw new BytesError('requests are numbered from 1')
  return { id: number, op: asText(op), map: asMap(value, ['id', 'op', ...keys]) }
}

/** What every subject may ask. */
export const stateOperations: Operations = {
  put: ['path', 'envelope', 'payload', 'deadline?'],
  delete: ['path', 'deadline?'],
  batch: ['changes', 'deadline?'],
  get: ['path', 'fresh?'],
  list: ['prefix', 'after?'],
  history: ['path'],
  figures: [],
  compact: [],
}

/** What a subject asks. @throws BytesError */
export function decodeRequest(frame: Uint8Array): { readonly id: number; readonly request: Request } {
  const call = decodeCall(frame, stateOperations)
  return { id: call.id, request: requestOf(call) }
}

/** @throws BytesError */
export function requestOf({ op, map }: Call): Request {
  const deadline = map.deadline === undefined ? undefined : asCount(map.deadline)
  switch (op) {
    case 'put':
      return { op: 'change', changes: [changeOf(map)], deadline }
    case 'delete':
      return { op: 'change', changes: [{ path: asText(map.path) }], deadline }
    case 'batch':
      return {
        op: 'change',
        changes: asArray(map.changes, protocolLimits.changesMax).map(changeIn),
        deadline,
      }
    case 'get':
      return { op: 'get', path: asText(map.path), fresh: asFlag(map.fresh) }
    case 'list':
      return {
        op: 'list',
        prefix: asText(map.prefix),
        after: map.after === undefined ? '' : asText(map.after),
      }
    case 'history':
      return { op: 'history', path: asText(map.path) }
    case 'figures':
      return { op: 'figures' }
    default:
      return { op: 'compact' }
  }
}

function changeIn(value: CborValue): WireChange {
  const map = asMap(value, ['path', 'envelope?', 'payload?'])
  if (map.envelope === undefined && map.payload === undefined) return { path: asText(map.path) }
  return changeOf(map)
}

function changeOf(map: CborMap): WireChange {
  return { path: asText(map.path), envelope: asBytes(map.envelope), payload: asBytes(map.payload) }
}

function asFlag(value: CborValue | undefined): boolean {
  if (value === undefined) return false
  if (typeof value !== 'boolean') throw new BytesError('a boolean was expected')
  return value
}

export function encodeFailure(id: number, error: StateError): Uint8Array {
  const { code, message, outcome } = error
  return encodeFrame({ id, error: { code, message, ...(outcome !== undefined && { outcome }) } })
}

/** @throws BytesError */
export function decodeAnswer(frame: Uint8Array): {
  readonly id: number
  readonly answer: CborMap | StateError
} {
  const map = asMap(decodeCbor(frame), ['id', 'ok?', 'error?'])
  const id = asCount(map.id)
  if (map.ok !== undefined && map.error === undefined) return { id, answer: asMap(map.ok, answerKeys) }
  const { code, message, outcome } = asMap(map.error, ['code', 'message', 'outcome?'])
  if (!isStateCode(code) || (outcome !== undefined && !isOutcome(outcome)))
    throw new BytesError('an error of an unknown kind')
  return { id, answer: new StateError(code, asText(message), outcome === undefined ? {} : { outcome }) }
}

/** `control` is what docs/spec/control.md puts there. */
const answerKeys = [
  'control?',
  'generation?',
  'envelope?',
  'payload?',
  'paths?',
  'more?',
  'changes?',
  'figures?',
]

/** Cuts a stream into frames; what is incomplete takes up at most twice what has come, whatever length was claimed. */
export class Frames {
  #bytes: Uint8Array = new Uint8Array(0)
  /** What has come and is not taken yet lies here. */
  #start = 0
  #end = 0
  #want: number | undefined

  get isBegun(): boolean {
    return this.#end > this.#start || this.#want !== undefined
  }

  /** How long the frame is that has begun; `undefined` until its length is there. */
  get wanted(): number | undefined {
    return this.#want
  }

  push(bytes: Uint8Array): void {
    const have = this.#end - this.#start
    if (this.#end + bytes.length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(have + bytes.length, Math.min(2 * have, frameMax)))
      larger.set(this.#bytes.subarray(this.#start, this.#end))
      this.#bytes = larger
      this.#start = 0
      this.#end = have
    }
    this.#bytes.set(bytes, this.#end)
    this.#end += bytes.length
  }

  /** The next whole frame. @throws BytesError if it is longer than a frame may be */
  next(): Uint8Array | undefined {
    if (this.#want === undefined) {
      const head = this.#take(4)
      if (head === undefined) return undefined
      this.#want = new DataView(head.buffer, head.byteOffset, 4).getUint32(0)
      if (this.#want > protocolLimits.frameBytesMax) throw new BytesError('a frame over its bound')
    }
    const frame = this.#take(this.#want)
    if (frame !== undefined) this.#want = undefined
    return frame
  }

  #take(length: number): Uint8Array | undefined {
    if (this.#end - this.#start < length) return undefined
    const taken = this.#bytes.subarray(this.#start, this.#start + length)
    this.#start += length
    // What was taken is the taker's: it is never written over.
    if (this.#start === this.#end) {
      this.#bytes = new Uint8Array(0)
      this.#start = 0
      this.#end = 0
    }
    return taken
  }
}

const frameMax = protocolLimits.frameBytesMax + 4
