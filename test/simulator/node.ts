import { highAt, lowAt, type Sector, trimSector, zeroSector } from './sector.ts'

/** What an inode holds. Nodes are values: a change makes a new one that shares what did not change. */
export type Node = FileNode | DirectoryNode | OtherNode

export type FileNode = {
  readonly kind: 'file'
  readonly mode: number
  readonly device: number
  readonly length: number
  readonly chunks: readonly (Chunk | undefined)[]
  /** Sums over the sectors; see `sector.ts`. */
  readonly low: number
  readonly high: number
}

export type DirectoryNode = {
  readonly kind: 'directory'
  readonly mode: number
  readonly device: number
  readonly entries: ReadonlyMap<string, number>
}

/** A socket, link or device: something that is neither file nor directory. */
export type OtherNode = { readonly kind: 'other'; readonly mode: number; readonly device: number }

/** `undefined` is a hole: nothing was ever allocated there, and it reads as zeros. */
type Chunk = readonly (Sector | undefined)[]

const chunkSectors = 64

export function emptyFile(device: number): FileNode {
  return { kind: 'file', mode: 0o600, device, length: 0, chunks: [], low: 0, high: 0 }
}

export function emptyFileForAll(device: number): FileNode {
  return { ...emptyFile(device), mode: 0o644 }
}

export function emptyDirectory(device: number): DirectoryNode {
  return { kind: 'directory', mode: 0o700, device, entries: new Map() }
}

export function sectorAt(file: FileNode, index: number): Sector | undefined {
  return file.chunks[Math.floor(index / chunkSectors)]?.[index % chunkSectors]
}

export function withSector(file: FileNode, index: number, sector: Sector | undefined): FileNode {
  const at = Math.floor(index / chunkSectors)
  const chunks = file.chunks.slice()
  while (chunks.length < at) chunks.push(undefined)
  const chunk = chunks[at]?.slice() ?? new Array<Sector | undefined>(chunkSectors).fill(undefined)
  const before = chunk[index % chunkSectors]
  chunk[index % chunkSectors] = sector
  chunks[at] = chunk
  return {
    ...file,
    chunks,
    low: (file.low - lowAt(before, index) + lowAt(sector, index)) | 0,
    high: (file.high - highAt(before, index) + highAt(sector, index)) | 0,
  }
}

/** Makes it so long, and drops whatever lies above, visible or not: grown again, it reads zeros there. */
export function cut(file: FileNode, length: number, sectorSize: number): FileNode {
  const whole = Math.floor(length / sectorSize)
  let after = file
  const partial = sectorAt(file, whole)
  if (length % sectorSize !== 0 && partial !== undefined)
    after = withSector(after, whole, trimSector(partial, length % sectorSize))
  const first = Math.ceil(length / sectorSize)
  const allocated = after.chunks.length * chunkSectors
  let { low, high } = after
  for (let index = first; index < allocated; index++) {
    const sector = sectorAt(after, index)
    low = (low - lowAt(sector, index)) | 0
    high = (high - highAt(sector, index)) | 0
  }
  const chunks = after.chunks.slice(0, Math.ceil(first / chunkSectors))
  const at = Math.floor(first / chunkSectors)
  const last = chunks[at] // not there if the file grew into it and nothing was written there yet
  if (last !== undefined)
    chunks[at] = last.map((sector, i) => (i < first % chunkSectors ? sector : undefined))
  return { ...after, chunks, length, low, high }
}

/** Copies into `into` from `position`; returns the bytes copied, fewer only at the end of the file. */
export function readFile(file: FileNode, into: Uint8Array, position: number, sectorSize: number): number {
  const count = Math.max(0, Math.min(into.length, file.length - position))
  for (let done = 0; done < count; ) {
    const at = position + done
    const offset = at % sectorSize
    const step = Math.min(count - done, sectorSize - offset)
    const sector = sectorAt(file, Math.floor(at / sectorSize))
    if (sector === undefined || sector.zero) into.fill(0, done, done + step)
    else if (step === sectorSize) into.set(sector.bytes, done)
    else into.set(sector.bytes.subarray(offset, offset + step), done)
    done += step
  }
  return count
}

/** The new whole images of the sectors that a write of `bytes` at `position` touches, in order. */
export function touchedSectors(
  file: FileNode,
  bytes: Uint8Array,
  position: number,
  sectorSize: number,
): { readonly index: number; readonly bytes: Uint8Array }[] {
  const touched = []
  const end = position + bytes.length
  for (let index = Math.floor(position / sectorSize); index * sectorSize < end; index++) {
    const start = index * sectorSize
    const image = new Uint8Array((sectorAt(file, index) ?? zeroSector(sectorSize)).bytes)
    const from = Math.max(position, start)
    image.set(bytes.subarray(from - position, Math.min(end, start + sectorSize) - position), from - start)
    touched.push({ index, bytes: image })
  }
  return touched
}

export function withEntry(directory: DirectoryNode, name: string, child: number | undefined): DirectoryNode {
  const entries = new Map(directory.entries)
  if (child === undefined) entries.delete(name)
  else entries.set(name, child)
  return { ...directory, entries }
}
