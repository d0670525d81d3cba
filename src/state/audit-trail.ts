import { concat } from '../bytes/bytes.ts'
import { emptyFrontier, type Frontier } from '../bytes/merkle.ts'
import type { Clock } from '../host/clock.ts'
import {
  type AuditChunk,
  type AuditEntry,
  auditPath,
  auditPrefix,
  chunkPath,
  decodeChunk,
  decodeRetained,
  droppedLine,
  encodeChunk,
  encodeLines,
  encodeRetained,
  lineOf,
  withLines,
} from './audit.ts'
import type { Operation, ScopeKey } from './block.ts'
import { wrap } from './envelope.ts'
import { StateError } from './error.ts'
import { limits } from './limits.ts'
import type { Records } from './records.ts'

/** The entries of a group as one more operation of it; `taken` tells that the group is on its way. */
export type Chunk = {
  readonly operation: Operation
  readonly taken: () => void
  /** The group is durable and marked. */
  readonly committed: () => void
}

/** How long what no change waits for waits for one. */
const flushMs = 1000

/** How many entries are before it, its bytes, and what it says while it may still be merged and was made here. */
type KnownChunk = { readonly first: number; readonly bytes: number; readonly lines?: Uint8Array }

type Own = { readonly put: string; readonly payload: Uint8Array } | { readonly delete: string }

/** Hears of entries once they are committed, in their order. It must not fail, and nobody waits for it. */
export type AuditSink = (lines: readonly string[]) => void

/** What the trail asks of the store. */
export type AuditHost = {
  readonly commit: (changes: readonly Own[]) => Promise<void>
  /** Commits a group that has nothing but what waits here. */
  readonly flush: () => Promise<void>
}

/** Numbers the entries, puts them into the groups, and keeps what they take bounded: docs/spec/audit.md. */
export class AuditTrail {
  readonly #scope: () => ScopeKey
  readonly #records: Records
  readonly #clock: Clock
  #host: AuditHost | undefined
  readonly #sink: AuditSink | undefined
  #cancelFlush: (() => void) | undefined
  /** How many entries there are. */
  #size: number
  /** The chunks that are committed or on their way. */
  readonly #chunks: KnownChunk[]
  #bytes: number
  /** How many chunks in front are as large as merging makes them. */
  #merged = 0
  /** Entries that no group of their own waits for. */
  #waiting: string[] = []
  #dropped = 0
  #droppedInAll = 0
  #tidying: Promise<void> | undefined

