import { equal, utf8 } from '../bytes/bytes.ts'
import { root } from '../bytes/merkle.ts'
import { sha256 } from '../crypto/hash.ts'
import { firstMark } from '../keeper/anchor.ts'
import type { FileKeeper } from '../keeper/mark-file.ts'
import { NoKeeper } from '../keeper/none.ts'
import {
  isOutside,
  type KeeperName,
  keeperText,
  type OutsideKeeper,
  openOutsideKeeper,
} from '../keeper/outside.ts'
import { PlaceError } from '../keeper/place-error.ts'
import type { Claim } from '../keeper/signed-mark.ts'
import { StoreKeeper } from '../keeper/store-keeper.ts'
import { describeMark, judgeOpen, type Mark, rollbackError, sameMark } from '../mark/mark.ts'
import type { IdentityKeys } from '../signature/identity.ts'
import type { Config } from './config.ts'
import { StateError } from './error.ts'
import type { World } from './home.ts'
import type { Records } from './records.ts'
import { inFlightMax, type Replayed } from './replay.ts'
import { openSigner, type Signer, storeIdOf } from './signer.ts'

/** Who keeps the mark of a store that is being opened, judged against its journal. */
export type Standing = {
  /** The mark that decides: what lies above it nobody was told of. */
  readonly held: Mark
  /** What a recovery gives up; `undefined` where no mark is kept. */
  readonly abandoned?: Mark | undefined
  /** Brings the keeper to where the journal is, which is durable by then. */
  readonly settle: (mark: Mark) => Promise<StoreKeeper>
}

/** What a store is opened for when its keeper is to be changed. */
export type ChangeOfKeeper = {
  readonly to: KeeperName
  /** The keeper that the store has is gone for good, and is not asked. */
  readonly lost: boolean
}

export type KeepersParts = {
  readonly world: World
  readonly storeId: Uint8Array
  readonly config: Config
  /** Where its outside keeper is now. */
  readonly elsewhere: KeeperName | undefined
  /** As whom it is opened, where a home has owners. */
  readonly claim: Claim | undefined
  readonly change: ChangeOfKeeper | undefined
  readonly recover: boolean
  readonly records: Records
  readonly replayed: Replayed
  readonly file: FileKeeper
  /** The anchor's directory. */
  readonly anchor: string
  /** What the mark file holds. */
  readonly local: Mark
  /** Reads the journal anew, and refuses what is missing or damaged below that mark. */
  readonly replayAgainst: (mark: Mark) => Promise<Replayed>
  readonly closing: (() => Promise<void>)[]
}

/**
 * Judges the journal by its mark (docs/spec/mark.md, "Opening"; docs/spec/keepers.md, "Opening"): by the mark file, and
 * then, if all is well here, by the keeper outside.
 * @throws StateError EROLLBACK, EINTEGRITY, EINVAL; MarkError
 */
export async function judgeKeepers(parts: KeepersParts): Promise<Standing> {
  const { config, file, local, replayed } = parts
  const { keeper: kind } = config
  if (kind === 'none')
    return { held: local, settle: async mark => new StoreKeeper(new NoKeeper(mark), undefined) }
  if (parts.recover) {
    const outside = await openOutside(parts)
    const abandoned = (await outside?.peek()) ?? (local.number === 0 ? undefined : local)
    return {
      held: firstMark(parts.storeId),
      abandoned,
      settle: async () => StoreKeeper.givingUp(file, outside),
    }
  }
  refuseRollback(replayed, local)
  const asked = parts.change?.lost ? undefined : await openOutside(parts)
  const remote = asked && (await judgeOutside(asked, parts))
  const outside = remote && asked
  const keeper = new StoreKeeper(file, outside)
  return {
    held: remote ?? local,
    async settle(mark) {
      await keeper.settle({ outside: remote, here: local }, mark)
      return keeper
    },
  }
}

async function openOutside(parts: KeepersParts): Promise<OutsideKeeper | undefined> {
  const { config, elsewhere, world, storeId, anchor, records, closing, claim } = parts
  if (!isOutside(config.keeper) && elsewhere === undefined) return undefined
  const { signer, keys } = await openSigner(records)
  closing.push(async () => keys[Symbol.dispose]())
  if (!equal(storeIdOf(signer), storeId))
    throw new StateError('EINTEGRITY', 'the signer of this store is not the one that its id names')
  const keeper = await reachNamed(world, config, elsewhere, { signer, keys, anchor, claim })
  if (keeper !== undefined) closing.push(() => keeper.close())
  return keeper
}

/**
 * The keeper of a configuration, or where it is now: another place is another way to the same keeper, another kind would
 * be a change. @throws StateError EINVAL
 */
