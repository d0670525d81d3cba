/** RFC 6962 section 2.1 with the hash passed in, so that this stays pure and browser-safe. Over all parts in turn. */
export type Sha256 = (...parts: readonly Uint8Array[]) => Uint8Array

const leafPrefix = Uint8Array.of(0)
/** 1, left, right: filled anew for each node, which is hashed before anyone else can look. */
const node = new Uint8Array(65)
node[0] = 1

/** The hash of a leaf, which is given in parts. */
export function leafHash(sha256: Sha256, ...leaf: readonly Uint8Array[]): Uint8Array {
  return sha256(leafPrefix, ...leaf)
}

export function nodeHash(sha256: Sha256, left: Uint8Array, right: Uint8Array): Uint8Array {
  node.set(left, 1)
  node.set(right, 33)
  return sha256(node)
}

/**
 * The roots of the perfect subtrees that make up a tree of `size` leaves, largest first: all that is needed to
 * go on appending and to state the root.
 */
export type Frontier = { readonly size: number; readonly roots: readonly Uint8Array[] }

export const emptyFrontier: Frontier = { size: 0, roots: [] }

/** A tree and its root, which both the next group and the mark name. */
export type Rooted = { readonly tree: Frontier; readonly root: Uint8Array }

export function rooted(sha256: Sha256, tree: Frontier): Rooted {
  return { tree, root: root(sha256, tree) }
}

/** One more leaf, given as its leaf hash. Two subtrees of equal height merge, as carries do in binary addition. */
export function append(sha256: Sha256, tree: Frontier, leaf: Uint8Array): Frontier {
  const roots = [...tree.roots]
  let top = leaf
  for (let size = tree.size; size % 2 === 1; size = (size - 1) / 2) {
    const left = roots.pop()
    if (left === undefined) throw new RangeError('frontier does not fit its size')
    top = nodeHash(sha256, left, top)
  }
  roots.push(top)
  return { size: tree.size + 1, roots }
}

/** The tree's root; of the empty tree SHA-256(""). */
export function root(sha256: Sha256, tree: Frontier): Uint8Array {
  let top: Uint8Array | undefined
  for (let i = tree.roots.length - 1; i >= 0; i--) {
    const left = tree.roots[i]
    if (left === undefined) continue
    top = top === undefined ? left : nodeHash(sha256, left, top)
  }
  return top ?? sha256(new Uint8Array(0))
}
