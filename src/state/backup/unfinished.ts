import { equal } from '../../bytes/bytes.ts'
import type { Disk } from '../../host/disk.ts'
import { join } from '../../keeper/anchor.ts'
import type { Amendment } from '../../mark/amendment.ts'
import { type Mark, sameMark } from '../../mark/mark.ts'
import { amendments } from '../amendments.ts'
import { makeHomeDirectory, removeAll } from '../create.ts'
import { StateError } from '../error.ts'
import { journalName, parentOf, type World } from '../home.ts'
import { decodeHomeFile, encodeHomeFile, type HomeFile, homeFileName } from '../home-file.ts'
import { look, lookAt } from '../reader.ts'

/**
 * The home file of a home that is being restored. Under this name nobody opens it by mistake, and it says that what it
 * lies in may be taken away: it comes first, durable before anything else is made, and goes last.
 */
export const unfinishedName = 'restoring.cbor'

/** Makes the directory of a home that is to be restored. @throws StateError EINVAL where none can be */
export async function beginHome(disk: Disk, directory: string, homeFile: HomeFile): Promise<void> {
  await makeHomeDirectory(disk, directory)
  const file = await disk.open(join(directory, unfinishedName), { access: 'exclusive' })
  try {
    await file.write(encodeHomeFile(homeFile), 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.syncDirectory(directory)
}

/** From its home file on it opens, if its anchor lies where it is looked for. Begun again wherever it was cut short. */
export async function finishHome(disk: Disk, directory: string, home: string): Promise<void> {
  const unfinished = join(directory, unfinishedName)
  if ((await disk.stat(unfinished)) !== undefined)
    await disk.rename(unfinished, join(directory, homeFileName))
  await disk.syncDirectory(directory)
  await disk.rename(directory, home)
  await disk.syncDirectory(parentOf(home))
}

/** The amendment of a home that only lacks its names, if it opens with its anchor and adopts that mark. */
export async function amendmentOf(
  world: World,
  directory: string,
  { anchor: anchorPath, adopted }: { readonly anchor: string; readonly adopted: Mark },
): Promise<{ readonly number: number; readonly amendment: Amendment } | undefined> {
  try {
    const isUnnamed = (await unfinishedHome(world.disk, directory)) !== undefined
    const seen = isUnnamed
      ? await lookAt(world, directory, { storeId: adopted.domain, anchorPath })
      : await look(world, directory, parentOf(anchorPath))
    try {
      const newest = (await amendments(seen)).at(-1)
      return newest !== undefined && sameMark(newest.amendment.adopted, adopted) ? newest : undefined
    } finally {
      await seen.close()
    }
  } catch {
    return undefined // not whole, or of another anchor
  }
}

/** What an unfinished home says of itself; `undefined` if there is none. */
async function unfinishedHome(disk: Disk, directory: string): Promise<HomeFile | undefined> {
  const path = join(directory, unfinishedName)
  if ((await disk.stat(path))?.kind !== 'file') return undefined
  const bytes = new Uint8Array(8192)
  const file = await disk.open(path, { access: 'read' })
  const length = await file.read(bytes, 0).finally(() => file.close())
  try {
    return decodeHomeFile(bytes.subarray(0, length))
  } catch (error) {
    if (error instanceof StateError) return undefined
    throw error
  }
}

/**
 * Lets pass what a restore to that anchor left when it was cut short, and nothing else.
 * @throws StateError EINVAL
 */
export async function refuseUnlessUnfinished(disk: Disk, directory: string, of: HomeFile): Promise<void> {
  const found = await disk.stat(directory)
  if (found === undefined) return
  const refuse = (what: string): never => {
    throw new StateError('EINVAL', `${directory} is in the way: ${what}`)
  }
  if (found.kind !== 'directory') refuse('it is no directory; move it aside')
  const names = await disk.list(directory)
  // Before its first file is durable there is nothing else in it.
  if (names.every(name => name === unfinishedName)) return
  const told = await unfinishedHome(disk, directory)
  const others = names.filter(name => name !== unfinishedName && name !== journalName)
  if (told === undefined || others.length > 0)
    return refuse('it is not what an unfinished restore leaves; move it aside')
  if (!equal(told.storeId, of.storeId))
    refuse('it is an unfinished restore of another store; complete that one, or move it aside')
  if (told.anchor !== of.anchor && !(await isSame(disk, parentOf(told.anchor), parentOf(of.anchor))))
    refuse(
      `it is an unfinished restore with its anchor at ${told.anchor}; complete that one, or move it aside`,
    )
  const segments = join(directory, journalName)
  if (!names.includes(journalName)) return
  for (const name of await disk.list(segments))
    if (!name.endsWith('.seg'))
      refuse(`it is an unfinished restore, but ${name} in its ${journalName} is not; move it aside`)
}

/** Takes away what {@link refuseUnlessUnfinished} lets pass; what says that it may be goes last. */
export async function clearUnfinishedHome(disk: Disk, directory: string, of: HomeFile): Promise<void> {
  await refuseUnlessUnfinished(disk, directory, of)
  if ((await disk.stat(directory)) === undefined) return
  await removeAll(disk, join(directory, journalName))
  await disk.syncDirectory(directory)
  await removeAll(disk, directory)
}

async function isSame(disk: Disk, a: string, b: string): Promise<boolean> {
  const [one, other] = [await disk.stat(a), await disk.stat(b)]
  if (one === undefined || other === undefined) return false
  return one.inode === other.inode && one.device === other.device
}
