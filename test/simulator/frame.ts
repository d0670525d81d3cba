import { entriesOf, fileHigh, fileLow, type Place, type Walk, walk } from './image.ts'
import { applyEntry, type Snapshot } from './machine.ts'
import { cut, type FileNode, type Node, sectorAt } from './node.ts'
import {
  type EntryOperation,
  flushes,
  isEntry,
  type LengthOperation,
  type Operation,
  type SectorOperation,
} from './operation.ts'
import type { Profile } from './profile.ts'
import { Random } from './random.ts'
import { highAt, lowAt, makeSector, type Sector, sameSector, trimSector, zeroSector } from './sector.ts'

/** The pending list sorted by what it acts on. */
export type Pending = {
  readonly entries: readonly EntryOperation[]
  readonly lengths: ReadonlyMap<number, readonly LengthOperation[]>
  readonly sectors: ReadonlyMap<number, ReadonlyMap<number, readonly SectorOperation[]>>
}

/** The directories after some of the entry operations, and what can be reached. */
export type Tree = {
  readonly nodes: ReadonlyMap<number, Node>
  readonly walked: Walk
  /** Reachable files with pending lengths or sectors. */
  readonly busy: readonly Place[]
  /** (C4) operations on the inode issued before this order have landed. */
  readonly floors: ReadonlyMap<number, number>
}

/** A tree with every length chosen: what is left to choose is each sector in flight, independently. */
export type Frame = {
  readonly tree: Tree
  readonly files: readonly FrameFile[]
  readonly slots: readonly Slot[]
  /** How many images: the product of the choices. */
  readonly count: number
  /** Digest sums of all that is fixed. */
  readonly low: number
  readonly high: number
}

export type FrameFile = { readonly place: Place; readonly stem: FileNode }

/** A sector in flight and what it may hold. Option 0 is what is there if none of its writes landed. */
export type Slot = {
  readonly file: number
  readonly index: number
  readonly options: readonly Sector[]
  /** What an option changes in the file's digest sums. */
  readonly lows: readonly number[]
  readonly highs: readonly number[]
  /** The option for each prefix of the sector's writes: the first entry for none of them. */
  readonly prefixes: readonly number[]
}

type Flight = { readonly stem: FileNode; readonly slots: readonly Omit<Slot, 'file'>[] }

export function sortPending(pending: readonly Operation[]): Pending {
  const entries: EntryOperation[] = []
  const lengths = new Map<number, LengthOperation[]>()
  const sectors = new Map<number, Map<number, SectorOperation[]>>()
  for (const operation of pending) {
    if (isEntry(operation)) entries.push(operation)
    else if (operation.kind === 'setLen') put(lengths, operation.inode, () => []).push(operation)
    else {
      const ofFile = put(sectors, operation.inode, () => new Map<number, SectorOperation[]>())
      put(ofFile, operation.index, () => []).push(operation)
    }
  }
  return { entries, lengths, sectors }
}

/** Builds trees and frames over one snapshot; remembers what it has worked out for each file. */
export class Framer {
  readonly #snapshot: Snapshot
  readonly #profile: Profile
  readonly #pending: Pending
  readonly #flights = new Map<string, Flight>()

  constructor(snapshot: Snapshot, profile: Profile, pending: Pending) {
    this.#snapshot = snapshot
    this.#profile = profile
    this.#pending = pending
  }