  private constructor(
    scope: () => ScopeKey,
    records: Records,
    clock: Clock,
    sink: AuditSink | undefined,
    size: number,
    chunks: KnownChunk[],
  ) {
    this.#sink = sink
    this.#scope = scope
    this.#records = records
    this.#clock = clock
    this.#size = size
    this.#chunks = chunks
    this.#bytes = chunks.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /**
   * Goes on behind the newest chunk; `scope` is asked for each one what it is sealed with.
   * @throws StateError EINTEGRITY, BytesError
   */
  static async open(
    scope: () => ScopeKey,
    records: Records,
    clock: Clock,
    sink?: AuditSink,
  ): Promise<AuditTrail> {
    const chunks: KnownChunk[] = records.list(auditPrefix).map(path => {
      return { first: Number.parseInt(path.slice(auditPrefix.length), 16), bytes: records.lengthOf(path) }
    })
    const newest = chunks.at(-1)
    if (newest === undefined) {
      const { size } = await retained(records)
      return new AuditTrail(scope, records, clock, sink, size, chunks)
    }
    const { first, lines } = decodeChunk((await records.get(chunkPath(newest.first))).payload)
    return new AuditTrail(scope, records, clock, sink, first + lines.length, chunks)
  }

  /** Entries that were dropped since the store was opened. */
  get dropped(): number {
    return this.#droppedInAll
  }

  get waiting(): number {
    return this.#waiting.length + (this.#dropped > 0 ? 1 : 0)
  }

  /** Takes an entry that no change waits for. Never fails, never waits. */
  note(entry: AuditEntry): void {
    this.#cancelFlush ??= this.#clock.after(flushMs, () => void this.#flush())
    if (this.#waiting.length < limits.auditWaitingMax) this.#waiting.push(lineOf(entry, this.#clock.now()))
    else {
      this.#dropped++
      this.#droppedInAll++
    }
  }

  /** The chunk of a group that commits the changes of these; `undefined` if there is nothing to say. */
  chunk(entries: readonly AuditEntry[], generation: number): Chunk | undefined {
    if (entries.length === 0 && this.waiting === 0) return undefined
    const at = this.#clock.now()
    const dropped = this.#dropped
    const lines = dropped > 0 ? [droppedLine(dropped, at)] : []
    let waited = 0
    for (let bytes = 0; bytes < limits.auditWaitingBytes; waited++) {
      const line = this.#waiting[waited]
      if (line === undefined) break
      lines.push(line)
      bytes += line.length
    }
    for (const entry of entries) lines.push(lineOf(entry, at, generation))
    const first = this.#size
    const text = encodeLines(lines)
    const payload = encodeChunk(first, text)
    const envelope = wrap(payload, { subject: '', purpose: '', at })
    const operation: Operation = {
      kind: 'put',
      path: chunkPath(first),
      scope: this.#scope(),
      envelope,
      payload,
    }
    const taken = () => {
      this.#size = first + lines.length
      this.#waiting.splice(0, waited)
      this.#dropped -= dropped
      const chunk = { first, bytes: payload.length }
      this.#chunks.push(isLarge(chunk) ? chunk : { ...chunk, lines: text })
      this.#bytes += payload.length
    }
    return { operation, taken, committed: () => this.#sink?.(lines) }
  }

  /** Merges small chunks and drops old ones, beside everything else, when there are too many. */
  tidy(): void {
    const small = this.#chunks.length - this.#merged > limits.auditChunksMax
    if (this.#tidying !== undefined || (!small && this.#bytes <= limits.auditBytesMax)) return
    this.#tidying = this.#tidy()
      .catch(() => {}) // tried again when there is more
      .finally(() => {
        this.#tidying = undefined
      })
  }

  attach(host: AuditHost): void {
    this.#host = host
  }

  /** Commits what waits, and returns when nothing is under way. */
  async close(): Promise<void> {
    await this.#flush()
    await this.#tidying
  }

  async #flush(): Promise<void> {
    this.#cancelFlush?.()
    this.#cancelFlush = undefined
    try {
      while (this.waiting > 0) await this.#host?.flush()
    } catch {
      // The next change takes it along, or is told itself that nothing can be written.
    }
  }

  async #commit(changes: readonly Own[]): Promise<void> {
    await this.#host?.commit(changes)
  }

  async #tidy(): Promise<void> {
    if (this.#bytes > limits.auditBytesMax) await this.#drop()
    else await this.#merge()
  }

  async #merge(): Promise<void> {
    for (let next = this.#chunks[this.#merged]; next !== undefined && isLarge(next); ) {
      this.#merged++
      next = this.#chunks[this.#merged]
    }
    const parts: Uint8Array[] = []
    let bytes = 0
    for (const chunk of this.#chunks.slice(this.#merged)) {
      const isCommitted = this.#records.has(chunkPath(chunk.first))
      if (!isCommitted || isLarge(chunk) || bytes >= limits.auditChunkBytes) break
      parts.push(chunk.lines ?? (await this.#linesOf(chunk)))
      bytes += chunk.bytes
    }
    const [start, ...gone] = this.#chunks.slice(this.#merged, this.#merged + parts.length)
    if (start === undefined) return
    const { first } = start
    if (gone.length > 0) {
      const payload = encodeChunk(first, concat(...parts))
      await this.#commit([{ put: chunkPath(first), payload }, ...gone.map(deletion)])
      this.#bytes += payload.length - bytes
      bytes = payload.length
    }
    // What it says need not be remembered any more.
    this.#chunks.splice(this.#merged, parts.length, { first, bytes })
    this.#merged++
  }

  async #linesOf({ first }: KnownChunk): Promise<Uint8Array> {
    return encodeLines((await chunkAt(this.#records, chunkPath(first)))?.lines ?? [])
  }

  /** Drops the oldest quarter of what may be kept, remembering the tree of all that was dropped. */
  async #drop(): Promise<void> {
    let tree = await retained(this.#records)
    let bytes = 0
    let count = 0
    for (const chunk of this.#chunks) {
      if (this.#bytes - bytes <= 0.75 * limits.auditBytesMax || count === limits.auditChunksMax) break
      if (!this.#records.has(chunkPath(chunk.first))) break
      tree = withLines(tree, decodeChunk((await this.#records.get(chunkPath(chunk.first))).payload).lines)
      bytes += chunk.bytes
      count++
    }
    if (count === 0) return
    const gone = this.#chunks.slice(0, count).map(deletion)
    await this.#commit([{ put: auditPath, payload: encodeRetained(tree) }, ...gone])
    this.#chunks.splice(0, count)
    this.#bytes -= bytes
    this.#merged = Math.max(0, this.#merged - count)
  }
}

/** Large enough to be left as it is. */
function isLarge({ bytes }: KnownChunk): boolean {
  return bytes >= limits.auditChunkBytes / 8
}

function deletion({ first }: KnownChunk): Own {
  return { delete: chunkPath(first) }
}

async function retained(records: Records): Promise<Frontier> {
  return records.has(auditPath) ? decodeRetained((await records.get(auditPath)).payload) : emptyFrontier
}

/** Whatever can be asked for its records. */
export type AuditSource = {
  list(prefix: string): string[]
  get(path: string): Promise<{ readonly payload: Uint8Array }>
}

/** All lines there are, oldest first. @throws StateError EINTEGRITY */
export async function* auditLines(records: AuditSource): AsyncGenerator<string> {
  let told = 0
  for (let isWhole = false; !isWhole; ) {
    isWhole = true
    for (const path of records.list(auditPrefix)) {
      const chunk = await chunkAt(records, path)
      if (chunk === undefined) {
        isWhole = false // merged or dropped meanwhile: go on where the others are now
        break
      }
      const { first, lines } = chunk
      yield* lines.slice(Math.max(0, told - first))
      told = Math.max(told, first + lines.length)
    }
  }
}

async function chunkAt(records: AuditSource, path: string): Promise<AuditChunk | undefined> {
  try {
    return decodeChunk((await records.get(path)).payload)
  } catch (error) {
    if (error instanceof StateError && error.code === 'ENOENT') return undefined
    throw error
  }
}
