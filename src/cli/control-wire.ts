import { BytesError } from '../bytes/bytes.ts'
import { asArray, asBoolean, asBytes, asCount, asMap, asText, type CborMap } from '../bytes/cbor.ts'
import type { Lost } from '../mailbox/settlement.ts'
import type { Call, Operations } from '../state/protocol.ts'
import type { Rotated } from '../state/rotation.ts'
import type { Waiting } from './claim.ts'
import { type Exit, exits } from './exits.ts'
import type { Failure } from './failure.ts'
import type { SendOrder } from './holder.ts'
import type { Figures } from './progress.ts'

/** docs/spec/control.md: what only the owner of a home may ask of the process that holds it. */
export const controlOperations: Operations = {
  'peer-add': ['name', 'identity'],
  'peer-remove': ['name'],
  'peer-claim': ['name'],
  'peer-allow': ['name', 'amendment'],
  adopt: ['policy'],
  'adopt-parameters': ['parameters'],
  rotate: ['scope?', 'storeKey'],
  send: ['peer', 'path', 'host', 'port', 'giveUp', 'again', 'lost'],
  watch: ['sending', 'wait'],
  stop: ['sending'],
}

export const controlLimits = {
  pathBytesMax: 4096,
  nameBytesMax: 255,
  waitMsMax: 1000,
  /** Of one answer, and what is kept for the next one; what is more is dropped, the oldest first. */
  newsMax: 64,
  newsBytesMax: 4096,
} as const

export type ControlRequest =
  | { readonly op: 'peer-add'; readonly name: string; readonly identity: Uint8Array }
  | { readonly op: 'peer-remove' | 'peer-claim'; readonly name: string }
  | { readonly op: 'peer-allow'; readonly name: string; readonly amendment: Uint8Array }
  | { readonly op: 'adopt'; readonly policy: Uint8Array }
  | { readonly op: 'adopt-parameters'; readonly parameters: Uint8Array }
  | { readonly op: 'rotate'; readonly what: Rotated }
  | { readonly op: 'send'; readonly order: SendOrder }
  | { readonly op: 'watch'; readonly sending: number; readonly waitMs: number }
  | { readonly op: 'stop'; readonly sending: number }

/** @throws BytesError */
export function decodeControl({ op, map }: Call): ControlRequest {
  switch (op) {
    case 'peer-add':
      return { op, name: asName(map.name), identity: asBytes(map.identity, 32) }
    case 'peer-allow':
      return { op, name: asName(map.name), amendment: asBytes(map.amendment, 32) }
    case 'peer-remove':
    case 'peer-claim':
      return { op, name: asName(map.name) }
    case 'adopt':
      return { op, policy: asBytes(map.policy) }
    case 'adopt-parameters':
      return { op, parameters: asBytes(map.parameters) }
    case 'rotate':
      return { op, what: rotatedOf(map) }
    case 'send':
      return { op, order: orderOf(map) }
    case 'watch':
      return { op, sending: asCount(map.sending), waitMs: asCount(map.wait, controlLimits.waitMsMax) }
    case 'stop':
      return { op, sending: asCount(map.sending) }
    default:
      throw new BytesError('an operation that is not known')
  }
}

export function encodeOrder({ to, giveUpMs, ...order }: SendOrder): CborMap {
  return { op: 'send', ...order, host: to.host, port: to.port, giveUp: Math.ceil(giveUpMs) }
}

function rotatedOf({ scope, storeKey }: CborMap): Rotated {
  return rotatedBy(scope === undefined ? undefined : asName(scope), asBoolean(storeKey))
}

/** What one asks for who names a scope, the store key, or nothing: then all of it. */
export function rotatedBy(scope: string | undefined, storeKey: boolean): Rotated {
  if (scope === undefined) return storeKey ? { storeKey } : {}
  return { scopes: [scope], storeKey }
}

function orderOf(map: CborMap): SendOrder {
  const path = asText(map.path)
  if (!path.startsWith('/') || path.includes('\0') || Buffer.byteLength(path) > controlLimits.pathBytesMax)
    throw new BytesError('no absolute path')
  return {
    peer: asName(map.peer),
    path,
    to: { host: asName(map.host), port: asCount(map.port, 65_535) },
    giveUpMs: asCount(map.giveUp),
    again: asBoolean(map.again),
    lost: asBoolean(map.lost),
  }
}

