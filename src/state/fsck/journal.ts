import { isZero } from '../../bytes/bytes.ts'
import { append, type Frontier, root } from '../../bytes/merkle.ts'
import { sha256 } from '../../crypto/hash.ts'
import { type Disk, DiskError } from '../../host/disk.ts'
import { StateError } from '../error.ts'
import type { JournalKeys } from '../journal-keys.ts'
import { limits } from '../limits.ts'
import {
  type Flaw,
  isSuperseded,
  laterGroups,
  readGroup,
  readSegment,
  readSegmentHeader,
  refuseLoss,
  type Visit,
} from '../replay.ts'
import { reserveName } from '../reserve.ts'
import { listSegments, type SegmentHeader, sameTree, segmentHeaderBytes, segmentPath } from '../segment.ts'
import { tellOf } from './anchor.ts'
import { detailOf, type Findings } from './findings.ts'

/** A segment as it was found. */
export type SeenSegment = {
  readonly number: number
  readonly file: string
  readonly bytes: number
  /** The sizes of the tree before and after it; `undefined` where its header does not say. */
  readonly before: number | undefined
  readonly after: number | undefined
  /** A later segment holds all that is valid of it: it is not read. */
  readonly superseded: boolean
}

/** What the whole journal came to, damage passed over. */
export type Walk = {
  /** The number of the last group. */
  readonly size: number
  /** `undefined` behind damage, until a segment header names it again. */
  readonly tree: Frontier | undefined
  readonly confirmed: number
  /** The root over as many groups as the mark says, where it could be followed there. */
  readonly rootAtMark: Uint8Array | undefined
  readonly segments: readonly SeenSegment[]
  /** Files that a crash left and that no opening needs or takes away. */
  readonly leftovers: readonly string[]
  /** Groups lie beyond what was to be looked at. */
  readonly goesOn: boolean
}

export type WalkOptions = {
  readonly disk: Disk
  readonly directory: string
  readonly keys: JournalKeys
  /** The number of the mark; 0 where there is none. */
  readonly marked: number
  /** Another process is writing: nothing is judged beyond its mark. */
  readonly beside: boolean
  readonly findings: Findings
  readonly visit: Visit
  readonly progress: (bytes: number, of: number) => void
}

/** Reads the journal as opening does (docs/spec/journal.md, "Open"), but goes on behind whatever it would be refused for. */
export async function walkJournal(options: WalkOptions): Promise<Walk> {
  const { disk, directory, findings, keys, beside, progress } = options
  const listed = await names(disk, directory, findings)
  const leftovers = [...listed.unfinished]
  const headers = new Map<number, SegmentHeader>()
  const files: { readonly number: number; readonly bytes: number }[] = []
  for (const number of listed.numbers) {
    const file = segmentPath(directory, number)
    try {
      files.push({ number, bytes: (await disk.stat(file))?.size ?? 0 })
      headers.set(number, await readSegmentHeader(disk, directory, number, keys))
    } catch (error) {
      tellOf(findings, 'SEGMENT_HEADER', file, error)
    }
  }
  const known = [...headers.values()]
  const superseded = new Set<number>()
  for (const [at, header] of known.entries())
    if (isSuperseded(header, known.slice(at + 1))) superseded.add(header.number)

  const walker = new Walker(options)
  const inUse = files.filter(({ number }) => !superseded.has(number))
  const ends = new Map<number, number | undefined>()
  const total = inUse.reduce((sum, { bytes }) => sum + bytes, 0)
  for (const [at, { number, bytes }] of inUse.entries()) {
    if (walker.isDone) break
    const next = inUse[at + 1]
    await walker.read(number, headers.get(number), next && { before: headers.get(next.number)?.before.size })
    ends.set(number, walker.size)
    progress(bytes, total)
  }
  for (const number of superseded) leftovers.push(segmentPath(directory, number))
  if (!beside) for (const file of leftovers) findings.tell('LEFTOVER', { file })
  const segments = files.map(({ number, bytes }) => ({
    number,
    file: segmentPath(directory, number),
    bytes,
    before: headers.get(number)?.before.size,
    after: superseded.has(number) ? undefined : ends.get(number),
    superseded: superseded.has(number),
  }))
  return { ...walker.found, segments, leftovers }
}

