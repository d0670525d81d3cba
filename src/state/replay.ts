import { BytesError, equal, isZero } from '../bytes/bytes.ts'
import { append, emptyFrontier, type Frontier, root } from '../bytes/merkle.ts'
import { sha256 } from '../crypto/hash.ts'
import type { Disk } from '../host/disk.ts'
import type { Mark } from '../mark/mark.ts'
import type { Placed } from './block.ts'
import { StateError } from './error.ts'
import { authenticLeaf, type GroupHeader, paddedLength, parseGroupHeader, placeRecords } from './group.ts'
import type { JournalKeys } from './journal-keys.ts'
import { limits } from './limits.ts'
import {
  type Location,
  listSegments,
  parseSegmentHeader,
  type SegmentHeader,
  sameTree,
  segmentHeaderBytes,
  segmentPath,
} from './segment.ts'

export type Replayed = {
  readonly tree: Frontier
  /** The highest number that any group names as confirmed by the keeper. */
  readonly confirmed: number
  /** The same of the groups behind `upTo`, which are not judged; 0 without any. */
  readonly confirmedLater: number
  /** The number of the newest store key that anything is under. */
  readonly storeKey: number
  /** The root over the first `mark.number` groups, if there are as many. */
  readonly rootAtMark: Uint8Array | undefined
  readonly segments: readonly FoundSegment[]
  /** Where the next group would go, and whether only zeros lie there. */
  readonly end: Location & { readonly clean: boolean; readonly length: number }
  /** The newest groups, byte for byte: more than can be in flight, so all that may have to be written again. */
  readonly newest: readonly WholeGroup[]
}

/** A segment that is there, and how long its file is; `undefined` for one that was not read: it is superseded. */
export type FoundSegment = { readonly header: SegmentHeader; readonly length: number | undefined }

/** A group byte for byte, and the tree in front of it. */
export type WholeGroup = {
  readonly before: Frontier
  readonly storeKey: number
  readonly bytes: Uint8Array
  readonly at: Location
}

/** At most two groups are in flight: one syncing, one built. */
export const inFlightMax = 2

export type Visit = (group: GroupHeader, records: readonly Placed[], at: Location) => void

/**
 * Reads the whole journal and says where it ends (docs/spec/journal.md, "Open"). What must be there and is not, is
 * refused here; torn is only what lies above both the mark and every confirmed number.
 * `upTo`: stop after that generation and judge nothing beyond, for readers beside a running writer.
 * @throws StateError EINTEGRITY, EROLLBACK
 */
