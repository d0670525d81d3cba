import { hex } from '../bytes/bytes.ts'
import { sha256 } from '../crypto/hash.ts'
import { type Disk, DiskError } from '../host/disk.ts'
import { anchorNames, join } from '../keeper/anchor.ts'
import { sessionMarkPrefix } from '../keeper/session-marks.ts'
import { removeAll } from './create.ts'
import { StateError } from './error.ts'
import { journalName, locate } from './home.ts'
import { homeFileName } from './home-file.ts'
import { listSegments, segmentPath } from './segment.ts'

/**
 * docs/spec/ownership.md: the directories of a shared home, one for each term. Only the owner of a term writes into its
 * directory, and into those of lower terms only to erase them. So whoever comes back late finds nothing of a later owner.
 */
const termsName = 'terms'
const pattern = /^[0-9]{8}$/
const copyTriesMax = 20
const chunkBytes = 1_048_576

/** What lies where in the directory of one term. */
export type Term = {
  readonly number: number
  readonly path: string
  readonly home: string
  readonly anchorBase: string
  /** Files that messages are received into. */
  readonly out: string
  /** There once the directory has all that the term before it had. */
  readonly whole: string
  /** Says that the owner is there. */
  readonly pulse: string
}

export function termOf(shared: string, number: number): Term {
  if (!Number.isInteger(number) || number < 0 || number > 99_999_999) throw new RangeError('no such term')
  const path = join(join(shared, termsName), number.toString().padStart(8, '0'))
  const names = { home: 'home', anchorBase: 'anchor', out: 'out', whole: 'whole', pulse: 'pulse' } as const
  return {
    number,
    path,
    home: join(path, names.home),
    anchorBase: join(path, names.anchorBase),
    out: join(path, names.out),
    whole: join(path, names.whole),
    pulse: join(path, names.pulse),
  }
}

export async function isShared(disk: Disk, directory: string): Promise<boolean> {
  return (await disk.stat(join(directory, termsName)))?.kind === 'directory'
}

/** Lowest first, whole or not. */
export async function termsOf(disk: Disk, shared: string): Promise<readonly Term[]> {
  const names = await disk.list(join(shared, termsName))
  return names.filter(name => pattern.test(name)).map(name => termOf(shared, Number(name)))
}

/** The highest whole term below `below`: whatever was acknowledged before the term `below` was claimed is there. */
export async function newestWhole(
  disk: Disk,
  shared: string,
  below = Number.POSITIVE_INFINITY,
): Promise<Term | undefined> {
  const terms = (await termsOf(disk, shared)).filter(({ number }) => number < below)
  for (const term of terms.reverse()) if ((await disk.stat(term.whole)) !== undefined) return term
  return undefined
}

/** The directory of term 0, for a home to be made in; what a crash left of such an attempt is cleared away. */
export async function beginShared(disk: Disk, shared: string): Promise<Term> {
  const first = termOf(shared, 0)
  if (!(await isShared(disk, shared))) await makeSynced(disk, shared, join(shared, termsName))
  await removeAll(disk, first.path)
  await makeSynced(disk, join(shared, termsName), first.path)
  await makeSynced(disk, first.path, first.anchorBase)
  return first
}

/** What was begun and is no home yet: nothing of it is left. Once a term is whole nothing is taken away. */
export async function endUnmade(disk: Disk, shared: string): Promise<void> {
  if ((await newestWhole(disk, shared)) !== undefined) return
  await removeAll(disk, join(shared, termsName))
}

/** From here on the term is what the next one is made of. */
export async function makeWhole(disk: Disk, term: Term): Promise<void> {
  const file = await disk.open(term.whole, { access: 'exclusive' })
  await file.close()
  await disk.syncDirectory(term.path)
}

/**
 * Copies the newest whole term below `to` into its directory, all of it durable. Its owner may still be running: whatever
 * it does now nobody is told of any more, and it ends soon, so what changes meanwhile is copied again.
 * @throws StateError EINTEGRITY (there is none, or it does not stand still), ENOSPC; DiskError
 */
export async function copyInto(disk: Disk, shared: string, to: Term): Promise<void> {
  let failure: unknown
  for (let left = copyTriesMax; left > 0; left--) {
    const from = await newestWhole(disk, shared, to.number)
    if (from === undefined) throw new StateError('EINTEGRITY', `${shared} has no whole term to go on from`)
    await clear(disk, to)
    try {
      const before = await standing(disk, from)
      await copyTerm(disk, from, to)
      // Journal first, anchor after it, and then a look that nothing was given up in between: else the journal that was
      // copied may hang on a key that was erased before the anchor was.
      const isStill = before === (await standing(disk, from))
      // A later one erases those below it: what was copied from them may not be what they were.
      const newest = await newestWhole(disk, shared, to.number)
      if (isStill && newest?.number === from.number) return
    } catch (error) {
      const isGone = error instanceof DiskError && error.code === 'missing'
      if (!isGone && !(error instanceof StateError)) throw error
      failure = error
    }
  }
  throw new StateError('EINTEGRITY', `what is to be taken over in ${shared} does not stand still`, {
    cause: failure,
  })
}

/**
 * Erases every lower term: its keys and slots are overwritten, and then it is unlinked. What was not yet copied of it
 * never will be, so nothing that is destroyed from now on lives on there.
 * @throws DiskError
 */
