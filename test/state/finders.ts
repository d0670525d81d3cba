import { strict as assert } from 'node:assert'
import { StateError } from '../../src/state/error.ts'
import { openHome } from '../../src/state/home.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import { SeededEntropy } from '../simulator/entropy.ts'
import { CrashFound } from '../simulator/explore.ts'
import { pathsOf } from '../simulator/image.ts'
import { overwriteSector } from '../simulator/surgery.ts'
import { bounded } from './disks.ts'
import {
  doomedSecret,
  exploreHistory,
  historyOf,
  home,
  namesOf,
  type Options,
  type Plant,
  restingHome,
  world,
} from './explore.ts'
import { DamageFound, exploreDamages, momentsOf } from './explore-damage.ts'
import { exploreFaults, FaultFound, type FaultOptions } from './explore-faults.ts'
import { put, type Step } from './oracle.ts'

/** Ways of looking for a planted bug: each answers the first broken promise that it meets. */

/** Where the first broken promise was met. */
export type Found = { readonly history: string; readonly at: string }

export const posix: Options = { keeper: 'file', depth: 1, sectorSize: 4096, profiles: ['posix'] }

export async function foundIn(
  history: readonly Step[],
  explore: () => Promise<unknown>,
): Promise<Found | undefined> {
  try {
    await explore()
    return undefined
  } catch (error) {
    const [at = ''] = error instanceof Error ? error.message.split('\n') : []
    // A store that refuses to work with nothing gone wrong has broken its promise too.
    if (error instanceof StateError) return { history: namesOf(history).join(', '), at: `no crash: ${at}` }
    const isFound = error instanceof CrashFound || error instanceof FaultFound || error instanceof DamageFound
    if (!isFound) throw error
    return { history: namesOf(history).join(', '), at: shortened(at) }
  }
}

/** Paths without what is the same in all of them. */
function shortened(at: string): string {
  return at.replaceAll(`${home}/`, '').replaceAll(/\/anchors\/[0-9a-f]{64}\//g, 'anchor/')
}

export async function inCrashes(
  history: readonly Step[],
  plant: Plant | undefined,
  changed: Partial<Options> = {},
  sabotage: () => void = () => {},
): Promise<Found | undefined> {
  const options = { ...posix, ...changed }
  const image = await restingHome(options)
  sabotage()
  const planted = plant === undefined ? options : { ...options, plant }
  return foundIn(history, () => exploreHistory(history, image, planted))
}

export async function inFaults(history: readonly Step[], options: FaultOptions): Promise<Found | undefined> {
  const image = await restingHome(posix)
  return foundIn(history, () => exploreFaults(history, image, options))
}

/** Rot in each sector of the segment but those of the last group, where the watermark alone tells what was confirmed. */
export async function inRot(): Promise<Found | undefined> {
  const history = historyOf(['put a', 'put b'])
  const image = await restingHome({ keeper: 'none', sectorSize: 4096 })
  const moment = (await momentsOf(history, image)).at(-1)
  assert.ok(moment !== undefined)
  const damages = [...pathsOf(moment.image)].flatMap(([path, node]) =>
    path.endsWith('.seg') && node.kind === 'file'
      ? Array.from({ length: node.length / 4096 - 2 }, (_, i) => ({
          name: `${path}, sector ${i + 1}: zeros`,
          image: overwriteSector(moment.image, path, i + 1, new Uint8Array(0)),
        }))
      : [],
  )
  return foundIn(history, () => exploreDamages(damages, history, moment.acks, doomedSecret(image)))
}

/** Two processes of one machine, each of which would write. */
export async function inTwoProcesses(plant: Plant): Promise<Found | undefined> {
  const first = new SimulatedDisk(await restingHome(posix))
  const one = await openHome(world(plant(first), new SeededEntropy(1)), home)
  const second = first.process()
  try {
    const other = await openHome(world(plant(second), new SeededEntropy(2)), home)
    await other.commit([put('/state/second', 'told')])
  } catch (error) {
    assert.ok(error instanceof StateError && error.code === 'ELOCKED', String(error))
    return undefined
  }
  await one.commit([put('/state/first', 'told')])
  first.kill()
  second.kill()
  const found = { history: 'two processes put', at: 'both were acknowledged' }
  try {
    const store = await openHome(world(new SimulatedDisk(first.killState()), new SeededEntropy(3)), home)
    return store.has('/state/first') && store.has('/state/second') ? undefined : found
  } catch (error) {
    return { ...found, at: `${found.at}, and then ${String(error)}` }
  }
}

/** A disk that is full: what is deleted makes room again. */
export async function onFullDisk(): Promise<Found | undefined> {
  const disk = new SimulatedDisk(await restingHome(posix))
  const store = await openHome(world(bounded(disk, home, 256 * 1024), new SeededEntropy(1)), home)
  const payload = new Uint8Array(3000)
  let count = 0
  const isRefused = async (act: Promise<unknown>) => {
    try {
      await act
      return false
    } catch (error) {
      assert.ok(error instanceof StateError && error.code === 'ENOSPC', String(error))
      return true
    }
  }
  while (!(await isRefused(store.commit([put(`/state/${count}`, payload)])))) count++
  assert.ok(count > 10 && count < 100, `${count}`)
  for (let i = 0; i < count; i++)
    if (await isRefused(store.delete(`/state/${i}`)))
      return { history: `${count} puts until the disk is full, then deletes`, at: `delete ${i}: ENOSPC` }
  await store.compact()
  assert.equal(await isRefused(store.commit([put('/state/more', payload)])), false)
  await store.close()
  return undefined
}
