import { concat } from './bytes.ts'

/** RFC 6962 section 2.1 with the hash passed in, so that this stays pure and browser-safe. */
export type Sha256 = (bytes: Uint8Array) => Uint8Array

const leafPrefix = Uint8Array.of(0)
const nodePrefix = Uint8Array.of(1)

export function leafHash(sha256: Sha256, leaf: Uint8Array): Uint8Array {
  return sha256(concat(leafPrefix, leaf))
}

export function nodeHash(sha256: Sha256, left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(concat(nodePrefix, left, right))
}

/**
 * The roots of the perfect subtrees that make up a tree of `size` leaves, largest first: all that is needed to
 * go on appending and to state the root.
 */
export type Frontier = { readonly size: number; readonly roots: readonly Uint8Array[] }

export const emptyFrontier: Frontier = { size: 0, roots: [] }

/** One more leaf, given as its leaf hash. Two subtrees of equal height merge, as carries do in binary addition. */
export function append(sha256: Sha256, tree: Frontier, leaf: Uint8Array): Frontier {
  const roots = [...tree.roots]
  let node = leaf
  for (let size = tree.size; size % 2 === 1; size = (size - 1) / 2) {
    const left = roots.pop()
    if (left === undefined) throw new RangeError('frontier does not fit its size')
    node = nodeHash(sha256, left, node)
  }
  roots.push(node)
  return { size: tree.size + 1, roots }
}

/** The tree's root; of the empty tree SHA-256(""). */
export function root(sha256: Sha256, tree: Frontier): Uint8Array {
  let node: Uint8Array | undefined
  for (let i = tree.roots.length - 1; i >= 0; i--) {
    const left = tree.roots[i]
    if (left === undefined) continue
    node = node === undefined ? left : nodeHash(sha256, left, node)
  }
  return node ?? sha256(new Uint8Array(0))
}
