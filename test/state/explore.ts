import { strict as assert } from 'node:assert'
import type { Disk } from '../../src/host/disk.ts'
import type { Entropy } from '../../src/host/entropy.ts'
import { createHome } from '../../src/state/create.ts'
import { openHome, type World } from '../../src/state/home.ts'
import { limits } from '../../src/state/limits.ts'
import { VirtualClock } from '../simulator/clock.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import { SeededEntropy } from '../simulator/entropy.ts'
import { type Explored, explore } from '../simulator/explore.ts'
import { bytesAt, emptyImage, type Image, imageKey, pathsOf } from '../simulator/image.ts'
import { type Snapshot, wholeImage } from '../simulator/machine.ts'
import type { ProfileName } from '../simulator/profile.ts'
import { plantDirectory } from '../simulator/surgery.ts'
import {
  type Acks,
  doomed,
  judge,
  look,
  type Model,
  modelsOf,
  noAcks,
  perform,
  promiseOf,
  put,
  putRecovered,
  type Step,
} from './oracle.ts'

export type { Step } from './oracle.ts'

/**
 * Every crash of short histories of the real store on the simulated disk. The oracle: what was acknowledged is there,
 * what was attempted is there whole or not at all, in order, and so told in the audit trail; what a recovery has shown
 * stays; and a plain crash never ends in a refusal.
 */

// The shipped sizes are for real disks; what is explored is the order of writes, not their volume.
Object.assign(limits, { growBytes: 16_384, segmentBytesMax: 16_384 })

export const steps = [
  { name: 'put a', commits: [[put('/state/a', 'a1')]] },
  { name: 'put b', commits: [[put('/state/b', 'b1')]] },
  { name: 'delete a', commits: [[{ delete: '/state/a' }]] },
  { name: 'batch', commits: [[put('/state/a', 'a2'), { delete: '/state/b' }]] },
  {
    name: 'two at once',
    commits: [[put('/state/a', 'a3')], [put('/state/b', 'b3')], [put('/state/a', 'a4')]],
  },
  { name: 'scope', makeScope: 'fresh', commits: [[put('/state/b', 'b5', 'fresh')]] },
  { name: 'shred', shred: doomed.scope },
  { name: 'compact', compact: true },
] as const satisfies readonly Step[]

/** More steps than histories are made of. */
export const otherSteps = [
  {
    name: 'compact beside puts',
    compact: true,
    beside: [[put('/state/a', 'new')], [{ delete: '/state/a' }], [put('/state/b', 'newer')]],
  },
  // What fills a segment and more.
  {
    name: 'fill',
    commits: Array.from({ length: 3 }, (_, i) => [put(`/state/${i}`, new Uint8Array(14_000))]),
  },
] as const satisfies readonly Step[]

const everyStep: readonly Step[] = [...steps, ...otherSteps]

/** A history as the names of its steps. */
export function historyOf(names: readonly string[]): readonly Step[] {
  return names.map(name => {
    const step = everyStep.find(each => each.name === name)
    if (step === undefined) throw new RangeError(`no step ${name}`)
    return step
  })
}

export function namesOf(history: readonly Step[]): readonly string[] {
  return history.map(({ name }) => name)
}

/** True while a world is run that was run before: what it seals is the same. */
export const repetition = { isUnderWay: false }

/** A bug planted between the store and its disk. */
export type Plant = (disk: Disk) => Disk

export type Options = {
  readonly keeper: 'file' | 'none'
  readonly depth: number
  readonly sectorSize: 512 | 4096
  readonly profiles: readonly ProfileName[]
  /** Up to so many states of a crash point all are opened, above it a choice of them. */
  readonly bound?: number
  readonly budgetMs?: number
  readonly plant?: Plant
  /** Only crashes from the beginning of the last step on: those before are the crashes of the history without it. */
  readonly lastStepOnly?: boolean
  readonly seed?: number
}

export const home = '/disk/home'
export const anchorBase = '/anchors'

export function world(disk: Disk, entropy: Entropy): World {
  return { disk, clock: new VirtualClock({ startMs: 1_700_000_000_000, seed: 1 }), entropy }
}

/** A home at rest with something in it, as a power cut after a clean close leaves it. The same one every time. */
export async function restingHome(options: Pick<Options, 'keeper' | 'sectorSize'>): Promise<Image> {
  const image = plantDirectory(
    plantDirectory(emptyImage({ sectorSize: options.sectorSize }), '/disk'),
    anchorBase,
    { device: 2 },
  )
  const disk = new SimulatedDisk(image, { profile: 'posix' })
  const config = { keeper: options.keeper, profile: 'dev' } as const
  const entropy = new SeededEntropy(7)
  await createHome(world(disk, entropy), { home, anchorBase, config, slots: 3, first: [] })
  const store = await openHome(world(disk, entropy), home)
  await store.makeScope(doomed.scope)
  await store.commit([put('/state/a', 'a0'), put(doomed.path, doomed.value, doomed.scope)])
  await store.close()
  return disk.killState()
}

