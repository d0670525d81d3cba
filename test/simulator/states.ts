import { type Frame, Framer, type Slot, sortPending, type Tree } from './frame.ts'
import { fileHigh, fileLow, type Image, keyOf } from './image.ts'
import type { Snapshot } from './machine.ts'
import { type Node, sectorAt, withSector } from './node.ts'
import {
  clipDown,
  closeUp,
  type EntryOperation,
  isEntry,
  type LengthOperation,
  namesOf,
  type Operation,
  sectorKey,
} from './operation.ts'
import type { Profile } from './profile.ts'
import { Random } from './random.ts'
import { sameSector, zeroSector } from './sector.ts'

export type StateOptions = {
  /** Up to so many images all are listed, above it a choice of them. */
  readonly bound?: number
  /** Random images in a choice. */
  readonly samples?: number
  readonly seed?: number
}

/** A crash state before anybody needs it as an image: its digest is known, its contents are not yet put together. */
export type CrashState = { readonly key: number; image(): Image }

export type States = {
  /** Every state the model allows is in it. */
  readonly complete: boolean
  /** May repeat a key. */
  [Symbol.iterator](): Iterator<CrashState>
}

/** What a power cut at this instant may leave. */
export function statesOf(snapshot: Snapshot, profile: Profile, options: StateOptions = {}): States {
  const enumeration = new Enumeration(snapshot, profile, options)
  const frames = enumeration.allFrames()
  if (frames !== undefined) return { complete: true, [Symbol.iterator]: () => enumeration.all(frames) }
  return { complete: false, [Symbol.iterator]: () => enumeration.choice() }
}

class Enumeration {
  readonly #snapshot: Snapshot
  readonly #profile: Profile
  readonly #framer: Framer
  readonly #entries: readonly EntryOperation[]
  readonly #lengths: ReadonlyMap<number, readonly LengthOperation[]>
  readonly #bound: number
  readonly #samples: number
  readonly #random: Random

  constructor(snapshot: Snapshot, profile: Profile, options: StateOptions) {
    this.#snapshot = snapshot
    this.#profile = profile
    const pending = sortPending(snapshot.pending)
    this.#entries = pending.entries
    this.#lengths = pending.lengths
    this.#framer = new Framer(snapshot, profile, pending)
    this.#bound = options.bound ?? 4096
    this.#samples = options.samples ?? 256
    this.#random = new Random(options.seed ?? 1)
  }

