import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { DiskError, type File, type Stat } from '../host/disk.ts'
import { isOutside, type KeeperName, keeperText, parseKeeperName, pinnedPlaceOf } from '../keeper/outside.ts'
import { PlaceError } from '../keeper/place-error.ts'
import { type KeeperKind, keeperKinds } from '../mark/mark.ts'
import { realClock } from '../node/clock.ts'
import { realDisk } from '../node/disk.ts'
import { openEntropy } from '../node/entropy.ts'
import { openNamed } from '../node/file.ts'
import { refuseHooksIn } from '../node/hooks.ts'
import { realName, realPath } from '../node/path.ts'
import { type Exposure, findExposure, quoted } from '../node/permissions.ts'
import { listPeers, type Peer } from '../session/peers.ts'
import { StateError, stateError } from '../state/error.ts'
import { homeExists, locate, openHome, type World } from '../state/home.ts'
import { type Reader, readHome } from '../state/reader.ts'
import type { Store } from '../state/store.ts'
import type { Owned } from '../state/takeover.ts'
import { isShared, type Term } from '../state/terms.ts'
import { type Given, NoHomeError, NoPeerError, UsageError } from './command.ts'
import { fromBackup } from './hints.ts'
import { own, refuseShared, refuseStandingBy, type SharedOptions, sharedAt } from './shared.ts'

/** What a command may do with a home that another process may be using. */
export type ReadableHome = Pick<Reader, 'mark' | 'config' | 'get' | 'getSecret' | 'list' | 'close'> & {
  readonly openedAs?: Store['openedAs']
}

export function realWorld(): World {
  return { disk: realDisk, clock: realClock, entropy: openEntropy() }
}

export function named(given: Given, option: string): string | undefined {
  return notEmpty(option, given.text(option))
}

/** An empty name would mean the current directory: what a script's unset variable leaves is never meant. */
export function notEmpty<T extends string | undefined>(what: string, text: T): T {
  if (text === '')
    throw new UsageError(`${what} is empty`, 'name something, or see --help behind the command')
  return text
}

/** `--home`, `PAWL_HOME`, `~/.pawl`. */
export function homeNamed(given: Given): Promise<string> {
  return realPath(
    named(given, '--home') ?? (process.env.PAWL_HOME || join(userDirectory('--home or PAWL_HOME'), '.pawl')),
  )
}

/** Many a container runs as a user whom nothing knows. `instead` names the place without it. */
export function userDirectory(instead: string): string {
  try {
    return homedir()
  } catch {
    throw new UsageError('this user has no directory of its own', `name the place with ${instead}`)
  }
}

/** Where the anchor of a home that exists is looked for instead of where it was made. */
export async function anchorBaseNamed(given: Given): Promise<string | undefined> {
  const base = named(given, '--anchor') ?? (process.env.PAWL_ANCHOR || undefined)
  return base === undefined ? undefined : realPath(base)
}

/**
 * The home, open for writing: everything that can be wrong with it is found here, before any network.
 * @throws NoHomeError, ExposedError, HookError, StateError (ELOCKED while another process uses it)
 */
export async function openOwnHome(
  given: Given,
  world: World = realWorld(),
  options: SharedOptions = {},
): Promise<Store> {
  return (await openOwned(given, world, options)).store
}

/** As {@link openOwnHome}, with the term of a shared home. */
export async function openOwned(
  given: Given,
  world: World,
  options: SharedOptions,
): Promise<Pick<Owned, 'store' | 'why'> & { readonly term: Term | undefined }> {
  const { home, base, shared } = await readableHome(given)
  if (shared === undefined) refuseStandingBy(given, home)
  const { store, term, why } =
    shared === undefined
      ? {
          store: await openHome(world, home, base, { keeper: keeperElsewhere(), ...options }),
          term: undefined,
          why: async (error: unknown) => error,
        }
      : await own(given, world, shared, { keeper: keeperElsewhere(), ...options })
  try {
    refuseHooksIn(store.config.profile, process.env)
  } catch (error) {
    await store.close()
    throw error
  }
  return { store, term, why }
}

/**
 * The home to read: while another process uses it, or where nothing may be written, as it stood at its mark.
 * @throws as {@link openOwnHome}
 */
