import { strict as assert } from 'node:assert'
import { DiskError } from '../../src/host/disk.ts'
import type { Change } from '../../src/state/change.ts'
import { StateError } from '../../src/state/error.ts'
import { decodeScope, scopePrefix } from '../../src/state/scopes.ts'
import type { Store } from '../../src/state/store.ts'

/**
 * What a store may hold after a history of which so much was acknowledged: the state after some whole number of its
 * commits, at least all that were acknowledged, with an audit trail that has an entry for each change of these and
 * for no other.
 */

/** One step of a history: what is asked of the store at once. Several changes lists are concurrent commits. */
export type Step = Commits | MakeScope | Shred | Compact
type Commits = { readonly name: string; readonly commits: readonly (readonly Change[])[] }
/** The scope is made, then these are committed. */
type MakeScope = Commits & { readonly makeScope: string }
type Shred = { readonly name: string; readonly shred: string }
/** Every segment is given up, while these are committed. */
type Compact = {
  readonly name: string
  readonly compact: true
  readonly beside?: readonly (readonly Change[])[]
}

export const put = (path: string, value: string | Uint8Array, scope?: string): Change => ({
  put: path,
  payload: typeof value === 'string' ? Buffer.from(value) : value,
  ...(scope === undefined ? {} : { scope }),
})

/** What was promised: counts over the history's commits in order, and what recoveries have shown and put. */
export type Acks = {
  acknowledged: number
  started: number
  /** A recovery showed the state after so many commits: no later one may show less. */
  shown: number
  recovered: boolean
  /** Recoveries that were begun. */
  recoveries: number
  /** The step that is under way, from 1. */
  step: number
  /** The generation that each acknowledged commit was told, 0 where it is told none. */
  generations: number[]
}

export function noAcks(): Acks {
  return { acknowledged: 0, started: 0, shown: 0, recovered: false, recoveries: 0, step: 0, generations: [] }
}

/** What of the acks decides what is demanded. */
export function promiseOf(acks: Acks): unknown {
  return [Math.max(acks.acknowledged, acks.shown), acks.started, acks.recovered, acks.generations]
}

/** Records by path, `scope NAME` for each live scope, and the changes that the audit trail tells, in order. */
export type Model = { readonly records: ReadonlyMap<string, string>; readonly audit: readonly string[] }

const recoveredPath = '/state/recovered'
/** Of the scope that histories destroy. */
export const doomed = { scope: 'doomed', path: '/pawl/doomed/x', value: 'secret' }

export const start: Model = {
  records: new Map([
    ['scope default', ''],
    [`scope ${doomed.scope}`, ''],
    ['/state/a', 'a0'],
    [doomed.path, doomed.value],
  ]),
  audit: ['put /state/a'],
}

/** The model after 0, 1, ... commits of the history. */
export function modelsOf(history: readonly Step[], first: Model = start): Model[] {
  const models: Model[] = [first]
  const add = (change: (records: Map<string, string>, audit: string[]) => void) => {
    const { records, audit } = models.at(-1) ?? first
    const next = { records: new Map(records), audit: [...audit] }
    change(next.records, next.audit)
    models.push(next)
  }
  for (const step of history) {
    if ('shred' in step)
      add(records => {
        records.delete(`scope ${step.shred}`)
        records.delete(doomed.path)
      })
    if ('makeScope' in step) add(records => records.set(`scope ${step.makeScope}`, ''))
    const lists = 'commits' in step ? step.commits : 'compact' in step ? (step.beside ?? []) : []
    for (const changes of lists) add((records, audit) => apply(changes, records, audit))
  }
  return models
}

function apply(changes: readonly Change[], records: Map<string, string>, audit: string[]): void {
  for (const change of changes) {
    const path = 'delete' in change ? change.delete : change.put
    if ('delete' in change) records.delete(path)
    else records.set(path, textOf(change.payload))
    if (path.startsWith('/state/')) audit.push(`${'delete' in change ? 'delete' : 'put'} ${path}`)
  }
}

/** What a store shows. */
export type Seen = {
  readonly records: ReadonlyMap<string, string>
  /** Paths that are there and were refused when they were read, with the code. */
  readonly refused: ReadonlyMap<string, string>
  readonly audit: readonly { readonly change: string; readonly generation: number }[] | undefined
  readonly mark: number
  /** A shred was begun and not completed. */
  readonly isUnfinished: boolean
}

/** Reads all there is. A refusal with a code is noted; anything else that is thrown is a bug. */
export async function look(store: Pick<Store, 'list' | 'get' | 'audit' | 'mark'>): Promise<Seen> {
  const records = new Map<string, string>()
  const refused = new Map<string, string>()
  let isUnfinished = false
  const take = async (path: string, found: (payload: Uint8Array) => void) => {
    try {
      found((await store.get(path)).payload)
    } catch (error) {
      refused.set(path, codeOf(error))
    }
  }
  for (const path of store.list(scopePrefix))
    await take(path, payload => {
      const { name, state } = decodeScope(payload)
      if (state === 'live') records.set(`scope ${name}`, '')
      isUnfinished ||= state === 'shredding'
    })
  for (const path of [...store.list('/state/'), ...store.list('/pawl/doomed/')])
    await take(path, payload => records.set(path, textOf(payload)))
  const audit = await auditOf(store, refused)
  return { records, refused, audit, mark: store.mark.number, isUnfinished }
}