/** The bytes of the key slot that the doomed scope hangs on while it is live. */
export function doomedSecret(image: Image): Buffer {
  return slotsOf(image).subarray(2 * 4096, 2 * 4096 + 32)
}

export function slotsOf(image: Image): Buffer {
  for (const [path] of pathsOf(image))
    if (path.endsWith('/slots')) return Buffer.from(bytesAt(image, path) ?? [])
  throw new Error('the image has no slots')
}

export function isDestroyed(model: Model | undefined): boolean {
  return model !== undefined && !model.records.has(`scope ${doomed.scope}`)
}

/** Explores every crash of one history. Throws `CrashFound` at the first broken promise. */
export async function exploreHistory(
  history: readonly Step[],
  image: Image,
  options: Options,
): Promise<Explored> {
  const models = modelsOf(history)
  const secret = doomedSecret(image)
  const planted = (disk: Disk) => options.plant?.(disk) ?? disk
  const seed = options.seed ?? 1
  const recoveries = new SeededEntropy(seed * 2 + 1)
  let runs = 0
  const isArmed = (acks: Acks) => acks.step >= history.length
  return explore<Acks>({
    image,
    profiles: options.profiles,
    depth: options.depth,
    ...(options.bound === undefined ? {} : { bound: options.bound }),
    ...(options.budgetMs === undefined ? {} : { budget: { ms: options.budgetMs } }),
    ...(options.lastStepOnly === true ? { isArmed } : {}),
    acks: noAcks,
    promise: promiseOf,
    async run(disk, acks) {
      repetition.isUnderWay = runs++ > 0
      // The same world under every profile: what two of them allow is opened once.
      const store = await openHome(world(planted(disk), new SeededEntropy(seed * 2)), home)
      for (const step of history) await perform(store, step, acks)
      await store.close()
      repetition.isUnderWay = false
    },
    async check(disk, acks) {
      acks.recoveries++
      const possible = models.slice(Math.max(acks.acknowledged, acks.shown), acks.started + 1)
      if (possible.every(isDestroyed))
        assert.ok(!slotsOf(disk.killState()).includes(secret), 'a key that was destroyed is still there')
      const store = await openHome(world(planted(disk), recoveries), home)
      const seen = await look(store)
      assert.deepEqual([...seen.refused], [], 'a plain crash is not refused')
      assert.ok(!seen.isUnfinished, 'a shred was left unfinished')
      const reached = judge(seen, acks, models)
      acks.shown = reached
      if (isDestroyed(models[reached]))
        assert.ok(!slotsOf(disk.killState()).includes(secret), 'a destroyed key is there once more')
      // Whatever has been shown or acknowledged stays, also if this recovery's successor crashes too.
      await putRecovered(store, acks)
      // The rest of an unfinished history is never attempted again.
      acks.started = reached
      acks.acknowledged = reached
      // What a crash left of a compaction must not trip the next ones. These are not crashed: `exploreTwice` does that.
      const isDeepest = acks.recoveries >= options.depth
      const last = history.at(-1)
      if (
        options.plant === undefined &&
        options.keeper === 'file' &&
        isDeepest &&
        last !== undefined &&
        'compact' in last
      ) {
        await store.compact()
        await store.compact()
        await store.close()
        const again = await openHome(world(planted(disk), recoveries), home)
        judge(await look(again), acks, models)
        await again.close()
      } else await store.close()
    },
  })
}

/**
 * The process dies anywhere in a history that changes nothing that callers see; in the next one the same is done, and
 * every crash of that is explored.
 */
export async function exploreTwice(
  history: readonly Step[],
  image: Image,
  options: Options,
): Promise<Explored> {
  assert.equal(modelsOf(history).length, 1, 'a history that commits nothing of a caller')
  const disk = new SimulatedDisk(image)
  const seen = new Map<number, Image>()
  const note = (snapshot: Snapshot) => {
    const left = wholeImage(snapshot)
    seen.set(imageKey(left), left)
  }
  disk.observe(note)
  const store = await openHome(world(disk, new SeededEntropy(3)), home)
  for (const step of history) await perform(store, step)
  disk.observe(undefined)
  const total = { points: 0, images: 0, distinct: 0, checks: 0, complete: true, ms: 0 }
  for (const [n, from] of [...seen.values()].entries()) {
    const explored = await exploreHistory(history, from, { ...options, seed: (options.seed ?? 1) * 1000 + n })
    for (const key of ['points', 'images', 'distinct', 'checks', 'ms'] as const) total[key] += explored[key]
    total.complete &&= explored.complete
  }
  return total
}

/** Every history of exactly so many steps: a scope is made, destroyed and the journal compacted once in each. */
export function histories(length: number): readonly (readonly Step[])[] {
  if (length === 0) return [[]]
  return histories(length - 1).flatMap(history =>
    steps.filter(step => isRepeatable(step) || !history.includes(step)).map(step => [...history, step]),
  )
}

function isRepeatable(step: Step): boolean {
  return 'commits' in step && !('makeScope' in step)
}
