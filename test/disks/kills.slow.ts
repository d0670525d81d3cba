import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lacking, runApart } from './place.ts'

const skip = lacking('mkfs.ext4', 'mkfs.xfs')

for (const [kind, kills] of [
  ['ext4', 200],
  ['xfs', 60],
] as const)
  test(`${kills} kills on ${kind}: the next to open finds the lock free and all that was answered`, {
    skip,
  }, async t => {
    const lines = await runApart(t, 'kills.ts', [kind, String(kills)], { seconds: 240 })
    const seen = JSON.parse(lines.at(-1) ?? '')
    assert.equal(seen.kills, kills)
    assert.ok(seen.acts > kills && seen.shreds > 0 && seen.compactions > 0 && seen.ahead > 0)
  })
