import { strict as assert } from 'node:assert'
import { StateError } from '../../src/state/error.ts'
import { openHome } from '../../src/state/home.ts'
import { readHome } from '../../src/state/reader.ts'
import type { Store } from '../../src/state/store.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import { SeededEntropy } from '../simulator/entropy.ts'
import { type Image, imageKey, pathsOf } from '../simulator/image.ts'
import { wholeImage } from '../simulator/machine.ts'
import { sectorAt } from '../simulator/node.ts'
import { Random } from '../simulator/random.ts'
import {
  copySector,
  flipBit,
  graft,
  overwriteSector,
  remove,
  staleSector,
  swapSectors,
  truncateFile,
} from '../simulator/surgery.ts'
import { anchorBase, doomedSecret, home, isDestroyed, slotsOf, world } from './explore.ts'
import { type Acks, doomed, judge, look, type Model, modelsOf, noAcks, perform, type Step } from './oracle.ts'

/**
 * What befalls the disk while no process runs: in every sector of home and anchor rot, loss, an older content, the
 * content of another sector; and homes and anchors put back to what they were. What then opens shows what was
 * acknowledged; everything else is a refusal with a code.
 */

/** A home as it was after some step, and what had been promised by then. */
export type Moment = { readonly name: string; readonly image: Image; readonly acks: Acks }

export type Damage = { readonly name: string; readonly image: Image }

export type DamageReport = {
  readonly damaged: number
  readonly refused: number
  readonly opened: number
  readonly isComplete: boolean
}

export type DamageOptions = {
  readonly deadline?: number
  /** Which of them, by name. */
  readonly wanted?: (name: string) => boolean
}

export class DamageFound extends Error {
  override readonly name = 'DamageFound'
}

const refusals = ['EINTEGRITY', 'EROLLBACK']

/** The home after each step with the store still open, and after it was closed. */
export async function momentsOf(
  history: readonly Step[],
  image: Image,
  seed = 1,
): Promise<readonly Moment[]> {
  const disk = new SimulatedDisk(image)
  const acks = noAcks()
  const moments: Moment[] = [{ name: 'before', image, acks: structuredClone(acks) }]
  const note = (name: string) => moments.push({ name, image: disk.killState(), acks: structuredClone(acks) })
  const store = await openHome(world(disk, new SeededEntropy(seed)), home)
  for (const step of history) {
    await perform(store, step, acks)
    note(`after ${step.name}`)
  }
  await store.close()
  note('closed')
  return moments
}

/** One sector at a time, in every way. */
export function* sectorDamages(image: Image, older: readonly Moment[], random: Random): Generator<Damage> {
  const { sectorSize } = image
  const files = [...pathsOf(image)].flatMap(([path, node]) => (node.kind === 'file' ? [{ path, node }] : []))
  for (const { path, node } of files) {
    const count = Math.ceil(node.length / sectorSize)
    for (let index = 0; index < count; index++) {
      const name = `${path}, sector ${index}`
      const used = Math.min(sectorSize, node.length - index * sectorSize) * 8
      for (const bit of [
        random.below(Math.min(used, 256)),
        random.below(Math.min(used, 4096)),
        random.below(used),
      ])
        yield { name: `${name}: bit ${bit}`, image: flipBit(image, path, index * sectorSize * 8 + bit) }
      const bytes = sectorAt(node, index)?.bytes ?? new Uint8Array(sectorSize)
      const whole = (content: Uint8Array) => overwriteSector(image, path, index, content)
      yield { name: `${name}: zeros`, image: whole(new Uint8Array(0)) }
      yield { name: `${name}: garbage`, image: whole(random.bytes(sectorSize)) }
      yield { name: `${name}: its second half lost`, image: whole(bytes.subarray(0, sectorSize / 2)) }
      for (const moment of older)
        if (hasFile(moment.image, path))
          yield {
            name: `${name}: as it was ${moment.name}`,
            image: staleSector(image, path, index, moment.image),
          }
      for (let other = 0; other < count; other++) {
        if (other === index) continue
        if (other > index)
          yield { name: `${name}: exchanged with ${other}`, image: swapSectors(image, path, index, other) }
        yield {
          name: `${name}: what ${other} has`,
          image: copySector(image, path, index, { path, index: other }),
        }
      }
      for (const other of files)
        if (other.path !== path)
          yield {
            name: `${name}: the first of ${other.path}`,
            image: copySector(image, path, index, { path: other.path, index: 0 }),
          }
    }
    yield { name: `${path}: gone`, image: remove(image, path) }
    if (node.length > 0) {
      yield { name: `${path}: empty`, image: truncateFile(image, path, 0) }
      const shorter = Math.max(0, node.length - sectorSize)
      yield { name: `${path}: a sector short`, image: truncateFile(image, path, shorter) }
    }
  }
}