async function auditOf(store: Pick<Store, 'audit'>, refused: Map<string, string>): Promise<Seen['audit']> {
  const entries = []
  try {
    for await (const line of store.audit()) {
      const entry: unknown = JSON.parse(line)
      assert.ok(typeof entry === 'object' && entry !== null && 'action' in entry && 'path' in entry, line)
      if (entry.action !== 'put' && entry.action !== 'delete') continue
      assert.ok('generation' in entry && typeof entry.generation === 'number', line)
      entries.push({ change: `${entry.action} ${entry.path}`, generation: entry.generation })
    }
    return entries
  } catch (error) {
    refused.set('audit', codeOf(error))
    return undefined
  }
}

/** The code of a refusal: of the store, or of the disk under it. Rethrows what is none. */
export function codeOf(error: unknown): string {
  if (error instanceof StateError || error instanceof DiskError) return error.code
  throw error
}

/**
 * How many of the history's commits the store shows. What was refused when it was read is left out of the comparison.
 * @throws Error if it shows none of the states that the promises allow
 */
export function judge(seen: Seen, acks: Acks, models: readonly Model[]): number {
  const least = Math.max(acks.acknowledged, acks.shown)
  const reached = models.findLastIndex(
    (model, n) => n >= least && n <= acks.started && same(model, seen, acks.recovered),
  )
  const told = acks.generations.at(-1) ?? 0
  if (reached < 0 || seen.mark < told) {
    const found = JSON.stringify([...seen.records])
    const audit = seen.audit?.map(({ change, generation }) => `${generation} ${change}`).join(', ')
    throw new Error(
      `${least} of ${models.length - 1} commits were promised, ${acks.started} begun, generation ${told} told: ` +
        `found ${found} at ${seen.mark}, audited ${audit}`,
    )
  }
  judgeGenerations(seen, acks, models)
  return reached
}

function same(model: Model, seen: Seen, recovered: boolean): boolean {
  const expected = new Map(model.records)
  const audit = [...model.audit]
  const isRecovered = recovered || seen.records.has(recoveredPath) || seen.refused.has(recoveredPath)
  if (isRecovered) expected.set(recoveredPath, 'yes')
  const shown = new Map(seen.records)
  for (const path of seen.refused.keys()) {
    expected.delete(path)
    if (!path.startsWith(scopePrefix)) continue
    for (const each of [expected, shown])
      for (const name of [...each.keys()]) if (name.startsWith('scope ')) each.delete(name)
  }
  const isSame =
    shown.size === expected.size && [...expected].every(([path, value]) => shown.get(path) === value)
  if (seen.audit === undefined) return isSame
  // Each recovery that puts, puts once.
  const own = seen.audit.filter(({ change }) => change === `put ${recoveredPath}`)
  const others = seen.audit.filter(entry => !own.includes(entry))
  const isTold = isRecovered === own.length > 0
  return isSame && isTold && others.length === audit.length && others.every((e, i) => e.change === audit[i])
}

/** An entry says the generation that its caller was told. */
function judgeGenerations(seen: Seen, acks: Acks, models: readonly Model[]): void {
  if (seen.audit === undefined) return
  for (const [n, generation] of acks.generations.entries()) {
    const from = models[n]?.audit.length ?? 0
    const to = models[n + 1]?.audit.length ?? from
    if (generation === 0) continue
    for (const entry of seen.audit.slice(from, to))
      assert.equal(entry.generation, generation, `audited generation of commit ${n + 1}`)
  }
}

/** Puts what a recovery puts: from now on it must be there. */
export async function putRecovered(store: Store, acks: Acks): Promise<void> {
  await store.commit([put(recoveredPath, 'yes')])
  acks.recovered = true
}

/** Does one step, telling the acks at once. */
export async function perform(store: Store, step: Step, acks: Acks = noAcks()): Promise<void> {
  acks.step++
  const told = (generation: number) => {
    acks.acknowledged++
    acks.generations.push(generation)
  }
  if ('shred' in step) {
    acks.started++
    await store.shred(step.shred)
    return told(0)
  }
  const commits = 'compact' in step ? (step.beside ?? []) : step.commits
  const commit = async (changes: readonly Change[]) => told(await store.commit(changes))
  if ('makeScope' in step) {
    acks.started++
    await store.makeScope(step.makeScope)
    told(0)
  }
  acks.started += commits.length
  if (!('compact' in step)) return void (await Promise.all(commits.map(commit)))
  // One after another, so that they meet every stage of it.
  const oneByOne = async () => {
    for (const changes of commits) await commit(changes)
  }
  await Promise.all([store.compact(), oneByOne()])
}

function textOf(payload: Uint8Array): string {
  return Buffer.from(payload).toString('latin1')
}
