import { hex } from '../../bytes/bytes.ts'
import type { Secret } from '../../crypto/secret.ts'
import type { Disk } from '../../host/disk.ts'
import { type Anchor, anchorNames, createAnchor, join, openAnchor, readMark } from '../../keeper/anchor.ts'
import type { KeeperName, OutsideKeeper } from '../../keeper/outside.ts'
import { destroyAnchor } from '../../keeper/retire.ts'
import type { Amendment } from '../../mark/amendment.ts'
import { type Mark, MarkError, sameMark } from '../../mark/mark.ts'
import type { Config } from '../config.ts'
import { removeAll } from '../create.ts'
import { StateError, stateError } from '../error.ts'
import { homeExists, parentOf, type World } from '../home.ts'
import type { HomeFile } from '../home-file.ts'
import { reachNamed } from '../keepers.ts'
import { type Contents, checkBackup } from './contents.ts'
import { type OpenBackup, openBackup, openChunksKey } from './file.ts'
import type { RecoveryKey } from './recovery-key.ts'
import { makeRestoredHome } from './restored-home.ts'
import { amendmentOf, clearUnfinishedHome, finishHome, refuseUnlessUnfinished } from './unfinished.ts'

export type RestoreOptions = {
  readonly file: string
  readonly key: RecoveryKey
  readonly home: string
  /** The directory that gets the anchor, named by the store id; without it the one that the anchor lay in. */
  readonly anchorBase?: string | undefined
  /** Where its keeper outside is now, if not where the backup says. */
  readonly keeper?: KeeperName | undefined
  /** Who decided, as the amendment and the audit trail show it: 1 to 256 bytes of UTF-8. */
  readonly by: string
  /** Called when all of the backup is checked, before anything is made: what it throws refuses it. */
  readonly admit?: (found: { readonly config: Config; readonly anchorBase: string }) => Promise<void> | void
  /** Asked where an anchor of this store stands, before anything is given up. */
  readonly confirm: (plan: RestorePlan) => Promise<boolean>
  /** Called now and then, in each of two passes: bytes of the file read, of so many. */
  readonly progress?: (pass: 'checking' | 'restoring', bytes: number, of: number) => void
}

/** What a backup says of itself, all of it checked. */
export type CheckedBackup = {
  /** What it was taken at; its domain is the store id. */
  readonly mark: Mark
  /** When: wall-clock milliseconds since 1970. */
  readonly at: number
  readonly scopes: readonly string[]
  readonly records: number
  readonly bytes: number
}

export type RestorePlan = {
  readonly backup: CheckedBackup
  readonly anchor: string
  /** What is given up: the mark of the anchor that stands; `undefined` if its keeper kept none. */
  readonly abandoned: Mark | undefined
}

export type Restored = {
  readonly backup: CheckedBackup
  readonly home: string
  readonly anchor: string
  readonly amendment: { readonly number: number; readonly amendment: Amendment }
  /** A restore of the same mark had been cut short, and only its last step was left. */
  readonly carriedOn: boolean
}

/** Where everything is put, and what it is called until then: docs/spec/backup.md, "Restoring". */
type Place = {
  readonly home: string
  readonly newHome: string
  readonly base: string
  readonly anchor: string
  readonly newAnchor: string
  readonly retired: string
}

/**
 * Reads all of a backup and checks it; makes nothing.
 * @throws StateError EINTEGRITY, BackupError
 */
export async function verifyBackup(
  world: Pick<World, 'disk'>,
  { file, key, progress }: Pick<RestoreOptions, 'file' | 'key' | 'progress'>,
): Promise<CheckedBackup> {
  return withBackup(world.disk, file, key, async (backup, chunksKey) => {
    const contents = await checkBackup(backup, chunksKey, (bytes, of) => progress?.('checking', bytes, of))
    contents.keys[Symbol.dispose]()
    return factsOf(backup, contents)
  })
}

/**
 * Makes a home of a backup, where none stands, and a new anchor for it, in the place of the one that the store had: by
 * an amendment, after which nothing that was committed since the backup, and no old copy of the home, opens again. The
 * whole file is checked before anything is made. Cut short anywhere, it is carried on, or begun again, by the same call.
 * Answers `undefined` when `confirm` says no.
 * @throws StateError EINVAL (a home stands there), EINTEGRITY (the backup, or the anchor, is damaged), ELOCKED, ENOSPC,
 * EPERM; BackupError
 */
