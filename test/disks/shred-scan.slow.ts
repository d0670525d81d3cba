import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lacking, runApart } from './place.ts'

const skip = lacking('mkfs.ext4', 'mkfs.xfs')

for (const kind of ['ext4', 'xfs'] as const) {
  test(`after a shred on ${kind} the old slot lies nowhere in the image under the file system`, {
    skip,
  }, async t => {
    const { before, after } = await scanned(t, kind, 'none')
    // What is searched for is found while it is there.
    assert.ok(before.control === 1 && before.path >= 1 && before.slot === 1)
    assert.deepEqual([after.slot, after.scopeKey, after.content], [0, 0, 0])
    assert.deepEqual([before.scopeKey, before.content], [0, 0])
    assert.ok(after.control === 1 && after.path >= 1)
  })

  test(`a slot that is replaced by a rename instead of overwritten is found in the image of ${kind}`, {
    skip,
  }, async t => {
    const { before, after } = await scanned(t, kind, 'renamed')
    assert.ok(before.slot === 1 && after.slot >= 1, 'the old slot is still there')
  })
}

type Counts = { readonly [name in 'control' | 'path' | 'slot' | 'scopeKey' | 'content']: number }

async function scanned(
  t: Parameters<typeof runApart>[0],
  kind: string,
  plant: string,
): Promise<{ readonly before: Counts; readonly after: Counts }> {
  const lines = await runApart(t, 'shred-scan.ts', [kind, plant], { seconds: 60 })
  return JSON.parse(lines.at(-1) ?? '')
}
