import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lacking, runApart } from './place.ts'

const skip = lacking('nbdfuse', 'mkfs.ext4', 'mkfs.xfs')

type Summary = { readonly images: number; readonly found: readonly string[] }

function summaryOf(lines: readonly string[]): Summary {
  const { images, found } = JSON.parse(lines.at(-1) ?? '')
  assert.ok(Number.isInteger(images) && Array.isArray(found))
  return { images, found }
}

for (const [home, anchor, moments] of [
  ['ext4', 'same', 80],
  ['xfs', 'same', 30],
  ['xfs', 'ext4', 20],
] as const) {
  const where = anchor === 'same' ? 'with its anchor' : `its anchor on ${anchor}`
  test(`power cut: no image of a home on ${home}, ${where}, loses, mixes or refuses anything`, {
    skip,
  }, async t => {
    const words = [home, anchor, 'none', '200', String(moments)]
    const { images, found } = summaryOf(await runApart(t, 'crash-images.ts', words, { seconds: 240 }))
    assert.deepEqual(found, [])
    assert.ok(images >= 2 * moments, `${images} images`)
  })
}

for (const [home, plant] of [
  ['ext4', 'data is not synced'],
  ['xfs', 'data is not synced'],
  ['ext4', 'directories are not synced'],
] as const)
  test(`power cut: a store of which ${plant} is found out on ${home}`, { skip }, async t => {
    const words = [home, 'same', plant, '200', '100']
    const { found } = summaryOf(await runApart(t, 'crash-images.ts', words, { seconds: 240 }))
    assert.equal(found.length, 1)
    assert.match(found.join(), /acknowledged/)
  })