export async function restoreHome(world: World, options: RestoreOptions): Promise<Restored | undefined> {
  return withBackup(world.disk, options.file, options.key, async (backup, chunksKey) => {
    const checking = (bytes: number, of: number) => options.progress?.('checking', bytes, of)
    const contents = await checkBackup(backup, chunksKey, checking)
    using _ = contents.keys
    const closing: (() => Promise<void>)[] = []
    try {
      return await new Restore(world, options, backup, chunksKey, contents, closing).run()
    } finally {
      for (const close of closing.reverse()) await close()
    }
  })
}

async function withBackup<T>(
  disk: Disk,
  path: string,
  recovery: RecoveryKey,
  use: (backup: OpenBackup, chunksKey: Secret) => Promise<T>,
): Promise<T> {
  try {
    const file = await disk.open(path, { access: 'read' })
    try {
      const backup = await openBackup(file)
      using chunksKey = openChunksKey(backup, recovery)
      return await use(backup, chunksKey)
    } finally {
      await file.close()
    }
  } catch (error) {
    throw stateError(error)
  }
}

function factsOf({ mark, header, bytes }: OpenBackup, { scopes, records }: Contents): CheckedBackup {
  return { mark, at: header.at, scopes, records, bytes }
}

class Restore {
  readonly #world: World
  readonly #options: RestoreOptions
  readonly #backup: OpenBackup
  readonly #chunksKey: Secret
  readonly #contents: Contents
  readonly #place: Place
  /** What the new home says of itself from its beginning. */
  readonly #homeFile: HomeFile
  readonly #closing: (() => Promise<void>)[]
  #outside: OutsideKeeper | undefined

