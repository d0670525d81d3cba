import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Change } from '../../src/state/change.ts'
import { bytesOf, freshHome, withStore } from './support.ts'

const count = 1_000_000

test('a million live paths: opened within the aim, in bounded memory, and listed by the page', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    const payload = new Uint8Array(100).fill(1)
    for (let from = 0; from < count; from += 2000) {
      const changes: Change[] = []
      for (let i = from; i < from + 2000; i++) changes.push({ put: `/state/${i}`, payload })
      await store.commit(changes)
    }
  })
  globalThis.gc?.()
  const before = process.memoryUsage().rss
  const begun = performance.now()
  await withStore(home, async store => {
    const seconds = (performance.now() - begun) / 1000
    globalThis.gc?.()
    const bytes = (process.memoryUsage().rss - before) / count
    t.diagnostic(
      `opened in ${seconds.toFixed(1)} s, ${Math.round(count / seconds)} records/s, ${Math.round(bytes)} bytes each`,
    )
    assert.ok(seconds < 10, `${seconds} s`)
    assert.ok(bytes < 700, `${bytes} bytes a record`)
    assert.equal(store.list('/state/', '/state/5', 3).length, 3)
    const from = performance.now()
    await store
      .putAtomic('/state/one more', bytesOf('x'))
      .catch(() => store.putAtomic('/state/one-more', bytesOf('x')))
    store.list('/state/', '/state/77', 1000)
    assert.ok(performance.now() - from < 2000)
  })
})
