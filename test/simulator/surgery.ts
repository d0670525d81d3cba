import { type Image, inodeAt, nodeAt, partsOf } from './image.ts'
import {
  cut,
  emptyDirectory,
  emptyFile,
  type FileNode,
  type Node,
  sectorAt,
  touchedSectors,
  withEntry,
  withSector,
} from './node.ts'
import { makeSector } from './sector.ts'

/** What befalls a disk while no one looks: drills between boots. Each makes a new image and leaves the old one be. */

/** A restore: what `from` has at `fromPath` replaces whatever is at `path`; if it has nothing, nothing is left. */
export function graft(image: Image, path: string, from: Image, fromPath: string = path): Image {
  if (from.sectorSize !== image.sectorSize) throw new RangeError('the images differ in sector size')
  if (partsOf(path).length === 0) return { ...from, nextInode: Math.max(image.nextInode, from.nextInode) }
  const source = inodeAt(from.nodes, from.root, fromPath)
  if (source === undefined) return nodeAt(image, path) === undefined ? image : remove(image, path)
  const nodes = new Map(image.nodes)
  let { nextInode } = image
  const adopt = (inode: number): number => {
    const mine = nextInode++
    const node = from.nodes.get(inode)
    if (node?.kind === 'directory')
      nodes.set(mine, {
        ...node,
        entries: new Map([...node.entries].map(([name, child]) => [name, adopt(child)])),
      })
    else if (node !== undefined) nodes.set(mine, node)
    return mine
  }
  const adopted = adopt(source)
  return linked({ ...image, nodes, nextInode }, path, adopted)
}

/** Removes a file, or a directory with all in it. */
export function remove(image: Image, path: string): Image {
  must(image, path)
  return linked(image, path, undefined)
}

/** A file with these bytes, in place of whatever was there. The directory must exist. */
export function plantFile(image: Image, path: string, bytes: Uint8Array): Image {
  const { device } = parentOf(image, path)
  let file: FileNode = { ...emptyFile(device), length: bytes.length }
  for (const sector of touchedSectors(file, bytes, 0, image.sectorSize))
    file = withSector(file, sector.index, makeSector(sector.bytes))
  return planted(image, path, file)
}

/** An empty directory; on another device it is a file system of its own, with its own order of metadata. */
export function plantDirectory(
  image: Image,
  path: string,
  options: { readonly device?: number } = {},
): Image {
  return planted(image, path, emptyDirectory(options.device ?? parentOf(image, path).device))
}

/** Something that is neither file nor directory. */
export function plantOther(image: Image, path: string): Image {
  return planted(image, path, { kind: 'other', mode: 0o777, device: parentOf(image, path).device })
}

export function setMode(image: Image, path: string, mode: number): Image {
  return replaced(image, path, { ...must(image, path), mode })
}

export function truncateFile(image: Image, path: string, length: number): Image {
  return replaced(image, path, cut(mustFile(image, path), length, image.sectorSize))
}

/** Bit 0 is the least significant of the first byte. */
export function flipBit(image: Image, path: string, bit: number): Image {
  const file = mustFile(image, path)
  if (bit < 0 || bit >= file.length * 8) throw new RangeError(`${path} has no bit ${bit}`)
  const index = Math.floor(bit / 8 / image.sectorSize)
  const bytes = new Uint8Array(sectorAt(file, index)?.bytes ?? new Uint8Array(image.sectorSize))
  const at = Math.floor(bit / 8) % image.sectorSize
  bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit % 8))
  return replaced(image, path, withSector(file, index, makeSector(bytes)))
}

/** A misdirected write: two sectors of a file change places. */
export function swapSectors(image: Image, path: string, a: number, b: number): Image {
  const file = mustFile(image, path)
  const swapped = withSector(withSector(file, a, sectorAt(file, b)), b, sectorAt(file, a))
  return replaced(image, path, cut(swapped, file.length, image.sectorSize))
}

/** A write that landed elsewhere: one sector has the content of another, which may be of another file. */
export function copySector(
  image: Image,
  path: string,
  index: number,
  from: { readonly path: string; readonly index: number },
): Image {
  const file = mustFile(image, path)
  const copied = withSector(file, index, sectorAt(mustFile(image, from.path), from.index))
  return replaced(image, path, cut(copied, file.length, image.sectorSize))
}

/** One sector holds these bytes, zeros behind them. */
export function overwriteSector(image: Image, path: string, index: number, bytes: Uint8Array): Image {
  if (bytes.length > image.sectorSize) throw new RangeError('more than a sector')
  const file = mustFile(image, path)
  const whole = new Uint8Array(image.sectorSize)
  whole.set(bytes)
  const written = withSector(file, index, makeSector(whole))
  return replaced(image, path, cut(written, file.length, image.sectorSize))
}

/** A lost write: one sector is as it was in an older image. */
export function staleSector(image: Image, path: string, index: number, from: Image): Image {
  const file = mustFile(image, path)
  const stale = withSector(file, index, sectorAt(mustFile(from, path), index))
  return replaced(image, path, cut(stale, file.length, image.sectorSize))
}

function planted(image: Image, path: string, node: Node): Image {
  const nodes = new Map(image.nodes).set(image.nextInode, node)
  return linked({ ...image, nodes, nextInode: image.nextInode + 1 }, path, image.nextInode)
}

function replaced(image: Image, path: string, node: Node): Image {
  const inode = inodeAt(image.nodes, image.root, path)
  if (inode === undefined) throw new RangeError(`${path} is missing`)
  return { ...image, nodes: new Map(image.nodes).set(inode, node) }
}

function linked(image: Image, path: string, child: number | undefined): Image {
  const name = partsOf(path).pop()
  if (name === undefined) throw new RangeError('the root stays')
  const parentPath = partsOf(path).slice(0, -1).join('/')
  return replaced(image, parentPath, withEntry(parentOf(image, path), name, child))
}

function parentOf(image: Image, path: string) {
  const node = nodeAt(image, partsOf(path).slice(0, -1).join('/'))
  if (node?.kind !== 'directory') throw new RangeError(`${path} has no directory to be in`)
  return node
}

function must(image: Image, path: string): Node {
  const node = nodeAt(image, path)
  if (node === undefined) throw new RangeError(`${path} is missing`)
  return node
}

function mustFile(image: Image, path: string) {
  const node = must(image, path)
  if (node.kind !== 'file') throw new RangeError(`${path} is not a file`)
  return node
}
