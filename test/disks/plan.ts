/**
 * What the writer does, as a function of a seed: so that who judges a disk knows every state that it may be in. Each
 * lane does one thing after another to records of its own; the lanes run beside each other.
 */
import assert from 'node:assert/strict'
import type { Change } from '../../src/state/change.ts'
import { StateError } from '../../src/state/error.ts'
import type { Store } from '../../src/state/store.ts'
import { Random } from '../simulator/random.ts'
import { bytesOf, textOf } from '../state/support.ts'

export const laneCount = 3

/**
 * Segments are begun and given up all the time. They still grow by much more than a put: each growth is a sync that
 * the file system uses to make older names durable too, and would hide a directory that is not synced.
 */
export const smallLimits = { growBytes: 512 * 1024, segmentBytesMax: 1024 * 1024 } as const

export type Act =
  | { readonly kind: 'commit'; readonly changes: readonly Change[] }
  /** The lane's scope is shredded, and made again. */
  | { readonly kind: 'renew' }
  | { readonly kind: 'compact' }

export function scopeOf(lane: number): string {
  return `lane-${lane}`
}

const pathOf = (lane: number, name: string) => `/state/${lane}/${name}`
const lengths = [10, 700, 5000, 5000, 30_000, 90_000] as const

/** The lane's act number `n`, from 1. */
export function actOf(seed: number, lane: number, n: number): Act {
  const random = new Random(seed * 1_000_003 + lane * 500_009 + n)
  const roll = random.below(100)
  if (roll < 6) return { kind: 'renew' }
  if (roll < 12) return { kind: 'compact' }
  const value = () => bytesOf(`${lane} ${n} `.padEnd(lengths[random.below(lengths.length)] ?? 10, '.'))
  const name = () => String(random.below(4))
  const count: Change = { put: pathOf(lane, 'count'), payload: bytesOf(String(n)) }
  const put: Change = { put: pathOf(lane, name()), payload: value() }
  if (roll < 40) return { kind: 'commit', changes: [{ put: pathOf(lane, 'one'), payload: value() }] }
  if (roll < 60) {
    const scoped = { put: pathOf(lane, `scoped/${name()}`), payload: value(), scope: scopeOf(lane) }
    return { kind: 'commit', changes: [scoped, count] }
  }
  if (roll < 75) return { kind: 'commit', changes: [{ delete: pathOf(lane, name()) }, count] }
  return { kind: 'commit', changes: [put, count, { delete: pathOf(lane, `scoped/${name()}`) }] }
}

/** Does it; when it returns, that is acknowledged. It may be done again after a crash in the middle of it. */
export async function perform(store: Store, act: Act, lane: number): Promise<void> {
  if (act.kind === 'commit') await store.commit(act.changes)
  else if (act.kind === 'compact') await store.compact()
  else {
    // A crash may have come between the two.
    await store.shred(scopeOf(lane)).catch(error => {
      if (!(error instanceof StateError && error.code === 'ENOENT')) throw error
    })
    await store.makeScope(scopeOf(lane))
  }
}

export type Model = ReadonlyMap<string, string>

/** What the lane's records are after its first `n` acts. */
export class Lane {
  readonly #seed: number
  readonly lane: number
  readonly #states: Model[] = [new Map()]

  constructor(seed: number, lane: number) {
    this.#seed = seed
    this.lane = lane
  }

  after(n: number): Model {
    while (this.#states.length <= n) this.#states.push(this.#next(this.#states.length))
    const state = this.#states[n]
    assert.ok(state !== undefined)
    return state
  }

  #next(n: number): Model {
    const model = new Map(this.#states[n - 1])
    const act = actOf(this.#seed, this.lane, n)
    if (act.kind === 'renew')
      for (const path of [...model.keys()]) if (path.includes('/scoped/')) model.delete(path)
    if (act.kind === 'commit')
      for (const change of act.changes)
        if ('delete' in change) model.delete(change.delete)
        else model.set(change.put, textOf(change.payload))
    return model
  }
}

/**
 * The oracle: each lane's records are what they were after all of its acts that were acknowledged, or after the one
 * that was under way besides; never a mix, never older. Answers how many acts each lane shows.
 */
export async function judge(
  store: Store,
  lanes: readonly Lane[],
  acknowledged: readonly number[],
): Promise<readonly number[]> {
  const reached: number[] = []
  for (const lane of lanes) {
    const found = new Map<string, string>()
    for (const path of store.list(`/state/${lane.lane}/`))
      found.set(path, textOf((await store.get(path)).payload))
    const least = acknowledged[lane.lane] ?? 0
    const n = [least + 1, least].find(n => same(lane.after(n), found))
    if (n === undefined)
      throw new Error(
        `lane ${lane.lane}: ${least} acts were acknowledged; found ${described(found)}, not ${described(lane.after(least))}`,
      )
    reached.push(n)
  }
  return reached
}

function same(a: Model, b: Model): boolean {
  return a.size === b.size && [...a].every(([path, value]) => b.get(path) === value)
}

function described(model: Model): string {
  return JSON.stringify(
    [...model].map(([path, value]) => `${path}: ${value.slice(0, 12)} (${value.length})`).sort(),
  )
}
