import { concat, equal, utf8 } from '../bytes/bytes.ts'
import { sha256 } from '../crypto/hash.ts'
import { expandLabel, hkdfSha256 } from '../crypto/kdf.ts'
import { Secret } from '../crypto/secret.ts'
import { type Disk, DiskError, type Lock } from '../host/disk.ts'
import type { Entropy } from '../host/entropy.ts'
import { type Mark, MarkError } from '../mark/mark.ts'
import { createMarkFile, FileKeeper, readMarkFile } from './mark-file.ts'
import { createSlots, Slots, slotCountDefault } from './slots.ts'

/**
 * The anchor: a directory apart from the home, which no backup may include (docs/spec/anchor.md). It holds what
 * would let an older home pass for the newest one: the mark, the lock, the store key and the key slots.
 */
export type Anchor = {
  readonly path: string
  readonly storeKey: Secret
  readonly slots: Slots
  readonly markKey: Secret
  readonly lock: Lock
  close(): Promise<void>
}

export const anchorNames = { key: 'key', slots: 'slots', mark: 'mark', lock: 'lock' } as const
const keyMagic = utf8('PAWLKEY1')

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
  const file = await disk.open(join(path, anchorNames.key), { access: 'exclusive' })
  await file.write(concat(keyMagic, storeKey.bytes, keyCheck(storeKey.bytes)), 0)
  await file.sync()
  await file.close()
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
  const storeKey = await readStoreKey(disk, path)
  await refuseWithoutLockFile(disk, path)
  const lock = await disk.lock(join(path, anchorNames.lock))
  try {
    const slots = await Slots.open(disk, join(path, anchorNames.slots), 'write')
    const markKey = deriveMarkKey(storeKey)
    return {
      path,
      storeKey,
      slots,
      markKey,
      lock,
      async close() {
        await slots.close()
        markKey[Symbol.dispose]()
        storeKey[Symbol.dispose]()
        await lock.release()
      },
    }
  } catch (error) {
    await lock.release()
    throw missingIsDamage(error)
  }
}

/** What a reader may use while another process holds the lock: nothing here is ever written. */
export async function openAnchorToRead(
  disk: Disk,
  path: string,
  storeId: Uint8Array,
): Promise<{ readonly storeKey: Secret; readonly slots: Slots; readonly mark: Mark }> {
  const storeKey = await readStoreKey(disk, path)
  try {
    using markKey = deriveMarkKey(storeKey)
    const mark = await readMarkFile(disk, join(path, anchorNames.mark), markKey, storeId)
    return { storeKey, slots: await Slots.open(disk, join(path, anchorNames.slots), 'read'), mark }
  } catch (error) {
    storeKey[Symbol.dispose]()
    throw missingIsDamage(error)
  }
}

export async function openFileKeeper(disk: Disk, anchor: Anchor, storeId: Uint8Array): Promise<FileKeeper> {
  try {
    return await FileKeeper.open(disk, join(anchor.path, anchorNames.mark), anchor.markKey, storeId)
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

/** @throws MarkError EINTEGRITY */
export async function readStoreKey(disk: Disk, path: string): Promise<Secret> {
  try {
    const file = await disk.open(join(path, anchorNames.key), { access: 'read' })
    const bytes = new Uint8Array(keyMagic.length + 32 + 8 + 1)
    const length = await file.read(bytes, 0)
    await file.close()
    const key = bytes.slice(8, 40)
    const whole =
      length === bytes.length - 1 &&
      equal(bytes.subarray(0, 8), keyMagic) &&
      equal(bytes.subarray(40, 48), keyCheck(key))
    bytes.fill(0)
    if (!whole) throw new MarkError('EINTEGRITY', `the store key in ${path} is damaged`)
    return new Secret(key)
  } catch (error) {
    throw missingIsDamage(error)
  }
}

/** Tells damage from a key that merely does not fit; reveals nothing that the key file does not hold anyway. */
function keyCheck(storeKey: Uint8Array): Uint8Array {
  return sha256(concat(utf8('pawl v1 store key check'), storeKey)).subarray(0, 8)
}

export function deriveMarkKey(storeKey: Secret): Secret {
  return expandLabel(hkdfSha256, storeKey, 'mark file', new Uint8Array(0), 32)
}

/** A piece of an anchor that is gone is damage, not absence: nothing here is ever started empty (S5). */
function missingIsDamage(error: unknown): unknown {
  if (error instanceof DiskError && error.code === 'missing')
    return new MarkError('EINTEGRITY', `the anchor is not whole: ${error.message}`, { cause: error })
  return error
}
