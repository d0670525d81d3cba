import type { Disk, File, OpenOptions } from '../../host/disk.ts'
import { join } from '../../keeper/anchor.ts'
import type { ScopeTag } from '../block.ts'
import { StateError, stateError } from '../error.ts'
import { journalName, type World } from '../home.ts'
import { type Look, look, sighting } from '../reader.ts'
import { defaultScope, type Scope } from '../scopes.ts'

/** A home as it stood at one mark, which nothing that a writer does from now on can disturb. */
export type Snapshot = Look & {
  /** The recoverable scopes, `default` first. */
  readonly recoverable: readonly Scope[]
}

/** How often a writer may take something away before it is all held open. */
const tries = 20

/**
 * Opens every segment and derives every recoverable scope's key before it answers: what a writer compacts, shreds or
 * overwrites later stays readable here. Takes no lock, and works in the process that holds the home: the lock file is
 * not opened.
 * @throws StateError as `readHome`
 */
export async function takeSnapshot(world: World, home: string, anchorBase?: string): Promise<Snapshot> {
  for (let left = tries; ; left--) {
    const before = await sighting(world.disk, home, anchorBase)
    const segments = new HeldSegments(world.disk, join(home, journalName))
    try {
      return await lookHolding(world, home, anchorBase, segments)
    } catch (error) {
      await segments.release()
      const still = before === (await sighting(world.disk, home, anchorBase))
      if (still || left === 1) throw stateError(error)
    }
  }
}

async function lookHolding(
  world: World,
  home: string,
  anchorBase: string | undefined,
  segments: HeldSegments,
): Promise<Snapshot> {
  const seen = await look({ ...world, disk: segments.disk }, home, anchorBase)
  try {
    const { scopes, records } = seen
    const isRecoverable = (tag: ScopeTag) => scopes.of(tag)?.recoverable === true
    records.keep(isRecoverable)
    // Of two of one name, while keys are rotated, the one that is put into.
    const live = scopes.all().filter(scope => scope.recoverable && scope.state === 'live')
    const isDefault = ({ name }: Scope) => name === defaultScope
    const recoverable = [...live.filter(isDefault), ...live.filter(scope => !isDefault(scope))]
    for (const tag of records.scopes()) await scopes.openingKey(tag)
    // A slot that was overwritten before its key was derived gave another key.
    const [misfit] = (await scopes.misfits()).filter(scope => scope.recoverable)
    if (misfit !== undefined)
      throw new StateError('EINTEGRITY', `key slot ${misfit.slot} is not the one the journal names`)
    const close = async () => {
      await seen.close()
      await segments.release()
    }
    return { ...seen, recoverable, close }
  } catch (error) {
    await seen.close().catch(() => {})
    throw error
  }
}

/** A disk on which the segments are those of their first listing, whatever becomes of their names. */
class HeldSegments {
  readonly disk: Disk
  readonly #under: Disk
  readonly #directory: string
  readonly #files = new Map<string, File>()
  #names: readonly string[] | undefined

  constructor(under: Disk, directory: string) {
    this.#under = under
    this.#directory = directory
    this.disk = {
      open: (path, options) => this.#open(path, options),
      list: path => (path === directory ? this.#list() : under.list(path)),
      makeDirectory: path => under.makeDirectory(path),
      rename: (from, to) => under.rename(from, to),
      unlink: path => under.unlink(path),
      removeDirectory: path => under.removeDirectory(path),
      stat: path => under.stat(path),
      syncDirectory: path => under.syncDirectory(path),
      lock: path => under.lock(path),
    }
  }

  async release(): Promise<void> {
    const files = [...this.#files.values()]
    this.#files.clear()
    for (const file of files) await file.close()
  }

  async #list(): Promise<readonly string[]> {
    if (this.#names !== undefined) return this.#names
    const names = await this.#under.list(this.#directory)
    for (const name of names) {
      if (!name.endsWith('.seg')) continue
      const path = join(this.#directory, name)
      this.#files.set(path, await this.#under.open(path, { access: 'read' }))
    }
    this.#names = names
    return names
  }

  /** What is held is closed here alone. */
  async #open(path: string, options: OpenOptions): Promise<File> {
    const held = this.#files.get(path)
    if (held === undefined) return this.#under.open(path, options)
    const refuse = () => Promise.reject(new TypeError('a snapshot is read'))
    return {
      read: (into, position) => held.read(into, position),
      stat: () => held.stat(),
      write: refuse,
      truncate: refuse,
      sync: refuse,
      close: async () => {},
    }
  }
}
