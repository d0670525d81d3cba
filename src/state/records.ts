import { equal, hex } from '../bytes/bytes.ts'
import type { Secret } from '../crypto/secret.ts'
import { type Block, openRecord, openSecretRecord, type Placed, type ScopeTag } from './block.ts'
import { type Envelope, verify } from './envelope.ts'
import { StateError, stateError } from './error.ts'
import { ownPrefix } from './path.ts'
import { PathIndex } from './path-index.ts'
import type { Location } from './segment.ts'

/** A live record: which record it is of which block of which group. */
type Entry = {
  readonly group: Group
  readonly block: Block
  readonly index: number
  readonly length: number
  /** Of a carried record; else it is the group's own. */
  readonly generation: number | undefined
}

/** Shared by the entries of one group; `live` by those of one segment. */
type Group = { readonly generation: number; readonly at: Location; readonly live: { count: number } }

/** A payload with its envelope, and the group that put it. */
export type Found = { readonly payload: Uint8Array; readonly envelope: Envelope; readonly generation: number }

export type RecordSource = {
  read(at: Location, length: number): Promise<Uint8Array>
  scopeKey(scope: ScopeTag): Promise<Secret>
}

/** What a record takes besides its path and its plaintext: its head, and its share of block and group. */
const overheadBytes = 16

/** The live records of a journal: what each path holds now, opened on demand. */
export class Records {
  readonly #entries = new Map<string, Entry>()
  readonly #paths = new PathIndex()
  #liveBytes = 0
  /** Those of the product itself. */
  #own = 0
  /** How many records of each segment are live. */
  readonly #segments = new Map<number, { count: number }>()
  readonly #source: RecordSource

  constructor(source: RecordSource) {
    this.#source = source
  }

  /** Takes a committed group in; `at` is where the group lies. */
  apply(generation: number, placed: readonly Placed[], at: Location): void {
    const live = this.#segments.get(at.segment) ?? { count: 0 }
    this.#segments.set(at.segment, live)
    const group = { generation, at, live }
    for (const record of placed)
      if (record.kind === 'delete') this.#drop(record.path)
      else {
        const { path, block, index, length, generation: first } = record
        const before = this.#entries.get(path)
        if (before !== undefined) before.group.live.count--
        else {
          if (path.startsWith(ownPrefix)) this.#own++
          this.#paths.add(path)
        }
        live.count++
        this.#liveBytes += length - (before === undefined ? -overheadBytes - path.length : before.length)
        this.#entries.set(path, { group, block, index, length, generation: first })
      }
  }

  get count(): number {
    return this.#entries.size
  }

  /** Those of callers, under `/state/`. */
  get callersCount(): number {
    return this.#entries.size - this.#own
  }

  /** What the live records would take up in a journal that held nothing else, in bytes; an estimate. */
  get liveBytes(): number {
    return this.#liveBytes
  }

  /** The newest segment that holds a live record of one of these scopes. */
  lastSegmentOf(scopeIds: readonly Uint8Array[]): number | undefined {
    let last: number | undefined
    for (const { block, group } of this.#entries.values()) {
      const { segment } = group.at
      if (segment > (last ?? 0) && scopeIds.some(id => equal(id, block.scope.id))) last = segment
    }
    return last
  }

  /** How many records of a segment are live. */
  liveIn(segment: number): number {
    return this.#segments.get(segment)?.count ?? 0
  }

  /** Whether this record, of the group that lies there, is what its path holds now. */
  isLive(record: Placed, at: Location): boolean {
    if (record.kind === 'delete') return false
    const entry = this.#entries.get(record.path)
    if (entry === undefined || entry.index !== record.index || entry.block.index !== record.block.index)
      return false
    return entry.group.at.segment === at.segment && entry.group.at.offset === at.offset
  }

