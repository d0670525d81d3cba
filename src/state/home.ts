import { hex } from '../bytes/bytes.ts'
import { type Rooted, rooted } from '../bytes/merkle.ts'
import { sha256 } from '../crypto/hash.ts'
import type { Clock } from '../host/clock.ts'
import { type Disk, DiskError } from '../host/disk.ts'
import type { Entropy } from '../host/entropy.ts'
import type { Log } from '../host/log.ts'
import { firstMark, join, markKeyOf, openAnchor, openFileKeeper } from '../keeper/anchor.ts'
import type { KeeperName, openOutsideKeeper } from '../keeper/outside.ts'
import type { Claim } from '../keeper/signed-mark.ts'
import type { StoreKeys } from '../keeper/store-keys.ts'
import { type Mark, MarkError } from '../mark/mark.ts'
import { type AuditSink, AuditTrail } from './audit-trail.ts'
import type { Placed, ScopeKey } from './block.ts'
import { type Budgets, tightened } from './budget.ts'
import { Committer } from './committer.ts'
import { configPath, decodeConfig } from './config.ts'
import { StateError, stateError } from './error.ts'
import { decodeHomeFile, homeFileName } from './home-file.ts'
import { decodeJournalStart, Journal } from './journal.ts'
import { JournalKeys } from './journal-keys.ts'
import { type ChangeOfKeeper, judgeKeepers } from './keepers.ts'
import { journalPath } from './path.ts'
import { Records } from './records.ts'
import { inFlightMax, type Replayed, replay } from './replay.ts'
import { decodeScope, defaultScope, type Scope, Scopes, scopePrefix } from './scopes.ts'
import { SegmentFiles } from './segment.ts'
import { Store } from './store.ts'

/** The world a store lives in. */
export type World = {
  readonly disk: Disk
  readonly clock: Clock
  readonly entropy: Entropy
  /** How keepers outside home and anchor are reached, if not over the network. */
  readonly openKeeper?: typeof openOutsideKeeper
}

export const journalName = 'segments'

/** Whether a home stands there. A journal without its home file is damage, not absence (S5). */
export async function homeExists(disk: Disk, home: string): Promise<boolean> {
  if ((await disk.stat(join(home, homeFileName))) !== undefined) return true
  if ((await disk.stat(join(home, journalName))) !== undefined)
    throw new StateError(
      'EINTEGRITY',
      `${home} has a journal but no ${homeFileName}: put the file back from a copy`,
    )
  return false
}

export type OpenOptions = {
  readonly log?: Log
  readonly budgets?: Partial<Budgets>
  /** Hears of audit entries once they are committed. */
  readonly auditSink?: AuditSink
  /** Where the keeper outside is now, if not where the home was made with it. */
  readonly keeper?: KeeperName | undefined
  /** It is opened for this, and nothing else is done with it. */
  readonly change?: ChangeOfKeeper
  /** It is opened to go on from where it is, whatever its keeper holds, and nothing else is done with it. */
  readonly recover?: boolean
  /** Of a home that has owners, for `takeOver` alone: docs/spec/ownership.md. */
  readonly ownership?: Ownership
}

export type Ownership = {
  readonly claim: Claim
  /** What was opened is what the keeper says and durable; nothing has been told of it yet, nor destroyed. */
  readonly judged: () => Promise<void>
  /** All is closed, also if it did not open. */
  readonly released: () => Promise<void>
}

/**
 * Opens a home for writing: lock, keeper, journal, judgement, and whatever a crash left unfinished.
 * @throws StateError ENOENT (no home), ELOCKED, EINTEGRITY, EROLLBACK, EKEEPER, ENOSPC
 */
