/**
 * Run by slow-disk.ts under the shim, with every write taking 600 ms: slow-writer.ts HOME.
 * Prints what the store told of it.
 */
import assert from 'node:assert/strict'
import { StateError } from '../../src/state/error.ts'
import { openHome } from '../../src/state/home.ts'
import { bytesOf, textOf, withStore, world } from '../state/support.ts'

const [home = ''] = process.argv.slice(2)
const told: string[] = []
const log = { event: (name: string, fields?: object) => void told.push(`${name} ${JSON.stringify(fields)}`) }
const store = await openHome(world, home, undefined, { log })
const put = (path: string, deadlineMs?: number) =>
  store.putAtomic(path, bytesOf(path), {}, deadlineMs === undefined ? {} : { deadlineMs }).then(
    () => 'done',
    error => (error instanceof StateError ? `${error.code}: ${error.outcome}` : String(error)),
  )
// The first is being written when its time is over; the second waits; the third waits as long as it takes.
const outcomes: Record<string, Promise<string>> = {}
for (const [i, deadlineMs] of [300, 300, undefined].entries()) {
  outcomes[`/state/${i}`] = put(`/state/${i}`, deadlineMs)
  await new Promise(resolve => setTimeout(resolve, 20))
}
const seen = Object.fromEntries(
  await Promise.all(Object.entries(outcomes).map(async ([path, outcome]) => [path, await outcome] as const)),
)
const { slow } = store.figures()
await store.close()
const there = await withStore(home, async store => {
  for (const path of store.list('/state/')) assert.equal(textOf((await store.get(path)).payload), path)
  return store.list('/state/')
})
console.log(JSON.stringify({ seen, there, slow, told }))
