import { type Block, openRecords, type Placed, type Put, type ScopeKey, type ScopeTag } from './block.ts'
import type { Journal } from './journal.ts'
import { limits } from './limits.ts'
import type { Records } from './records.ts'
import { type Location, type SegmentFiles, segmentHeaderBytes } from './segment.ts'
import { groupAt, type WalkedGroup } from './walk.ts'

/** A put that takes a live record along; it lapses if the record is not live any more when its group is sealed. */
export type Carried = { readonly put: Put; readonly isLive: () => boolean }

export type CompactionParts = {
  readonly journal: Journal
  readonly records: Records
  readonly source: SegmentFiles
  readonly scopeKey: (scope: ScopeTag) => Promise<ScopeKey>
  /** Commits what is still live of these. */
  readonly carry: (records: readonly Carried[]) => Promise<void>
  /** Commits where the journal begins from now on: the size of the tree before its first group. */
  readonly begin: (size: number) => Promise<void>
}

/**
 * Gives up the oldest segment, a bounded step at a time: docs/spec/journal.md, "Compaction". Nothing is remembered
 * on disk but what the journal says, so that it may be left at any point.
 */
export class Compaction {
  readonly #parts: CompactionParts
  /** The group that comes next, and its number. */
  #at: Location = { segment: 0, offset: 0 }
  #generation = 0

  constructor(parts: CompactionParts) {
    this.#parts = parts
  }

  /**
   * Carries the next live records, or gives the segment up when there are none left.
   * @throws StateError EINTEGRITY (the segment is damaged: it stays), and what a commit throws
   */
  async step(): Promise<void> {
    const { journal, source, begin } = this.#parts
    const oldest = journal.oldest
    if (oldest === undefined) return
    if (this.#at.segment !== oldest.number) {
      this.#at = { segment: oldest.number, offset: segmentHeaderBytes }
      this.#generation = oldest.before + 1
    }
    const live: LiveBlock[] = []
    let { segment, offset } = this.#at
    let generation = this.#generation
    for (let read = 0, carried = 0; read < limits.groupBytesMax && carried < limits.carryBytes; ) {
      if (generation > oldest.after) break
      const group = await groupAt(source, { segment, offset }, generation)
      for (const found of this.#liveIn(group)) {
        live.push(found)
        carried += found.block.length
      }
      offset = group.next.offset
      generation++
      read += group.bytes.length
    }
    // Committed side by side, so that they share a group.
    await all(live.map(block => this.#carry(block)))
    this.#at = { segment, offset }
    this.#generation = generation
    if (generation <= oldest.after || live.length > 0) return
    await begin(oldest.after)
    await journal.giveUpOldest()
  }

  #liveIn(group: WalkedGroup): LiveBlock[] {
    const live = new Map<Block, LivePut[]>()
    for (const record of group.placed) {
      if (record.kind === 'delete' || !this.#parts.records.isLive(record, group.at)) continue
      const others = live.get(record.block)
      if (others === undefined) live.set(record.block, [record])
      else others.push(record)
    }
    return [...live].map(([block, records]) => ({ group, block, records }))
  }

  async #carry({ group, block, records }: LiveBlock): Promise<void> {
    const scope = await this.#parts.scopeKey(block.scope)
    const sealed = group.bytes.subarray(block.offset, block.offset + block.length)
    const { whole, records: opened } = await openRecords(scope.key, block, sealed)
    using _ = whole
    const carried: Carried[] = []
    for (const record of records) {
      const found = opened[record.index]
      if (found === undefined) continue
      const generation = record.generation ?? group.header.generation
      const put: Put = { kind: 'put', path: record.path, scope, ...found, generation }
      carried.push({ put, isLive: () => this.#parts.records.isLive(record, group.at) })
    }
    await this.#parts.carry(carried)
  }
}

/** Waits for all, also when one fails: what was opened is wiped by then. */
async function all(work: readonly Promise<void>[]): Promise<void> {
  for (const done of await Promise.allSettled(work)) if (done.status === 'rejected') throw done.reason
}

type LivePut = Placed & { readonly kind: 'put' }

/** The records of a block that are live. */
type LiveBlock = { readonly group: WalkedGroup; readonly block: Block; readonly records: readonly LivePut[] }
