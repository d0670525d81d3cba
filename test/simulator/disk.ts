/**
 * A simulated disk: what may be left of a program's work when the power goes.
 *
 * The state is a base B, which is durable; a list P of micro-operations that are pending, in the order issued; and
 * the live view V that running programs see, which is B with all of P done. Open files hold inodes, not names.
 * Directories are objects of their own, with their own barriers.
 *
 * A call adds micro-operations to P:
 *
 *     create, makeDirectory   addEntry
 *     unlink, removeDirectory delEntry
 *     rename                  one swapEntry: never both names, never neither
 *     write                   setSector for each sector touched, and setLen if the file grows, each on its own
 *     truncate                setLen
 *
 * A barrier moves operations from P into B, and does so when it returns, not before: `sync` those of the file (not
 * its name), `syncDirectory` the entries of the directory, a write on a `durable` file its own range and the length
 * that is needed to read it. A rename between two directories needs both. Closing a file gives nothing.
 *
 * A power cut may come at any point, also while a barrier is under way. What it leaves is B plus some of P, where
 *
 *     C1  all that a returned barrier covers is there (it is in B);
 *     C2  of the writes to one sector a prefix is there: a later one holds the earlier;
 *     C3  entries and lengths: for each name a prefix of its changes, and any choice of lengths; in the journal
 *         profiles a prefix of all metadata of the device. A length without its data reads as zeros, in profile
 *         `writeback` also as garbage; data above the length is not seen;
 *     C4  data and metadata are independent, except that in profile `ext4` a rename over a file brings the data of
 *         the file renamed, and a sync of a new file its name;
 *     C5  a sector is written whole, except that in profile `no-psow` one with a pending write may become a mix of
 *         old and new, or garbage, over its whole length.
 *
 * When only the process dies, all of P survives, still pending. Everything is decided by the program's calls and a
 * seed: no clock, no real file.
 */
import type { Disk, File, Lock, OpenOptions, Stat } from '../../src/host/disk.ts'
import type { FaultRule } from './fault.ts'
import { SimulatedFile, statOf } from './file.ts'
import { emptyImage, type Image, inodeAt, partsOf } from './image.ts'
import { Machine, type Snapshot, snapshotOf, wholeImage } from './machine.ts'
import { type DirectoryNode, emptyDirectory, emptyFile, emptyFileForAll, type Node } from './node.ts'
import { isEntry, type Name, type Operation } from './operation.ts'
import { Process, refuse, wrong } from './process.ts'
import { type Profile, type ProfileName, profileOf } from './profile.ts'
import { Random } from './random.ts'
import { type StateOptions, statesOf } from './states.ts'

export type DiskOptions = {
  readonly profile?: ProfileName | Profile
  readonly faults?: FaultRule
  readonly seed?: number
  /** Calls take up to so many turns of the microtask queue, so that concurrent ones pass each other. Default 0. */
  readonly turnsMax?: number
}

/** One process's view of a simulated machine. */
export class SimulatedDisk implements Disk {
  readonly #machine: Machine
  readonly #process: Process
  readonly #options: DiskOptions

  /** Boots from an image, or carries a machine on from a snapshot of it, in a new process. */
  constructor(from: Image | Snapshot | Machine = emptyImage(), options: DiskOptions = {}) {
    this.#options = options
    this.#machine = from instanceof Machine ? from : machineFrom(from, options)
    this.#process = new Process(this.#machine, options.faults, options.turnsMax ?? 0)
  }