  constructor(
    world: World,
    options: RestoreOptions,
    backup: OpenBackup,
    chunksKey: Secret,
    contents: Contents,
    closing: (() => Promise<void>)[],
  ) {
    this.#world = world
    this.#options = options
    this.#backup = backup
    this.#chunksKey = chunksKey
    this.#contents = contents
    this.#closing = closing
    const { home, anchorBase: base = parentOf(contents.anchor) } = options
    const anchor = join(base, hex(backup.storeId))
    const newAnchor = `${anchor}.restoring`
    this.#homeFile = { storeId: backup.storeId, anchor }
    this.#place = {
      home,
      newHome: `${home}.restoring`,
      base,
      anchor,
      newAnchor,
      retired: `${anchor}.retired`,
    }
  }

  async run(): Promise<Restored | undefined> {
    const { disk } = this.#world
    const { anchor, newHome, retired, base: anchorBase } = this.#place
    await this.#refuseHome()
    await this.#options.admit?.({ config: this.#contents.config, anchorBase })
    await this.#refuseElsewhere()
    const isThere = async (path: string) => (await disk.stat(path)) !== undefined
    if (!(await isThere(anchor)) && (await isThere(retired))) await this.#putBack()
    const stands = await isThere(anchor)
    const local = stands ? await this.#holdStanding() : undefined
    const done = stands ? await this.#carryOn() : undefined
    if (done !== undefined) return done
    await refuseUnlessUnfinished(disk, newHome, this.#homeFile)
    const store = { ...this.#backup.header, ...this.#contents, anchor: this.#place.newAnchor }
    this.#outside = await reachNamed(this.#world, store.config, this.#options.keeper, store)
    this.#closing.push(async () => this.#outside?.close())
    const abandoned = (await this.#outside?.peek()) ?? local
    if (stands || abandoned !== undefined) {
      const backup = factsOf(this.#backup, this.#contents)
      if (!(await this.#options.confirm({ backup, anchor, abandoned }))) return undefined
    }
    return this.#restore(stands, abandoned)
  }

  async #refuseHome(): Promise<void> {
    const { disk } = this.#world
    const { home } = this.#place
    const found = await disk.stat(home)
    if (found === undefined) return
    if (found.kind !== 'directory') throw new StateError('EINVAL', `${home} is no directory`)
    if (await homeExists(disk, home))
      throw new StateError('EINVAL', `a home stands at ${home}: move it aside, or name another place`)
    if ((await disk.list(home)).length > 0)
      throw new StateError('EINVAL', `${home} is not an empty directory`)
  }

  /** Cut short between two renames: nothing of it was given up yet. @throws DiskError `locked`: it is still at work */
  async #putBack(): Promise<void> {
    const { disk } = this.#world
    const { anchor, retired, base } = this.#place
    const lockPath = join(retired, anchorNames.lock)
    const lock = (await disk.stat(lockPath)) === undefined ? undefined : await disk.lock(lockPath)
    try {
      await disk.rename(retired, anchor)
      await disk.syncDirectory(base)
    } finally {
      await lock?.release()
    }
  }

  /**
   * Where the anchor lay there may be one still, under its name or one of those that a restore gives it: then the old
   * home would open beside the new one, now or when that restore is carried on.
   */
  async #refuseElsewhere(): Promise<void> {
    const { disk } = this.#world
    const { anchor } = this.#place
    const before = this.#contents.anchor
    if (before === anchor) return
    for (const name of ['', '.retired', '.restoring']) {
      const stood = await disk.stat(`${before}${name}`)
      if (stood === undefined) continue
      const stands = await disk.stat(`${anchor}${name}`)
      if (stands !== undefined && stands.inode === stood.inode && stands.device === stood.device) continue
      throw new StateError(
        'EINVAL',
        name === ''
          ? `an anchor of this store stands at ${before}: with another one elsewhere, two homes of it could open`
          : `a restore was cut short, or is at work, that left ${before}${name}: complete that one first, in ${parentOf(before)}, so that not two homes open`,
      )
    }
  }

  /** Takes the lock of the anchor that stands, and answers its mark; it is kept until all is done. */
  async #holdStanding(): Promise<Mark | undefined> {
    const { disk } = this.#world
    const { anchor: path } = this.#place
    try {
      const anchor = await openAnchor(disk, path)
      this.#closing.push(() => anchor.close())
      const mark = await readMark(disk, path, anchor.storeKeys, this.#backup.storeId)
      return mark.number === 0 ? undefined : mark
    } catch (error) {
      if (!(error instanceof MarkError)) throw error
      const advice = 'if it is lost and nothing uses it, move it aside and restore again'
      throw new StateError('EINTEGRITY', `the anchor at ${path}: ${error.message}; ${advice}`, {
        cause: error,
      })
    }
  }

  /** The anchor that stands may be that of a restore that was cut short. */
  async #carryOn(): Promise<Restored | undefined> {
    const { disk, entropy } = this.#world
    const { home, newHome, retired, base, anchor } = this.#place
    if ((await disk.stat(retired)) !== undefined) {
      await destroyAnchor(disk, entropy, retired)
      await disk.syncDirectory(base)
    }
    const adopted = this.#backup.mark
    const amendment = await amendmentOf(this.#world, newHome, { anchor, adopted })
    if (amendment === undefined) return undefined
    await finishHome(disk, newHome, home)
    return { backup: factsOf(this.#backup, this.#contents), home, anchor, amendment, carriedOn: true }
  }

  async #restore(stands: boolean, abandoned: Mark | undefined): Promise<Restored> {
    const { disk } = this.#world
    const { home, newHome, anchor, newAnchor } = this.#place
    const claimed = await this.#claim(stands)
    let amendment: Amendment
    try {
      // While it was being claimed another one may have come to its end: what that made is not given up unasked.
      await this.#refuseHome()
      if (((await disk.stat(anchor)) !== undefined) !== stands)
        throw new StateError('ELOCKED', `another restore of this store has just put its anchor at ${anchor}`)
      amendment = await this.#make(abandoned, claimed)
      await this.#refuseElsewhere()
    } catch (error) {
      await clearUnfinishedHome(disk, newHome, this.#homeFile).catch(() => {}) // what went wrong first counts
      await removeAll(disk, newAnchor).catch(() => {})
      throw error
    }
    await this.#switch(stands)
    const number = this.#contents.amendments + 1
    const backup = factsOf(this.#backup, this.#contents)
    return { backup, home, anchor, amendment: { number, amendment }, carriedOn: false }
  }

  /**
   * A new anchor, whole, under the name that says that a restore is at work, its lock held until all is done. Only who
   * holds that touches what has such a name.
   */
  async #claim(stands: boolean): Promise<Anchor> {
    const { disk, entropy } = this.#world
    const { anchor: standing, newAnchor } = this.#place
    const { storeId, header } = this.#backup
    if ((await disk.stat(newAnchor)) !== undefined) await this.#clearAway(newAnchor) // of one that was cut short
    const unclaimed = `${newAnchor}.${hex(entropy.bytes(4))}`
    try {
      await createAnchor(disk, entropy, unclaimed, storeId, header.slots)
      const anchor = await openAnchor(disk, unclaimed)
      this.#closing.push(() => anchor.close())
      await disk.rename(unclaimed, newAnchor)
      return { ...anchor, path: newAnchor }
    } catch (error) {
      await removeAll(disk, unclaimed).catch(() => {})
      const isThere = async (path: string) => (await disk.stat(path)) !== undefined
      if (!(await isThere(newAnchor)) && (await isThere(standing)) === stands) throw error
      throw new StateError('ELOCKED', 'another restore of this store is at work', { cause: error })
    }
  }

  /** An anchor that was never used. @throws DiskError `locked`: somebody is at work with it; StateError EINVAL */
  async #clearAway(path: string): Promise<void> {
    const { disk } = this.#world
    const ours: readonly string[] = Object.values(anchorNames)
    const isOurs = (await disk.stat(path))?.kind === 'directory'
    if (!isOurs || (await disk.list(path)).some(name => !ours.includes(name)))
      throw new StateError(
        'EINVAL',
        `${path} is in the way: it is not what an unfinished restore leaves; move it aside`,
      )
    const lockPath = join(path, anchorNames.lock)
    const lock = (await disk.stat(lockPath)) === undefined ? undefined : await disk.lock(lockPath)
    await removeAll(disk, path).finally(() => lock?.release())
  }

  async #make(abandoned: Mark | undefined, anchor: Anchor): Promise<Amendment> {
    const { disk, clock } = this.#world
    const { home, newHome, newAnchor, base, anchor: anchorPath } = this.#place
    const { mark } = this.#backup
    const amendment: Amendment = {
      abandoned: abandoned ?? mark,
      adopted: mark,
      reason: abandoned === undefined ? 'keeper-lost' : 'recovery',
      by: this.#options.by,
      at: clock.now(),
    }
    for (const name of await disk.list(base)) {
      const path = join(base, name)
      // One that is held is somebody's who will not get the name; one that is going away is, too.
      if (path.startsWith(`${newAnchor}.`) && /\.[0-9a-f]{8}$/.test(name))
        await this.#clearAway(path).catch(() => {})
    }
    await clearUnfinishedHome(disk, newHome, this.#homeFile) // of one that was cut short
    const restored = await makeRestoredHome(this.#world, {
      backup: this.#backup,
      key: this.#chunksKey,
      contents: this.#contents,
      amendment,
      directory: newHome,
      anchor,
      anchorPath,
      progress: (bytes, of) => this.#options.progress?.('restoring', bytes, of),
    })
    await disk.syncDirectory(parentOf(home))
    await disk.syncDirectory(base)
    // A crash behind this leaves a keeper that only the new home fits; begun again, it is replaced again.
    await this.#outside?.enrol(restored, held => abandoned !== undefined && sameMark(held, abandoned))
    return amendment
  }

  async #switch(stands: boolean): Promise<void> {
    const { disk, entropy } = this.#world
    const { home, newHome, base, anchor, newAnchor, retired } = this.#place
    if (stands) {
      await disk.rename(anchor, retired)
      await disk.syncDirectory(base) // the next name must not be durable before this one: never two that open
    }
    await disk.rename(newAnchor, anchor)
    await disk.syncDirectory(base)
    if (stands) {
      await destroyAnchor(disk, entropy, retired)
      await disk.syncDirectory(base)
    }
    await finishHome(disk, newHome, home)
  }
}