  tree(landed: readonly EntryOperation[]): Tree {
    const { base, root } = this.#snapshot
    const nodes = landed.length === 0 ? base : new Map(base)
    const floors = new Map<number, number>()
    for (const operation of landed) {
      applyEntry(nodes as Map<number, Node>, operation)
      if (flushes(operation, this.#profile)) floors.set(operation.inode, operation.order)
    }
    const walked = walk(nodes, root, inode => entriesOf(nodes.get(inode)))
    const busy = walked.files.filter(
      ({ inode }) => this.#pending.lengths.has(inode) || this.#pending.sectors.has(inode),
    )
    return { nodes, walked, busy, floors }
  }

  /** `lengths` gives for each busy file of the tree the length operations that landed. */
  frame(tree: Tree, lengths: readonly (readonly LengthOperation[])[]): Frame {
    let { low, high } = tree.walked
    const busy = new Set(tree.busy)
    for (const place of tree.walked.files) {
      const node = tree.nodes.get(place.inode)
      if (busy.has(place) || node?.kind !== 'file') continue
      low = (low + fileLow(node, place.low)) | 0
      high = (high + fileHigh(node, place.high)) | 0
    }
    const files: FrameFile[] = []
    const slots: Slot[] = []
    let count = 1
    tree.busy.forEach((place, i) => {
      const flight = this.#flight(place.inode, lengths[i] ?? [], tree.floors.get(place.inode) ?? 0)
      const file = files.push({ place, stem: flight.stem }) - 1
      for (const slot of flight.slots) {
        slots.push({ file, ...slot })
        count *= slot.options.length
      }
    })
    return { tree, files, slots, count, low, high }
  }

  #flight(inode: number, landed: readonly LengthOperation[], floor: number): Flight {
    const key = `${inode}:${floor}:${landed.map(operation => operation.order).join()}`
    const known = this.#flights.get(key)
    if (known !== undefined) return known
    const made = this.#makeFlight(inode, landed, floor)
    this.#flights.set(key, made)
    return made
  }

  #makeFlight(inode: number, landed: readonly LengthOperation[], floor: number): Flight {
    const { base, sectorSize } = this.#snapshot
    const node = base.get(inode)
    if (node?.kind !== 'file') throw new Error(`inode ${inode} is not a file`)
    let stem = node
    for (const { length, cuts } of landed) stem = cuts ? cut(stem, length, sectorSize) : { ...stem, length }
    stem = cut(stem, stem.length, sectorSize)
    const cuts = landed.filter(operation => operation.cuts)
    const slots = []
    for (const [index, writes] of this.#pending.sectors.get(inode) ?? []) {
      const start = index * sectorSize
      if (start >= stem.length) continue
      const before = sectorAt(stem, index) ?? zeroSector(sectorSize)
      const chain = [before]
      for (const write of writes) {
        let limit = stem.length - start
        for (const by of cuts) if (by.order > write.order) limit = Math.min(limit, by.length - start)
        chain.push(limit <= 0 ? zeroSector(sectorSize) : trimSector(write.sector, limit))
      }
      const forced = writes.filter(write => write.order < floor).length
      const slot = this.#slot(index, chain, forced, sectorAt(stem, index) === undefined, stem.length - start)
      if (slot !== undefined) slots.push(slot)
    }
    return { stem, slots }
  }

  /** (C2) a prefix of the writes; then what the profile adds. Options that read alike count once. */
  #slot(index: number, chain: readonly Sector[], forced: number, hole: boolean, limit: number) {
    const first = chain[0] ?? zeroSector(this.#snapshot.sectorSize)
    const options: Sector[] = []
    const add = (sector: Sector): number => {
      const at = options.findIndex(option => sameSector(option, sector))
      return at >= 0 ? at : options.push(sector) - 1
    }
    const prefixes = chain.map((sector, landed) => (landed < forced ? -1 : add(sector)))
    for (let landed = 0; landed < forced; landed++) prefixes[landed] = prefixes[forced] ?? 0
    if (hole && this.#profile.unwritten === 'garbage' && forced === 0)
      add(trimSector(garbage(index, this.#snapshot.sectorSize), limit))
    if (this.#profile.sectors === 'torn')
      for (const torn of tornSectors(index, chain.slice(forced))) add(trimSector(torn, limit))
    if (options.length === 1 && options[0] !== undefined && sameSector(options[0], first)) return undefined
    const low = lowAt(first, index)
    const high = highAt(first, index)
    return {
      index,
      options,
      lows: options.map(option => (lowAt(option, index) - low) | 0),
      highs: options.map(option => (highAt(option, index) - high) | 0),
      prefixes,
    }
  }
}

/** (C5) between each two successive contents: the new front, the new back; and garbage, over the whole sector. */
function tornSectors(index: number, chain: readonly Sector[]): Sector[] {
  const torn: Sector[] = []
  for (let i = 1; i < chain.length; i++) {
    const before = chain[i - 1]
    const after = chain[i]
    if (before === undefined || after === undefined) continue
    const size = before.bytes.length
    let from = 0
    let to = size
    while (from < size && before.bytes[from] === after.bytes[from]) from++
    while (to > from && before.bytes[to - 1] === after.bytes[to - 1]) to--
    const middle = from < to ? Math.floor((from + to) / 2) : size >> 1
    torn.push(spliced(after, before, middle), spliced(before, after, middle))
  }
  if (chain.length > 1) torn.push(garbage(index, chain[0]?.bytes.length ?? 0))
  return torn
}

function spliced(front: Sector, back: Sector, at: number): Sector {
  const bytes = new Uint8Array(back.bytes)
  bytes.set(front.bytes.subarray(0, at))
  return makeSector(bytes)
}

/** The same for the same place, so that states can be compared. */
function garbage(index: number, size: number): Sector {
  return makeSector(new Random(0x6a5b + index * 7 + size).bytes(size))
}

function put<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}
