import assert from 'node:assert/strict'
import test from 'node:test'
import { SimulatedDisk } from './disk.ts'
import { bytesAt, emptyImage, imageKey, pathsOf } from './image.ts'
import {
  copySector,
  flipBit,
  graft,
  overwriteSector,
  plantDirectory,
  plantFile,
  remove,
  staleSector,
  swapSectors,
  truncateFile,
} from './surgery.ts'

const of = (fill: number, length = 1000) => new Uint8Array(length).fill(fill)
const home = plantDirectory(plantDirectory(emptyImage(), '/home'), '/anchor', { device: 2 })
const older = plantFile(plantFile(home, '/home/log', of(1)), '/anchor/mark', of(1))
const newer = plantFile(
  plantFile(plantFile(home, '/home/log', of(2)), '/home/extra', of(3)),
  '/anchor/mark',
  of(2),
)

test('a restore of one subtree leaves the other as it was', async () => {
  const restored = graft(newer, '/home', older)
  assert.deepEqual(
    [...pathsOf(restored)].map(([path]) => path),
    ['/', '/anchor', '/anchor/mark', '/home', '/home/log'],
  )
  assert.deepEqual(bytesAt(restored, '/home/log'), of(1))
  assert.deepEqual(bytesAt(restored, '/anchor/mark'), of(2))
  assert.equal(imageKey(graft(restored, '/home', newer)), imageKey(newer))
  assert.equal(imageKey(graft(newer, '/', older)), imageKey(older))
  assert.equal(bytesAt(graft(newer, '/home/extra', older), '/home/extra'), undefined)
  const copied = graft(newer, '/copy', newer, '/home')
  const disk = new SimulatedDisk(copied)
  const file = await disk.open('/copy/log', { access: 'write', durable: true })
  await file.write(of(9), 0)
  assert.deepEqual(bytesAt(disk.killState(), '/home/log'), of(2))
})

test('files are removed, cut, and changed by a bit', () => {
  assert.equal(bytesAt(remove(newer, '/home/log'), '/home/log'), undefined)
  assert.deepEqual(bytesAt(truncateFile(newer, '/home/log', 10), '/home/log'), of(2, 10))
  const flipped = flipBit(newer, '/home/log', 999 * 8 + 7)
  assert.equal(bytesAt(flipped, '/home/log')?.[999], 0x82)
  assert.equal(imageKey(flipBit(flipped, '/home/log', 999 * 8 + 7)), imageKey(newer))
  assert.throws(() => flipBit(newer, '/home/log', 8000), RangeError)
})

test('sectors change places, or go back in time', () => {
  const image = plantFile(home, '/home/log', Buffer.concat([of(1, 512), of(2, 512)]))
  const swapped = bytesAt(swapSectors(image, '/home/log', 0, 1), '/home/log')
  assert.deepEqual([swapped?.[0], swapped?.[512]], [2, 1])
  const stale = bytesAt(staleSector(newer, '/home/log', 1, older), '/home/log')
  assert.deepEqual([stale?.[0], stale?.[512], stale?.length], [2, 1, 1000])
})

test('a sector takes the content of another one, of another file, or any', () => {
  const image = plantFile(newer, '/home/log', Buffer.concat([of(1, 512), of(2, 512)]))
  const firsts = (damaged: typeof image) => {
    const bytes = bytesAt(damaged, '/home/log')
    return [bytes?.[0], bytes?.[512], bytes?.[514]]
  }
  assert.deepEqual(firsts(copySector(image, '/home/log', 1, { path: '/home/log', index: 0 })), [1, 1, 1])
  assert.deepEqual(firsts(copySector(image, '/home/log', 0, { path: '/home/extra', index: 0 })), [3, 2, 2])
  assert.deepEqual(firsts(overwriteSector(image, '/home/log', 1, of(7, 2))), [1, 7, 0])
  assert.throws(() => overwriteSector(image, '/home/log', 1, of(7, 513)), RangeError)
})
