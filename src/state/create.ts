import { equal, hex } from '../bytes/bytes.ts'
import { emptyFrontier, rooted } from '../bytes/merkle.ts'
import { sha256 } from '../crypto/hash.ts'
import { type Disk, DiskError } from '../host/disk.ts'
import { type Anchor, createAnchor, firstMark, join, openAnchor, openFileKeeper } from '../keeper/anchor.ts'
import { StoreKeeper } from '../keeper/store-keeper.ts'
import type { Mark } from '../mark/mark.ts'
import type { IdentityKeys } from '../signature/identity.ts'
import type { Operation } from './block.ts'
import { type Config, configPath, encodeConfig } from './config.ts'
import { wrap } from './envelope.ts'
import { StateError, stateError } from './error.ts'
import { sealGroup } from './group.ts'
import { homeExists, journalName, locate, markOf, parentOf, type World } from './home.ts'
import { encodeHomeFile, homeFileName } from './home-file.ts'
import { Journal } from './journal.ts'
import { JournalKeys } from './journal-keys.ts'
import { reach } from './keepers.ts'
import { defaultScope, encodeScope, Scopes, scopePath } from './scopes.ts'
import { type FirstRecord, newSigner, type Signer } from './signer.ts'

export type NewHome = {
  readonly home: string
  /** The directory that gets the anchor, named by the store id. */
  readonly anchorBase: string
  readonly config: Config
  /** How many scopes may live at once; each takes a sector of the anchor. */
  readonly slots?: number
  /** Records of group 1 besides the store's own. */
  readonly first: readonly FirstRecord[]
}

/**
 * Makes anchor and home; parents must exist. The anchor is whole first, then group 1 and mark 1 in a home under
 * another name, which is renamed into place last: after a crash there is a home or none, and it starts over. What an
 * error cuts short is cleared away.
 * @throws StateError EINVAL (a home stands there, or a parent is missing), EINTEGRITY (part of one does), ENOSPC,
 * EKEEPER
 */
export async function createHome(world: World, wanted: NewHome): Promise<{ readonly anchor: string }> {
  try {
    return await create(world, wanted)
  } catch (error) {
    throw stateError(error)
  }
}

async function create(world: World, wanted: NewHome): Promise<{ readonly anchor: string }> {
  const { disk, entropy } = world
  if (await homeExists(disk, wanted.home))
    throw new StateError('EINVAL', `a home stands at ${wanted.home} already`)
  const { anchorBase } = wanted
  if ((await disk.stat(anchorBase))?.kind !== 'directory')
    throw new StateError('EINVAL', `no anchor can be made in ${anchorBase}: there is no such directory`)
  const { storeId, signer, records, keys } = newSigner(entropy)
  using _ = keys
  const anchorPath = join(anchorBase, hex(storeId))
  const unfinished = `${wanted.home}.${hex(entropy.bytes(4))}.new`
  try {
    await createParts(world, wanted, { storeId, records, signer, signing: keys, anchorPath, unfinished })
  } catch (error) {
    await clearAway(disk, wanted.home, storeId, [unfinished, anchorPath]).catch(() => {}) // what went wrong first counts
    throw error
  }
  return { anchor: anchorPath }
}

type Parts = {
  readonly storeId: Uint8Array
  readonly records: readonly FirstRecord[]
  readonly signer: Signer
  readonly signing: IdentityKeys
  readonly anchorPath: string
  readonly unfinished: string
}

async function createParts(world: World, wanted: NewHome, parts: Parts): Promise<void> {
  const { disk, entropy } = world
  const { storeId, anchorPath, unfinished } = parts
  const { home } = wanted
  await createAnchor(disk, entropy, anchorPath, storeId, wanted.slots)
  await disk.syncDirectory(wanted.anchorBase)
  const anchor = await openAnchor(disk, anchorPath)
  try {
    const keys = new JournalKeys(anchor.storeKeys, storeId)
    const scopes = new Scopes(anchor.storeKeys, anchor.slots)
    const scope = await scopes.plan(defaultScope, true, entropy)
    const key = await scopes.key(scope)
    const put = (path: string, payload: Uint8Array, purpose: string): Operation => {
      const envelope = wrap(payload, { subject: 'pawl', purpose, at: world.clock.now() })
      return { kind: 'put', path, scope: key, envelope, payload }
    }
    const group = sealGroup({
      operations: [
        put(configPath, encodeConfig(wanted.config), 'config'),
        put(scopePath(scope.slot), encodeScope(scope), 'scope'),
        ...[...parts.records, ...wanted.first].map(({ path, payload, purpose }) =>
          put(path, payload, purpose),
        ),
      ],
      before: rooted(sha256, emptyFrontier),
      confirmed: 0,
      salt: entropy.bytes(32),
      keys,
    })
    await makeHomeDirectory(disk, unfinished, home)
    await Journal.create(disk, join(unfinished, journalName), keys, group)
    const file = await disk.open(join(unfinished, homeFileName), { access: 'exclusive' })
    await file.write(encodeHomeFile({ storeId, anchor: anchorPath }), 0)
    await file.sync()
    await file.close()
    await disk.syncDirectory(unfinished)
    await mark(world, wanted.config, anchor, parts, markOf(storeId, group.after))
    await disk.rename(unfinished, wanted.home)
    await disk.syncDirectory(parentOf(wanted.home))
    scopes.dispose()
    keys.dispose()
  } finally {
    await anchor.close()
  }
}

/** Only here does a keeper outside get to know a store. @throws StateError EINVAL, MarkError */
async function mark(
  world: World,
  config: Config,
  anchor: Anchor,
  { signer, signing: keys }: Pick<Parts, 'signer' | 'signing'>,
  next: Mark,
): Promise<void> {
  if (config.keeper === 'none') return
  const first = firstMark(next.domain)
  const outside = await reach(world, config, { signer, keys, anchor: anchor.path })
  try {
    await outside?.enrol(first)
    const file = await openFileKeeper(world.disk, anchor, next.domain)
    await new StoreKeeper(file, outside).advance(first, next).finally(() => file.close())
  } finally {
    await outside?.close()
  }
}

/** Once it has its name the home stands, whatever went wrong then, and its anchor with it. */
async function clearAway(
  disk: Disk,
  home: string,
  storeId: Uint8Array,
  places: readonly string[],
): Promise<void> {
  const stands =
    (await homeExists(disk, home)) && equal((await locate(disk, home, undefined)).storeId, storeId)
  if (stands) return
  for (const place of places) await removeAll(disk, place)
}

/** The directory that becomes a home. @throws StateError EINVAL where none can be: below nothing, or in /proc */
export async function makeHomeDirectory(disk: Disk, path: string, home = path): Promise<void> {
  try {
    await disk.makeDirectory(path)
  } catch (error) {
    if (error instanceof DiskError && error.code === 'missing')
      throw new StateError('EINVAL', `no home can be made at ${home}: ${error.message}`, { cause: error })
    throw error
  }
}

/** A file, or a directory with all that is in it; nothing if there is nothing. */
export async function removeAll(disk: Disk, path: string): Promise<void> {
  const found = await disk.stat(path)
  if (found === undefined) return
  if (found.kind !== 'directory') return disk.unlink(path)
  for (const name of await disk.list(path)) await removeAll(disk, join(path, name))
  await disk.removeDirectory(path)
}
