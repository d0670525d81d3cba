import { mlkem1024x25519 } from '../../crypto/kem.ts'
import type { Disk } from '../../host/disk.ts'
import type { Mark } from '../../mark/mark.ts'
import { openRecords } from '../block.ts'
import type { Config } from '../config.ts'
import { StateError, stateError } from '../error.ts'
import { parentOf, type World } from '../home.ts'
import { openSigner, signForStore } from '../signer.ts'
import { groupAt, type LiveBlock, liveBlocks } from '../walk.ts'
import { isMadeAnew } from './contents.ts'
import { notMade } from './error.ts'
import { BackupWriter, backupPurpose, encodeHeader, signedBytes } from './file.ts'
import type { RecoveryPublicKey } from './recovery-key.ts'
import { type Snapshot, takeSnapshot } from './snapshot.ts'

export type BackupOptions = {
  readonly home: string
  /** Where the anchor lies now, if it was moved. */
  readonly anchorBase?: string | undefined
  /** What is to be written; nothing may be there yet. */
  readonly file: string
  readonly to: RecoveryPublicKey
  /** Called before anything is written: what it throws refuses the home. */
  readonly admit?: (config: Config) => void
  /** Called now and then: records written, of so many. */
  readonly progress?: (records: number, of: number) => void
}

/** What a backup holds. */
export type BackupFacts = {
  readonly mark: Mark
  /** When it was taken: wall-clock milliseconds since 1970. */
  readonly at: number
  readonly scopes: readonly string[]
  readonly records: number
  /** Of the file. */
  readonly bytes: number
}

/**
 * Writes what is recoverable of a home, as it stands at its mark, into a new file, sealed to a recovery key and signed
 * by the store. It takes no lock, so another process may hold the home, or this one, and go on writing. The index of
 * the records is held in memory, their content is not. Durable when it returns; after a crash there may be `FILE.new`.
 * @throws StateError EINVAL (the file, or `FILE.new`, exists), ENOSPC, EPERM, and what `readHome` throws
 */
export async function backupHome(world: World, options: BackupOptions): Promise<BackupFacts> {
  const { disk } = world
  const { home, anchorBase, file: path } = options
  try {
    await refuseExisting(disk, path)
    const snapshot = await takeSnapshot(world, home, anchorBase)
    try {
      options.admit?.(snapshot.config)
      return await write(world, snapshot, options)
    } finally {
      await snapshot.close()
    }
  } catch (error) {
    throw stateError(error)
  }
}

async function write(world: World, snapshot: Snapshot, options: BackupOptions): Promise<BackupFacts> {
  const { disk } = world
  const { file: path } = options
  const unfinished = `${path}.new`
  const file = await disk.open(unfinished, { access: 'exclusive' }).catch(error => {
    throw notMade(path, error)
  })
  try {
    const facts = await writeInto(file, world, snapshot, options)
    await file.sync()
    await refuse(disk, path)
    await disk.rename(unfinished, path)
    await disk.syncDirectory(parentOf(path))
    return facts
  } catch (error) {
    await disk.unlink(unfinished).catch(() => {}) // what went wrong first is what is told
    throw error
  } finally {
    await file.close()
  }
}

async function writeInto(
  file: Awaited<ReturnType<Disk['open']>>,
  { clock, entropy }: World,
  snapshot: Snapshot,
  { to, progress }: BackupOptions,
): Promise<BackupFacts> {
  const { records, source, scopes, tree, mark, slots, recoverable } = snapshot
  const { signer, keys } = await openSigner(snapshot)
  using _ = keys
  const { ciphertext, shared } = mlkem1024x25519.encapsulate(to.publicKey)
  using __ = shared
  const at = clock.now()
  const front = encodeHeader({
    signer,
    tree,
    at,
    slots,
    recovery: to.id,
    kem: ciphertext,
    salt: entropy.bytes(32),
  })
  using writer = await BackupWriter.begin(file, shared, front)
  const names = [...new Set(recoverable.map(({ name }) => name))]
  await writer.add({ kind: 'place', anchor: snapshot.anchorPath })
  for (const name of names) await writer.add({ kind: 'scope', name })
  let written = 0
  const add = async ({ group, block, records: live }: LiveBlock): Promise<void> => {
    const scope = names.indexOf(scopes.of(block.scope)?.name ?? '')
    const key = await scopes.openingKey(block.scope)
    const opened = await openRecords(
      key,
      block,
      group.bytes.subarray(block.offset, block.offset + block.length),
    )
    using _ = opened.whole
    for (const { path, index, generation } of live) {
      const found = opened.records[index]
      if (found === undefined) throw new StateError('EINTEGRITY', `the block of ${path} does not hold it`)
      if (isMadeAnew(path)) continue
      await writer.add({
        kind: 'record',
        scope,
        path,
        generation: generation ?? group.header.generation,
        ...found,
      })
      written++
    }
  }
  for (const { generation, at } of records.groups()) {
    const group = await groupAt(source, at, generation)
    for (const block of liveBlocks(group, (record, at) => records.isLive(record, at))) await add(block)
    progress?.(written, records.count)
  }
  const bytes = await writer.finish(digest =>
    signForStore(keys, signer, backupPurpose, signedBytes(mark.domain, digest)),
  )
  return { mark, at, scopes: names, records: written, bytes }
}

async function refuseExisting(disk: Disk, path: string): Promise<void> {
  await refuse(disk, path)
  if ((await disk.stat(`${path}.new`)) !== undefined)
    throw new StateError(
      'EINVAL',
      `${path}.new exists: another backup is being written there, or one was killed; if so, take it away`,
    )
}

async function refuse(disk: Disk, path: string): Promise<void> {
  if ((await disk.stat(path)) !== undefined)
    throw new StateError('EINVAL', `${path} exists already, and a backup is never written over`)
}