export async function eraseLower(disk: Disk, shared: string, than: Term): Promise<void> {
  for (let left = copyTriesMax; left > 0; left--) {
    const lower = (await termsOf(disk, shared)).filter(({ number }) => number < than.number)
    if (lower.length === 0) return
    for (const term of lower) await eraseTerm(disk, term)
    await disk.syncDirectory(join(shared, termsName))
  }
}

/** What is left of a term that nobody goes on from. */
export async function eraseTerm(disk: Disk, term: Term): Promise<void> {
  await eraseAnchors(disk, term)
  try {
    await removeAll(disk, term.path)
  } catch (error) {
    // Its owner may not know yet that it is none, and be making files there, or be erasing it itself.
    if (!(error instanceof DiskError && (error.code === 'missing' || error.code === 'exists'))) throw error
  }
}

async function copyTerm(disk: Disk, from: Term, to: Term): Promise<void> {
  const { storeId, anchorPath } = await locate(disk, from.home, from.anchorBase)
  const segments = join(to.home, journalName)
  await disk.makeDirectory(to.home)
  await disk.makeDirectory(segments)
  for (const number of (await listSegments(disk, join(from.home, journalName))).numbers)
    await copyFile(disk, segmentPath(join(from.home, journalName), number), segmentPath(segments, number))
  await disk.syncDirectory(segments)
  await copyFile(disk, join(from.home, homeFileName), join(to.home, homeFileName))
  await disk.syncDirectory(to.home)

  const anchor = join(to.anchorBase, hex(storeId))
  await disk.makeDirectory(to.anchorBase)
  await disk.makeDirectory(anchor)
  for (const name of [anchorNames.key, anchorNames.slots, anchorNames.mark])
    await copyFile(disk, join(anchorPath, name), join(anchor, name))
  // Nobody was told anything that the journal copied before does not have; so none of these is ahead of it.
  for (const name of await disk.list(anchorPath))
    if (name.startsWith(sessionMarkPrefix)) await copyFile(disk, join(anchorPath, name), join(anchor, name))
  await (await disk.open(join(anchor, anchorNames.lock), { access: 'exclusive' })).close()
  await disk.syncDirectory(anchor)
  await disk.syncDirectory(to.anchorBase)

  await disk.makeDirectory(to.out)
  for (const name of await namesIn(disk, from.out))
    await copyFile(disk, join(from.out, name), join(to.out, name))
  await disk.syncDirectory(to.out)
  await disk.syncDirectory(to.path)
}

/** Changes with every segment, and with every byte of the anchor. */
async function standing(disk: Disk, { home, anchorBase }: Term): Promise<string> {
  const { anchorPath } = await locate(disk, home, anchorBase)
  const { numbers } = await listSegments(disk, join(home, journalName))
  const digests = []
  for (const name of [anchorNames.key, anchorNames.slots, anchorNames.mark]) {
    let digest: Uint8Array = new Uint8Array(32)
    await inChunks(disk, join(anchorPath, name), async chunk => {
      digest = sha256(digest, chunk)
    })
    digests.push(hex(digest))
  }
  return [...numbers, ...digests].join(' ')
}

/** On stable storage when it returns, but for its name. */
async function copyFile(disk: Disk, from: string, to: string): Promise<void> {
  const target = await disk.open(to, { access: 'exclusive' })
  try {
    await inChunks(disk, from, (chunk, at) => target.write(chunk, at))
    await target.sync()
  } finally {
    await target.close()
  }
}

/** A file of any length, as long as it was when it was opened. */
async function inChunks(
  disk: Disk,
  path: string,
  take: (chunk: Uint8Array, at: number) => Promise<void>,
): Promise<void> {
  const file = await disk.open(path, { access: 'read' })
  try {
    const { size } = await file.stat()
    const chunk = new Uint8Array(Math.min(chunkBytes, size))
    for (let at = 0; at < size; at += chunk.length) {
      const length = await file.read(chunk, at)
      if (length > 0) await take(chunk.subarray(0, length), at)
      if (length < chunk.length) break
    }
    chunk.fill(0)
  } finally {
    await file.close()
  }
}

/** What an earlier try left in the own directory; the sign of life stays. */
async function clear(disk: Disk, term: Term): Promise<void> {
  await eraseAnchors(disk, term)
  for (const path of [term.home, term.anchorBase, term.out]) await removeAll(disk, path)
}

/** In place and synced, so that no copy of a key or slot outlives the term. */
async function eraseAnchors(disk: Disk, term: Term): Promise<void> {
  for (const id of await namesIn(disk, term.anchorBase))
    for (const name of [anchorNames.key, anchorNames.slots])
      await unlessGone(async () => {
        const path = join(join(term.anchorBase, id), name)
        const file = await disk.open(path, { access: 'write', durable: true })
        try {
          await file.write(new Uint8Array((await file.stat()).size), 0)
        } finally {
          await file.close()
        }
      })
}

async function namesIn(disk: Disk, path: string): Promise<readonly string[]> {
  return (await unlessGone(() => disk.list(path))) ?? []
}

async function unlessGone<T>(act: () => Promise<T>): Promise<T | undefined> {
  try {
    return await act()
  } catch (error) {
    if (error instanceof DiskError && error.code === 'missing') return undefined
    throw error
  }
}

async function makeSynced(disk: Disk, parent: string, path: string): Promise<void> {
  await disk.makeDirectory(path)
  await disk.syncDirectory(parent)
}
