import { type Rooted, rooted } from '../../bytes/merkle.ts'
import { sha256 } from '../../crypto/hash.ts'
import type { Secret } from '../../crypto/secret.ts'
import type { Disk } from '../../host/disk.ts'
import { type Anchor, firstMark, join, openFileKeeper } from '../../keeper/anchor.ts'
import type { Amendment } from '../../mark/amendment.ts'
import type { Mark } from '../../mark/mark.ts'
import { amendmentPath, signAmendment } from '../amendments.ts'
import { chunkPath, encodeChunk, encodeLines, lineOf } from '../audit.ts'
import type { Operation, ScopeKey } from '../block.ts'
import { configPath } from '../config.ts'
import { wrap } from '../envelope.ts'
import { StateError } from '../error.ts'
import { type SealedGroup, sealGroup } from '../group.ts'
import { journalName, markOf, type World } from '../home.ts'
import { encodeJournalStart } from '../journal.ts'
import { JournalKeys } from '../journal-keys.ts'
import { limits } from '../limits.ts'
import { journalPath, refusedPrefix } from '../path.ts'
import { newRecovery, recoveryPath } from '../recovery-record.ts'
import { encodeScope, type Scope, Scopes, scopePath } from '../scopes.ts'
import { encodeSegmentHeader, segmentPath } from '../segment.ts'
import type { Contents } from './contents.ts'
import { type OpenBackup, readBackup } from './file.ts'
import type { RecordItem } from './items.ts'
import { beginHome } from './unfinished.ts'

export type RestoredHome = {
  readonly backup: OpenBackup
  readonly key: Secret
  readonly contents: Contents
  readonly amendment: Amendment
  /** Where it is made. */
  readonly directory: string
  /** A whole, new one, its lock held; and where it will lie. */
  readonly anchor: Anchor
  readonly anchorPath: string
  readonly progress: ((bytes: number, of: number) => void) | undefined
}

/**
 * Makes a home that goes on from the mark of a backup, and advances the mark of its anchor over it, last: all of it
 * durable but the name of the directory. @throws StateError EINTEGRITY (the file is not what it was), ENOSPC
 */
export async function makeRestoredHome(world: World, parts: RestoredHome): Promise<Mark> {
  const { disk, entropy } = world
  const { backup, contents, directory, anchor } = parts
  const { storeId, header } = backup
  await beginHome(disk, directory, { storeId, anchor: parts.anchorPath })
  const segments = join(directory, journalName)
  await disk.makeDirectory(segments)
  const scopes = new Scopes(anchor.storeKeys, anchor.slots)
  const keys = new JournalKeys(anchor.storeKeys, storeId)
  try {
    const journal = new NewJournal(disk, segments, keys, rooted(sha256, header.tree), entropy.bytes(32))
    const made = await makeScopes(scopes, contents.scopes, world)
    await journal.add(await firstOperations(world, parts, made))
    await readBackup(backup, parts.key, async (items, position) => {
      const carried: Operation[] = []
      for (const item of items)
        if (item.kind === 'record' && !isMadeAnew(item.path) && !isOfBefore(item.path))
          carried.push(carriedPut(item, made))
      if (carried.length > 0) await journal.add(carried)
      parts.progress?.(position, backup.bytes)
    })
    const mark = markOf(storeId, await journal.finish())
    await disk.syncDirectory(directory)
    if (contents.config.keeper !== 'none') {
      const keeper = await openFileKeeper(disk, anchor, storeId)
      await keeper.advance(firstMark(storeId), mark).finally(() => keeper.close())
    }
    return mark
  } finally {
    scopes.dispose()
    keys.dispose()
  }
}

type MadeScope = { readonly scope: Scope; readonly key: ScopeKey }

async function makeScopes(
  scopes: Scopes,
  names: readonly string[],
  { entropy }: World,
): Promise<readonly MadeScope[]> {
  const made: MadeScope[] = []
  for (const name of names) {
    const scope = await scopes.plan(name, true, entropy)
    scopes.set(scope)
    made.push({ scope, key: await scopes.key(scope) })
  }
  return made
}

