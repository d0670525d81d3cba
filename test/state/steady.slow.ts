/** Millions of puts and deletes over a few thousand paths: what the disk holds stays bounded, and memory stays where it is. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Change } from '../../src/state/change.ts'
import { limits } from '../../src/state/limits.ts'
import type { Store } from '../../src/state/store.ts'
import { filesIn, freshHome, textOf, withStore } from './support.ts'

const paths = 3000
const rounds = 6
const roundChanges = 400_000
/** From here on the audit trail is as long as it may be. */
const steadyFrom = 2
const writers = 64
const batchChanges = 8

const MiB = 1024 * 1024

type Sample = { readonly disk: number; readonly live: number; readonly heap: number; readonly rss: number }

test('millions of puts and deletes: the disk holds a bounded multiple of what is live, memory does not grow', async t => {
  const { home } = await freshHome(t)
  const model = new Map<string, string>()
  const samples: Sample[] = []
  let rate = 0
  await withStore(home, async store => {
    const collect = collector()
    for (let round = 0; round < rounds; round++) {
      const begun = performance.now()
      let most = 0
      await churn(store, model, round, () => {
        most = Math.max(most, bytesIn(home) / boundOf(store))
      })
      rate = (roundChanges * 1000) / (performance.now() - begun)
      assert.ok(most < 1, `the home was ${most.toFixed(2)} of what it may take`)
      collect()
      const { heapUsed, rss } = process.memoryUsage()
      const { liveBytes } = store.figures()
      samples.push({ disk: bytesIn(home), live: liveBytes, heap: heapUsed, rss })
    }
    assert.equal(store.figures().auditDropped, 0)
    for (const { disk, live, heap, rss } of samples)
      t.diagnostic(`${inMiB(live)} live, ${inMiB(disk)} on disk, ${inMiB(heap)} heap, ${inMiB(rss)} resident`)
    t.diagnostic(`${rounds * roundChanges} changes, ${Math.round(rate)} a second in the last round`)
    const steady = samples.slice(steadyFrom)
    for (const what of ['heap', 'rss'] as const) {
      const [from, to] = [steady[0]?.[what] ?? 0, steady.at(-1)?.[what] ?? 0]
      assert.ok(
        to - from < (what === 'heap' ? 2 : 32) * MiB,
        `${what} grew from ${inMiB(from)} to ${inMiB(to)}`,
      )
    }
  })
  await withStore(home, async store => {
    assert.equal(store.list('/state/', '', paths).length, model.size)
    for (const [path, value] of model) assert.equal(textOf((await store.get(path)).payload), value)
  })
})

/** Batches of puts and deletes by many writers, each with paths of its own; remembers what must be there. */
async function churn(
  store: Store,
  model: Map<string, string>,
  round: number,
  look: () => void,
): Promise<void> {
  let chance = 12345 + round
  const draw = (below: number): number => {
    chance = (Math.imul(chance, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((chance / 2 ** 32) * below)
  }
  const batches = roundChanges / (writers * batchChanges)
  const write = async (writer: number): Promise<void> => {
    for (let batch = 0; batch < batches; batch++) {
      const after = new Map<string, string | undefined>()
      while (after.size < batchChanges) {
        const path = `/state/${writer}/${draw(Math.floor(paths / writers))}`
        const isThere = after.has(path) ? after.get(path) !== undefined : model.has(path)
        after.set(path, isThere && draw(3) === 0 ? undefined : `${round} ${batch} `.padEnd(draw(600), '.'))
      }
      const changes: Change[] = []
      for (const [path, value] of after)
        changes.push(value === undefined ? { delete: path } : { put: path, payload: Buffer.from(value) })
      await store.commit(changes)
      for (const [path, value] of after) value === undefined ? model.delete(path) : model.set(path, value)
      if (writer === 0 && batch % 20 === 0) look()
    }
  }
  await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)))
}

/** What docs/spec/journal.md, section 8, lets it be while writers wait for compaction, and the reserve (section 7). */
function boundOf(store: Store): number {
  return 3 * (store.figures().liveBytes + limits.segmentBytesMax) + 4 * limits.segmentBytesMax
}

function bytesIn(home: string): number {
  return filesIn(home).reduce(
    (sum, name) => sum + (fs.statSync(join(home, name), { throwIfNoEntry: false })?.size ?? 0),
    0,
  )
}

function collector(): () => void {
  setFlagsFromString('--expose-gc')
  const collect: () => void = runInNewContext('gc')
  return () => {
    for (let i = 0; i < 3; i++) collect()
  }
}

function inMiB(bytes: number): string {
  return `${(bytes / MiB).toFixed(1)} MiB`
}
