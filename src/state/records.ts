import { equal } from '../bytes/bytes.ts'
import type { Secret } from '../crypto/secret.ts'
import { type Envelope, verify } from './envelope.ts'
import { StateError, stateError } from './error.ts'
import { openRecord, openSecretRecord, type Placed, type ScopeTag } from './group.ts'
import type { Location } from './segment.ts'

/** A live record: what it is called, where it lies, and in which group it was put. */
export type Entry = {
  readonly path: string
  readonly generation: number
  readonly at: Location
  readonly length: number
  readonly index: number
  readonly scope: ScopeTag
}

/** A payload with its envelope, and the group that put it. */
export type Found = { readonly payload: Uint8Array; readonly envelope: Envelope; readonly generation: number }

export type RecordSource = {
  read(at: Location, length: number): Promise<Uint8Array>
  scopeKey(scope: ScopeTag): Promise<Secret>
}

/** The live records of a journal: what each path holds now, opened on demand. */
export class Records {
  readonly #entries = new Map<string, Entry>()
  readonly #source: RecordSource

  constructor(source: RecordSource) {
    this.#source = source
  }

  get size(): number {
    return this.#entries.size
  }

  /** Takes a committed group in; `at` is where the group lies. */
  apply(generation: number, placed: readonly Placed[], at: Location): void {
    for (const record of placed) {
      if (record.scope === undefined) this.#entries.delete(record.path)
      else
        this.#entries.set(record.path, {
          path: record.path,
          generation,
          at: { segment: at.segment, offset: at.offset + record.offset },
          length: record.length,
          index: record.index,
          scope: record.scope,
        })
    }
  }

  /** Every record of a scope is gone, whatever the journal still holds. */
  forget(scopeId: Uint8Array): void {
    for (const [path, entry] of this.#entries) if (equal(entry.scope.id, scopeId)) this.#entries.delete(path)
  }

  keep(isLive: (scope: ScopeTag) => boolean): void {
    for (const [path, entry] of this.#entries) if (!isLive(entry.scope)) this.#entries.delete(path)
  }

  has(path: string): boolean {
    return this.#entries.has(path)
  }

  /** Paths under a prefix in byte order. */
  list(prefix: string): string[] {
    const paths: string[] = []
    for (const path of this.#entries.keys()) if (path.startsWith(prefix)) paths.push(path)
    return paths.sort()
  }

  /** @throws StateError ENOENT, EINTEGRITY */
  async get(path: string): Promise<Found> {
    const entry = this.#entry(path)
    try {
      const sealed = await this.#source.read(entry.at, entry.length)
      const opened = openRecord(await this.#source.scopeKey(entry.scope), { ...entry, kind: 'put' }, sealed)
      return {
        payload: opened.payload,
        envelope: verify(opened.envelope, opened.payload),
        generation: entry.generation,
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
      const sealed = await this.#source.read(entry.at, entry.length)
      const key = await this.#source.scopeKey(entry.scope)
      const { envelope, payload } = await openSecretRecord(key, { ...entry, kind: 'put' }, sealed)
      verify(envelope, payload.bytes)
      return payload
    } catch (error) {
      if (this.#entries.get(path) !== entry) return this.getSecret(path)
      throw stateError(error)
    }
  }

  #entry(path: string): Entry {
    const entry = this.#entries.get(path)
    if (entry === undefined) throw new StateError('ENOENT', `nothing at ${path}`)
    return entry
  }
}