/** What every journal begins with, and the amendment with its audit entry: one group, so none without the others. */
async function firstOperations(
  { clock, entropy }: World,
  { backup, contents, amendment }: RestoredHome,
  scopes: readonly MadeScope[],
): Promise<Operation[]> {
  const { mark, header } = backup
  const at = clock.now()
  const own = scopes[0]?.key
  if (own === undefined) throw new StateError('EINTEGRITY', 'the backup has no default scope')
  const put = (path: string, payload: Uint8Array, purpose: string): Operation => {
    const envelope = wrap(payload, { subject: 'pawl', purpose, at })
    return { kind: 'put', path, scope: own, envelope, payload }
  }
  const path = amendmentPath(contents.amendments + 1)
  const { reason, by } = amendment
  const line = lineOf(
    { action: 'restore', decision: 'allow', path, reason, subject: by },
    at,
    mark.number + 1,
  )
  return [
    carriedPut(contents.configRecord, scopes),
    ...scopes.map(({ scope }) => put(scopePath(scope.slot), encodeScope(scope), 'scope')),
    put(journalPath, encodeJournalStart(mark.number), 'journal'),
    put(path, await signAmendment(amendment, header.signer, contents.keys), 'amendment'),
    put(recoveryPath, newRecovery(entropy), 'recovery'),
    put(chunkPath(contents.audited), encodeChunk(contents.audited, encodeLines([line])), ''),
  ]
}

/** These are in the first group. */
function isMadeAnew(path: string): boolean {
  return path === configPath || path === recoveryPath
}

/** What peers had to say of the home that was given up. */
function isOfBefore(path: string): boolean {
  return path.startsWith(refusedPrefix)
}

function carriedPut(
  { path, scope, generation, envelope, payload }: RecordItem,
  scopes: readonly MadeScope[],
): Operation {
  const made = scopes[scope]
  if (made === undefined) throw new StateError('EINTEGRITY', `${path} is of a scope that there is not`)
  return { kind: 'put', path, scope: made.key, envelope, payload, generation }
}

/** Writes groups one after another, a segment at a time: that much is held in memory, sealed. */
class NewJournal {
  readonly #disk: Disk
  readonly #directory: string
  readonly #keys: JournalKeys
  readonly #salt: Uint8Array
  #end: Rooted
  #number = 1
  /** The tree in front of the segment, and its groups. */
  #before: Rooted
  #groups: SealedGroup[] = []
  #bytes = 0

  constructor(disk: Disk, directory: string, keys: JournalKeys, end: Rooted, salt: Uint8Array) {
    this.#disk = disk
    this.#directory = directory
    this.#keys = keys
    this.#salt = salt
    this.#end = end
    this.#before = end
  }

  async add(operations: readonly Operation[]): Promise<void> {
    const group = sealGroup({
      operations,
      before: this.#end,
      // The home has no name yet: whoever opens it one day finds every group marked.
      confirmed: this.#end.tree.size,
      salt: this.#salt,
      keys: this.#keys,
    })
    if (this.#bytes + group.bytes.length > limits.segmentBytesMax) await this.#write()
    this.#groups.push(group)
    this.#bytes += group.bytes.length
    this.#end = group.after
  }

  async finish(): Promise<Rooted> {
    await this.#write()
    await this.#disk.syncDirectory(this.#directory)
    return this.#end
  }

  async #write(): Promise<void> {
    if (this.#groups.length === 0) return
    const { storeId, current: storeKey } = this.#keys
    const header = { number: this.#number, storeId, storeKey, before: this.#before.tree }
    // Under its name at once, and with no zeros behind: the home has no name, and this is how a closed store leaves it.
    const path = segmentPath(this.#directory, this.#number)
    const file = await this.#disk.open(path, { access: 'exclusive' })
    try {
      let end = 0
      for (const part of [
        encodeSegmentHeader(header, this.#keys),
        ...this.#groups.map(({ bytes }) => bytes),
      ]) {
        await file.write(part, end)
        end += part.length
      }
      await file.sync()
    } finally {
      await file.close()
    }
    this.#number++
    this.#before = this.#end
    this.#groups = []
    this.#bytes = 0
  }
}
