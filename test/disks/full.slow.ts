import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lacking, runApart } from './place.ts'

const skip = lacking('mkfs.ext4', 'mkfs.xfs', 'fallocate')

for (const kind of ['ext4', 'xfs'] as const)
  test(`on a full ${kind}, deletes and compaction go on, and nothing that was told is lost`, {
    skip,
  }, async t => {
    const lines = await runApart(t, 'full.ts', [kind], { seconds: 120 })
    const seen = JSON.parse(lines.at(-1) ?? '')
    assert.ok(seen.full === 4 && seen.puts > 500 && seen.deletes > 300)
  })