  /** The groups that hold live records, each once, in the order of the journal. */
  groups(): readonly Group[] {
    const groups = new Set<Group>()
    for (const { group } of this.#entries.values()) groups.add(group)
    return [...groups].sort((a, b) => a.at.segment - b.at.segment || a.at.offset - b.at.offset)
  }

  /** The scopes and store keys that live records are sealed under, each pair once. */
  scopes(): ScopeTag[] {
    const found = new Map<string, ScopeTag>()
    for (const { block } of this.#entries.values())
      found.set(`${block.scope.slot} ${hex(block.scope.id)} ${block.scope.storeKey}`, block.scope)
    return [...found.values()]
  }

  /** Where a record lies: its group, and its block there. @throws StateError ENOENT */
  place(path: string): { readonly group: Group; readonly block: Block } {
    const { group, block } = this.#entry(path)
    return { group, block }
  }

  /** Every record of a scope is gone, whatever the journal still holds. */
  forget(scopeId: Uint8Array): void {
    for (const [path, entry] of this.#entries) if (equal(entry.block.scope.id, scopeId)) this.#drop(path)
  }

  keep(isLive: (scope: ScopeTag) => boolean): void {
    for (const [path, entry] of this.#entries) if (!isLive(entry.block.scope)) this.#drop(path)
  }

  has(path: string): boolean {
    return this.#entries.has(path)
  }

  /** Plaintext bytes of a record, its envelope included; 0 if there is none. */
  lengthOf(path: string): number {
    return this.#entries.get(path)?.length ?? 0
  }

  /** Paths under a prefix in byte order: those behind `after`, at most `max`. */
  list(prefix: string, after = '', max: number = Number.POSITIVE_INFINITY): string[] {
    const all = () => this.#entries.keys()
    if (this.#paths.isMade || !prefix.startsWith(ownPrefix)) return this.#paths.list(all, prefix, after, max)
    // Opening asks for a few records of the product: that is no reason to put a million others in order.
    const found: string[] = []
    for (const path of all()) if (path.startsWith(prefix) && path > after) found.push(path)
    return found.sort().slice(0, max)
  }

  /** @throws StateError ENOENT, EINTEGRITY */
  async get(path: string): Promise<Found> {
    const entry = this.#entry(path)
    try {
      const key = await this.#source.scopeKey(entry.block.scope)
      const { envelope, payload } = openRecord(key, entry.block, await this.#read(entry), entry.index)
      // A copy, so that the rest of the block is not kept alive with it.
      return {
        payload: Uint8Array.from(payload),
        envelope: verify(envelope, payload),
        generation: entry.generation ?? entry.group.generation,
      }
    } catch (error) {
      // Replaced or destroyed while it was being read.
      if (this.#entries.get(path) !== entry) return this.get(path)
      throw stateError(error)
    }
  }

  /** As {@link get}, for payloads that are keys: opened without leaving copies behind. */
  async getSecret(path: string): Promise<Secret> {
    const entry = this.#entry(path)
    try {
      const key = await this.#source.scopeKey(entry.block.scope)
      const bytes = await this.#read(entry)
      const { envelope, payload } = await openSecretRecord(key, entry.block, bytes, entry.index)
      verify(envelope, payload.bytes)
      return payload
    } catch (error) {
      if (this.#entries.get(path) !== entry) return this.getSecret(path)
      throw stateError(error)
    }
  }

  #drop(path: string): void {
    const entry = this.#entries.get(path)
    if (entry === undefined) return
    entry.group.live.count--
    if (path.startsWith(ownPrefix)) this.#own--
    this.#paths.remove(path)
    this.#liveBytes -= entry.length + overheadBytes + path.length
    this.#entries.delete(path)
  }

  #read({ group, block }: Entry): Promise<Uint8Array> {
    const at = { segment: group.at.segment, offset: group.at.offset + block.offset }
    return this.#source.read(at, block.length)
  }

  #entry(path: string): Entry {
    const entry = this.#entries.get(path)
    if (entry === undefined) throw new StateError('ENOENT', `nothing at ${path}`)
    return entry
  }
}
