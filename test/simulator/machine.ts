import type { Image } from './image.ts'
import { cut, type FileNode, type Node, sectorAt, withEntry, withSector } from './node.ts'
import {
  clipDown,
  closeUp,
  type EntryOperation,
  type LengthOperation,
  type Operation,
  type SectorOperation,
} from './operation.ts'
import type { Profile } from './profile.ts'
import type { Random } from './random.ts'
import { sameSector, trimSector } from './sector.ts'

/** A machine at one instant. A value, like an image, and sharing as much. */
export type Snapshot = {
  readonly sectorSize: number
  readonly root: number
  readonly nextInode: number
  readonly base: ReadonlyMap<number, Node>
  readonly pending: readonly Operation[]
  readonly live: ReadonlyMap<number, Node>
  /** Calls made so far: the number of the one about to take effect. */
  readonly call: number
}

/** What becomes of the work that a failed sync was to cover, as file systems differ. */
export type AfterFailedSync = 'kept' | 'dropped' | 'reverted' | 'partial'

/** Base, pending list and live view: the state of the model that `disk.ts` describes. */
export class Machine {
  readonly sectorSize: number
  readonly profile: Profile
  readonly root: number
  readonly random: Random
  /** Who holds which lock: inode of the lock file, process. */
  readonly locks = new Map<number, number>()
  calls = 0
  processes = 0
  /** Called before every change to what a crash here could leave. */
  observe: ((snapshot: Snapshot) => void) | undefined
  #nextInode: number
  #nextOrder = 1
  #base: Map<number, Node>
  #live: Map<number, Node>
  #pending: Operation[]
  #shared = true

  constructor(from: Snapshot, profile: Profile, random: Random) {
    this.sectorSize = from.sectorSize
    this.profile = profile
    this.root = from.root
    this.random = random
    this.calls = from.call
    this.#nextInode = from.nextInode
    this.#nextOrder = (from.pending.at(-1)?.order ?? 0) + 1
    // Shared until the first change, which copies: a boot costs nothing.
    this.#base = from.base as Map<number, Node>
    this.#live = from.live as Map<number, Node>
    this.#pending = from.pending as Operation[]
  }

  get live(): ReadonlyMap<number, Node> {
    return this.#live
  }

  get pending(): readonly Operation[] {
    return this.#pending
  }

  /** The order that the next operation will carry: a barrier covers what lies below. */
  get nextOrder(): number {
    return this.#nextOrder
  }

  snapshot(): Snapshot {
    this.#shared = true
    return {
      sectorSize: this.sectorSize,
      root: this.root,
      nextInode: this.#nextInode,
      base: this.#base,
      pending: this.#pending,
      live: this.#live,
      call: this.calls,
    }
  }

  /** A new inode. It is in the base at once: without a name nobody can see it. */
  create(node: Node): number {
    this.#change()
    const inode = this.#nextInode++
    this.#base.set(inode, node)
    this.#live.set(inode, node)
    return inode
  }

  issueEntry(
    call: number,
    kind: EntryOperation['kind'],
    inode: number,
    names: Pick<EntryOperation, 'from' | 'to' | 'replaces'>,
  ): void {
    this.#change()
    const device = this.#live.get(inode)?.device ?? 0
    const operation: EntryOperation = { kind, order: this.#nextOrder++, call, inode, device, ...names }
    applyEntry(this.#live, operation)
    this.#pending.push(operation)
  }

  issueLength(call: number, inode: number, length: number): void {
    this.#change()
    const file = this.#file(inode)
    const cuts = length < file.length
    this.#live.set(inode, cuts ? cut(file, length, this.sectorSize) : { ...file, length })
    this.#pending.push({
      kind: 'setLen',
      order: this.#nextOrder++,
      call,
      inode,
      device: file.device,
      length,
      cuts,
    })
  }

