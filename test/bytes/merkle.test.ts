import assert from 'node:assert/strict'
import { test } from 'node:test'
import { equal, fromHex, hex } from '../../src/bytes/bytes.ts'
import { append, emptyFrontier, leafHash, nodeHash, root } from '../../src/bytes/merkle.ts'
import { sha256 } from '../../src/crypto/hash.ts'

/** MTH of RFC 6962 section 2.1, word for word. */
function naiveRoot(leaves: readonly Uint8Array[]): Uint8Array {
  const [first] = leaves
  if (first === undefined) return sha256(new Uint8Array(0))
  if (leaves.length === 1) return sha256(Uint8Array.of(0, ...first))
  let k = 1
  while (k * 2 < leaves.length) k *= 2
  return sha256(Uint8Array.of(1, ...naiveRoot(leaves.slice(0, k)), ...naiveRoot(leaves.slice(k))))
}

test('appending gives the RFC 6962 root for every size from 0 to 130', () => {
  const leaves: Uint8Array[] = []
  let tree = emptyFrontier
  for (let size = 0; size <= 130; size++) {
    assert.equal(tree.size, size)
    assert.equal(tree.roots.length, size.toString(2).replaceAll('0', '').length)
    assert.ok(equal(root(sha256, tree), naiveRoot(leaves)), `size ${size}`)
    const leaf = new Uint8Array(size % 40).fill(size)
    leaves.push(leaf)
    tree = append(sha256, tree, leafHash(sha256, leaf))
  }
})

test('the eight leaves of the Certificate Transparency reference tree give its roots', () => {
  const leaves = [
    '',
    '00',
    '10',
    '2021',
    '3031',
    '40414243',
    '5051525354555657',
    '606162636465666768696a6b6c6d6e6f',
  ]
  const roots = [
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
    'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
    'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
    'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
    '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
    'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
    '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
  ]
  let tree = emptyFrontier
  assert.equal(hex(root(sha256, tree)), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  leaves.forEach((leaf, i) => {
    tree = append(sha256, tree, leafHash(sha256, fromHex(leaf)))
    assert.equal(hex(root(sha256, tree)), roots[i])
  })
})

test('a leaf never hashes like a node (second preimage)', () => {
  const [left, right] = [leafHash(sha256, Uint8Array.of(1)), leafHash(sha256, Uint8Array.of(2))]
  const forged = leafHash(sha256, Uint8Array.of(...left, ...right))
  assert.ok(!equal(forged, nodeHash(sha256, left, right)))
})

test('appending does not change the tree it was given', () => {
  const leaf = leafHash(sha256, Uint8Array.of(1))
  const one = append(sha256, emptyFrontier, leaf)
  const before = hex(root(sha256, one))
  append(sha256, one, leaf)
  assert.equal(hex(root(sha256, one)), before)
  assert.deepEqual([one.size, one.roots.length, emptyFrontier.roots.length], [1, 1, 0])
})

test('a frontier whose roots do not fit its size is refused', () => {
  assert.throws(
    () => append(sha256, { size: 3, roots: [new Uint8Array(32)] }, new Uint8Array(32)),
    RangeError,
  )
})