/** Home, anchor, or a file of them, as they were at an earlier moment; not both together, which nothing here can see. */
export function* restores(image: Image, older: readonly Moment[]): Generator<Damage> {
  for (const moment of older) {
    const places = new Set<string>([home, anchorBase])
    for (const from of [image, moment.image])
      for (const [path, node] of pathsOf(from)) if (node.kind === 'file') places.add(path)
    for (const path of places)
      yield { name: `${path} as it was ${moment.name}`, image: graft(image, path, moment.image) }
  }
}

/** Opens each, to write and to read, and holds what it shows against what was promised. */
export async function exploreDamages(
  damages: Iterable<Damage>,
  history: readonly Step[],
  acks: Acks,
  secret: Buffer,
  options: DamageOptions = {},
): Promise<DamageReport> {
  const models = modelsOf(history)
  const entropy = new SeededEntropy(77)
  const seen = new Set<number>()
  let damaged = 0
  let refused = 0
  for (const { name, image } of damages) {
    if (performance.now() > (options.deadline ?? Number.POSITIVE_INFINITY))
      return { damaged, refused, opened: damaged - refused, isComplete: false }
    if (options.wanted?.(name) === false) continue
    const key = imageKey(image)
    if (seen.has(key)) continue
    seen.add(key)
    damaged++
    const isMarkOlder = name.includes('/mark') || name.startsWith(`${anchorBase} `)
    try {
      const refusedToRead = await refusal(() => readBeside(image, entropy, acks, models, isMarkOlder))
      const refusedToWrite = await refusal(() => openAgain(image, entropy, acks, models, secret))
      if (refusedToWrite !== undefined) refused++
      assert.ok(
        refusedToWrite === undefined || refusals.includes(refusedToWrite),
        `refused with ${refusedToWrite}`,
      )
      assert.ok(
        refusedToRead === undefined || refusals.includes(refusedToRead),
        `refused with ${refusedToRead}`,
      )
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error)
      throw new DamageFound(`${name}: ${what}`, { cause: error })
    }
  }
  return { damaged, refused, opened: damaged - refused, isComplete: true }
}

/** To write; what it shows is there when it is opened once more. */
async function openAgain(
  image: Image,
  entropy: SeededEntropy,
  acks: Acks,
  models: readonly Model[],
  secret: Buffer,
): Promise<void> {
  const disk = new SimulatedDisk(image)
  const judged = async (store: Store) => {
    const seen = await look(store)
    for (const code of seen.refused.values()) assert.ok(refusals.includes(code), code)
    const reached = judge(seen, acks, models)
    if (isDestroyed(models[reached]))
      assert.ok(!slotsOf(disk.killState()).includes(secret), 'a destroyed key is there again')
    return seen
  }
  const store = await openHome(world(disk, entropy), home)
  const seen = await judged(store)
  await store.close()
  const again = await openHome(world(disk, entropy), home)
  const second = await judged(again)
  await again.close()
  assert.deepEqual([...second.records], [...seen.records], 'opened once more it shows something else')
}

