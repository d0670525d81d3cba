import { BytesError } from '../bytes/bytes.ts'
import type { Block, Placed } from './block.ts'
import { StateError, stateError } from './error.ts'
import { type GroupHeader, groupHeaderBytes, paddedLength, parseGroupHeader, placeRecords } from './group.ts'
import type { Location, SegmentFiles } from './segment.ts'

/** A group of an open journal, read again. */
export type WalkedGroup = {
  readonly at: Location
  readonly header: GroupHeader
  readonly bytes: Uint8Array
  readonly placed: readonly Placed[]
  readonly next: Location
}

/** Reads ahead: many small groups lie one behind the other. */
export class ReadAhead {
  readonly #source: SegmentFiles
  #start: Location = { segment: 0, offset: 0 }
  #bytes: Uint8Array = new Uint8Array(0)

  constructor(source: SegmentFiles) {
    this.#source = source
  }

  async read(at: Location, length: number): Promise<Uint8Array> {
    const from = at.offset - this.#start.offset
    const isHere = at.segment === this.#start.segment && from >= 0 && from + length <= this.#bytes.length
    if (isHere) return this.#bytes.subarray(from, from + length)
    this.#bytes = await this.#source.readUpTo(at, Math.max(length, readAheadBytes))
    this.#start = at
    if (this.#bytes.length < length) throw new BytesError(`segment ${at.segment} is shorter than it was`)
    return this.#bytes.subarray(0, length)
  }
}

const readAheadBytes = 256 * 1024

/**
 * The group that lies there, which opening or writing the journal has found authentic; its blocks are held against
 * their hashes once more. @throws StateError EINTEGRITY
 */
export async function groupAt(
  source: Pick<SegmentFiles, 'read'>,
  at: Location,
  generation: number,
): Promise<WalkedGroup> {
  try {
    const header = parseGroupHeader(await source.read(at, groupHeaderBytes))
    if (header === undefined || header.generation !== generation)
      throw new StateError('EINTEGRITY', `group ${generation} in segment ${at.segment} is damaged`)
    const bytes = await source.read(at, header.length)
    const next = { segment: at.segment, offset: at.offset + paddedLength(header) }
    return { at, header, bytes, placed: placeRecords(bytes, header), next }
  } catch (error) {
    throw stateError(error)
  }
}

export type LivePut = Placed & { readonly kind: 'put' }

/** The records of a block that are what their paths hold now. */
export type LiveBlock = {
  readonly group: WalkedGroup
  readonly block: Block
  readonly records: readonly LivePut[]
}

export function liveBlocks(
  group: WalkedGroup,
  isLive: (record: Placed, at: Location) => boolean,
): LiveBlock[] {
  const live = new Map<Block, LivePut[]>()
  for (const record of group.placed) {
    if (record.kind === 'delete' || !isLive(record, group.at)) continue
    const others = live.get(record.block)
    if (others === undefined) live.set(record.block, [record])
    else others.push(record)
  }
  return [...live].map(([block, records]) => ({ group, block, records }))
}
