import { sha256 } from '../crypto/hash.ts'
import { expandLabel, hkdfSha256 } from '../crypto/kdf.ts'
import { Secret } from '../crypto/secret.ts'
import { type Disk, DiskError, type Lock } from '../host/disk.ts'
import type { Entropy } from '../host/entropy.ts'
import { type Mark, MarkError } from '../mark/mark.ts'
import { createMarkFile, FileKeeper, isMarkFile, type MarkKeys, readMarkFile } from './mark-file.ts'
import { createSlots, Slots, slotCountDefault } from './slots.ts'
import { createStoreKeys, StoreKeys } from './store-keys.ts'

/**
 * The anchor: a directory apart from the home, which no backup may include (docs/spec/anchor.md). It holds what
 * would let an older home pass for the newest one: the mark, the lock, the store key and the key slots.
 */
export type Anchor = {
  readonly path: string
  readonly storeKeys: StoreKeys
  readonly slots: Slots
  readonly lock: Lock
  close(): Promise<void>
}

export const anchorNames = { key: 'key', slots: 'slots', mark: 'mark', lock: 'lock' } as const

/** Makes the anchor whole; the mark comes last, so an anchor with a mark is a whole one. */
export async function createAnchor(
  disk: Disk,
  entropy: Entropy,
  path: string,
  storeId: Uint8Array,
  slotCount: number = slotCountDefault,
): Promise<void> {
  await disk.makeDirectory(path)
  using storeKey = new Secret(entropy.bytes(32))
  await createStoreKeys(disk, join(path, anchorNames.key), storeKey)
  await createSlots(disk, entropy, join(path, anchorNames.slots), slotCount)
  const lock = await disk.open(join(path, anchorNames.lock), { access: 'exclusive' })
  await lock.sync()
  await lock.close()
  using markKey = deriveMarkKey(storeKey)
  await createMarkFile(disk, join(path, anchorNames.mark), markKey, firstMark(storeId))
  await disk.syncDirectory(path)
}

/** Before any group: number 0, and the root of the empty tree. */
export function firstMark(storeId: Uint8Array): Mark {
  return { domain: storeId, number: 0, head: sha256(new Uint8Array(0)) }
}

/**
 * Takes the anchor's lock and opens it for writing. Two copies of one home meet here.
 * @throws DiskError `locked`, `missing`
 * @throws MarkError EINTEGRITY
 */
export async function openAnchor(disk: Disk, path: string): Promise<Anchor> {
  const keyPath = join(path, anchorNames.key)
  if ((await disk.stat(keyPath)) === undefined)
    throw missingIsDamage(new DiskError('missing', `${keyPath}: no such file`))
  await refuseWithoutLockFile(disk, path)
  const lock = await disk.lock(join(path, anchorNames.lock))
  const opened: { close(): Promise<void> }[] = [{ close: () => lock.release() }]
  const close = async () => {
    for (const each of opened.splice(0).reverse()) await each.close()
  }
  try {
    const storeKeys = await StoreKeys.open(disk, keyPath, 'write')
    opened.push(storeKeys)
    const slots = await Slots.open(disk, join(path, anchorNames.slots), 'write')
    opened.push(slots)
    return { path, storeKeys, slots, lock, close }
  } catch (error) {
    await close()
    throw missingIsDamage(error)
  }
}

/** What a reader may use while another process holds the lock: nothing here is ever written. */
export async function openAnchorToRead(
  disk: Disk,
  path: string,
  storeId: Uint8Array,
): Promise<{ readonly storeKeys: StoreKeys; readonly slots: Slots; readonly mark: Mark }> {
  const storeKeys = await readStoreKeys(disk, path)
  try {
    const mark = await readMark(disk, path, storeKeys, storeId)
    return { storeKeys, slots: await Slots.open(disk, join(path, anchorNames.slots), 'read'), mark }
  } catch (error) {
    await storeKeys.close()
    throw missingIsDamage(error)
  }
}

/** What the mark file says now. @throws MarkError EINTEGRITY */
export async function readMark(
  disk: Disk,
  path: string,
  storeKeys: StoreKeys,
  storeId: Uint8Array,
): Promise<Mark> {
  const markKeys = markKeysOf(storeKeys)
  try {
    return await readMarkFile(disk, join(path, anchorNames.mark), markKeys, storeId)
  } catch (error) {
    throw missingIsDamage(error)
  } finally {
    for (const key of markKeys) key[Symbol.dispose]()
  }
}

/** @throws MarkError EINTEGRITY */
export async function readStoreKeys(disk: Disk, path: string): Promise<StoreKeys> {
  try {
    return await StoreKeys.open(disk, join(path, anchorNames.key), 'read')
  } catch (error) {
    throw missingIsDamage(error)
  }
}

/** `isGivenUp`: an amendment goes on from another mark, whatever it holds, and whether it is there at all. */
export async function openFileKeeper(
  disk: Disk,
  anchor: Anchor,
  storeId: Uint8Array,
  isGivenUp = false,
): Promise<FileKeeper> {
  try {
    const markKeys = markKeysOf(anchor.storeKeys)
    const path = join(anchor.path, anchorNames.mark)
    const instead = isGivenUp ? firstMark(storeId) : undefined
    if (instead !== undefined && !(await isMarkFile(disk, path))) {
      if ((await disk.stat(path)) !== undefined) await disk.unlink(path)
      await createMarkFile(disk, path, markKeys[0], instead)
      await disk.syncDirectory(anchor.path)
    }
    return await FileKeeper.open(disk, path, markKeys, storeId, instead)
  } catch (error) {
    throw missingIsDamage(error)
  }
}

export function join(directory: string, name: string): string {
  return directory.endsWith('/') ? directory + name : `${directory}/${name}`
}

/**
 * A lock file that is gone may still be locked by a process that has it open; made anew, it would let a second writer
 * in. Who knows that there is none puts an empty one there.
 * @throws MarkError EINTEGRITY
 */
export async function refuseWithoutLockFile(disk: Disk, path: string): Promise<void> {
  const place = join(path, anchorNames.lock)
  const found = await disk.stat(place)
  if (found?.kind === 'file' && found.size === 0) return
  const what = found === undefined ? 'is gone' : 'is not the empty file it was'
  throw new MarkError('EINTEGRITY', `the lock file ${place} ${what}`)
}

/** What slots of the mark are under with that store key. The caller's to wipe. */
export function markKeyOf(storeKeys: Pick<StoreKeys, 'get'>, number: number): Secret {
  const key = storeKeys.get(number)
  if (key === undefined) throw new TypeError(`there is no store key ${number}`)
  return deriveMarkKey(key)
}

/** Of every store key there is, oldest first: what nothing vouches for yet is not written under. */
export function markKeysOf(storeKeys: StoreKeys): MarkKeys {
  const [oldest, ...others] = storeKeys.numbers.map(number => markKeyOf(storeKeys, number))
  if (oldest === undefined) throw new TypeError('an anchor has a store key')
  return [oldest, ...others]
}

function deriveMarkKey(storeKey: Secret): Secret {
  return expandLabel(hkdfSha256, storeKey, 'mark file', new Uint8Array(0), 32)
}

/** A piece of an anchor that is gone is damage, not absence: nothing here is ever started empty (S5). */
function missingIsDamage(error: unknown): unknown {
  if (error instanceof DiskError && error.code === 'missing')
    return new MarkError('EINTEGRITY', `the anchor is not whole: ${error.message}`, { cause: error })
  return error
}
