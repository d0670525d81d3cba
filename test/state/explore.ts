import { strict as assert } from 'node:assert'
import type { Disk } from '../../src/host/disk.ts'
import type { Entropy } from '../../src/host/entropy.ts'
import type { Change } from '../../src/state/change.ts'
import { createHome } from '../../src/state/create.ts'
import { openHome, type World } from '../../src/state/home.ts'
import { limits } from '../../src/state/limits.ts'
import type { Store } from '../../src/state/store.ts'
import { VirtualClock } from '../simulator/clock.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import { SeededEntropy } from '../simulator/entropy.ts'
import { type Explored, explore } from '../simulator/explore.ts'
import { emptyImage, type Image } from '../simulator/image.ts'
import { plantDirectory } from '../simulator/surgery.ts'

/**
 * Every crash of short histories of the real store on the simulated disk. The oracle: what was acknowledged is there,
 * what was attempted is there whole or not at all, in order; what a recovery has shown stays; and a plain crash never
 * ends in a refusal.
 */

// The shipped sizes are for real disks; what is explored is the order of writes, not their volume.
Object.assign(limits, { growBytes: 16_384, segmentBytesMax: 16_384 })

/** One step of a history: what is asked of the store at once. Several changes lists are concurrent commits. */
export type Step =
  | { readonly name: string; readonly commits: readonly (readonly Change[])[] }
  | Shred
  | Compact
type Shred = { readonly name: string; readonly shred: string }
/** Every segment is given up, while these are committed. */
type Compact = {
  readonly name: string
  readonly compact: true
  readonly beside?: readonly (readonly Change[])[]
}

const put = (path: string, value: string, scope?: string): Change => ({
  put: path,
  payload: Buffer.from(value),
  ...(scope === undefined ? {} : { scope }),
})

export const steps: readonly Step[] = [
  { name: 'put a', commits: [[put('/state/a', 'a1')]] },
  { name: 'put b', commits: [[put('/state/b', 'b1')]] },
  { name: 'delete a', commits: [[{ delete: '/state/a' }]] },
  { name: 'batch', commits: [[put('/state/a', 'a2'), { delete: '/state/b' }]] },
  {
    name: 'two at once',
    commits: [[put('/state/a', 'a3')], [put('/state/b', 'b3')], [put('/state/a', 'a4')]],
  },
  { name: 'shred', shred: 'doomed' },
  { name: 'compact', compact: true },
]

/** What was promised: counts over the history's commits in order, and what recoveries have shown and put. */
export type Acks = {
  acknowledged: number
  started: number
  /** A recovery showed the state after so many commits: no later one may show less. */
  shown: number
  recovered: boolean
}

const paths = ['/state/a', '/state/b', '/pawl/doomed/x', '/state/recovered'] as const

type Model = ReadonlyMap<string, string>

const start: Model = new Map([
  ['/state/a', 'a0'],
  ['/pawl/doomed/x', 'secret'],
])

/** A bug planted between the store and its disk, or in the store's parts. */
export type Plant = { readonly name: string; readonly disk?: (disk: Disk) => Disk }

export type Options = {
  readonly keeper: 'file' | 'none'
  readonly depth: number
  readonly sectorSize: 512 | 4096
  readonly profiles: readonly ('posix' | 'journaled' | 'ext4' | 'writeback' | 'no-psow')[]
  readonly budgetMs?: number
  readonly plant?: Plant
}

const home = '/disk/home'

function world(disk: Disk, entropy: Entropy): World {
  return { disk, clock: new VirtualClock({ startMs: 1_700_000_000_000, seed: 1 }), entropy }
}

const neverTwice = new SeededEntropy(7)

/** A home at rest with something in it, as a power cut after a clean close leaves it. */
export async function restingHome(options: Pick<Options, 'keeper' | 'sectorSize'>): Promise<Image> {
  const image = plantDirectory(
    plantDirectory(emptyImage({ sectorSize: options.sectorSize }), '/disk'),
    '/anchors',
    { device: 2 },
  )
  const disk = new SimulatedDisk(image, { profile: 'posix' })
  const config = { keeper: options.keeper, profile: 'dev' } as const
  await createHome(world(disk, neverTwice), { home, anchorBase: '/anchors', config, slots: 2, first: [] })
  const store = await openHome(world(disk, neverTwice), home)
  await store.makeScope('doomed')
  await store.commit([put('/state/a', 'a0'), put('/pawl/doomed/x', 'secret', 'doomed')])
  await store.close()
  return disk.killState()
}