export async function openHome(
  world: World,
  home: string,
  anchorBase?: string,
  options: OpenOptions = {},
): Promise<Store> {
  const budgets = tightened(options.budgets ?? {})
  const { disk, clock, entropy } = world
  const { closing, release } = closers()
  const { ownership } = options
  try {
    if (ownership !== undefined) closing.push(ownership.released)
    const { storeId, anchorPath } = await locate(disk, home, anchorBase)
    const anchor = await missingAnchor(anchorPath, () => openAnchor(disk, anchorPath))
    closing.push(() => anchor.close())
    const { recover = false } = options
    const file = await openFileKeeper(disk, anchor, storeId, recover)
    closing.push(() => file.close())
    const local = await file.read()

    const keys = new JournalKeys(anchor.storeKeys, storeId)
    closing.push(async () => keys.dispose())
    const scopes = new Scopes(anchor.storeKeys, anchor.slots)
    const directory = join(home, journalName)
    const newest: { readonly generation: number; readonly placed: readonly Placed[] }[] = []
    const source = new SegmentFiles(disk, directory)
    closing.push(() => source.close())
    const records = recordsOf(source, scopes)
    const told = recover ? firstMark(storeId) : local
    const replayed = await replay(disk, directory, keys, told, (header, placed, at) => {
      records.apply(header.generation, placed, at)
      newest.push({ generation: header.generation, placed })
      if (newest.length > inFlightMax) newest.shift()
    })
    if (await settleStoreKeys(anchor.storeKeys, replayed, recover)) {
      keys.forgetOthers() // the next key has the number of what is gone
      scopes.forgetOthers()
    }
    const start = await journalStart(records, replayed)
    const config = decodeConfig((await records.get(configPath)).payload)
    const replayAgainst = (mark: Mark) => replay(disk, directory, keys, mark, () => {})
    const { keeper: elsewhere, change } = options
    const claim = ownership?.claim
    const judging = { world, storeId, config, elsewhere, claim, change, recover, records, replayed, file }
    const { held, abandoned, settle } = await judgeKeepers({
      ...judging,
      anchor: anchor.path,
      local,
      replayAgainst,
      closing,
    })

    // What no returned sync and no mark vouches for is made durable anew, then marked; only then is it readable.
    const settled = Math.max(held.number, replayed.confirmed)
    const doubtful = replayed.newest.filter(group => group.before.size >= settled)
    if (replayed.tree.size - settled > inFlightMax)
      throw new StateError('EINTEGRITY', 'more groups are unconfirmed than are ever in flight')
    // Whoever made the home may have been killed before its name was durable; nothing was put into it since.
    if (replayed.tree.size === 1) await disk.syncDirectory(parentOf(home))
    const { journal, moved } = await Journal.resume(disk, directory, keys, replayed, doubtful, source)
    closing.push(() => journal.abandon())
    const end = rooted(sha256, replayed.tree)
    const mark = markOf(storeId, end)
    for (const [index, group] of newest.slice(newest.length - moved.length).entries()) {
      const at = moved[index]
      if (at !== undefined) records.apply(group.generation, group.placed, at)
    }
    const misfits = await loadScopes(records, scopes)
    if (!recover) refuseMisfits(misfits)
    for (const scope of misfits) records.forget(scope.id)
    await ownership?.judged()
    const keeper = await settle(mark)

    const { queueBytes } = budgets
    const scope = await defaultKey(scopes)
    const audit = await AuditTrail.open(scope, records, clock, options.auditSink)
    const committing = { keys, journal, keeper, records, clock, entropy, audit, queueBytes, end, mark }
    const committer = new Committer(committing)
    const log = options.log ?? { event() {} }
    const { storeKeys } = anchor
    const rekeyMark = () => file.rekey(markKeyOf(storeKeys, storeKeys.current))
    const rotating = { keys, storeKeys, rekeyMark }
    const parts = { config, storeId, committer, audit, journal, source, records, scopes, clock, entropy }
    const amending = { world, keeper, file, anchor: anchor.path, directory, closing, abandoned, misfits }
    const store = new Store({ ...parts, rotating, amending, log, budgets, release })
    if (!recover) await store.finish(start) // the amendment is to be the first group
    return store
  } catch (error) {
    await release().catch(() => {}) // what went wrong first is what is told
    throw stateError(error)
  }
}

/** What was opened so far, closed newest first: all of it, whatever goes wrong on the way, so that the lock is free. */
export function closers(): {
  readonly closing: (() => Promise<void>)[]
  readonly release: () => Promise<void>
} {
  const closing: (() => Promise<void>)[] = []
  return {
    closing,
    async release() {
      const failures: unknown[] = []
      for (const close of closing.splice(0).reverse()) await close().catch(error => failures.push(error))
      if (failures.length > 0) throw failures[0]
    },
  }
}