  /** Every choice of metadata, or nothing if they span more images than the bound. */
  allFrames(): Frame[] | undefined {
    for (const lengths of this.#lengths.values())
      if (lengths.filter(operation => operation.cuts).length > Math.log2(this.#bound)) return undefined
    const frames: Frame[] = []
    let images = 0
    const metadata = this.#profile.metadata === 'journal' ? this.#journalPrefixes() : this.#nameSets()
    for (const frame of metadata) {
      images += frame.count
      if (images > this.#bound) return undefined
      frames.push(frame)
    }
    return frames
  }

  *all(frames: readonly Frame[]): Generator<CrashState> {
    for (const frame of frames) {
      const cursor = new Cursor(this.#snapshot, frame)
      do yield cursor
      while (cursor.next())
    }
  }

  /** (C3, journal) for each device a prefix of its metadata. */
  *#journalPrefixes(): Generator<Frame> {
    const devices = new Map<number, Operation[]>()
    for (const operation of this.#snapshot.pending) {
      if (operation.kind === 'setSector') continue
      const ofDevice = devices.get(operation.device) ?? []
      ofDevice.push(operation)
      devices.set(operation.device, ofDevice)
    }
    const lists = [...devices.values()]
    function* prefixes(from: number, landed: ReadonlySet<Operation>): Generator<ReadonlySet<Operation>> {
      const list = lists[from]
      if (list === undefined) {
        yield landed
        return
      }
      for (let n = 0; n <= list.length; n++)
        yield* prefixes(from + 1, new Set([...landed, ...list.slice(0, n)]))
    }
    for (const landed of prefixes(0, new Set())) yield this.#frameOf(operation => landed.has(operation))
  }

  /** (C3, per name) every lawful set of entries, and for each file they lead to every choice of lengths. */
  *#nameSets(): Generator<Frame> {
    for (const landed of this.#entrySets(0, [], new Set())) {
      const tree = this.#framer.tree(landed)
      yield* this.#lengthSets(tree, [])
    }
  }

  *#entrySets(
    from: number,
    landed: readonly EntryOperation[],
    blocked: ReadonlySet<string>,
  ): Generator<readonly EntryOperation[]> {
    const operation = this.#entries[from]
    if (operation === undefined) {
      yield landed
      return
    }
    const names = namesOf(operation)
    yield* this.#entrySets(from + 1, landed, new Set([...blocked, ...names]))
    if (!names.some(name => blocked.has(name)))
      yield* this.#entrySets(from + 1, [...landed, operation], blocked)
  }

  *#lengthSets(tree: Tree, chosen: readonly (readonly LengthOperation[])[]): Generator<Frame> {
    const place = tree.busy[chosen.length]
    if (place === undefined) {
      yield this.#framer.frame(tree, chosen)
      return
    }
    for (const landed of lengthChoices(this.#lengths.get(place.inode) ?? []))
      yield* this.#lengthSets(tree, [...chosen, landed])
  }

  #frameOf(isLanded: (operation: Operation) => boolean): Frame {
    const tree = this.#framer.tree(this.#entries.filter(isLanded))
    const lengths = tree.busy.map(({ inode }) => (this.#lengths.get(inode) ?? []).filter(isLanded))
    return this.#framer.frame(tree, lengths)
  }

  /** Too many to list: every prefix, drop-one and keep-one, splits, torn sectors, and random ones. */
  *choice(): Generator<CrashState> {
    const { pending } = this.#snapshot
    const step = Math.max(1, Math.ceil(pending.length / this.#bound))
    for (let n = 0; n <= pending.length; n += step) yield this.#clipped((_, i) => i < n)
    yield this.#clipped(() => true)
    yield this.#clipped(operation => operation.kind !== 'setSector')
    yield this.#clipped(operation => isEntry(operation))
    yield this.#clipped(operation => operation.kind !== 'setLen')
    yield this.#clipped(operation => !isEntry(operation))
    for (let n = 0; n < pending.length; n += step) {
      yield this.#clipped((_, i) => i !== n)
      const kept = closeUp(pending, this.#profile, operation => operation === pending[n])
      yield this.#taking(kept)
    }
    yield* this.#strange()
    for (let n = 0; n < this.#samples; n++) {
      const share = [0.1, 0.5, 0.9][n % 3] ?? 0.5
      const state = this.#clipped(() => this.#random.chance(share))
      if (n % 2 === 0) state.scatter(this.#random, share)
      yield state
    }
  }

  /** Each torn or garbage option of each sector, with all else landed and with no other data landed. */
  *#strange(): Generator<CrashState> {
    for (const others of [true, false]) {
      const cursor = this.#clipped(operation => others || operation.kind !== 'setSector')
      const { slots } = cursor.frame
      const step = Math.max(1, Math.ceil(slots.length / this.#bound))
      for (let n = 0; n < slots.length; n += step) {
        const slot = slots[n]
        if (slot === undefined) continue
        const usual = cursor.chosen(n)
        for (let option = 0; option < slot.options.length; option++) {
          if (slot.prefixes.includes(option)) continue
          cursor.choose(n, option)
          yield cursor
        }
        cursor.choose(n, usual)
      }
    }
  }

  #clipped(wanted: (operation: Operation, i: number) => boolean): Cursor {
    return this.#taking(clipDown(this.#snapshot.pending, this.#profile, wanted))
  }

  #taking(taken: readonly boolean[]): Cursor {
    const landed = new Set(this.#snapshot.pending.filter((_, i) => taken[i]))
    const cursor = new Cursor(
      this.#snapshot,
      this.#frameOf(operation => landed.has(operation)),
    )
    const counts = new Map<number, number>()
    for (const operation of landed) {
      if (operation.kind !== 'setSector') continue
      const key = sectorKey(operation.inode, operation.index)
      counts.set(key, (counts.get(key) ?? 0) + 1)
    }
    cursor.frame.slots.forEach((slot, i) => {
      const inode = cursor.frame.files[slot.file]?.place.inode ?? 0
      cursor.choose(i, slot.prefixes[counts.get(sectorKey(inode, slot.index)) ?? 0] ?? 0)
    })
    return cursor
  }
}

/** The sets of length changes that differ in what is read: which cuts, and which length is the last to land. */
function lengthChoices(operations: readonly LengthOperation[]): (readonly LengthOperation[])[] {
  let sets: (readonly LengthOperation[])[] = [[]]
  for (const operation of operations) {
    const cuts = sets.map(set => set.filter(before => before.cuts))
    const fresh = new Map([...cuts].map(set => [set.map(before => before.order).join(), set]))
    sets = [...sets, ...[...fresh.values()].map(set => [...set, operation])]
  }
  return sets
}

/** Walks the product of a frame's sector choices like an odometer, keeping the digest up to date. */
class Cursor implements CrashState {
  readonly frame: Frame
  readonly #snapshot: Snapshot
  readonly #chosen: number[]
  readonly #lows: number[]
  readonly #highs: number[]

  constructor(snapshot: Snapshot, frame: Frame) {
    this.#snapshot = snapshot
    this.frame = frame
    this.#chosen = frame.slots.map(() => 0)
    this.#lows = frame.files.map(file => file.stem.low)
    this.#highs = frame.files.map(file => file.stem.high)
    for (const slot of frame.slots) this.#add(slot, 0, 1)
  }

  get key(): number {
    let { low, high } = this.frame
    this.frame.files.forEach(({ stem, place }, i) => {
      low = (low + fileLow(stem, place.low, this.#lows[i])) | 0
      high = (high + fileHigh(stem, place.high, this.#highs[i])) | 0
    })
    return keyOf(low, high)
  }

  chosen(slot: number): number {
    return this.#chosen[slot] ?? 0
  }

  choose(at: number, option: number): void {
    const slot = this.frame.slots[at]
    if (slot === undefined) return
    this.#add(slot, this.chosen(at), -1)
    this.#add(slot, option, 1)
    this.#chosen[at] = option
  }

  next(): boolean {
    for (let at = 0; at < this.frame.slots.length; at++) {
      const options = this.frame.slots[at]?.options.length ?? 0
      const option = this.chosen(at) + 1
      this.choose(at, option < options ? option : 0)
      if (option < options) return true
    }
    return false
  }

  scatter(random: Random, share: number): void {
    this.frame.slots.forEach((slot, at) => {
      if (random.chance(share)) this.choose(at, random.below(slot.options.length))
    })
  }

  image(): Image {
    const { sectorSize, root, nextInode } = this.#snapshot
    const { tree, files, slots } = this.frame
    const nodes = new Map<number, Node>()
    for (const inode of tree.walked.directories) copy(tree.nodes, nodes, inode)
    for (const { inode } of tree.walked.files) copy(tree.nodes, nodes, inode)
    const contents = files.map(file => file.stem)
    slots.forEach((slot, at) => {
      const stem = contents[slot.file]
      const sector = slot.options[this.chosen(at)]
      if (stem === undefined || sector === undefined) return
      const before = sectorAt(stem, slot.index) ?? zeroSector(sectorSize)
      if (!sameSector(before, sector)) contents[slot.file] = withSector(stem, slot.index, sector)
    })
    files.forEach((file, i) => {
      const node = contents[i]
      if (node !== undefined) nodes.set(file.place.inode, node)
    })
    return { sectorSize, root, nextInode, nodes }
  }

  #add(slot: Slot, option: number, sign: 1 | -1): void {
    this.#lows[slot.file] = ((this.#lows[slot.file] ?? 0) + sign * (slot.lows[option] ?? 0)) | 0
    this.#highs[slot.file] = ((this.#highs[slot.file] ?? 0) + sign * (slot.highs[option] ?? 0)) | 0
  }
}

function copy(from: ReadonlyMap<number, Node>, to: Map<number, Node>, inode: number): void {
  const node = from.get(inode)
  if (node !== undefined) to.set(inode, node)
}
