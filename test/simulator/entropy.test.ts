import assert from 'node:assert/strict'
import test from 'node:test'
import { EntropyOfBoots, SeededEntropy } from './entropy.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

test('the same seed gives the same bytes, another seed others', () => {
  assert.equal(hex(new SeededEntropy(7).bytes(32)), hex(new SeededEntropy(7).bytes(32)))
  assert.notEqual(hex(new SeededEntropy(7).bytes(32)), hex(new SeededEntropy(8).bytes(32)))
})

test('boots of a world never repeat, and the world does', () => {
  const world = (seed: number) => {
    const boots = new EntropyOfBoots(seed)
    return Array.from({ length: 1000 }, () => hex(boots.boot().bytes(16)))
  }
  assert.equal(new Set(world(1)).size, 1000)
  assert.deepEqual(world(1), world(1))
  assert.notDeepEqual(world(1), world(2))
})
