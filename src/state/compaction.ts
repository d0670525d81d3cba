import type { Secret } from '../crypto/secret.ts'
import { openRecords, type Put, type ScopeTag } from './block.ts'
import { StateError, stateError } from './error.ts'
import type { Journal } from './journal.ts'
import { limits } from './limits.ts'
import type { Records } from './records.ts'
import { type Location, type SegmentFiles, segmentHeaderBytes } from './segment.ts'
import { groupAt, type LiveBlock, liveBlocks, ReadAhead } from './walk.ts'

/**
 * A live record that is taken along, and the scope it was in; it lapses if it is not live any more when its group is
 * sealed.
 */
export type Carried = {
  readonly put: Omit<Put, 'scope'>
  readonly scope: ScopeTag
  readonly isLive: () => boolean
}

export type CompactionParts = {
  readonly journal: Journal
  readonly records: Records
  readonly source: SegmentFiles
  readonly openingKey: (scope: ScopeTag) => Promise<Secret>
  /**
   * Commits what is still live of these, and with the last of a segment where the journal begins from now on: the size
   * of the tree before its first group.
   */
  readonly carry: (records: readonly Carried[], begin: number | undefined) => Promise<void>
  /** Begins a segment, so that all before it can be given up. */
  readonly roll: () => Promise<void>
}

/** A batch waits for one step, and for one more for each so many bytes of it. */
const paceBytes = 64 * 1024

/** So often what frees space is tried again on a full disk. */
const triesMax = 4

/**
 * Gives up the oldest segments, a bounded step at a time: docs/spec/journal.md, "Compaction". Nothing is remembered
 * on disk but what the journal says, so that it may be left at any point.
 */
export class Compaction {
  readonly #parts: CompactionParts
  #source: ReadAhead
  /** The group that comes next, and its number. */
  #at: Location = { segment: 0, offset: 0 }
  #generation = 0

  #stopped = false
  /** What is under way: a run, its present step, and the run on behalf of a full disk. */
  #run: Promise<void> | undefined
  #step: Promise<void> | undefined
  #makingSpace: Promise<boolean> | undefined
  /** Why the last run ended before its time: the oldest segment is damaged, or a commit failed. */
  #failure: unknown

  constructor(parts: CompactionParts) {
    this.#parts = parts
    this.#source = new ReadAhead(parts.source)
  }

  /** Gives up every segment that there is now. @throws StateError EINTEGRITY, and what a commit throws */
  async all(): Promise<void> {
    await this.#run
    await this.#parts.roll()
    await this.upTo(this.#newest - 1)
  }

  /**
   * Gives up every segment up to this one. Whether that was done: not if the store is being closed.
   * @throws StateError as {@link all}
   */
  async upTo(segment: number): Promise<boolean> {
    await this.#run
    if (this.#newest <= segment) await this.#parts.roll()
    const isLeft = () => this.#oldest <= segment
    while (isLeft() && !this.#stopped) {
      await this.#while(isLeft)
      if (this.#failure !== undefined) throw this.#failure
    }
    return !isLeft()
  }

  /** Starts a run beside everything else if the journal is much longer than what is live. */
  ifWorthwhile(): void {
    if (this.#run === undefined && this.#failure === undefined && this.#isOver(2))
      void this.#while(() => this.#isOver(2))
  }

  /** Segments are being given up, and not fast enough. */
  get isBehind(): boolean {
    return this.#step !== undefined && this.#isOver(3)
  }

  /** Who writes faster than segments are given up waits for a step or more: the journal stays bounded. */
  async pace(bytes: number): Promise<void> {
    for (let steps = 1 + bytes / paceBytes; steps >= 1; steps--) {
      if (!this.isBehind) return
      await this.#step?.catch(() => {}) // told by `all`
    }
  }

  /**
   * Commits; on a full disk gives up segments besides. Who frees space waits for that and is tried again: it is what the
   * reserve is for.
   * @throws StateError ENOSPC, and what `commit` throws
   */
  async withRoom(commit: () => Promise<number>, isFreeing: boolean): Promise<number> {
    for (let tries = 0; ; tries++) {
      const oldest = this.#oldest
      try {
        return await commit()
      } catch (error) {
        if (!(error instanceof StateError && error.code === 'ENOSPC')) throw error
        this.#makingSpace ??= this.#makeSpace().finally(() => {
          this.#makingSpace = undefined
        })
        if (!isFreeing || tries === triesMax) throw error
        // A run that was under way may have made the room, and also be the one that took it.
        if (!(await this.#makingSpace) && this.#oldest === oldest) throw error
      }
    }
  }

  /** Returns when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#makingSpace
    await this.#run
  }

  /** Gives up segments until the reserve is whole again, or all were looked at. Whether it is. */
  async #makeSpace(): Promise<boolean> {
    const { journal, records, roll } = this.#parts
    await this.#run
    try {
      if (journal.bytes < 1.25 * records.liveBytes + 4 * limits.growBytes) return false
      if (journal.oldest === undefined) await roll()
      for (const last = this.#newest; this.#oldest < last; ) {
        const oldest = this.#oldest
        await this.#while(() => this.#oldest === oldest)
        if (this.#stopped || this.#failure !== undefined) return false
        if (await journal.refill()) return true
      }
      return false
    } catch {
      return false // the caller is told what it met itself
    }
  }

  #while(worthwhile: () => boolean): Promise<void> {
    this.#run ??= this.#steps(worthwhile).finally(() => {
      this.#run = undefined
    })
    return this.#run
  }

  async #steps(worthwhile: () => boolean): Promise<void> {
    this.#failure = undefined
    this.#source = new ReadAhead(this.#parts.source) // what was read before an error is not trusted
    try {
      while (!this.#stopped && this.#parts.journal.oldest !== undefined && worthwhile()) {
        this.#step = this.#next()
        await this.#step
      }
    } catch (error) {
      if (!this.#stopped) this.#failure = error
    } finally {
      this.#step = undefined
    }
  }

  #isOver(times: number): boolean {
    const { journal, records } = this.#parts
    return journal.bytes > times * (records.liveBytes + limits.segmentBytesMax)
  }

