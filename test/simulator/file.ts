import type { File, OpenOptions, Stat } from '../../src/host/disk.ts'
import { nodeAt } from './image.ts'
import { type FileNode, type Node, readFile, touchedSectors } from './node.ts'
import type { Operation } from './operation.ts'
import { type Entered, type Process, refuse, wrong } from './process.ts'
import { makeSector } from './sector.ts'

/** An open file: it holds the inode, whatever becomes of the name. */
export class SimulatedFile implements File {
  readonly #process: Process
  readonly #path: string
  readonly #inode: number
  readonly #options: OpenOptions
  #isOpen = true

  constructor(process: Process, path: string, inode: number, options: OpenOptions) {
    this.#process = process
    this.#path = path
    this.#inode = inode
    this.#options = options
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    const call = await this.#process.enter('read', this.#path, { position, length: into.length })
    refuse(call)
    const { sectorSize } = this.#process.machine
    const node = this.#node()
    const answers = call.fault?.answers ?? 0
    if (typeof answers === 'number') return readFile(node, into, Math.max(0, position + answers), sectorSize)
    const older = nodeAt(answers, this.#path)
    return readFile(older?.kind === 'file' ? older : node, into, position, sectorSize)
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    const durable = this.#options.durable === true
    const call = await this.#process.enter('write', this.#path, { position, length: bytes.length, durable })
    this.#mustWrite()
    const lands = call.fault?.lands ?? 0
    if (lands === 'nowhere') return
    const failing = call.fault?.fails !== undefined
    const applied = bytes.subarray(0, failing ? (call.fault?.applied ?? 0) : bytes.length)
    const at = Math.max(0, position + lands)
    if (applied.length > 0) {
      this.#issue(call, applied, at)
      if (durable) await this.#syncRange(call, at, at + applied.length)
    }
    refuse(call)
  }

  async truncate(length: number): Promise<void> {
    const call = await this.#process.enter('truncate', this.#path, { position: length })
    this.#mustWrite()
    refuse(call)
    if (length === this.#node().length) return
    this.#process.machine.point()
    this.#process.machine.issueLength(call.number, this.#inode, length)
  }

  async sync(): Promise<void> {
    const { machine } = this.#process
    const before = machine.nextOrder
    const call = await this.#process.enter('sync', this.#path)
    this.#node()
    const grantsName = machine.profile.renameFlushes // C4
    this.#barrier(
      call,
      operation =>
        operation.inode === this.#inode &&
        operation.order < before &&
        (operation.kind === 'setSector' ||
          operation.kind === 'setLen' ||
          (operation.kind === 'addEntry' && grantsName)),
    )
    refuse(call)
  }

  async stat(): Promise<Stat> {
    refuse(await this.#process.enter('stat', this.#path))
    return statOf(this.#inode, this.#node())
  }

  async close(): Promise<void> {
    const call = await this.#process.enter('close', this.#path)
    this.#isOpen = false
    refuse(call)
  }

  #issue(call: Entered, bytes: Uint8Array, position: number): void {
    const { machine } = this.#process
    const file = this.#node()
    machine.point()
    if (position + bytes.length > file.length)
      machine.issueLength(call.number, this.#inode, position + bytes.length)
    for (const sector of touchedSectors(file, bytes, position, machine.sectorSize))
      machine.issueSector(call.number, this.#inode, sector.index, makeSector(sector.bytes))
  }

  /** (C1) a durable write covers its sectors and, if they could not be read without, the length. */
  async #syncRange(call: Entered, start: number, end: number): Promise<void> {
    const { machine } = this.#process
    const before = machine.nextOrder
    await this.#process.turn()
    const lengths = machine.pendingLengths(this.#inode)
    const shorter = lengths.findLastIndex(operation => operation.length < end)
    const isBaseShort = machine.baseLength(this.#inode) < end
    const needed = shorter >= 0 ? lengths[shorter + 1] : isBaseShort ? lengths[0] : undefined
    this.#barrier(call, (operation: Operation) => {
      if (operation.inode !== this.#inode) return false
      if (operation.kind === 'setLen') return needed !== undefined && operation.order <= needed.order
      if (operation.kind !== 'setSector' || operation.order >= before) return false
      const at = operation.index * machine.sectorSize
      return at < end && at + machine.sectorSize > start
    })
  }

  #barrier(call: Entered, covered: (operation: Operation) => boolean): void {
    const { machine } = this.#process
    if (call.fault?.fails !== undefined) machine.fail(covered, call.fault.after ?? 'dropped')
    else if (call.fault?.lies !== true) machine.fold(covered)
  }

  #node(): FileNode {
    const node = this.#process.machine.live.get(this.#inode)
    if (!this.#isOpen || node?.kind !== 'file') throw wrong('failed', `${this.#path}: not open`)
    return node
  }

  #mustWrite(): void {
    this.#node()
    if (this.#options.access === 'read') throw wrong('failed', `${this.#path}: opened to read`)
  }
}

export function statOf(inode: number, node: Node): Stat {
  const size = node.kind === 'file' ? node.length : 0
  return { kind: node.kind, size, mode: node.mode, device: node.device, inode }
}
