import { hex } from '../bytes/bytes.ts'
import type { KeeperName, OutsideKeeper } from '../keeper/outside.ts'
import { type Claim, sameClaim } from '../keeper/signed-mark.ts'
import { configPath } from './config.ts'
import { inStateCodes, StateError, stateError } from './error.ts'
import { lookAt } from './fsck/look.ts'
import { locate, type OpenOptions, openHome, type World } from './home.ts'
import { reachNamed } from './keepers.ts'
import { Pulse, pulseMs, signIn } from './pulse.ts'
import { readHome } from './reader.ts'
import { openSigner } from './signer.ts'
import type { Store } from './store.ts'
import {
  copyInto,
  eraseLower,
  eraseTerm,
  makeWhole,
  newestWhole,
  type Term,
  termOf,
  termsOf,
} from './terms.ts'

/** How long an owner may give no sign of life before taking over is tried. */
export const silenceMsDefault = 5_000
export const silenceMsMin = 2 * pulseMs

export type TakeOverOptions = Omit<OpenOptions, 'ownership' | 'change'> & {
  /** Names this node, for people. 1 to 64 bytes. */
  readonly node: string
  readonly silenceMs?: number
  /** Waits until the owner is gone, however long that takes; without it an owner that gives a sign of life is ELOCKED. */
  readonly standby?: boolean
  /** Hears once that somebody else has taken over from this process, or that it can write nothing any more. */
  readonly lost?: (error: StateError) => void
  /** Stops waiting. */
  readonly signal?: AbortSignal
}

export type Owned = {
  readonly store: Store
  readonly term: Term
  /** What went wrong; or that this process owns the home no more, if that is why. */
  readonly why: (error: unknown) => Promise<unknown>
}

/**
 * Opens a shared home for writing (docs/spec/ownership.md): waits for its owner to be silent, takes over at the keeper, and
 * goes on with a copy of what the owner before had, in a directory that nobody else writes to.
 * @throws StateError ELOCKED (it has an owner), and as `openHome`
 */
export async function takeOver(world: World, shared: string, options: TakeOverOptions): Promise<Owned> {
  for (let before: Claim | undefined; ; ) {
    await silence(world, shared, options, before !== undefined)
    try {
      const claimed = await claim(world, shared, options, before)
      if ('seen' in claimed) before = claimed.seen
      else return await goOn(world, shared, claimed, options)
    } catch (error) {
      const told = stateError(error)
      const isTaken = told instanceof StateError && told.code === 'ELOCKED'
      if (!(isTaken && options.standby)) throw told
    }
  }
}

/**
 * Returns when nobody has given a sign of life for a while, or the owner has said that it ended, unless somebody has claimed
 * since. @throws StateError ELOCKED
 */
async function silence(
  { disk, clock }: World,
  shared: string,
  { silenceMs = silenceMsDefault, standby = false, signal }: TakeOverOptions,
  isClaimed: boolean,
): Promise<void> {
  let last = await signIn(disk, shared)
  let since = clock.monotonic()
  while ((isClaimed || !last.isEnded) && clock.monotonic() - since < silenceMs) {
    await new Promise<void>(resolve => clock.after(pulseMs / 2, resolve))
    if (signal?.aborted) throw new StateError('EBUSY', 'it was not waited for any longer')
    const now = await signIn(disk, shared)
    if (now.seen === last.seen) continue
    if (!standby) throw new StateError('ELOCKED', `${shared} has an owner, in term ${now.highest}`)
    last = now
    since = clock.monotonic()
  }
}

/**
 * The one decision: a compare-and-swap at the keeper, from the claim that was found to the next one. `before` is what was
 * found there when nobody had given a sign of life the last time: who has just claimed gets time to give one.
 * @throws StateError ELOCKED: another one was quicker
 */
function claim(
  world: World,
  shared: string,
  { node, keeper: elsewhere, recover = false }: TakeOverOptions,
  before: Claim | undefined,
): Promise<Claim | { readonly seen: Claim }> {
  const { disk, entropy } = world
  return atKeeper(world, shared, { elsewhere, recover }, async keeper => {
    const held = await keeper.owner()
    const highest = (await termsOf(disk, shared)).at(-1)?.number ?? 0
    const isNew = held !== undefined && held.term > highest && held.owner !== before?.owner
    if (isNew) return { seen: held }
    const term = Math.max(held?.term ?? 0, highest) + 1
    const next = { term, owner: `${node} ${hex(entropy.bytes(8))}` }
    await keeper.claim(held, next)
    return next
  })
}

type ClaimKeeper = Required<Pick<OutsideKeeper, 'owner' | 'claim'>>

