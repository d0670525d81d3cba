/**
 * Commits batches without end, compacts, rotates keys, makes and shreds scopes: what a backup is taken beside. Prints the generation
 * of each batch and its number, once it is acknowledged. `node busy-writer.ts HOME`; ends when its input does.
 */
import { pathToFileURL } from 'node:url'
import { openHome } from '../../src/state/home.ts'
import type { Store } from '../../src/state/store.ts'
import { bytesOf, world } from './support.ts'

export const padded = 64 * 1024
export const parts = ['/state/x', '/state/y', '/state/z'] as const
/** One of many that each batch overwrites in turn, so that there is something to carry. */
export const turns = 40

export type Told = (generation: number, batch: number) => void

/** What a batch puts: its number in each, whole or absent. `extra` is put by every second batch, else deleted. */
export async function writeBusily(store: Store, isOver: () => boolean, told: Told): Promise<void> {
  let upkeep: Promise<void> | undefined
  for (let batch = 1; !isOver(); batch++) {
    const payload = Buffer.concat([bytesOf(`${batch} `), world.entropy.bytes(padded)])
    const puts = [...parts, `/state/turn/${batch % turns}`].map(put => ({ put, payload }))
    const extra = batch % 2 === 0 ? { put: '/state/extra', payload } : { delete: '/state/extra' }
    told(await store.commit([...puts, extra]), batch)
    if (batch % 10 === 0 && upkeep === undefined) {
      upkeep = (batch % 20 === 0 ? store.rotate() : store.compact()).finally(() => (upkeep = undefined))
    }
    if (batch % 7 === 0) {
      await store.makeScope('passing')
      await store.commit([
        { put: '/state/passing', payload: bytesOf('not for any backup'), scope: 'passing' },
      ])
      await store.shred('passing')
    }
  }
  await upkeep
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const store = await openHome(world, process.argv[2] ?? '')
  let over = false
  process.stdin.resume().on('end', () => (over = true))
  await writeBusily(
    store,
    () => over,
    (generation, batch) => process.stdout.write(`${generation} ${batch}\n`),
  )
  await store.close()
}