export function recordsOf(source: SegmentFiles, scopes: Scopes): Records {
  return new Records({
    read: (at, length) => source.read(at, length),
    scopeKey: scope => scopes.openingKey(scope),
  })
}

/** Where the journal begins; what lies before it is left over from a compaction. @throws StateError EINTEGRITY */
export async function journalStart(records: Records, { segments }: Replayed): Promise<number> {
  const start = records.has(journalPath) ? decodeJournalStart((await records.get(journalPath)).payload) : 0
  if (!segments.some(({ header, length }) => length !== undefined && header.before.size === start))
    throw new StateError('EINTEGRITY', `the journal begins at group ${start + 1}, but no segment does`)
  return start
}

/** Takes the scopes in, drops the records of dead ones, and answers whose slot is not what the journal says. */
export async function loadScopes(records: Records, scopes: Scopes): Promise<readonly Scope[]> {
  for (const path of records.list(scopePrefix)) scopes.set(decodeScope((await records.get(path)).payload))
  records.keep(scope => scopes.isReadable(scope))
  return scopes.misfits()
}

/** What is left of a key that nothing hangs on yet, or not any more, may not be durable: it is erased, not used. */
async function settleStoreKeys(
  storeKeys: StoreKeys,
  { storeKey }: Replayed,
  recover: boolean,
): Promise<boolean> {
  storeKeys.goOnWith(storeKey)
  // Before the amendment is there nothing is taken from a newer home.
  const isUseless = !recover && !storeKeys.isSettled && storeKeys.numbers[0] === storeKey
  if (isUseless) await storeKeys.eraseOthers()
  return isUseless
}

/** What the default scope is sealed with, whichever scope that is by then. @throws StateError EINTEGRITY */
async function defaultKey(scopes: Scopes): Promise<() => ScopeKey> {
  const scope = scopes.find(defaultScope)
  if (scope === undefined) throw new StateError('EINTEGRITY', 'the store has no default scope')
  await scopes.key(scope)
  return () => {
    const now = scopes.find(defaultScope)
    const key = now && scopes.keyAtHand(now)
    if (key === undefined) throw new TypeError('the key of the default scope is at hand')
    return key
  }
}

export function refuseMisfits([first]: readonly Scope[]): void {
  if (first !== undefined)
    throw new StateError(
      'EINTEGRITY',
      `key slot ${first.slot} in the anchor is not the one the journal names`,
    )
}

export function markOf(storeId: Uint8Array, { tree, root }: Rooted): Mark {
  return { domain: storeId, number: tree.size, head: root }
}

/**
 * The home file, and the anchor it names, or the one under `anchorBase` where that is given.
 * @throws StateError ENOENT, EINTEGRITY, EPERM
 */
export async function locate(
  disk: Disk,
  home: string,
  anchorBase: string | undefined,
): Promise<{ readonly storeId: Uint8Array; readonly anchorPath: string }> {
  if (!(await homeExists(disk, home))) throw new StateError('ENOENT', `no home at ${home}`)
  const { storeId, anchor } = await homeFile(disk, home)
  return { storeId, anchorPath: anchorBase === undefined ? anchor : join(anchorBase, hex(storeId)) }
}

async function homeFile(disk: Disk, home: string): Promise<ReturnType<typeof decodeHomeFile>> {
  try {
    const bytes = new Uint8Array(8192)
    const file = await disk.open(join(home, homeFileName), { access: 'read' })
    const length = await file.read(bytes, 0).finally(() => file.close())
    return decodeHomeFile(bytes.subarray(0, length))
  } catch (error) {
    throw stateError(error)
  }
}

export async function missingAnchor<T>(path: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open()
  } catch (error) {
    const missing =
      error instanceof MarkError && error.cause instanceof DiskError && error.cause.code === 'missing'
    if (missing)
      throw new StateError(
        'EINTEGRITY',
        `no whole anchor at ${path}; if it was moved, name its base with --anchor`,
        {
          cause: error,
        },
      )
    throw error
  }
}

export function parentOf(path: string): string {
  const at = path.lastIndexOf('/')
  if (at < 0) return '.'
  return at === 0 ? '/' : path.slice(0, at)
}
