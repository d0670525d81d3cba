import { type Frontier, rooted } from '../bytes/merkle.ts'
import { sha256 } from '../crypto/hash.ts'
import type { Secret } from '../crypto/secret.ts'
import type { Disk } from '../host/disk.ts'
import { join, openAnchorToRead, readMark } from '../keeper/anchor.ts'
import { describeMark, type Mark, rollbackError } from '../mark/mark.ts'
import { type Config, configPath, decodeConfig } from './config.ts'
import { StateError, stateError } from './error.ts'
import {
  closers,
  journalName,
  journalStart,
  loadScopes,
  locate,
  markOf,
  missingAnchor,
  recordsOf,
  refuseMisfits,
  type World,
} from './home.ts'
import { JournalKeys } from './journal-keys.ts'
import { refuseRollback } from './keepers.ts'
import type { Found, Records } from './records.ts'
import { replay, type Visit } from './replay.ts'
import { Scopes } from './scopes.ts'
import { SegmentFiles } from './segment.ts'

/** A look at a home that another process may be writing: up to its mark, and nothing is judged beyond. */
export type Reader = {
  readonly mark: Mark
  readonly config: Config
  get(path: string): Promise<Found>
  getSecret(path: string): Promise<Secret>
  list(prefix: string): string[]
  close(): Promise<void>
}

/**
 * What a writer gives up or destroys while it is looked at is looked for again: then the reader stands at a later mark.
 * @throws StateError as `openHome`, but for ELOCKED
 */
export async function readHome(world: World, home: string, anchorBase?: string): Promise<Reader> {
  const now = () => sighting(world.disk, home, anchorBase)
  let seen = await lookTwice(world, home, anchorBase)
  const read = async <T>(from: (reader: Reader) => Promise<T>): Promise<T> => {
    const tried = seen
    try {
      return await from(tried.reader)
    } catch (error) {
      if (tried === seen) {
        if (!(error instanceof StateError && error.code === 'EINTEGRITY')) throw error
        if (tried.sighting === (await now())) throw error
        seen = await lookTwice(world, home, anchorBase)
        await tried.reader.close().catch(() => {})
      }
      return from(seen.reader)
    }
  }
  return {
    get mark() {
      return seen.reader.mark
    },
    config: seen.reader.config,
    get: path => read(reader => reader.get(path)),
    getSecret: path => read(reader => reader.getSecret(path)),
    list: prefix => seen.reader.list(prefix),
    close: () => seen.reader.close(),
  }
}

/** A writer that opens may give up a segment while it is being looked at: only what stands still is damaged. */
async function lookTwice(
  world: World,
  home: string,
  anchorBase: string | undefined,
): Promise<{ readonly reader: Reader; readonly sighting: string }> {
  for (let left = 3; ; left--) {
    const before = await sighting(world.disk, home, anchorBase)
    try {
      return { reader: await look(world, home, anchorBase), sighting: before }
    } catch (error) {
      const still = before === (await sighting(world.disk, home, anchorBase))
      if (still || left === 1) throw stateError(error)
    }
  }
}

/** Changes with every group that a writer marks and with every segment. */
export async function sighting(disk: Disk, home: string, anchorBase: string | undefined): Promise<string> {
  try {
    const { storeId, anchorPath } = await locate(disk, home, anchorBase)
    const anchor = await openAnchorToRead(disk, anchorPath, storeId)
    const { numbers } = anchor.storeKeys
    await anchor.storeKeys.close()
    await anchor.slots.close()
    return [describeMark(anchor.mark), ...numbers, ...(await disk.list(join(home, journalName)))].join(' ')
  } catch {
    return 'nothing to be seen'
  }
}

/** A reader and what it stands on. */
export type Look = Reader & {
  readonly storeId: Uint8Array
  readonly anchorPath: string
  readonly tree: Frontier
  readonly slots: number
  readonly records: Records
  readonly scopes: Scopes
  readonly source: SegmentFiles
}

/** One look, which fails where a writer takes something away meanwhile. @throws StateError, DiskError, BytesError */
export async function look(world: World, home: string, anchorBase: string | undefined): Promise<Look> {
  return lookAt(world, home, await locate(world.disk, home, anchorBase))
}

/** As {@link look}, of a home that is not asked which anchor is its own. */
export async function lookAt(
  world: World,
  home: string,
  { storeId, anchorPath }: Awaited<ReturnType<typeof locate>>,
): Promise<Look> {
  const { disk } = world
  const { closing, release } = closers()
  try {
    const anchor = await missingAnchor(anchorPath, () => openAnchorToRead(disk, anchorPath, storeId))
    closing.push(() => anchor.storeKeys.close())
    closing.push(() => anchor.slots.close())
    const scopes = new Scopes(anchor.storeKeys, anchor.slots)
    closing.push(async () => scopes.dispose())
    const directory = join(home, journalName)
    const source = new SegmentFiles(disk, directory)
    closing.push(() => source.close())
    const records = recordsOf(source, scopes)
    const upTo = anchor.mark.number === 0 ? undefined : anchor.mark.number
    const keys = new JournalKeys(anchor.storeKeys, storeId)
    closing.push(async () => keys.dispose())
    const visit: Visit = (header, placed, at) => records.apply(header.generation, placed, at)
    const replayed = await replay(disk, directory, keys, anchor.mark, visit, upTo)
    await journalStart(records, replayed)
    const config = decodeConfig((await records.get(configPath)).payload)
    if (config.keeper !== 'none') {
      refuseRollback(replayed, anchor.mark)
      // A mark was confirmed before a group says so: what the file says from then on is not below it.
      const now = await readMark(disk, anchorPath, anchor.storeKeys, storeId)
      if (now.number < replayed.confirmedLater)
        throw rollbackError(
          'the keeper went back',
          `the mark is at ${describeMark(now)}, and ${replayed.confirmedLater} was confirmed`,
        )
    }
    const misfits = await loadScopes(records, scopes)
    if (misfits.length > 0) {
      // A slot is overwritten only after a group has said so. If there is one beyond what was read, they are going.
      const now = await replay(disk, directory, keys, anchor.mark, () => {})
      if (now.tree.size === replayed.tree.size) refuseMisfits(misfits)
      for (const scope of misfits) records.forget(scope.id)
    }
    return {
      mark: markOf(storeId, rooted(sha256, replayed.tree)),
      config,
      storeId,
      anchorPath,
      tree: replayed.tree,
      slots: anchor.slots.count,
      records,
      scopes,
      source,
      get: path => records.get(path),
      getSecret: path => records.getSecret(path),
      list: prefix => records.list(prefix),
      close: release,
    }
  } catch (error) {
    await release().catch(() => {})
    throw error
  }
}
