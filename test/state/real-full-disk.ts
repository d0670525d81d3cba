/** Run by real-full-disk.slow.ts on a file system of 24 MiB: fills it, frees it, and holds what is there against what was told. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { StateError } from '../../src/state/error.ts'
import { bytesOf, freshHomeIn, textOf, withStore } from './support.ts'

const [directory = ''] = process.argv.slice(2)
const { home } = await freshHomeIn(directory)
const model = new Map<string, string>()
const seen = { full: 0, puts: 0, deletes: 0 }

for (let round = 0; round < 4; round++) {
  await withStore(home, async store => {
    for (let i = 0; ; i++) {
      const [path, value] = [`/state/${i}`, `${round} ${i} `.padEnd(20_000, '.')]
      try {
        await store.putAtomic(path, bytesOf(value))
        model.set(path, value)
        seen.puts++
      } catch (error) {
        assert.ok(error instanceof StateError && error.code === 'ENOSPC', String(error))
        seen.full++
        break
      }
    }
    // Another program takes what is left: only the reserve helps now.
    fs.writeFileSync(`${directory}/other`, '')
    try {
      for (;;) fs.appendFileSync(`${directory}/other`, new Uint8Array(64 * 1024))
    } catch {}
    for (const path of [...model.keys()].filter((_, i) => i % 3 !== 0)) {
      await store.delete(path)
      model.delete(path)
      seen.deletes++
    }
    fs.rmSync(`${directory}/other`)
    await store.compact()
  })
  await withStore(home, async store => {
    assert.deepEqual(store.list('/state/').length, model.size)
    for (const [path, value] of model) assert.equal(textOf((await store.get(path)).payload), value)
  })
}
console.log(JSON.stringify(seen))
