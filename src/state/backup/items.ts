import { BytesError, text, utf8 } from '../../bytes/bytes.ts'
import { Reader } from '../../bytes/reader.ts'
import { Writer } from '../../bytes/writer.ts'
import { limits } from '../limits.ts'
import { isPath } from '../path.ts'

/** docs/spec/backup.md, "Chunks": what a backup holds, in its order. Envelope and payload may be keys. */
export type Item = PlaceItem | ScopeItem | RecordItem

/** Where the anchor lay. */
export type PlaceItem = { readonly kind: 'place'; readonly anchor: string }

export type ScopeItem = { readonly kind: 'scope'; readonly name: string }

export type RecordItem = {
  readonly kind: 'record'
  /** The place of its scope among the scopes, from 0. */
  readonly scope: number
  readonly path: string
  /** The group that put it first. */
  readonly generation: number
  readonly envelope: Uint8Array
  readonly payload: Uint8Array
}

const kinds = { scope: 1, record: 2, place: 3 } as const
const placeBytesMax = 4096
export const scopesMax = 65_535
const recordOverhead = 1 + 2 + 1 + 8 + 2 + 4

/** What it takes of a chunk. */
export function itemBytes(item: Item): number {
  if (item.kind === 'place') return 3 + utf8(item.anchor).length
  return item.kind === 'scope'
    ? 2 + utf8(item.name).length
    : recordOverhead + item.path.length + item.envelope.length + item.payload.length
}

/** Written into place, so that what may be keys is copied once. @throws BytesError */
export function writeItem(into: Uint8Array, item: Item): void {
  if (item.kind === 'place') {
    const anchor = utf8(item.anchor)
    into.set(new Writer(3 + anchor.length).u8(kinds.place).u16(anchor.length).bytes(anchor).done())
    return
  }
  if (item.kind === 'scope') {
    const name = utf8(item.name)
    into.set(new Writer(2 + name.length).u8(kinds.scope).u8(name.length).bytes(name).done())
    return
  }
  const { scope, path, generation, envelope, payload } = item
  const head = new Writer(recordOverhead + path.length).u8(kinds.record).u16(scope).u8(path.length)
  head.ascii(path).u64(generation).u16(envelope.length)
  into.set(head.done())
  into.set(envelope, head.length)
  const at = head.length + envelope.length
  into.set(new Writer(4).u32(payload.length).done(), at)
  into.set(payload, at + 4)
}

/**
 * The items of one chunk, as views into it. What their order owes to the chunks before it is {@link ItemOrder}'s.
 * @throws BytesError
 */
export function parseItems(chunk: Uint8Array): Item[] {
  const reader = new Reader(chunk)
  const items: Item[] = []
  do items.push(parseItem(reader))
  while (reader.left > 0)
  return items
}

function parseItem(reader: Reader): Item {
  const kind = reader.u8()
  if (kind === kinds.place) {
    const anchor = text(reader.bytes(reader.u16()))
    if (anchor === '' || anchor.includes('\0') || utf8(anchor).length > placeBytesMax)
      throw new BytesError('a place that is none')
    return { kind: 'place', anchor }
  }
  if (kind === kinds.scope) {
    const name = text(reader.bytes(reader.u8()))
    if (name === '') throw new BytesError('a scope without a name')
    return { kind: 'scope', name }
  }
  if (kind !== kinds.record) throw new BytesError('an item of an unknown kind')
  const scope = reader.u16()
  const name = reader.bytes(reader.u8())
  const path = Buffer.from(name.buffer, name.byteOffset, name.length).toString('latin1')
  if (!isPath(path)) throw new BytesError('a record at a path that is none')
  const generation = reader.u64()
  const envelope = reader.bytes(reader.u16())
  const length = reader.u32()
  if (length > limits.payloadBytesMax) throw new BytesError('a payload over its bound')
  return { kind: 'record', scope, path, generation, envelope, payload: reader.bytes(length) }
}

/** Holds the items of a whole backup to their order: the place, then scopes, each of them once, then records. */
export class ItemOrder {
  readonly #names = new Set<string>()
  readonly #scopesMax: number
  #hasRecords = false
  #anchor: string | undefined

  constructor(scopesMax: number) {
    this.#scopesMax = scopesMax
  }

  /** @throws BytesError */
  take(item: Item): void {
    if ((item.kind === 'place') !== (this.#anchor === undefined))
      throw new BytesError('the place is not the first item, or not the only one')
    if (item.kind === 'place') this.#anchor = item.anchor
    else if (item.kind === 'record') {
      this.#hasRecords = true
      if (item.scope >= this.#names.size) throw new BytesError('a record of a scope that is not named')
    } else {
      if (this.#hasRecords) throw new BytesError('a scope behind a record')
      if (this.#names.has(item.name)) throw new BytesError('a scope twice')
      if (this.#names.size === this.#scopesMax) throw new BytesError('more scopes than key slots')
      this.#names.add(item.name)
    }
  }

  /** Where the anchor lay. */
  get anchor(): string | undefined {
    return this.#anchor
  }

  get scopeCount(): number {
    return this.#names.size
  }

  get scopes(): readonly string[] {
    return [...this.#names]
  }
}