  /** A second process on the same machine: the same files, locks of its own. */
  process(options: DiskOptions = this.#options): SimulatedDisk {
    return new SimulatedDisk(this.#machine, options)
  }

  /** The process dies: calls under way never return, its locks are free, all pending work stays pending. */
  kill(): void {
    this.#process.die()
  }

  /** Frees what this process has locked, as the kernel does at its death, and nothing else. */
  freeLocks(): void {
    this.#process.freeLocks()
  }

  /** Every image that a power cut now may leave, each once. */
  *crashStates(options: StateOptions = {}): Generator<Image> {
    const seen = new Set<number>()
    for (const state of statesOf(this.snapshot(), this.#machine.profile, options)) {
      if (seen.has(state.key)) continue
      seen.add(state.key)
      yield state.image()
    }
  }

  /** The image with nothing lost: what a new process sees after the old one died. */
  killState(): Image {
    return wholeImage(this.snapshot())
  }

  snapshot(): Snapshot {
    return this.#machine.snapshot()
  }

  /** Called before every change to what a crash could leave, with the machine as it is until then. */
  observe(observer: ((snapshot: Snapshot) => void) | undefined): void {
    this.#machine.observe = observer
  }

  get profile(): Profile {
    return this.#machine.profile
  }

  /** Calls made so far on this machine. */
  get calls(): number {
    return this.#machine.calls
  }

  async open(path: string, options: OpenOptions): Promise<File> {
    const isNew = options.access === 'exclusive'
    const call = await this.#process.enter(isNew ? 'create' : 'open', path)
    refuse(call)
    if (isNew) {
      const make = options.forAll === true ? emptyFileForAll : emptyFile
      return new SimulatedFile(this.#process, path, this.#create(call.number, path, make), options)
    }
    const inode = this.#inode(path)
    if (this.#machine.live.get(inode)?.kind !== 'file') throw wrong('unfit', `${path}: not a file`)
    return new SimulatedFile(this.#process, path, inode, options)
  }

  async makeDirectory(path: string): Promise<void> {
    const call = await this.#process.enter('makeDirectory', path)
    refuse(call)
    this.#create(call.number, path, emptyDirectory)
  }

  async list(path: string): Promise<readonly string[]> {
    refuse(await this.#process.enter('list', path))
    const names = [...this.#directory(this.#inode(path), path).entries.keys()]
    return names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  }

  async rename(from: string, to: string): Promise<void> {
    const call = await this.#process.enter('rename', from, { to })
    refuse(call)
    const inode = this.#inode(from)
    const target = this.#name(to)
    const replaces = this.#directory(target.directory, to).entries.get(target.name)
    if (replaces === inode) return
    this.#mayRename(inode, from, to, target, replaces)
    this.#machine.point()
    this.#machine.issueEntry(call.number, 'swapEntry', inode, {
      from: this.#name(from),
      to: target,
      ...(replaces === undefined ? {} : { replaces }),
    })
  }

  async unlink(path: string): Promise<void> {
    const call = await this.#process.enter('unlink', path)
    refuse(call)
    const inode = this.#inode(path)
    if (this.#machine.live.get(inode)?.kind === 'directory') throw wrong('unfit', `${path}: a directory`)
    this.#machine.point()
    this.#machine.issueEntry(call.number, 'delEntry', inode, { from: this.#name(path) })
  }

  async removeDirectory(path: string): Promise<void> {
    const call = await this.#process.enter('removeDirectory', path)
    refuse(call)
    const inode = this.#inode(path)
    if (this.#directory(inode, path).entries.size > 0) throw wrong('exists', `${path}: not empty`)
    this.#machine.point()
    this.#machine.issueEntry(call.number, 'delEntry', inode, { from: this.#name(path) })
  }

  async stat(path: string): Promise<Stat | undefined> {
    refuse(await this.#process.enter('stat', path))
    const inode = inodeAt(this.#machine.live, this.#machine.root, path)
    const node = inode === undefined ? undefined : this.#machine.live.get(inode)
    return inode === undefined || node === undefined ? undefined : statOf(inode, node)
  }

  async syncDirectory(path: string): Promise<void> {
    const before = this.#machine.nextOrder
    const call = await this.#process.enter('syncDirectory', path)
    const directory = this.#inode(path)
    this.#directory(directory, path)
    const covered = (operation: Operation) =>
      isEntry(operation) &&
      operation.order < before &&
      [operation.from, operation.to].every(
        name => name === undefined || name.directory === directory || name.directory === operation.synced,
      )
    if (call.fault?.fails !== undefined) this.#machine.fail(covered, call.fault.after ?? 'dropped')
    refuse(call)
    if (call.fault?.lies === true) return
    this.#machine.fold(covered)
    this.#machine.markSynced(directory, before)
  }

  /** The lock is on the inode, so two paths to one file meet. The file is made if there is none. */
  async lock(path: string): Promise<Lock> {
    const call = await this.#process.enter('lock', path)
    refuse(call)
    const { live, root, locks } = this.#machine
    const inode = inodeAt(live, root, path) ?? this.#create(call.number, path, emptyFile)
    if (locks.has(inode)) throw wrong('locked', path)
    locks.set(inode, this.#process.number)
    let isHeld = true
    return {
      release: async () => {
        refuse(await this.#process.enter('unlock', path))
        if (isHeld) locks.delete(inode)
        isHeld = false
      },
    }
  }

  #create(call: number, path: string, make: (device: number) => Node): number {
    const name = this.#name(path)
    const parent = this.#directory(name.directory, path)
    if (parent.entries.has(name.name)) throw wrong('exists', path)
    this.#machine.point()
    const inode = this.#machine.create(make(parent.device))
    this.#machine.issueEntry(call, 'addEntry', inode, { to: name })
    return inode
  }

  #mayRename(inode: number, from: string, to: string, target: Name, replaces: number | undefined): void {
    const node = this.#machine.live.get(inode)
    const old = replaces === undefined ? undefined : this.#machine.live.get(replaces)
    if (node?.device !== this.#directory(target.directory, to).device)
      throw wrong('failed', `${to}: on another device`)
    if (partsOf(from).every((part, i) => part === partsOf(to)[i]))
      throw wrong('failed', `${to}: inside itself`)
    if (old === undefined) return
    if ((old.kind === 'directory') !== (node.kind === 'directory'))
      throw wrong('failed', `${to}: file and directory`)
    if (old.kind === 'directory' && old.entries.size > 0) throw wrong('failed', `${to}: not empty`)
  }

  #inode(path: string): number {
    const inode = inodeAt(this.#machine.live, this.#machine.root, path)
    if (inode === undefined) throw wrong('missing', path)
    return inode
  }

  #name(path: string): Name {
    const parts = partsOf(path)
    const name = parts.pop()
    if (name === undefined || parts.includes('..')) throw wrong('failed', `${path}: not a name`)
    return { directory: this.#inode(parts.join('/')), name }
  }

  #directory(inode: number, path: string): DirectoryNode {
    const node = this.#machine.live.get(inode)
    if (node?.kind !== 'directory') throw wrong('unfit', `${path}: not a directory`)
    return node
  }
}

function machineFrom(from: Image | Snapshot, options: DiskOptions): Machine {
  const snapshot = 'nodes' in from ? snapshotOf(from) : from
  return new Machine(snapshot, profileOf(options.profile ?? 'posix'), new Random(options.seed ?? 1))
}