/**
 * To read: what is shown is what was promised. A reader goes as far as the mark says and judges nothing beyond, so where
 * the mark's newest slot was damaged or the anchor put back it may show what was there at the mark that is left.
 */
async function readBeside(
  image: Image,
  entropy: SeededEntropy,
  acks: Acks,
  models: readonly Model[],
  isMarkOlder: boolean,
): Promise<void> {
  const reader = await readHome(world(new SimulatedDisk(image), entropy), home)
  const least = isMarkOlder ? 0 : acks.acknowledged
  const allowed = models.slice(least, acks.started + 1)
  const shown = new Map<string, string>()
  for (const path of [...reader.list('/state/'), ...reader.list('/pawl/doomed/')])
    shown.set(path, Buffer.from((await reader.get(path)).payload).toString('latin1'))
  await reader.close()
  const fits = allowed.some(model => {
    // The key of what was destroyed since is gone.
    const isGone = (path: string) => isMarkOlder && path === doomed.path && !shown.has(path)
    const expected = [...model.records].filter(([path]) => path.startsWith('/') && !isGone(path))
    return expected.length === shown.size && expected.every(([path, value]) => shown.get(path) === value)
  })
  assert.ok(fits, `a reader is shown ${JSON.stringify([...shown])}`)
}

async function refusal(act: () => Promise<void>): Promise<string | undefined> {
  try {
    await act()
    return undefined
  } catch (error) {
    if (error instanceof StateError) return error.code
    throw error
  }
}

function hasFile(image: Image, path: string): boolean {
  for (const [found] of pathsOf(image)) if (found === path) return true
  return false
}

/** All of it for one history, at each of its moments that counts: while the store was open, and when it was closed. */
export async function exploreDamage(
  history: readonly Step[],
  image: Image,
  options: DamageOptions & { readonly seed?: number } = {},
): Promise<DamageReport> {
  const moments = await momentsOf(history, image, options.seed)
  const secret = doomedSecret(image)
  const random = new Random(options.seed ?? 1)
  const total = { damaged: 0, refused: 0, opened: 0, isComplete: true }
  for (const [n, moment] of moments.entries()) {
    if (n < moments.length - 2) continue
    const older = moments.slice(0, -2)
    for (const damages of [sectorDamages(moment.image, older, random), restores(moment.image, older)]) {
      const report = await exploreDamages(damages, history, moment.acks, secret, options)
      for (const key of ['damaged', 'refused', 'opened'] as const) total[key] += report[key]
      total.isComplete &&= report.isComplete
    }
  }
  return total
}

/**
 * What readers are shown is under the mark: at every moment of the history the home alone is put back to what it was in
 * the beginning, and what opens then shows what was seen, or is refused.
 */
export async function exploreShown(history: readonly Step[], image: Image): Promise<DamageReport> {
  const disk = new SimulatedDisk(image)
  const damages: { readonly damage: Damage; readonly seen: readonly string[] }[] = []
  const store = await openHome(world(disk, new SeededEntropy(5)), home)
  disk.observe(snapshot => {
    const name = `home as it was before, at call ${snapshot.call}`
    damages.push({
      damage: { name, image: graft(wholeImage(snapshot), home, image) },
      seen: store.list('/state/'),
    })
  })
  for (const step of history) await perform(store, step)
  disk.observe(undefined)
  let refused = 0
  for (const { damage, seen } of damages) {
    const code = await refusal(async () => {
      const again = await openHome(world(new SimulatedDisk(damage.image), new SeededEntropy(6)), home)
      const missing = seen.filter(path => !again.has(path))
      if (missing.length > 0) throw new DamageFound(`${damage.name}: ${missing} was shown and is gone`)
    })
    if (code !== undefined) refused++
  }
  return { damaged: damages.length, refused, opened: damages.length - refused, isComplete: true }
}