  get #oldest(): number {
    return this.#parts.journal.segments[0]?.number ?? 0
  }

  get #newest(): number {
    return this.#parts.journal.segments.at(-1)?.number ?? 0
  }

  /** Carries the next live records, or gives the oldest segment up when it has none left. */
  async #next(): Promise<void> {
    const { journal, carry } = this.#parts
    const oldest = journal.oldest
    if (oldest === undefined) return
    if (this.#at.segment !== oldest.number) {
      this.#at = { segment: oldest.number, offset: segmentHeaderBytes }
      this.#generation = oldest.before + 1
    }
    const live: LiveBlock[] = []
    if (this.#parts.records.liveIn(oldest.number) === 0) this.#generation = oldest.after + 1
    let { segment, offset } = this.#at
    let generation = this.#generation
    for (let read = 0, carried = 0; read < limits.groupBytesMax && carried < limits.carryBytes; ) {
      if (generation > oldest.after) break
      const group = await groupAt(this.#source, { segment, offset }, generation)
      for (const found of liveBlocks(group, (record, at) => this.#parts.records.isLive(record, at))) {
        live.push(found)
        carried += found.block.length
      }
      offset = group.next.offset
      generation++
      read += group.bytes.length
    }
    const isLast = generation > oldest.after
    const opened: Opened[] = []
    try {
      for (const block of live) {
        const found = await this.#openIfLive(block)
        if (found !== undefined) opened.push(found)
      }
      const carried = opened.flatMap(block => block.carried)
      if (isLast || carried.length > 0) await carry(carried, isLast ? oldest.after : undefined)
    } finally {
      for (const { whole } of opened) whole[Symbol.dispose]()
    }
    this.#at = { segment, offset }
    this.#generation = generation
    if (isLast) await journal.giveUpOldest()
  }

  /** Nothing if its scope was destroyed in the meantime: the key that its slot gives now is another's. */
  async #openIfLive(live: LiveBlock): Promise<Opened | undefined> {
    const isLive = () => live.records.some(record => this.#parts.records.isLive(record, live.group.at))
    // Asked before the key is: that of a scope that is gone would take the place of the next one's in its slot.
    if (!isLive()) return undefined
    try {
      return await this.#open(live)
    } catch (error) {
      if (isLive()) throw stateError(error)
      return undefined
    }
  }

  async #open({ group, block, records }: LiveBlock): Promise<Opened> {
    const { scope } = block
    const sealed = group.bytes.subarray(block.offset, block.offset + block.length)
    const { whole, records: found } = await openRecords(await this.#parts.openingKey(scope), block, sealed)
    const carried: Carried[] = []
    for (const record of records) {
      const put = found[record.index]
      if (put === undefined) continue
      const generation = record.generation ?? group.header.generation
      carried.push({
        put: { kind: 'put', path: record.path, ...put, generation },
        scope,
        isLive: () => this.#parts.records.isLive(record, group.at),
      })
    }
    return { whole, carried }
  }
}

/** What was opened of a block: views into one secret. */
type Opened = { readonly whole: Secret; readonly carried: readonly Carried[] }
