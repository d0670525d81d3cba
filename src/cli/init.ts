import { dirname, isAbsolute, join } from 'node:path'
import { DiskError } from '../host/disk.ts'
import { keeperText } from '../keeper/outside.ts'
import { keeperKinds } from '../mark/mark.ts'
import { realDisk } from '../node/disk.ts'
import { refuseHooksIn } from '../node/hooks.ts'
import { realPath } from '../node/path.ts'
import { firstIdentity } from '../session/own-identity.ts'
import { identityText } from '../signature/identity.ts'
import { type Config, profiles } from '../state/config.ts'
import { createHome, type NewHome } from '../state/create.ts'
import { homeFileName } from '../state/home-file.ts'
import { beginShared, endUnmade, makeWhole } from '../state/terms.ts'
import { type Given, type Run, UsageError } from './command.ts'
import {
  describeDevices,
  describeKeeper,
  homeNamed,
  keeperNamed,
  named,
  pinnedKeeper,
  realWorld,
  standsAt,
  userDirectory,
} from './home.ts'
import { answer, answerJson, say } from './output.ts'

/** Makes a home and its anchor, whole or not at all. */
export const init: Run = async given => {
  const wanted = configOf(given)
  refuseHooksIn(wanted.profile, process.env)
  const place = await homeNamed(given)
  if (given.has('--shared')) await refuseToShare(given, wanted, place)
  else await refuseToMake(place, await newAnchorBase(given))
  const config = { ...wanted, ...(await pinnedKeeper(wanted)) }
  const isShared = given.has('--shared')
  const { identity, records } = firstIdentity()
  const make = (at: Pick<NewHome, 'home' | 'anchorBase'>) =>
    createHome(realWorld(), { ...at, config, first: records })
  const { anchor } = isShared
    ? await makeShared(place, make)
    : await makeApart({ home: place, anchorBase: await newAnchorBase(given) }, make)

  const sameDevice = await onOneDevice(place, anchor)
  const text = identityText(identity.id)
  if (given.json)
    await answerJson({
      home: place,
      anchor,
      sameDevice,
      keeper: keeperText(config),
      profile: config.profile,
      identity: text,
    })
  else {
    await answer(`home      ${place}\nanchor    ${anchor}\nidentity  ${text}`)
    say(`keeper ${describeKeeper(config)}`)
    if (isShared) return shareTold()
    say(describeDevices(sameDevice, config.keeper))
    say(
      'never copy the anchor; without it the home does not open: pawl state backup writes what brings it back',
    )
  }
  return 'done'
}

function shareTold(): 'done' {
  say('whoever has this directory has everything in it, the anchor included: let the nodes alone reach it')
  say('on each of them: pawl receive --standby, or pawl stated --standby; docs/guides/two-nodes.md')
  return 'done'
}

/** @throws UsageError */
async function refuseToShare(given: Given, { keeper }: Config, place: string): Promise<void> {
  if (keeper !== 'etcd' && keeper !== 'postgres')
    throw new UsageError(
      `keeper ${keeper} does not say who owns a shared home`,
      'name one that does with --keeper etcd:.. or postgres:..',
    )
  if (given.has('--anchor'))
    throw new UsageError('the anchor of a shared home lies in it', 'leave --anchor out')
  if (await standsAt(place)) throw homeStands(place)
  const found = await realDisk.stat(place)
  const names = found?.kind === 'directory' ? await realDisk.list(place) : []
  // What a crash left of making one is cleared away.
  if ((found !== undefined && found.kind !== 'directory') || names.some(name => name !== 'terms'))
    throw notEmptyDirectory(place)
  await refuseInside(place)
}

type Make = (at: Pick<NewHome, 'home' | 'anchorBase'>) => ReturnType<typeof createHome>

async function makeApart(at: Pick<NewHome, 'home' | 'anchorBase'>, make: Make): ReturnType<Make> {
  await makeDirectories(dirname(at.home))
  await makeDirectories(at.anchorBase)
  return make(at)
}

/** In the directory of term 0. A keeper that does not answer, say, leaves nothing: whatever is tried next finds the place free. */
async function makeShared(place: string, make: Make): ReturnType<Make> {
  const made = await makeDirectories(place)
  const first = await beginShared(realDisk, place)
  try {
    const anchor = await make(first)
    await makeWhole(realDisk, first)
    return anchor
  } catch (error) {
    await endUnmade(realDisk, place).catch(() => {}) // what went wrong first counts
    for (const directory of made.reverse()) await realDisk.removeDirectory(directory).catch(() => {})
    throw error
  }
}