async function names(disk: Disk, directory: string, findings: Findings) {
  try {
    const listed = await listSegments(disk, directory)
    for (const name of listed.strangers) findings.tell('STRANGER', { file: `${directory}/${name}` })
    if (listed.numbers.length === 0) findings.tell('JOURNAL_MISSING', { file: directory })
    return listed
  } catch (error) {
    const isName = error instanceof DiskError && error.code === 'unfit'
    tellOf(findings, isName ? 'STRANGER' : 'JOURNAL_MISSING', directory, error)
    return { numbers: [], unfinished: [] }
  }
}

/** Where a walk stands: how many groups it has passed, and their tree as long as it could be followed. */
class Walker {
  readonly #options: WalkOptions
  /** The last group that is looked at. */
  readonly #upTo: number
  #size = 0
  #tree: Frontier | undefined
  #begun = false
  #confirmed = 0
  #rootAtMark: Uint8Array | undefined
  #goesOn = false

  constructor(options: WalkOptions) {
    this.#options = options
    this.#upTo = options.beside && options.marked > 0 ? options.marked : Number.MAX_SAFE_INTEGER
  }

  /** Whether there is a segment left that nothing is looked at in. */
  get isDone(): boolean {
    if (this.#size >= this.#upTo) this.#goesOn = true
    return this.#goesOn
  }

  get size(): number {
    return this.#size
  }

  get found(): Omit<Walk, 'segments' | 'leftovers'> {
    const [size, tree, confirmed] = [this.#size, this.#tree, this.#confirmed]
    return { size, tree, confirmed, rootAtMark: this.#rootAtMark, goesOn: this.#goesOn }
  }

  /** `next`: the segment behind it, and the size of the tree that its header names, if it can be read. */
  async read(
    number: number,
    header: SegmentHeader | undefined,
    next: { readonly before: number | undefined } | undefined,
  ): Promise<void> {
    const { disk, directory, findings } = this.#options
    const file = segmentPath(directory, number)
    this.#enter(file, header)
    try {
      const bytes = await readSegment(disk, file)
      this.#pass(file, number, bytes, next)
    } catch (error) {
      tellOf(findings, 'SEGMENT_HEADER', file, error)
      this.#tree = undefined
    }
  }

  #enter(file: string, header: SegmentHeader | undefined): void {
    if (header === undefined) {
      this.#tree = undefined
      return
    }
    const { before } = header
    // Behind damage the tree is not known, and the groups that could not be read are told of already.
    const follows = this.#tree === undefined ? before.size >= this.#size : sameTree(before, this.#tree)
    if (this.#begun && !follows) {
      const detail = `it begins behind group ${before.size}, the journal before it ends with group ${this.#size}`
      this.#options.findings.tell('SEGMENT_CHAIN', { file }, { detail })
    }
    this.#begun = true
    this.#tree = before
    this.#size = before.size
    this.#measure()
  }

  #pass(
    file: string,
    segment: number,
    bytes: Uint8Array,
    next: { readonly before: number | undefined } | undefined,
  ): void {
    const { keys, findings, visit } = this.#options
    const stopAt = Math.min(this.#upTo, next?.before ?? this.#upTo)
    let offset = segmentHeaderBytes
    if (this.#tree === undefined) {
      // Nothing says which group comes first here: the first that is found.
      const first = laterThan(bytes, 0, keys, this.#size)
      if (first === undefined) return
      this.#size = first.header.generation - 1
      offset = first.offset
    }
    while (this.#size < stopAt) {
      const rootBefore = this.#tree && root(sha256, this.#tree)
      const found = attempt(() => readGroup(bytes.subarray(offset), keys, this.#size, rootBefore))
      if (!('flaw' in found)) {
        visit(found.header, found.records, { segment, offset })
        this.#step(found.header.confirmed, found.leaf)
        offset += found.padded
        continue
      }
      const isEnd = next === undefined || (next.before === undefined && isZero(bytes.subarray(offset)))
      const group = this.#size + 1
      if (isEnd && !this.#isLoss(file, bytes, offset, found.flaw, next === undefined)) return
      if (!isEnd) findings.tell('GROUP', { file, offset, group }, { detail: found.flaw })
      if (found.known !== undefined) {
        // Its leaf is authentic: what follows is still linked to it.
        this.#step(found.known.header.confirmed, found.known.leaf)
        offset += found.known.padded
        continue
      }
      const later = laterThan(bytes, offset, keys, this.#size)
      this.#tree = undefined
      if (later === undefined) return
      this.#size = later.header.generation - 1
      offset = later.offset
    }
    if (next === undefined && this.#size >= this.#upTo)
      this.#goesOn = laterThan(bytes, offset - limits.sectorBytes, keys, this.#size) !== undefined
  }

  /** The journal ends here: whether that is more than a crash's doing, which is told. */
  #isLoss(file: string, bytes: Uint8Array, offset: number, flaw: string, isLast: boolean): boolean {
    const { keys, marked, beside, findings } = this.#options
    if (!isLast) return false
    const group = this.#size + 1
    try {
      refuseLoss(bytes, offset, keys, this.#size, Math.max(this.#confirmed, marked))
    } catch (error) {
      const isOlder = error instanceof StateError && error.code === 'EROLLBACK'
      if (isOlder) findings.tell('HOME_WENT_BACK', { file, offset, group }, detailOf(error))
      else findings.tell('GROUP', { file, offset, group }, { detail: flaw })
      return true
    }
    if (!beside && !isZero(bytes.subarray(offset))) findings.tell('TORN_TAIL', { file, offset, group })
    return false
  }

  #step(confirmed: number, leaf: Uint8Array): void {
    this.#size++
    this.#confirmed = Math.max(this.#confirmed, confirmed)
    this.#tree = this.#tree && append(sha256, this.#tree, leaf)
    this.#measure()
  }

  #measure(): void {
    if (this.#tree !== undefined && this.#size === this.#options.marked)
      this.#rootAtMark = root(sha256, this.#tree)
  }
}

/** The first whole header of a later group behind `offset`; one of an unknown format ends the search. */
function laterThan(bytes: Uint8Array, offset: number, keys: JournalKeys, size: number) {
  const found = attempt(() => laterGroups(bytes, offset, keys, size).next().value)
  return found === undefined || 'flaw' in found ? undefined : found
}

/** A group of an unknown format is refused like damage. */
function attempt<T>(read: () => T): T | Flaw {
  try {
    return read()
  } catch (error) {
    if (error instanceof StateError) return { flaw: error.message }
    throw error
  }
}

/** Its content is never read: only said where it is not what it was made as. */
export async function lookAtReserve(disk: Disk, directory: string, findings: Findings): Promise<void> {
  const path = `${directory}/${reserveName}`
  if ((await disk.stat(path)) === undefined) return
  try {
    const file = await disk.open(path, { access: 'read' })
    try {
      const chunk = new Uint8Array(256 * 1024)
      for (let offset = 0, length = 0; ; offset += length) {
        length = await file.read(chunk, offset)
        if (length === 0) return
        if (isZero(chunk.subarray(0, length))) continue
        findings.tell('RESERVE', { file: path, offset })
        return
      }
    } finally {
      await file.close()
    }
  } catch (error) {
    tellOf(findings, 'STRANGER', path, error)
  }
}