/** The keeper of a shared home, asked by one who owns nothing yet. @throws StateError ENOENT, EINVAL (it knows no owners) */
async function atKeeper<T>(
  world: World,
  shared: string,
  { elsewhere, recover = false }: { readonly elsewhere: KeeperName | undefined; readonly recover?: boolean },
  ask: (keeper: ClaimKeeper) => Promise<T>,
): Promise<T> {
  const from = await newestWhole(world.disk, shared)
  if (from === undefined) throw new StateError('ENOENT', `no home at ${shared}`)
  const reader = await (recover ? readUnjudged : readHome)(world, from.home, from.anchorBase)
  try {
    const { config } = reader
    const { signer, keys } = await openSigner(reader)
    using _ = keys
    const { anchorPath: anchor } = await locate(world.disk, from.home, from.anchorBase)
    const keeper = await reachNamed(world, config, elsewhere, { signer, keys, anchor })
    try {
      const { owner, claim } = keeper ?? {}
      if (owner === undefined || claim === undefined)
        throw new StateError(
          'EINVAL',
          `keeper ${config.keeper} knows no owners: a shared home takes etcd or postgres`,
        )
      return await ask({ owner: owner.bind(keeper), claim: claim.bind(keeper) })
    } finally {
      await keeper?.close()
    }
  } finally {
    await reader.close()
  }
}

/** What a home says of itself that is refused: it goes on by an amendment, which takes its keeper and its signer. */
async function readUnjudged(world: World, home: string, anchorBase: string) {
  const { config, records, findings, close } = await lookAt(world, home, { anchorBase, deep: false })
  if (config !== undefined && records !== undefined)
    return { config, get: records.get.bind(records), getSecret: records.getSecret.bind(records), close }
  await close()
  const [first] = findings.list.filter(({ kind }) => kind === 'unrecoverable')
  throw new StateError('EINTEGRITY', first?.means ?? 'the home says neither its keeper nor who signs for it')
}

/** Who owns a shared home, and whether that one gives a sign of life, in words. @throws StateError as {@link takeOver} */
export async function describeOwner(
  world: World,
  shared: string,
  keeper?: KeeperName,
): Promise<{ readonly text: string; readonly term: number }> {
  const before = await signIn(world.disk, shared)
  await new Promise<void>(resolve => world.clock.after(2 * pulseMs, resolve))
  const after = await signIn(world.disk, shared)
  const held = await inStateCodes(atKeeper(world, shared, { elsewhere: keeper }, asked => asked.owner()))
  if (held === undefined) return { text: 'nobody has owned it yet', term: 0 }
  const life = after.seen !== before.seen ? 'gives signs of life' : 'gives no sign of life'
  return {
    text: `${held.owner}, in term ${held.term}, ${after.isEnded ? 'has ended' : life}`,
    term: held.term,
  }
}

/** From here on nobody else is told yes; nothing is, until the copy is whole. */
async function goOn(world: World, shared: string, claim: Claim, options: TakeOverOptions): Promise<Owned> {
  const { disk, clock } = world
  const term = termOf(shared, claim.term)
  const why = async (error: unknown): Promise<unknown> => {
    // Its files may have been erased under it: what it says of them is not what happened.
    const { keeper: elsewhere, recover = false } = options
    const asked = atKeeper(world, shared, { elsewhere, recover }, keeper => keeper.owner())
    const held = await asked.catch(() => claim)
    return sameClaim(held, claim) ? error : takenBy(held, error)
  }
  let opened: Store | undefined
  const watch = async (): Promise<void> => {
    const highest = (await termsOf(disk, shared)).at(-1)?.number ?? 0
    if (highest <= term.number || opened === undefined) return
    const error = await opened.get(configPath, { fresh: true }).then(() => undefined, stateError)
    if (error instanceof StateError && error.code === 'ELOCKED') options.lost?.(error)
  }
  let pulse: Pulse | undefined
  let isWhole = false
  try {
    await disk.makeDirectory(term.path)
    await disk.syncDirectory(parentOf(term.path))
    const begun = await Pulse.start(disk, clock, term, watch)
    pulse = begun
    await copyInto(disk, shared, term)
    const judged = async (): Promise<void> => {
      await makeWhole(disk, term)
      isWhole = true
      await eraseLower(disk, shared, term)
    }
    const ownership = { claim, judged, released: () => begun.stop() }
    opened = await openHome(world, term.home, term.anchorBase, { ...options, ownership })
    // Whoever can write nothing any more is no owner for long: it ends, and so does its sign of life.
    void opened.failed.then(async error => {
      const cause = await why(error)
      options.lost?.(cause instanceof StateError ? cause : error)
    })
    return { store: opened, term, why }
  } catch (error) {
    await pulse?.stop()
    if (!isWhole) await eraseTerm(disk, term).catch(() => {}) // what went wrong first counts
    throw await why(error)
  }
}

function takenBy(held: Claim | undefined, cause: unknown): StateError {
  const whom = held === undefined ? 'nobody' : `${held.owner}, in term ${held.term}`
  return new StateError('ELOCKED', `this home is owned by ${whom}`, { cause })
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'))
}