function configOf(given: Given): Config {
  const profileName = given.text('--profile') ?? 'prod'
  const profile = profiles.find(known => known === profileName)
  if (profile === undefined)
    throw new UsageError(`no profile ${JSON.stringify(profileName)}`, `one of ${profiles.join(', ')}`)
  const name = keeperNamed('--keeper', given.text('--keeper') ?? 'file')
  if (profile === 'high_security' && !keeperKinds[name.keeper].homeAndAnchor)
    throw new UsageError(
      `profile high_security refuses keeper ${name.keeper} alone: home and anchor put back together would go unnoticed`,
      'name a keeper outside this machine with --keeper etcd:.. or postgres:..',
    )
  return { ...name, profile }
}

/**
 * The first of: `--anchor`, PAWL_ANCHOR, STATE_DIRECTORY, XDG_STATE_HOME/pawl, and the usual place. A relative path in
 * XDG_STATE_HOME is to be ignored, says its specification.
 */
function newAnchorBase(given: Given): Promise<string> {
  const { PAWL_ANCHOR, STATE_DIRECTORY, XDG_STATE_HOME } = process.env
  const ofService = STATE_DIRECTORY?.split(':')[0]
  const ofUser = XDG_STATE_HOME && isAbsolute(XDG_STATE_HOME) ? join(XDG_STATE_HOME, 'pawl') : undefined
  return realPath(named(given, '--anchor') ?? (PAWL_ANCHOR || ofService || (ofUser ?? usualAnchorBase())))
}

function usualAnchorBase(): string {
  if (process.geteuid?.() === 0) return '/var/lib/pawl'
  return join(userDirectory('--anchor or PAWL_ANCHOR'), '.local/state/pawl')
}

/** Where a home and an anchor may not be made. @throws UsageError */
export async function refuseToMake(home: string, anchorBase: string): Promise<void> {
  if (await standsAt(home)) throw homeStands(home)
  const found = await realDisk.stat(home)
  if (found !== undefined && (found.kind !== 'directory' || (await realDisk.list(home)).length > 0))
    throw notEmptyDirectory(home)
  const apart = { home: 'name a directory apart with --home', anchor: 'name a directory apart with --anchor' }
  const above = isWithin(anchorBase, home)
    ? ({ kind: 'home', path: home } as const)
    : await ownAbove(anchorBase)
  if (above?.kind === 'home')
    throw new UsageError(
      `the anchor would lie inside the home ${above.path}, so every copy of that would take it along`,
      apart.anchor,
    )
  if (above !== undefined)
    throw new UsageError(`the anchor would lie inside another, ${above.path}`, apart.anchor)
  await refuseInside(home)
}

function homeStands(home: string): UsageError {
  return new UsageError(
    `a home stands at ${home} already`,
    'pawl id prints its identity; --home names another',
  )
}

function notEmptyDirectory(home: string): UsageError {
  return new UsageError(`${home} is not an empty directory`, 'name another with --home')
}

/** @throws UsageError */
async function refuseInside(home: string): Promise<void> {
  const apart = { home: 'name a directory apart with --home' }
  const around = await ownAbove(home)
  if (around?.kind === 'home')
    throw new UsageError(`the home would lie inside the home ${around.path}`, apart.home)
  if (around !== undefined)
    throw new UsageError(`the home would lie inside an anchor, ${around.path}`, apart.home)
}

/** The home or anchor that a path lies in, if it does. */
async function ownAbove(
  path: string,
): Promise<{ readonly kind: 'home' | 'anchor'; readonly path: string } | undefined> {
  const has = async (name: string) => (await realDisk.stat(join(path, name)))?.kind === 'file'
  if ((await realDisk.stat(path))?.kind === 'directory') {
    if (await has(homeFileName)) return { kind: 'home', path }
    if ((await has('mark')) && (await has('slots'))) return { kind: 'anchor', path }
  }
  const parent = dirname(path)
  return parent === path ? undefined : ownAbove(parent)
}

function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`)
}

/** A directory and those above it: for the owner alone; what exists is left as it is. Answers those it made, outermost first. */
export async function makeDirectories(path: string): Promise<string[]> {
  const found = await realDisk.stat(path)
  if (found?.kind === 'directory') return []
  if (found !== undefined) throw new UsageError(`${path} is not a directory`, 'name another place')
  const parent = dirname(path)
  const made = await makeDirectories(parent)
  try {
    await realDisk.makeDirectory(path)
  } catch (error) {
    if (error instanceof DiskError && error.code === 'exists') return made // another init made it just now
    if (error instanceof DiskError && error.code === 'missing')
      throw new UsageError(`no directory can be made at ${path}: ${error.message}`, 'name another place')
    throw error
  }
  await realDisk.syncDirectory(parent)
  return [...made, path]
}

async function onOneDevice(home: string, anchor: string): Promise<boolean> {
  return (await realDisk.stat(home))?.device === (await realDisk.stat(anchor))?.device
}