export async function replay(
  disk: Disk,
  directory: string,
  keys: JournalKeys,
  mark: Mark,
  visit: Visit,
  upTo: number = Number.MAX_SAFE_INTEGER,
): Promise<Replayed> {
  const { numbers, strangers } = await listSegments(disk, directory)
  if (strangers[0] !== undefined)
    throw new StateError('EINTEGRITY', `${directory}/${strangers[0]} does not belong here`)
  if (numbers.length === 0) throw new StateError('EINTEGRITY', `no journal in ${directory}`)
  let confirmed = 0
  let storeKey = 0
  const newest: WholeGroup[] = []
  let end = { segment: 0, offset: 0, clean: true, length: 0 }

  const files = await Promise.all(numbers.map(number => readSegmentHeader(disk, directory, number, keys)))
  const inUse = files.filter((file, at) => !isSuperseded(file, files.slice(at + 1)))
  let tree: Frontier = inUse[0]?.before ?? emptyFrontier
  let rootAtMark = mark.number === tree.size ? root(sha256, tree) : undefined
  const lengths = new Map<number, number>()
  let confirmedLater = 0
  const heard = (bytes: Uint8Array, offset: number) => {
    for (const { header } of laterGroups(bytes, offset - limits.sectorBytes, keys, upTo))
      confirmedLater = Math.max(confirmedLater, header.confirmed)
  }
  for (const [at, header] of inUse.entries()) {
    const next = inUse[at + 1]
    if (at > 0 && tree.size >= upTo) {
      heard(await readSegment(disk, segmentPath(directory, header.number)), segmentHeaderBytes)
      continue
    }
    if (!sameTree(header.before, tree))
      throw new StateError('EINTEGRITY', `segment ${header.number} does not follow the one before it`)
    const bytes = await readSegment(disk, segmentPath(directory, header.number))
    lengths.set(header.number, bytes.length)
    let offset = segmentHeaderBytes
    // A segment ends where the next one begins in the tree; what lies behind that was given up by an earlier open.
    while (tree.size < Math.min(upTo, next?.before.size ?? upTo)) {
      const group = readGroup(bytes.subarray(offset), keys, tree.size, root(sha256, tree))
      if ('flaw' in group) break
      const at = { segment: header.number, offset }
      newest.push({
        before: tree,
        storeKey: group.header.storeKey,
        bytes: bytes.subarray(offset, offset + group.padded),
        at,
      })
      if (newest.length > inFlightMax) newest.shift()
      tree = append(sha256, tree, group.leaf)
      confirmed = Math.max(confirmed, group.header.confirmed)
      storeKey = Math.max(storeKey, group.header.storeKey)
      if (tree.size === mark.number) rootAtMark = root(sha256, tree)
      visit(group.header, group.records, at)
      offset += group.padded
    }
    if (next !== undefined && tree.size < next.before.size && tree.size < upTo)
      throw new StateError('EINTEGRITY', `group ${tree.size + 1} in segment ${header.number} is damaged`)
    if (tree.size >= upTo) heard(bytes, offset)
    else if (next === undefined) {
      const clean = isZero(bytes.subarray(offset))
      end = { segment: header.number, offset, clean, length: bytes.length }
      refuseLoss(bytes, offset, keys, tree.size, Math.max(confirmed, mark.number))
    }
  }
  const segments = files.map(header => ({ header, length: lengths.get(header.number) }))
  for (const header of files) storeKey = Math.max(storeKey, header.storeKey)
  return { tree, confirmed, confirmedLater, storeKey, rootAtMark, segments, end, newest }
}

/**
 * A later segment that begins no further on holds all that is valid of this one: an open was writing it again, and
 * died before this one was unlinked for good.
 */
export function isSuperseded(header: SegmentHeader, later: readonly SegmentHeader[]): boolean {
  return later.some(other => other.before.size <= header.before.size)
}

/**
 * The journal ends at `offset`, before group `size + 1`. That is a crash's doing only if nobody was told of that group:
 * it lies above the mark and above every confirmed number, also those named by whole groups further on.
 * @throws StateError EINTEGRITY, EROLLBACK
 */
export function refuseLoss(
  bytes: Uint8Array,
  offset: number,
  keys: JournalKeys,
  size: number,
  told: number,
): void {
  const missing = size + 1
  let later = 0
  let known = told
  for (const { header } of laterGroups(bytes, offset, keys, size)) {
    later = Math.max(later, header.generation)
    known = Math.max(known, header.confirmed)
  }
  if (missing > known) return
  const present = !isZero(bytes.subarray(offset, offset + limits.sectorBytes))
  if (later > 0 || (present && missing === known))
    throw new StateError('EINTEGRITY', `group ${missing} was acknowledged and is damaged`)
  throw new StateError(
    'EROLLBACK',
    `the home ends at group ${size}, but group ${known} was acknowledged: it is an older copy`,
    { rollback: 'the store went back' },
  )
}

/** Groups of a generation that the tree does not have yet, their MAC fitting, on the sectors behind `offset`. */
export function* laterGroups(
  bytes: Uint8Array,
  offset: number,
  keys: JournalKeys,
  size: number,
): Generator<{ readonly header: GroupHeader; readonly offset: number }> {
  for (let at = offset + limits.sectorBytes; at < bytes.length; at += limits.sectorBytes) {
    const header = headerAt(bytes.subarray(at))
    if (header === undefined || header.generation <= size) continue
    if (authenticLeaf(bytes.subarray(at), header, keys) !== undefined) yield { header, offset: at }
  }
}