  issueSector(call: number, inode: number, index: number, sector: SectorOperation['sector']): void {
    this.#change()
    const file = this.#file(inode)
    this.#live.set(inode, withSector(file, index, sector))
    this.#pending.push({
      kind: 'setSector',
      order: this.#nextOrder++,
      call,
      inode,
      device: file.device,
      index,
      sector,
    })
  }

  /** (C1) a barrier returned: what it covers, and what that rests on, is in the base from now on. */
  fold(covered: (operation: Operation) => boolean): void {
    if (!this.#pending.some(covered)) return
    this.point()
    this.#change()
    const taken = closeUp(this.#pending, this.profile, covered)
    this.#land((_, i) => taken[i] === true)
  }

  /** Notes that one side of a rename between directories is synced. */
  markSynced(directory: number, before: number): void {
    if (!this.#pending.some(operation => isHalfSynced(operation, directory, before))) return
    this.#change()
    this.#pending = this.#pending.map(operation =>
      isHalfSynced(operation, directory, before) ? { ...operation, synced: directory } : operation,
    )
  }

  /** A sync failed. Lengths stay pending when data is dropped: the file system still believes in them. */
  fail(covered: (operation: Operation) => boolean, after: AfterFailedSync): void {
    if (after === 'kept' || !this.#pending.some(covered)) return
    this.point()
    this.#change()
    const lost = new Set(this.#pending.filter(covered))
    if (after === 'partial') {
      const landed = clipDown(this.#pending, this.profile, op => covered(op) && this.random.chance(0.5))
      this.#land((_, i) => landed[i] === true)
    }
    this.#pending = this.#pending.filter(
      op => !lost.has(op) || (after !== 'reverted' && op.kind !== 'setSector'),
    )
    if (after === 'reverted') this.#revert(lost)
  }

  pendingLengths(inode: number): LengthOperation[] {
    return this.#pending.filter(operation => operation.kind === 'setLen').filter(op => op.inode === inode)
  }

  baseLength(inode: number): number {
    const node = this.#base.get(inode)
    return node?.kind === 'file' ? node.length : 0
  }

  /** What a crash could leave is about to change. */
  point(): void {
    this.observe?.(this.snapshot())
  }

  #file(inode: number): FileNode {
    const node = this.#live.get(inode)
    if (node?.kind !== 'file') throw new Error(`inode ${inode} is not a file`)
    return node
  }

  /** Copy on write: a snapshot may hold what we are about to change. */
  #change(): void {
    if (!this.#shared) return
    this.#shared = false
    this.#base = new Map(this.#base)
    this.#live = new Map(this.#live)
    this.#pending = this.#pending.slice()
  }

  #land(isTaken: (operation: Operation, i: number) => boolean): void {
    const rest: Operation[] = []
    this.#pending.forEach((operation, i) => {
      if (!isTaken(operation, i)) rest.push(operation)
      else if (operation.kind === 'setSector') landSector(this.#base, operation)
      else if (operation.kind === 'setLen') {
        landLength(this.#base, operation, this.sectorSize)
        if (operation.cuts) trimPending(rest, operation, this.sectorSize)
      } else {
        applyEntry(this.#base, operation)
        const gone = operation.kind === 'delEntry' ? operation.inode : operation.replaces
        if (gone !== undefined) this.#base.delete(gone)
      }
    })
    this.#pending = rest.filter(operation => this.#base.has(operation.inode))
  }

  #revert(lost: ReadonlySet<Operation>): void {
    const touched = new Set<number>()
    for (const operation of lost) {
      if (operation.kind === 'setLen' || operation.kind === 'setSector') touched.add(operation.inode)
      else
        for (const name of [operation.from, operation.to]) if (name !== undefined) touched.add(name.directory)
    }
    for (const inode of touched) {
      const node = this.#base.get(inode)
      const seen = node?.kind === 'file' ? cut(node, node.length, this.sectorSize) : node
      if (seen === undefined) continue
      this.#base.set(inode, seen)
      this.#live.set(inode, seen)
    }
    for (const operation of this.#pending) {
      if (operation.kind === 'setSector' || operation.kind === 'setLen') {
        if (!touched.has(operation.inode)) continue
        if (operation.kind === 'setSector') landSector(this.#live, operation)
        else landLength(this.#live, operation, this.sectorSize)
      } else applyEntry(this.#live, operation, touched)
    }
  }
}

/** The machine that an image boots. */
export function snapshotOf(image: Image): Snapshot {
  return {
    sectorSize: image.sectorSize,
    root: image.root,
    nextInode: image.nextInode,
    base: image.nodes,
    pending: [],
    live: image.nodes,
    call: 0,
  }
}

/** Makes the change in the directories, or only in those of `among`. */
export function applyEntry(
  nodes: Map<number, Node>,
  operation: EntryOperation,
  among?: ReadonlySet<number>,
): void {
  const { from, to } = operation
  for (const name of [from, to]) {
    if (name === undefined || among?.has(name.directory) === false) continue
    const directory = nodes.get(name.directory)
    if (directory?.kind !== 'directory') continue
    nodes.set(name.directory, withEntry(directory, name.name, name === to ? operation.inode : undefined))
  }
}

function landSector(nodes: Map<number, Node>, operation: SectorOperation): void {
  const file = nodes.get(operation.inode)
  if (file?.kind !== 'file') return
  const before = sectorAt(file, operation.index)
  if (before !== undefined && sameSector(before, operation.sector)) return
  nodes.set(operation.inode, withSector(file, operation.index, operation.sector))
}

function landLength(nodes: Map<number, Node>, operation: LengthOperation, sectorSize: number): void {
  const file = nodes.get(operation.inode)
  if (file?.kind !== 'file') return
  const { length } = operation
  nodes.set(operation.inode, operation.cuts ? cut(file, length, sectorSize) : { ...file, length })
}

/** A cut has landed: writes issued before it, and still pending, must not come back above it. */
function trimPending(rest: Operation[], by: LengthOperation, sectorSize: number): void {
  for (let i = rest.length - 1; i >= 0; i--) {
    const operation = rest[i]
    if (operation?.kind !== 'setSector' || operation.inode !== by.inode) continue
    const start = operation.index * sectorSize
    if (start >= by.length) rest.splice(i, 1)
    else if (start + sectorSize > by.length)
      rest[i] = { ...operation, sector: trimSector(operation.sector, by.length - start) }
  }
}

function isHalfSynced(operation: Operation, directory: number, before: number): boolean {
  if (operation.kind !== 'swapEntry' || operation.order >= before || operation.synced !== undefined)
    return false
  const { from, to } = operation
  return from?.directory !== to?.directory && (from?.directory === directory || to?.directory === directory)
}

/** What running programs see, as an image. */
export function wholeImage(snapshot: Snapshot): Image {
  const reachable = new Map<number, Node>()
  const visit = (inode: number) => {
    const node = snapshot.live.get(inode)
    if (node === undefined) return
    reachable.set(inode, node.kind === 'file' ? cut(node, node.length, snapshot.sectorSize) : node)
    if (node.kind === 'directory') for (const child of node.entries.values()) visit(child)
  }
  visit(snapshot.root)
  const { sectorSize, root, nextInode } = snapshot
  return { sectorSize, root, nextInode, nodes: reachable }
}