export async function reachNamed(
  world: World,
  config: Config,
  elsewhere: KeeperName | undefined,
  store: Reaching,
): Promise<OutsideKeeper | undefined> {
  if (elsewhere !== undefined && elsewhere.keeper !== config.keeper)
    throw new StateError('EINVAL', `the keeper of this home is ${config.keeper}, not ${elsewhere.keeper}`)
  return reach(world, elsewhere ?? config, store)
}

/** The store that a keeper outside is reached for: who signs for it, and the directory of its anchor. */
export type Reaching = {
  readonly signer: Signer
  readonly keys: IdentityKeys
  readonly anchor: string
  readonly claim?: Claim | undefined
}

/** The keeper of that name for a store; nothing is asked of it yet. @throws StateError EINVAL */
export async function reach(
  world: World,
  { keeper: kind, place = '' }: KeeperName,
  { signer, keys, anchor, claim }: Reaching,
): Promise<OutsideKeeper | undefined> {
  if (!isOutside(kind)) return undefined
  const { openKeeper = openOutsideKeeper, clock, entropy, disk } = world
  try {
    return await openKeeper(kind, {
      place,
      domain: storeIdOf(signer),
      signer: { publicKey: signer.ed25519, seed: keys.seed('ed25519') },
      idParts: { mldsa87: signer.mldsa87, nonce: signer.nonce },
      clock,
      entropy,
      disk,
      anchor,
      claim,
    })
  } catch (error) {
    if (!(error instanceof PlaceError)) throw error
    throw new StateError('EINVAL', `keeper ${kind}:${place}: ${error.message}`, { cause: error })
  }
}

/** The mark that decides; `undefined` for a keeper that was moved on already by the change that is asked for. */
async function judgeOutside(outside: OutsideKeeper, parts: KeepersParts): Promise<Mark | undefined> {
  const { replayed, local, change } = parts
  const { tree, confirmed } = replayed
  const held = await outside.read()
  const isAtEnd = local.number === tree.size
  if (change !== undefined && isAtEnd && sameMark(held, movedMark(local, change.to))) return undefined
  if (local.number > held.number) {
    // Behind, or of another history: an amendment, say, that went on from an older copy of this home.
    refuseRollback(await parts.replayAgainst(held), held, outside.kind)
    const found = `${outside.kind} holds ${describeMark(held)}, and the mark file ${describeMark(local)}`
    throw rollbackError('the keeper went back', found)
  }
  // The journal was read by the mark file's word. More was acknowledged: is what is missing damaged, or not there?
  if (held.number > tree.size) await refuseLoss(held, parts)
  if (held.number >= confirmed && tree.size - held.number > inFlightMax)
    throw new StateError('EINTEGRITY', 'more groups are unconfirmed than are ever in flight')
  refuseRollback({ ...replayed, rootAtMark: rootAt(replayed, held.number) }, held, outside.kind)
  return held
}

/** @throws StateError EINTEGRITY, EROLLBACK */
async function refuseLoss(held: Mark, { replayAgainst, replayed }: KeepersParts): Promise<void> {
  try {
    await replayAgainst(held)
  } catch (error) {
    const mayBeMoved = held.number === replayed.tree.size + 1
    if (!(mayBeMoved && error instanceof StateError && error.code === 'EROLLBACK')) throw error
    const advice = 'or a change of its keeper was cut short: then name the same new one again'
    const { rollback } = error
    throw new StateError('EROLLBACK', `${error.message}; ${advice}`, { cause: error, rollback })
  }
}

/**
 * The mark that a keeper is left with when a store goes on with another one: no state of the store has it, so no older
 * copy of the store fits the keeper that it names.
 */
export function movedMark(mark: Mark, to: KeeperName): Mark {
  const head = sha256(utf8('pawl v1 keeper moved'), mark.head, utf8(keeperText(to)))
  return { domain: mark.domain, number: mark.number + 1, head }
}

/** The root over the first `number` groups, of the end and as far back as groups may be in flight. */
function rootAt({ tree, newest }: Replayed, number: number): Uint8Array | undefined {
  const found = [tree, ...newest.map(({ before }) => before)].find(({ size }) => size === number)
  return found && root(sha256, found)
}

/** @throws MarkError EROLLBACK */
export function refuseRollback(
  replayed: Pick<Replayed, 'tree' | 'confirmed' | 'rootAtMark'>,
  mark: Mark,
  keeper = '',
): void {
  const { tree, confirmed, rootAtMark } = replayed
  const verdict = judgeOpen({ mark, size: tree.size, confirmed, rootAtMark })
  if (verdict === 'go on') return
  const whose = keeper === '' ? 'the mark' : `the mark of ${keeper}`
  const found = `${whose} is at ${describeMark(mark)}, the home at ${tree.size}, the highest confirmed ${confirmed}`
  throw rollbackError(verdict, found)
}
