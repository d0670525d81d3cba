import { BytesError, equal, isZero, utf8 } from '../bytes/bytes.ts'
import { type Frontier, root } from '../bytes/merkle.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { hmacSha256, sha256 } from '../crypto/hash.ts'
import { equalSecrets } from '../crypto/secret.ts'
import { type Disk, DiskError, type File } from '../host/disk.ts'
import type { JournalKeys } from './journal-keys.ts'
import { limits } from './limits.ts'
import { reserveName } from './reserve.ts'

/**
 * docs/spec/journal.md, "Segment": one journal file. Its first sector says where in the tree its groups begin; it
 * is made under another name, synced and renamed, so a segment that has its name is whole.
 */
const magic = utf8('PAWLSEG1')
const format = 1
export const segmentHeaderBytes = limits.sectorBytes
const rootsMax = 64

/** Where a group or a record lies. */
export type Location = { readonly segment: number; readonly offset: number }

export type SegmentHeader = {
  readonly number: number
  readonly storeId: Uint8Array
  /** The number of the store key that its MAC is under; its groups are under the same or later ones. */
  readonly storeKey: number
  /** The tree before this segment's first group. */
  readonly before: Frontier
}

export function encodeSegmentHeader(header: SegmentHeader, keys: JournalKeys): Uint8Array {
  const macKey = keys.mac(header.storeKey)
  if (macKey === undefined) throw new TypeError(`there is no store key ${header.storeKey}`)
  const writer = new Writer(segmentHeaderBytes)
  writer
    .bytes(magic)
    .u16(format)
    .u16(header.storeKey)
    .u32(header.number)
    .u64(header.before.size)
    .bytes(keys.storeId)
  writer.u8(header.before.roots.length)
  for (const subtree of header.before.roots) writer.bytes(subtree)
  writer.bytes(hmacSha256(macKey.bytes, writer.done()))
  return writer.zeros(segmentHeaderBytes - writer.length).done()
}

/** @throws BytesError if it is damaged, of an unknown format, or of another store */
export function parseSegmentHeader(bytes: Uint8Array, keys: JournalKeys): SegmentHeader {
  const reader = new Reader(bytes)
  if (!equal(reader.bytes(8), magic)) throw new BytesError('no segment header')
  const known = reader.u16() === format
  const storeKey = reader.u16()
  const number = reader.u32()
  const size = reader.u64()
  const storeId = Uint8Array.from(reader.bytes(32))
  const count = reader.u8()
  if (count > rootsMax) throw new BytesError('segment header is damaged')
  const roots: Uint8Array[] = []
  for (let i = 0; i < count; i++) roots.push(Uint8Array.from(reader.bytes(32)))
  const signed = bytes.subarray(0, reader.offset)
  const macKey = keys.mac(storeKey)
  if (macKey === undefined)
    throw new BytesError(`segment under store key ${storeKey}, which the anchor does not have`)
  const authentic = equalSecrets(hmacSha256(macKey.bytes, signed), reader.bytes(32))
  if (!authentic && equal(storeId, keys.storeId))
    // a restore makes new keys under the same store id and number
    throw new BytesError('segment header is damaged, or under a key which the anchor does not have')
  if (!authentic || !isZero(reader.rest())) throw new BytesError('segment header is damaged')
  if (!known) throw new BytesError('segment of an unknown format')
  if (!equal(storeId, keys.storeId)) throw new BytesError('segment of another store')
  return { number, storeId, storeKey, before: { size, roots } }
}

export function sameTree(a: Frontier, b: Frontier): boolean {
  return a.size === b.size && equal(root(sha256, a), root(sha256, b))
}

export function segmentPath(directory: string, number: number): string {
  return `${directory}/${number.toString().padStart(8, '0')}.seg`
}

const namePattern = /^(\d{8})\.seg$/
/** Left by a crash between making a segment and naming it: never part of the journal. */
export const unfinishedSuffix = '.new'

/** Segment numbers in order, the paths of unfinished ones, and names that do not belong there. */
export async function listSegments(
  disk: Disk,
  directory: string,
): Promise<{
  readonly numbers: readonly number[]
  readonly unfinished: readonly string[]
  readonly strangers: readonly string[]
}> {
  const numbers: number[] = []
  const unfinished: string[] = []
  const strangers: string[] = []
  try {
    for (const name of await disk.list(directory)) {
      const digits = namePattern.exec(name)?.[1]
      if (digits !== undefined) numbers.push(Number(digits))
      else if (name.endsWith(unfinishedSuffix)) unfinished.push(`${directory}/${name}`)
      else if (name !== reserveName) strangers.push(name)
    }
  } catch (error) {
    if (!(error instanceof DiskError && error.code === 'missing')) throw error
  }
  return { numbers, unfinished, strangers }
}

/** A new segment under its name: header, the given groups, then zeros; all synced, its name too. */
export async function createSegment(
  disk: Disk,
  directory: string,
  header: SegmentHeader,
  keys: JournalKeys,
  groups: readonly Uint8Array[],
): Promise<{ readonly length: number; readonly end: number }> {
  const path = segmentPath(directory, header.number)
  const unfinished = path + unfinishedSuffix
  if ((await disk.stat(unfinished)) !== undefined) await disk.unlink(unfinished)
  const file = await disk.open(unfinished, { access: 'exclusive' })
  let end = 0
  let length = 0
  try {
    for (const part of [encodeSegmentHeader(header, keys), ...groups]) {
      await file.write(part, end)
      end += part.length
    }
    length = end + limits.growBytes
    await file.write(new Uint8Array(limits.growBytes), end)
    // A crash up to here leaves a file that has no name in the journal.
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.rename(unfinished, path)
  // Without this a power cut could take the name, and the groups with it.
  await disk.syncDirectory(directory)
  return { length, end }
}

/** Reads from segments, keeping them open. */
export class SegmentFiles {
  readonly #disk: Disk
  readonly #directory: string
  readonly #open = new Map<number, Promise<File>>()

  constructor(disk: Disk, directory: string) {
    this.#disk = disk
    this.#directory = directory
  }

  async read(at: Location, length: number): Promise<Uint8Array> {
    const file = await this.#file(at.segment)
    const bytes = new Uint8Array(length)
    if ((await file.read(bytes, at.offset)) !== length)
      throw new BytesError(`segment ${at.segment} is shorter than it was`)
    return bytes
  }

  /** As {@link read}, but fewer bytes where the file ends before. */
  async readUpTo(at: Location, length: number): Promise<Uint8Array> {
    const file = await this.#file(at.segment)
    const bytes = new Uint8Array(length)
    return bytes.subarray(0, await file.read(bytes, at.offset))
  }

  /** A segment that is being given up is not read any more. */
  async forget(segment: number): Promise<void> {
    const opening = this.#open.get(segment)
    this.#open.delete(segment)
    await opening?.then(
      file => file.close(),
      () => {},
    )
  }

  #file(segment: number): Promise<File> {
    let opening = this.#open.get(segment)
    if (opening === undefined) {
      opening = this.#disk.open(segmentPath(this.#directory, segment), { access: 'read' })
      this.#open.set(segment, opening)
      opening.catch(() => this.#open.delete(segment))
    }
    return opening
  }

  async close(): Promise<void> {
    const files = await Promise.allSettled(this.#open.values())
    this.#open.clear()
    for (const file of files) if (file.status === 'fulfilled') await file.value.close()
  }
}