function asName(value: CborMap[string] | undefined): string {
  const name = asText(value)
  if (name === '' || name.includes('\0') || Buffer.byteLength(name) > controlLimits.nameBytesMax)
    throw new BytesError('no name')
  return name
}

/** What became of a sending. `handedOver`: the process that holds the home ends, and whoever asked can go on by itself. */
export type SendingEnd =
  | { readonly kind: 'ended'; readonly exit: 'done' | 'interrupted'; readonly alreadyDelivered: boolean }
  | { readonly kind: 'handed over' }
  | { readonly kind: 'failed'; readonly failure: Failure }

/** How a sending stands, and what is new of it. */
export type Watched = {
  readonly figures: Figures
  /** Lines that were queued since it began. */
  readonly newlyQueued: number
  /** JSON: the events of its log, or `{"unreached": milliseconds}`. */
  readonly news: readonly string[]
  readonly end: SendingEnd | undefined
}

export function encodeWatched({ figures, newlyQueued, news, end }: Watched): CborMap {
  const { queued, acknowledged } = figures
  return { queued, acknowledged, newlyQueued, news, ...(end !== undefined && { end: encodeEnd(end) }) }
}

/** @throws BytesError */
export function decodeWatched(answer: CborMap): Watched {
  const map = asMap(answer, ['queued', 'acknowledged', 'newlyQueued', 'news', 'end?'])
  return {
    figures: { queued: asCount(map.queued), acknowledged: asCount(map.acknowledged) },
    newlyQueued: asCount(map.newlyQueued),
    news: asArray(map.news, controlLimits.newsMax).map(asText),
    end: map.end === undefined ? undefined : decodeEnd(asMap(map.end, endKeys)),
  }
}

const endKeys = ['kind', 'exit?', 'alreadyDelivered?', 'code?', 'message?', 'hint?']

function encodeEnd(end: SendingEnd): CborMap {
  return end.kind === 'failed' ? { kind: end.kind, ...encodeFailed(end.failure) } : end
}

function decodeEnd(map: CborMap): SendingEnd {
  const { kind, exit, alreadyDelivered } = map
  if (kind === 'handed over') return { kind }
  if (kind === 'ended' && (exit === 'done' || exit === 'interrupted'))
    return { kind, exit, alreadyDelivered: alreadyDelivered === true }
  if (kind === 'failed') return { kind, failure: decodeFailed(map) }
  throw new BytesError('an end of an unknown kind')
}

export function encodeFailed({ code, message, hint, exit }: Failure): CborMap {
  const text = message.toWellFormed()
  return { code, message: text, exit, ...(hint !== undefined && { hint: hint.toWellFormed() }) }
}

/** @throws BytesError */
export function decodeFailed({ code, message, hint, exit }: CborMap): Failure {
  const known = Object.keys(exits).find(name => name === exit)
  if (!isExit(known)) throw new BytesError('an exit that is not known')
  return {
    code: asText(code),
    message: asText(message),
    hint: hint === undefined ? undefined : asText(hint),
    exit: known,
  }
}

function isExit(name: string | undefined): name is Exit {
  return name !== undefined && Object.hasOwn(exits, name)
}

/** Flat, for an answer is as deep as CBOR may be here: four values for each range. */
export function encodeWaiting({ amendment, waits, lost }: Waiting): CborMap {
  return {
    amendment,
    waits,
    lost: lost.flatMap(({ way, arrived, first, last }) => [way, arrived, first, last]),
  }
}

export const waitingKeys = ['amendment', 'waits', 'lost']

/** @throws BytesError */
export function decodeWaiting(map: CborMap): Waiting {
  const values = asArray(map.lost, 2 * 4)
  const lost: Lost[] = []
  for (let at = 0; at < values.length; at += 4) {
    const [way, arrived, first, last] = values.slice(at, at + 4)
    if (way !== 'sent' && way !== 'received') throw new BytesError('a way that is not known')
    lost.push({ way, arrived: asBoolean(arrived), first: asCount(first), last: asCount(last) })
  }
  return { amendment: asBytes(map.amendment, 32), waits: asBoolean(map.waits), lost }
}