export async function openHomeToRead(given: Given): Promise<ReadableHome> {
  // Whoever only reads a shared home takes it from nobody.
  if ((await sharedAt(await homeNamed(given))) !== undefined) return readOnly(given)
  try {
    return await openOwnHome(given)
  } catch (error) {
    if (!canOnlyBeRead(error)) throw error
    return readOnly(given)
  }
}

/** A shared home that is taken over meanwhile is looked for again, where it is then. */
async function readOnly(given: Given): Promise<ReadableHome> {
  for (;;) {
    const { home, base } = await readableHome(given)
    try {
      const reader = await readHome(realWorld(), home, base)
      refuseHooksIn(reader.config.profile, process.env)
      return reader
    } catch (error) {
      if ((await homePlace(given)).home === home) throw error
    }
  }
}

/** Whether a home that does not open for writing may still be read: held by another process, or read-only. */
export function canOnlyBeRead(error: unknown): error is StateError {
  return error instanceof StateError && (error.code === 'ELOCKED' || error.code === 'EPERM')
}

/** A new home is a new identity: that there may be one to find, or to bring back, is said first. */
export function noHome(given: Given, home: string): NoHomeError {
  const named = given.text('--home')
  const elsewhere =
    named === undefined
      ? 'name it with --home or PAWL_HOME if it is elsewhere'
      : 'see whether it is elsewhere'
  const init = named === undefined ? 'pawl init' : `pawl init --home ${quoted(named)}`
  return new NoHomeError(home, `${elsewhere}; if it is lost, ${fromBackup}; make a new one with: ${init}`)
}

/** @throws NoPeerError */
export async function peerNamed(records: Parameters<typeof listPeers>[0], name: string): Promise<Peer> {
  for (const peer of await listPeers(records)) if (peer.name === name) return peer
  throw new NoPeerError(name)
}

/** The home and the base of its anchor as named: they stand, and nobody else gets at them. @throws UsageError: it is shared */
export async function checkedHome(given: Given): Promise<HomePlace> {
  await refuseShared(await homeNamed(given))
  return readableHome(given)
}

/** Of a shared home, `home` is that of its newest term, and only to be read. */
export type HomePlace = { readonly home: string; readonly base: string | undefined; readonly shared?: string }

/** As named, or within the shared home that is named. */
export async function homePlace(given: Given): Promise<HomePlace> {
  const home = await homeNamed(given)
  const term = await sharedAt(home)
  if (term !== undefined) return { home: term.home, base: term.anchorBase, shared: home }
  return { home, base: await anchorBaseNamed(given) }
}

/** As {@link checkedHome}, also of a shared home. */
export async function readableHome(given: Given): Promise<HomePlace> {
  const place = await homePlace(given)
  const { home, base } = place
  if (!(await standsAt(home))) throw noHome(given, home)
  const { anchorPath } = await locate(realDisk, home, base)
  for (const directory of [home, anchorPath]) {
    const exposure = await exposureOf(directory)
    if (exposure !== undefined) throw new ExposedError(exposure)
  }
  return place
}

/** Whether there is a home. @throws StateError EINTEGRITY for a part of one */
export async function standsAt(home: string): Promise<boolean> {
  if ((await realDisk.stat(home))?.kind !== 'directory') return false
  return (await sharedAt(home)) !== undefined || (await homeExists(realDisk, home))
}

/**
 * A file of the home or its anchor is no place for anything else, nor to be read as input: whoever closes the lock file
 * frees the lock.
 */
export async function refuseOwnFiles(given: Given, path: string): Promise<void> {
  for (const own of await ownDirectories(given))
    if (path === own || path.startsWith(`${own}/`))
      throw new UsageError(`${path} lies in ${own}, which is Pawl's own`, 'name a file elsewhere')
  const stat = await realDisk.stat(path)
  if (stat !== undefined) await refuseOwnFile(given, path, stat)
}

/** Opens, to read, what was named, unless it is a file of the home or its anchor, by whatever name. */
export async function openForeign(given: Given, path: string): Promise<File> {
  await refuseOwnFiles(given, path)
  return openNamed(path, stat => refuseOwnFile(given, path, stat))
}