type Group = {
  readonly header: GroupHeader
  readonly leaf: Uint8Array
  readonly records: readonly Placed[]
  readonly padded: number
}

/** Why no group is there; with what is known of it all the same where its MAC fits and it is the next one. */
export type Flaw = { readonly flaw: string; readonly known?: Pick<Group, 'header' | 'leaf' | 'padded'> }

/**
 * The next group, behind `size` others, if it is whole, authentic and linked; its padding is zeros. `rootBefore` is
 * `undefined` where the tree is not known: the link is then the word of the group's MAC alone.
 */
export function readGroup(
  bytes: Uint8Array,
  keys: JournalKeys,
  size: number,
  rootBefore: Uint8Array | undefined,
): Group | Flaw {
  const header = headerAt(bytes)
  if (header === undefined) return { flaw: 'no group header, or one whose CRC does not fit' }
  if (header.generation !== size + 1) return { flaw: `it is group ${header.generation}` }
  if (!equal(header.storeId, keys.storeId)) return { flaw: 'it is of another store' }
  if (rootBefore !== undefined && !equal(header.rootBefore, rootBefore))
    return { flaw: 'it follows other groups than those before it' }
  const padded = paddedLength(header)
  if (bytes.length < padded) return { flaw: 'the file ends within it' }
  if (keys.mac(header.storeKey) === undefined)
    return { flaw: `it is under store key ${header.storeKey}, which the anchor does not have` }
  const leaf = authenticLeaf(bytes, header, keys)
  if (leaf === undefined) return { flaw: 'its MAC does not fit' }
  const known = { header, leaf, padded }
  if (!isZero(bytes.subarray(header.length, padded))) return { flaw: 'its padding is not zeros', known }
  const records = recordsOf(bytes, header)
  if (records === undefined) return { flaw: 'a block is not the one that it names', known }
  return { ...known, records }
}

/** `undefined` if a block is not the one that its group names: a torn write may have lost any of its sectors. */
function recordsOf(bytes: Uint8Array, header: GroupHeader): Placed[] | undefined {
  try {
    return placeRecords(bytes, header)
  } catch (error) {
    if (error instanceof BytesError) return undefined
    throw error
  }
}

function headerAt(bytes: Uint8Array): GroupHeader | undefined {
  return damageSync(() => parseGroupHeader(bytes))
}

/** @throws StateError EINTEGRITY, DiskError */
export async function readSegmentHeader(
  disk: Disk,
  directory: string,
  number: number,
  keys: JournalKeys,
): Promise<SegmentHeader> {
  const file = await disk.open(segmentPath(directory, number), { access: 'read' })
  try {
    const bytes = new Uint8Array(segmentHeaderBytes)
    const length = await file.read(bytes, 0)
    return await damage(async () => {
      if (length !== segmentHeaderBytes) throw new BytesError(`segment ${number} has no whole header`)
      const header = parseSegmentHeader(bytes, keys)
      if (header.number !== number)
        throw new BytesError(`segment ${number} bears the number ${header.number}`)
      return header
    })
  } finally {
    await file.close()
  }
}

/** @throws StateError EINTEGRITY if it is longer than a segment can be, DiskError */
export async function readSegment(disk: Disk, path: string): Promise<Uint8Array> {
  const file = await disk.open(path, { access: 'read' })
  try {
    const { size } = await file.stat()
    if (size > limits.segmentBytesRead)
      throw new StateError('EINTEGRITY', `${path} is larger than a segment can be`)
    const bytes = new Uint8Array(size)
    return bytes.subarray(0, await file.read(bytes, 0))
  } finally {
    await file.close()
  }
}

/** Inside the journal, whatever does not parse is damage. */
async function damage<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    throw damaged(error)
  }
}

function damageSync<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw damaged(error)
  }
}

function damaged(error: unknown): unknown {
  return error instanceof BytesError ? new StateError('EINTEGRITY', error.message, { cause: error }) : error
}
