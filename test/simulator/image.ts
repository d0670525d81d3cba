import { type DirectoryNode, emptyDirectory, type FileNode, type Node, readFile } from './node.ts'
import { scramble } from './sector.ts'

/**
 * What a disk holds while the power is off. A value: nothing changes it, any number of disks boot from it, and
 * images share all that they have in common.
 */
export type Image = {
  readonly sectorSize: number
  readonly root: number
  /** The next inode number: numbers are never used twice. */
  readonly nextInode: number
  readonly nodes: ReadonlyMap<number, Node>
}

/** An image with an empty root directory, on device 1. */
export function emptyImage(options: { readonly sectorSize?: number } = {}): Image {
  const sectorSize = options.sectorSize ?? 512
  if (sectorSize < 8 || sectorSize % 4 !== 0) throw new RangeError('a sector is 8 bytes or more, in fours')
  return { sectorSize, root: 1, nextInode: 2, nodes: new Map([[1, emptyDirectory(1)]]) }
}

/** The names in an absolute path. */
export function partsOf(path: string): string[] {
  return path.split('/').filter(part => part !== '' && part !== '.')
}

export function inodeAt(nodes: ReadonlyMap<number, Node>, root: number, path: string): number | undefined {
  let inode: number | undefined = root
  for (const name of partsOf(path)) {
    const node: Node | undefined = inode === undefined ? undefined : nodes.get(inode)
    inode = node?.kind === 'directory' ? node.entries.get(name) : undefined
  }
  return inode
}

export function nodeAt(image: Image, path: string): Node | undefined {
  return image.nodes.get(inodeAt(image.nodes, image.root, path) ?? 0)
}

/** The bytes of a file in an image, for oracles and drills. */
export function bytesAt(image: Image, path: string): Uint8Array | undefined {
  const node = nodeAt(image, path)
  if (node?.kind !== 'file') return undefined
  const bytes = new Uint8Array(node.length)
  readFile(node, bytes, 0, image.sectorSize)
  return bytes
}

/** Every path, depth first in byte order, with its node. */
export function* pathsOf(image: Image): Generator<readonly [string, Node]> {
  function* below(inode: number, path: string): Generator<readonly [string, Node]> {
    const node = image.nodes.get(inode)
    if (node === undefined) return
    yield [path === '' ? '/' : path, node]
    if (node.kind !== 'directory') return
    for (const [name, child] of [...node.entries].sort(([a], [b]) => (a < b ? -1 : 1)))
      yield* below(child, `${path}/${name}`)
  }
  yield* below(image.root, '')
}

/** One line a path: for the message of a failed check. */
export function describeImage(image: Image): string {
  const lines = []
  for (const [path, node] of pathsOf(image)) {
    if (node.kind !== 'file') lines.push(`${path} ${node.kind}`)
    else lines.push(`${path} ${node.length} bytes, digest ${(fileLow(node, 0) >>> 0).toString(16)}`)
  }
  return lines.join('\n')
}

/** Equal for images that read alike, whatever their inode numbers; 53 bits. */
export function imageKey(image: Image): number {
  const walked = walk(image.nodes, image.root, inode => entriesOf(image.nodes.get(inode)))
  let { low, high } = walked
  for (const place of walked.files) {
    const node = image.nodes.get(place.inode)
    if (node?.kind !== 'file') continue
    low = (low + fileLow(node, place.low)) | 0
    high = (high + fileHigh(node, place.high)) | 0
  }
  return keyOf(low, high)
}

/** A file in a walked tree: its inode and the digest lanes of its path. */
export type Place = { readonly inode: number; readonly low: number; readonly high: number }

export type Walk = {
  readonly directories: readonly number[]
  readonly files: readonly Place[]
  /** Sums over everything that is not a file. */
  readonly low: number
  readonly high: number
}

/** Everything that can be reached from `root`, with `entries` deciding what each directory holds. */
export function walk(
  nodes: ReadonlyMap<number, Node>,
  root: number,
  entries: (inode: number) => ReadonlyMap<string, number>,
): Walk {
  const directories: number[] = []
  const files: Place[] = []
  let totalLow = 0
  let totalHigh = 0
  const visit = (inode: number, low: number, high: number) => {
    const node = nodes.get(inode)
    if (node === undefined) return
    if (node.kind === 'file') {
      files.push({ inode, low, high })
      return
    }
    const salt = (node.kind === 'directory' ? 0x51ed270b : 0x2f0b4c47) ^ node.mode
    totalLow = (totalLow + scramble(low ^ salt)) | 0
    totalHigh = (totalHigh + scramble(high + salt)) | 0
    directories.push(inode)
    if (node.kind === 'directory')
      for (const [name, child] of entries(inode)) {
        const digest = nameDigest(name)
        visit(child, scramble(Math.imul(low, 31) + digest), scramble(Math.imul(high, 37) ^ digest))
      }
  }
  visit(root, 0x1b873593, 0x6c078965)
  return { directories, files, low: totalLow, high: totalHigh }
}

export function entriesOf(node: Node | undefined): DirectoryNode['entries'] {
  return node?.kind === 'directory' ? node.entries : new Map()
}

/** What a file on a path adds to the digest of its image. The sums are the file's, or those it would have. */
export function fileLow(file: FileNode, path: number, sum: number = file.low): number {
  return scramble(scramble(sum ^ scramble(file.length + 0x3c074a61)) + path + file.mode)
}

export function fileHigh(file: FileNode, path: number, sum: number = file.high): number {
  return scramble(scramble(sum + scramble(file.length ^ 0x7f4a7c15)) ^ path ^ (file.mode << 8))
}

export function keyOf(low: number, high: number): number {
  return (scramble(high ^ (low >>> 7)) & 0x1f_ffff) * 0x1_0000_0000 + (scramble(low + high) >>> 0)
}

const names = new Map<string, number>()

function nameDigest(name: string): number {
  const known = names.get(name)
  if (known !== undefined) return known
  let digest = 0x811c9dc5
  for (let i = 0; i < name.length; i++) digest = Math.imul(digest ^ name.charCodeAt(i), 0x01000193)
  names.set(name, scramble(digest))
  return scramble(digest)
}