async function refuseOwnFile(given: Given, path: string, { device, inode }: Stat): Promise<void> {
  for (const directory of await ownDirectories(given))
    for await (const own of filesUnder(directory))
      if (own.device === device && own.inode === inode)
        throw new UsageError(`${path} is a file of ${directory} by another name`, 'name another file')
}

async function ownDirectories(given: Given): Promise<readonly string[]> {
  const home = await homeNamed(given)
  if (!(await standsAt(home))) return []
  if (await isShared(realDisk, home)) return [home]
  const { anchorPath } = await locate(realDisk, home, await anchorBaseNamed(given))
  return [home, await realPath(anchorPath)]
}

async function* filesUnder(directory: string): AsyncGenerator<Stat> {
  for (const name of await realDisk.list(directory)) {
    const path = join(directory, name)
    const stat = await realDisk.stat(path) // it may be gone by now: a holder gives up segments
    if (stat?.kind === 'directory') yield* filesUnder(path)
    else if (stat !== undefined) yield stat
  }
}

/** Where a file is to be written: the real path of its directory, which must exist, and its own name. */
export async function outputPath(given: Given, name: string): Promise<string> {
  const path = await realName(name)
  await refuseOwnFiles(given, path)
  const directory = dirname(path)
  if ((await realDisk.stat(directory))?.kind !== 'directory')
    throw new UsageError(`no directory ${directory}`, 'make it first')
  return path
}

/** As {@link findExposure}; a directory that is gone is for the opening to judge. */
export async function exposureOf(directory: string): Promise<Exposure | undefined> {
  try {
    return await findExposure(directory)
  } catch (error) {
    if (error instanceof DiskError && error.code === 'missing') return undefined
    throw error
  }
}

/** Others can get at the home or the anchor (S2): nothing is opened. */
export class ExposedError extends Error {
  override readonly name = 'ExposedError'
  readonly code = 'state/EPERM'
  readonly remedy: string

  constructor({ path, problem, remedy }: Exposure) {
    super(`${path}: ${problem}`)
    this.remedy = remedy
  }
}

/** What a keeper would and would not catch (S4). */
export function describeKeeper(name: KeeperName): string {
  const { keeper } = name
  if (keeper === 'none') return 'none: an older home put back is not noticed here, only by the next peer'
  if (!keeperKinds[keeper].homeAndAnchor)
    return `${keeper}: refuses an older home put back; home and anchor put back together only the next peer notices`
  const busy = keeper === 'tpm' ? ' (of a busy store, to before the last 20 s)' : ''
  const machine = keeperKinds[keeper].machine ? ', a clone or a snapshot of the whole machine' : ''
  return `${keeperText(name)}: refuses an older home put back, home and anchor together${busy}${machine}, and the keeper itself put back; all of them put back to one moment only the next peer notices`
}

/** What the anchor's place adds to that. */
export function describeDevices(sameDevice: boolean, keeper: KeeperKind): string {
  if (sameDevice && keeperKinds[keeper].homeAndAnchor)
    return 'home and anchor are on one device: a snapshot of it put back is refused by the keeper'
  return sameDevice
    ? 'home and anchor are on one device: a snapshot of it brings back both together'
    : 'home and anchor are on two devices: a snapshot of either put back alone is refused'
}

/** @throws UsageError */
export function keeperNamed(option: string, text: string): KeeperName {
  try {
    return parseKeeperName(text)
  } catch (error) {
    if (!(error instanceof PlaceError)) throw error
    throw new UsageError(`${option}: ${error.message}`, 'pawl init --help shows how a keeper is named')
  }
}

/** Whoever keeps marks there is asked who it is, once, where its name does not say so. @throws StateError EKEEPER */
export async function pinnedKeeper(name: KeeperName): Promise<KeeperName> {
  const { keeper, place } = name
  if (place === undefined || !isOutside(keeper)) return name
  try {
    return { keeper, place: await pinnedPlaceOf(keeper, place) }
  } catch (error) {
    throw stateError(error)
  }
}

/** Where the keeper of a home that exists is now, instead of where it was made with it. */
export function keeperElsewhere(): KeeperName | undefined {
  const { PAWL_KEEPER } = process.env
  return PAWL_KEEPER ? keeperNamed('PAWL_KEEPER', PAWL_KEEPER) : undefined
}
