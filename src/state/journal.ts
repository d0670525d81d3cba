import type { Frontier } from '../bytes/merkle.ts'
import type { Disk, File } from '../host/disk.ts'
import type { SealedGroup } from './group.ts'
import { limits } from './limits.ts'
import type { Replayed, WholeGroup } from './replay.ts'
import {
  createSegment,
  type JournalKeys,
  type Location,
  type SegmentFiles,
  segmentHeaderBytes,
  segmentPath,
} from './segment.ts'

/**
 * The append side of the journal: where the next group goes, and that there is room for it. One group is written at
 * a time; `append` returns when it is on stable storage.
 */
export class Journal {
  readonly #disk: Disk
  readonly #directory: string
  readonly #keys: JournalKeys
  readonly #reads: SegmentFiles
  #file: File
  #segment: number
  /** Where the next group goes. */
  #offset: number
  /** The file is zeros from `#offset` to here. */
  #length: number
  /** The next segment may have its name already: nothing more may be appended to this one. */
  #leaving = false

  private constructor(
    disk: Disk,
    directory: string,
    keys: JournalKeys,
    reads: SegmentFiles,
    file: File,
    at: Location,
    length: number,
  ) {
    this.#reads = reads
    this.#disk = disk
    this.#directory = directory
    this.#keys = keys
    this.#file = file
    this.#segment = at.segment
    this.#offset = at.offset
    this.#length = length
  }

  /** A new journal holding one group, its file and name synced; nothing stays open. */
  static async create(disk: Disk, directory: string, keys: JournalKeys, first: SealedGroup): Promise<void> {
    await disk.makeDirectory(directory)
    const header = { number: 1, storeId: keys.storeId, before: { size: 0, roots: [] } }
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
    let at: Location = replayed.end
    let length = replayed.end.length
    const moved: Location[] = []
    if (doubtful.length > 0 || !replayed.end.clean) {
      const number = at.segment + 1
      const before = doubtful[0]?.before ?? replayed.tree
      const header = { number, storeId: keys.storeId, before }
      const groups = doubtful.map(group => group.bytes)
      const made = await createSegment(disk, directory, header, keys, groups)
      let offset = segmentHeaderBytes
      for (const group of groups) {
        moved.push({ segment: number, offset })
        offset += group.length
      }
      // Segments that an earlier open made and that now hold nothing.
      for (const old of replayed.segments)
        if (old.before.size >= before.size) await disk.unlink(segmentPath(directory, old.number))
      at = { segment: number, offset: made.end }
      length = made.length
    } else {
      // Whoever made the newest segment may have been killed before its name was durable.
      await disk.syncDirectory(directory)
    }
    const file = await disk.open(segmentPath(directory, at.segment), { access: 'write', durable: true })
    return { journal: new Journal(disk, directory, keys, reads, file, at, length), moved }
  }

  /** Whether a group of `bytes` has its place already. */
  fits(bytes: number): boolean {
    return !this.#leaving && this.#offset + bytes <= this.#length
  }

  /**
   * Makes sure that a group of `bytes` fits, growing the segment or starting the next one. Called with no group
   * being written, so a new segment is never named before the groups in front of it are durable.
   * @throws DiskError `full`: nothing has changed and it may be tried again
   */
  async reserve(bytes: number, before: Frontier): Promise<void> {
    if (this.fits(bytes)) return
    const holdsGroups = this.#offset > segmentHeaderBytes
    if (this.#leaving || (holdsGroups && this.#offset + bytes > limits.segmentBytesMax))
      await this.#roll(before)
    if (this.fits(bytes)) return
    const zeros = new Uint8Array(Math.max(limits.growBytes, this.#offset + bytes - this.#length))
    await this.#file.write(zeros, this.#length)
    this.#length += zeros.length
  }

  /** Writes one group into its reserved place; on stable storage when this returns. */
  async append(group: SealedGroup): Promise<Location> {
    const at = { segment: this.#segment, offset: this.#offset }
    if (!this.fits(group.bytes.length)) throw new TypeError('group written without a reserved place')
    this.#offset += group.bytes.length // at once: whether the next one fits is asked while this one is written
    await this.#file.write(group.bytes, at.offset)
    return at
  }

  /** Cuts off the zeros ahead, so that every byte of a closed journal is a byte that is checked. */
  async close(): Promise<void> {
    try {
      await this.#trim()
    } finally {
      await this.abandon()
    }
  }

  /** Closes the files and leaves them as they are. */
  async abandon(): Promise<void> {
    await this.#file.close()
    await this.#reads.close()
  }

  /** Safe to repeat after a failure, since no group is appended in between. */
  async #roll(before: Frontier): Promise<void> {
    this.#leaving = true
    const number = this.#segment + 1
    const header = { number, storeId: this.#keys.storeId, before }
    const made = await createSegment(this.#disk, this.#directory, header, this.#keys, [])
    const file = await this.#disk.open(segmentPath(this.#directory, number), {
      access: 'write',
      durable: true,
    })
    await this.#trim()
    await this.#file.close()
    this.#file = file
    this.#segment = number
    this.#offset = made.end
    this.#length = made.length
    this.#leaving = false
  }

  async #trim(): Promise<void> {
    await this.#file.truncate(this.#offset)
    await this.#file.sync()
  }
}
