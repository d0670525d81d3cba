import { BytesError } from '../bytes/bytes.ts'
import { asCount, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import type { Frontier } from '../bytes/merkle.ts'
import { type Disk, DiskError, type File } from '../host/disk.ts'
import type { SealedGroup } from './group.ts'
import type { JournalKeys } from './journal-keys.ts'
import { limits } from './limits.ts'
import type { Replayed, WholeGroup } from './replay.ts'
import { Reserve } from './reserve.ts'
import {
  createSegment,
  type Location,
  type SegmentFiles,
  segmentHeaderBytes,
  segmentPath,
} from './segment.ts'

/**
 * What a group may take of the reserve when the disk is full: nothing, some (it deletes only), or all of it (it is
 * part of giving up a segment or a scope).
 */
export type ReserveUse = 'nothing' | 'some' | 'all'

/** The record at `journalPath`: the size of the tree before the first group that is needed. */
export function encodeJournalStart(size: number): Uint8Array {
  return encodeCbor({ format: 1, size })
}

/** @throws BytesError */
export function decodeJournalStart(bytes: Uint8Array): number {
  const map = decodeCborMap(bytes, ['format', 'size'])
  if (map.format !== 1) throw new BytesError('journal record of an unknown format')
  return asCount(map.size)
}

/** A segment in the order of the tree. */
type Segment = {
  readonly number: number
  /** The number of the store key that its first byte hangs on, and all of it on that or later ones. */
  readonly storeKey: number
  /** The size of the tree before its first group. */
  readonly before: number
  /** What its file takes; of the newest one, what is written of it. */
  length: number
}

/**
 * The append side of the journal: where the next group goes, and that there is room for it. One group is written at
 * a time; `append` returns when it is on stable storage.
 */
export class Journal {
  readonly #disk: Disk
  readonly #directory: string
  readonly #keys: JournalKeys
  readonly #reads: SegmentFiles
  readonly #reserve: Reserve
  /** Oldest first; the last is the one that is written to. */
  readonly #segments: Segment[]
  #file: File
  /** The file is zeros from where the last segment is written to, to here. */
  #length: number
  /** Zeros are being written behind the end, beside everything else, so that no group waits for them. */
  #ahead: Promise<void> | undefined
  /** Why that failed, but for a full disk. */
  #aheadFailure: unknown
  #givingUp: Promise<void> = Promise.resolve()
  /** The length of the longest segment but the newest. */
  #longestOlder = 0
  /** The next segment may have its name already: nothing more may be appended to this one. */
  #leaving = false

  private constructor(parts: {
    readonly disk: Disk
    readonly directory: string
    readonly keys: JournalKeys
    readonly reads: SegmentFiles
    readonly reserve: Reserve
    readonly segments: Segment[]
    readonly file: File
    readonly length: number
  }) {
    this.#disk = parts.disk
    this.#directory = parts.directory
    this.#keys = parts.keys
    this.#reads = parts.reads
    this.#reserve = parts.reserve
    this.#segments = parts.segments
    this.#measure()
    this.#file = parts.file
    this.#length = parts.length
  }

  /** A new journal holding one group, its file and name synced; nothing stays open. */
  static async create(disk: Disk, directory: string, keys: JournalKeys, first: SealedGroup): Promise<void> {
    await disk.makeDirectory(directory)
    const before = { size: 0, roots: [] }
    const header = { number: 1, storeId: keys.storeId, storeKey: keys.current, before }
    await createSegment(disk, directory, header, keys, [first.bytes])
  }

  /**
   * Goes on behind what was replayed. `doubtful` are the groups that no returned sync and no mark vouches for: after
   * a failed sync the page cache may show what the disk does not hold, so they are written again, into a new
   * segment, before anyone may read them. A torn tail is left where it is, behind the end of its segment.
   * Answers where each doubtful group lies now.
   */
  static async resume(
    disk: Disk,
    directory: string,
    keys: JournalKeys,
    replayed: Replayed,
    doubtful: readonly WholeGroup[],
    reads: SegmentFiles,
  ): Promise<{ readonly journal: Journal; readonly moved: readonly Location[] }> {
    const segments: Segment[] = []
    for (const { header, length } of replayed.segments)
      if (length !== undefined) {
        const { number, storeKey, before } = header
        segments.push({ number, storeKey, before: before.size, length })
      }
    let { length } = replayed.end
    const moved: Location[] = []
    const gone: number[] = []
    if (doubtful.length > 0 || !replayed.end.clean) {
      const number = replayed.end.segment + 1
      const before = doubtful[0]?.before ?? replayed.tree
      const storeKey = doubtful[0]?.storeKey ?? keys.current
      const header = { number, storeId: keys.storeId, storeKey, before }
      const groups = doubtful.map(group => group.bytes)
      const made = await createSegment(disk, directory, header, keys, groups)
      let offset = segmentHeaderBytes
      for (const group of groups) {
        moved.push({ segment: number, offset })
        offset += group.length
      }
      // Segments that an earlier open made and that now hold nothing.
      for (const { header: old, length: read } of replayed.segments)
        if (read !== undefined && old.before.size >= before.size) gone.push(old.number)
      while ((segments.at(-1)?.before ?? -1) >= before.size) segments.pop()
      segments.push({ number, storeKey, before: before.size, length: made.end })
      length = made.length
    } else {
      const last = segments.at(-1)
      if (last !== undefined) last.length = replayed.end.offset
    }
    // What is superseded must be gone before that which supersedes it is: else it would be taken for what is missing.
    for (const { header: old, length: read } of replayed.segments)
      if (read === undefined) gone.push(old.number)
    for (const number of gone) await disk.unlink(segmentPath(directory, number))
    // Also, whoever made the newest segment may have been killed before its name was durable.
    if (gone.length > 0 || moved.length === 0) await disk.syncDirectory(directory)
    const newest = segments.at(-1)
    if (newest === undefined) throw new TypeError('a journal has a segment')
    const reserve = await Reserve.find(disk, directory)
    const path = segmentPath(directory, newest.number)
    const file = await disk.open(path, { access: 'write', durable: true })
    return { journal: new Journal({ disk, directory, keys, reads, reserve, segments, file, length }), moved }
  }

  /** What the segments take, in bytes. */
  get bytes(): number {
    return this.#segments.reduce((sum, { length }) => sum + length, 0)
  }

  /** The oldest segment, unless it is the only one: its number, and the sizes of the tree before and after it. */
  get oldest(): { readonly number: number; readonly before: number; readonly after: number } | undefined {
    const [first, second] = this.#segments
    if (first === undefined || second === undefined) return undefined
    return { number: first.number, before: first.before, after: second.before }
  }

  /** Oldest first; `after` of the newest one is without bound. */
  get segments(): {
    readonly number: number
    readonly storeKey: number
    readonly before: number
    readonly after: number
  }[] {
    return this.#segments.map(({ number, storeKey, before }, at) => {
      return { number, storeKey, before, after: this.#segments[at + 1]?.before ?? Number.POSITIVE_INFINITY }
    })
  }

  /** Whether a group of `bytes` has its place already, and the reserve is as long as those who use so much need it. */
  fits(bytes: number, use: ReserveUse): boolean {
    const room = !this.#leaving && this.#newest.length + bytes <= this.#length
    const wanted = use === 'nothing' ? this.#reserveWanted(0) : this.#reserveKept(use)
    return room && this.#aheadFailure === undefined && this.#reserve.length >= wanted
  }

  /**
   * Makes sure that a group of `bytes` fits, growing the segment or starting the next one. Called with no group
   * being written, so a new segment is never named before the groups in front of it are durable.
   * `use`: what it may take of the reserve when the disk is full: what compaction needs is kept from all others.
   * @throws DiskError `full`: nothing has changed and it may be tried again
   */
  async reserve(bytes: number, before: Frontier, use: ReserveUse): Promise<void> {
    await this.#ahead
    if (this.#aheadFailure !== undefined) throw this.#aheadFailure
    // Ahead, so that it is not lengthened with every group; and before anything else takes what compaction has freed.
    const wanted = use === 'nothing' ? this.#reserveWanted(bytes + limits.growBytes) : this.#reserveKept(use)
    await this.#reserve.ensure(wanted)
    await this.#withReserve(bytes, use, () => this.#makeRoom(bytes, before))
  }

  /** Makes the reserve whole again if the disk has room for it. */
  async refill(): Promise<boolean> {
    try {
      await this.#reserve.ensure(this.#reserveWanted(limits.growBytes))
      return true
    } catch (error) {
      if (error instanceof DiskError && error.code === 'full') return false
      throw error
    }
  }

  /** Starts the next segment, so that all older ones can be given up. @throws DiskError `full` */
  async roll(before: Frontier): Promise<void> {
    // An empty one is as good as a new one, and two that begin alike would be one too many.
    if (!this.#leaving && this.#newest.length === segmentHeaderBytes) return
    await this.#ahead
    if (this.#aheadFailure !== undefined) throw this.#aheadFailure
    return this.#withReserve(0, 'all', () => this.#roll(before))
  }

  async #withReserve(bytes: number, use: ReserveUse, act: () => Promise<void>): Promise<void> {
    try {
      await act()
    } catch (error) {
      const full = error instanceof DiskError && error.code === 'full'
      if (!full || use === 'nothing') throw error
      const wanted = bytes + 2 * limits.growBytes
      if (!(await this.#reserve.give(wanted, this.#reserveKept(use)))) throw error
      await act()
    }
  }

  async #makeRoom(bytes: number, before: Frontier): Promise<void> {
    const room = () => !this.#leaving && this.#newest.length + bytes <= this.#length
    if (room()) return
    const holdsGroups = this.#newest.length > segmentHeaderBytes
    if (this.#leaving || (holdsGroups && this.#newest.length + bytes > limits.segmentBytesMax))
      await this.#roll(before)
    if (room()) return
    const zeros = new Uint8Array(Math.max(limits.growBytes, this.#newest.length + bytes - this.#length))
    await this.#file.write(zeros, this.#length)
    this.#length += zeros.length
  }

  /** Writes one group into its reserved place; on stable storage when this returns. */
  async append(group: SealedGroup): Promise<Location> {
    const newest = this.#newest
    const at = { segment: newest.number, offset: newest.length }
    if (this.#leaving || newest.length + group.bytes.length > this.#length)
      throw new TypeError('group written without a reserved place')
    newest.length += group.bytes.length // at once: whether the next one fits is asked while this one is written
    this.#growAhead()
    await this.#file.write(group.bytes, at.offset)
    return at
  }

  #growAhead(): void {
    const left = this.#length - this.#newest.length
    const isNearEnd = this.#length + limits.growBytes > limits.segmentBytesMax
    if (this.#ahead !== undefined || left > limits.growBytes / 2 || isNearEnd) return
    this.#ahead = this.#grow()
      .catch(error => {
        // A full disk is met again, and told, by the group that does not fit.
        if (!(error instanceof DiskError && error.code === 'full')) this.#aheadFailure = error
      })
      .finally(() => {
        this.#ahead = undefined
      })
  }

  async #grow(): Promise<void> {
    await this.#reserve.ensure(this.#reserveWanted(2 * limits.growBytes))
    const path = segmentPath(this.#directory, this.#newest.number)
    const file = await this.#disk.open(path, { access: 'write' })
    try {
      await file.write(new Uint8Array(limits.growBytes), this.#length)
      await file.sync()
    } finally {
      await file.close()
    }
    this.#length += limits.growBytes
  }

  /** Unlinks the oldest segment, of which nothing is needed any more. One at a time, so that no crash leaves a gap. */
  giveUpOldest(): Promise<void> {
    const done = this.#giveUpOldest()
    this.#givingUp = done.catch(() => {})
    return done
  }

  /** Returns when no segment is half given up: `segments` is then what there is. */
  settled(): Promise<void> {
    return this.#givingUp
  }

  async #giveUpOldest(): Promise<void> {
    const [oldest] = this.#segments
    if (oldest === undefined || this.#segments.length === 1) throw new TypeError('the last segment stays')
    await this.#reads.forget(oldest.number)
    await this.#unlink(segmentPath(this.#directory, oldest.number))
    await this.#disk.syncDirectory(this.#directory)
    this.#segments.shift()
    this.#measure()
  }

  /** Cuts off the zeros ahead, so that every byte of a closed journal is a byte that is checked. */
  async close(): Promise<void> {
    await this.#ahead
    try {
      await this.#trim()
    } finally {
      await this.abandon()
    }
  }

  /** Closes the files and leaves them as they are. */
  async abandon(): Promise<void> {
    await this.#ahead
    await this.#file.close()
    await this.#reads.close()
  }

  /** Safe to repeat after a failure, since no group is appended in between. */
  async #roll(before: Frontier): Promise<void> {
    this.#leaving = true
    const number = this.#newest.number + 1
    const { storeId, current: storeKey } = this.#keys
    const header = { number, storeId, storeKey, before }
    const made = await createSegment(this.#disk, this.#directory, header, this.#keys, [])
    const file = await this.#disk.open(segmentPath(this.#directory, number), {
      access: 'write',
      durable: true,
    })
    await this.#trim()
    await this.#file.close()
    this.#file = file
    this.#segments.push({ number, storeKey, before: before.size, length: made.end })
    this.#measure()
    this.#length = made.length
    this.#leaving = false
  }

  /** It may be gone already: an earlier try was, and only could not be synced. */
  async #unlink(path: string): Promise<void> {
    try {
      await this.#disk.unlink(path)
    } catch (error) {
      if (!(error instanceof DiskError && error.code === 'missing')) throw error
    }
  }

  #measure(): void {
    this.#longestOlder = this.#segments.slice(0, -1).reduce((max, { length }) => Math.max(max, length), 0)
  }

  get #newest(): Segment {
    const newest = this.#segments.at(-1)
    if (newest === undefined) throw new TypeError('a journal has a segment')
    return newest
  }

  /**
   * As much as carrying the longest segment takes, were all of it live and the newest one longer by `more`, and
   * something that deletes may use up. A journal that has much of its first zeros left needs none.
   */
  #reserveWanted(more: number): number {
    if (this.#segments.length === 1 && this.#newest.length < 0.75 * limits.growBytes) return 0
    const longest = Math.max(this.#longestOlder, this.#newest.length + more)
    return Math.ceil(longest * 1.25) + 3 * limits.growBytes
  }

  /** What is left of it to compaction by those that free space. */
  #reserveKept(use: ReserveUse): number {
    return use === 'all' ? 0 : Math.max(0, this.#reserveWanted(0) - 2 * limits.growBytes)
  }

  async #trim(): Promise<void> {
    await this.#file.truncate(this.#newest.length)
    await this.#file.sync()
  }
}