/** Explores every crash of one history. Throws `CrashFound` at the first broken promise. */
export async function exploreHistory(
  history: readonly Step[],
  image: Image,
  options: Options,
): Promise<Explored> {
  const models = statesAfter(history)
  const planted = (disk: Disk) => options.plant?.disk?.(disk) ?? disk
  return explore<Acks>({
    image,
    profiles: options.profiles,
    depth: options.depth,
    ...(options.budgetMs === undefined ? {} : { budget: { ms: options.budgetMs } }),
    acks: () => ({ acknowledged: 0, started: 0, shown: 0, recovered: false }),
    async run(disk, acks) {
      const store = await openHome(world(planted(disk), neverTwice), home)
      for (const step of history) await perform(store, step, acks)
      await store.close()
    },
    async check(disk, acks) {
      const store = await openHome(world(planted(disk), neverTwice), home)
      const found = await stateOf(store)
      const reached = models.findLastIndex(
        (model, n) => n <= acks.started && same(model, found, acks.recovered),
      )
      const least = Math.max(acks.acknowledged, acks.shown)
      if (reached < least) {
        const seen = JSON.stringify([...found])
        throw new Error(
          `after ${acks.acknowledged} acknowledged of ${models.length - 1}, shown ${acks.shown}: found ${seen}`,
        )
      }
      acks.shown = reached
      // Whatever has been shown or acknowledged stays, also if this recovery's successor crashes too.
      await store.commit([put('/state/recovered', 'yes')])
      acks.recovered = true
      // The rest of an unfinished history is never attempted again.
      acks.started = reached
      acks.acknowledged = reached
      // What a crash left of a compaction must not trip the next ones.
      const last = history.at(-1)
      if (
        options.plant === undefined &&
        options.keeper === 'file' &&
        last !== undefined &&
        'compact' in last
      ) {
        await store.compact()
        await store.compact()
        await store.close()
        const again = await openHome(world(planted(disk), neverTwice), home)
        assert.ok(again.has('/state/recovered'))
        await again.close()
      } else await store.close()
    },
  })
}

async function perform(store: Store, step: Step, acks: Acks): Promise<void> {
  if ('shred' in step) {
    acks.started++
    await store.shred(step.shred)
    acks.acknowledged++
    return
  }
  const commits = 'compact' in step ? (step.beside ?? []) : step.commits
  acks.started += commits.length
  const commit = async (changes: readonly Change[]) => {
    await store.commit(changes)
    acks.acknowledged++
  }
  if (!('compact' in step)) return void (await Promise.all(commits.map(commit)))
  // One after another, so that they meet every stage of it.
  const oneByOne = async () => {
    for (const changes of commits) await commit(changes)
  }
  await Promise.all([store.compact(), oneByOne()])
}

/** The model after 0, 1, ... commits of the history. */
function statesAfter(history: readonly Step[]): Model[] {
  const models: Model[] = [start]
  for (const step of history) {
    const lists =
      'shred' in step
        ? [[{ delete: '/pawl/doomed/x' }]]
        : 'compact' in step
          ? (step.beside ?? [])
          : step.commits
    for (const changes of lists) {
      const model = new Map(models.at(-1))
      for (const change of changes)
        if ('delete' in change) model.delete(change.delete)
        else model.set(change.put, Buffer.from(change.payload).toString())
      models.push(model)
    }
  }
  return models
}

async function stateOf(store: Store): Promise<Model> {
  const found = new Map<string, string>()
  for (const path of paths)
    if (store.has(path)) found.set(path, Buffer.from((await store.get(path)).payload).toString())
  assert.equal(
    store.list('/state/').length,
    [...found.keys()].filter(path => path.startsWith('/state/')).length,
  )
  return found
}

function same(model: Model, found: Model, recovered: boolean): boolean {
  const expected = new Map(model)
  // A recovery that crashed after its own put may or may not have been told; told, it must be there.
  if (recovered || found.has('/state/recovered')) expected.set('/state/recovered', 'yes')
  return expected.size === found.size && [...expected].every(([path, value]) => found.get(path) === value)
}

/** Every history of exactly so many steps. */
export function histories(length: number): readonly (readonly Step[])[] {
  if (length === 0) return [[]]
  return histories(length - 1).flatMap(history =>
    steps.filter(step => 'commits' in step || !history.includes(step)).map(step => [...history, step]),
  )
}
