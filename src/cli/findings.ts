import { keeperKinds } from '../mark/mark.ts'
import { describeRestores } from '../mark/restores.ts'
import { realClock } from '../node/clock.ts'
import { realDisk } from '../node/disk.ts'
import { openEntropy } from '../node/entropy.ts'
import { refuseHooksIn } from '../node/hooks.ts'
import { configPath } from '../state/config.ts'
import { StateError } from '../state/error.ts'
import { locate, openHome, type World } from '../state/home.ts'
import { ownPrefix } from '../state/path.ts'
import { readHome } from '../state/reader.ts'
import { decodeScope, scopePrefix } from '../state/scopes.ts'
import { describeOwner } from '../state/takeover.ts'
import type { Given } from './command.ts'
import { explain, type Failure } from './failure.ts'
import { lostAnchor } from './hints.ts'
import {
  canOnlyBeRead,
  describeDevices,
  describeKeeper,
  ExposedError,
  exposureOf,
  homePlace,
  keeperElsewhere,
  noHome,
  type ReadableHome,
  realWorld,
  standsAt,
} from './home.ts'
import { count } from './output.ts'
import { describeLostThen, describeRefused, peersFound } from './peers-found.ts'

/** One line of what `pawl doctor` says. */
export type Finding = {
  readonly name: string
  readonly outcome: 'ok' | 'warn' | 'fail'
  readonly text: string
  readonly hint?: string | undefined
  readonly failure?: Failure
}

/** package.json, "engines". */
const nodeLowest = { major: 24, minor: 15 } as const
const slotSectorBytes = 4096
const slotsFullAt = 0.9
const clockSlackMs = 60_000

/** Every check in order; what an earlier failure makes impossible is left out. */
export async function* findings(given: Given): AsyncGenerator<Finding> {
  yield nodeFinding()
  yield attempt(
    'randomness',
    () => `${openEntropy().bytes(32).length === 32 ? 'the kernel and the process' : ''}`,
  )
  const place = await located(given)
  if ('outcome' in place) return yield place
  const { home, anchorBase, shared } = place
  yield ok('home', shared ?? home)
  if (shared !== undefined) yield await ownerFinding(shared)
  const { anchor } = place
  const stat = await realDisk.stat(anchor)
  if (stat === undefined) {
    yield await permissionFinding(home)
    return yield failed('anchor', new StateError('EINTEGRITY', `nothing at ${anchor}`), lostAnchor)
  }
  yield ok('anchor', anchor)
  for (const directory of [home, anchor]) yield await permissionFinding(directory)
  const { lock, opened, failure } = await open(home, anchorBase, shared !== undefined)
  if (lock !== undefined) yield lock
  if (opened === undefined) return yield failed('state', failure)
  try {
    if (failure !== undefined) yield failed('keeper', failure)
    const sameDevice = (await realDisk.stat(home))?.device === stat?.device
    yield* openedFindings(opened, anchor, sameDevice)
  } finally {
    await opened.close()
  }
}

async function* openedFindings(
  home: ReadableHome,
  anchor: string,
  sameDevice: boolean,
): AsyncGenerator<Finding> {
  const { keeper, profile } = home.config
  const { number } = home.mark
  yield ok('profile', profile)
  yield keeper === 'none'
    ? warning('mark', `none is kept; the journal has ${count(number)} groups`)
    : ok('mark', `${count(number)}, and the journal agrees`)
  yield (keeper === 'none' ? warning : ok)('keeper', describeKeeper(home.config))
  yield ok('put back', describeRestores(keeper))
  if (keeper !== 'none' && home.openedAs === 'maybe older')
    yield warning(
      'opened',
      'the power was cut, or it was killed while busy: what was acknowledged last may have been put back, and nothing here can tell',
    )
  const isRisk = sameDevice && !keeperKinds[keeper].homeAndAnchor
  yield (isRisk ? warning : ok)('devices', describeDevices(sameDevice, keeper))
  yield warning(
    'custody',
    'the raw store key file in the anchor: whoever has home and anchor can open everything',
  )
  yield await slotFinding(home, anchor)
  yield* peerFindings(home)
  yield await clockFinding(home)
  if (process.env.QSL_TEST_HOOKS !== undefined)
    yield attempt('hooks', () => {
      refuseHooksIn(profile, process.env)
      return 'QSL_TEST_HOOKS is set, and this profile allows it'
    })
}

function nodeFinding(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const isNew = major > nodeLowest.major || (major === nodeLowest.major && minor >= nodeLowest.minor)
  const text = process.version
  const hint = `install Node.js ${nodeLowest.major}.${nodeLowest.minor} or newer`
  return isNew ? ok('node', text) : { name: 'node', outcome: 'fail', text, hint }
}

type Located = {
  readonly home: string
  readonly anchorBase: string | undefined
  readonly anchor: string
  readonly shared: string | undefined
}

async function located(given: Given): Promise<Finding | Located> {
  const { home, base: anchorBase, shared } = await homePlace(given)
  try {
    if (!(await standsAt(home))) throw noHome(given, home)
    const { anchorPath: anchor } = await locate(realDisk, home, anchorBase)
    return { home, anchorBase, anchor, shared }
  } catch (error) {
    return failed('home', error)
  }
}

async function ownerFinding(shared: string): Promise<Finding> {
  try {
    return ok('owner', (await describeOwner(realWorld(), shared, keeperElsewhere())).text)
  } catch (error) {
    return failed('owner', error)
  }
}

async function permissionFinding(directory: string): Promise<Finding> {
  try {
    const exposure = await exposureOf(directory)
    if (exposure !== undefined) return failed('permissions', new ExposedError(exposure))
    return ok('permissions', `only you may read ${directory}`)
  } catch (error) {
    return failed('permissions', error)
  }
}

/** `failure` beside `opened`: the keeper is away, so the home is as its mark file says. */
type Opened = { readonly lock?: Finding; readonly opened?: ReadableHome; readonly failure?: unknown }

/** As any command would open it; while another process uses it, or where nothing may be written, as a reader. */
async function open(home: string, anchorBase: string | undefined, isShared: boolean): Promise<Opened> {
  const world = realWorld()
  if (isShared) return readOnly(world, home, anchorBase, undefined)
  try {
    const opened = await openHome(world, home, anchorBase, { keeper: keeperElsewhere() })
    return { lock: ok('lock', 'free'), opened }
  } catch (failure) {
    if (failure instanceof StateError && failure.code === 'EKEEPER')
      return { failure, lock: ok('lock', 'free'), opened: await readHome(world, home, anchorBase) }
    if (!canOnlyBeRead(failure)) return { failure }
    const lock =
      failure.code === 'ELOCKED'
        ? ok('lock', /held by .*$/.exec(failure.message)?.[0] ?? 'held')
        : warning('lock', `not taken, as what cannot be written to is only read: ${failure.message}`)
    return readOnly(world, home, anchorBase, lock)
  }
}

async function readOnly(
  world: World,
  home: string,
  anchorBase: string | undefined,
  lock: Finding | undefined,
): Promise<Opened> {
  const locked = lock && { lock }
  try {
    return { ...locked, opened: await readHome(world, home, anchorBase) }
  } catch (failure) {
    return { ...locked, failure }
  }
}

/** What was given up with peers is never passed over, and neither is a peer that waits. */
async function* peerFindings(home: ReadableHome): AsyncGenerator<Finding> {
  for (const peer of await peersFound(home)) {
    const { name, lost, waits } = peer
    const refused = describeRefused(peer)
    if (refused !== undefined)
      yield {
        ...warning('refused', `${name}: ${refused}`),
        hint: 'pawl recover, on this home, shows the ways on',
      }
    for (const range of lost) yield warning(range.arrived ? 'unknown' : 'lost', describeLostThen(name, range))
    if (waits !== undefined)
      yield {
        ...warning('amended', `${name} went on by amendment ${waits} and is refused until you allow it`),
        hint: `pawl recover, on this home, shows the command that allows it`,
      }
  }
}

async function slotFinding(home: ReadableHome, anchor: string): Promise<Finding> {
  const file = await realDisk.stat(`${anchor}/slots`)
  const slots = (file?.size ?? 0) / slotSectorBytes - 1
  let used = 0
  for (const path of home.list(scopePrefix))
    if (decodeScope((await home.get(path)).payload).state !== 'dead') used++
  const text = `${used} of ${slots} used; a peer takes two`
  return used > slots * slotsFullAt ? warning('slots', text) : ok('slots', text)
}

/** The clock decides nothing; but one that is behind what is already written makes records hard to read. */
async function clockFinding(home: ReadableHome): Promise<Finding> {
  const paths = [configPath, ...home.list(`${ownPrefix}peer/`), ...home.list(`${ownPrefix}mailbox/`)]
  let newest = 0
  for (const path of paths) newest = Math.max(newest, (await home.get(path)).envelope.at)
  const now = realClock.now()
  const time = new Date(now).toISOString()
  return now + clockSlackMs < newest
    ? warning('clock', `${time} is before the newest record, ${new Date(newest).toISOString()}`)
    : ok('clock', time)
}

function attempt(name: string, check: () => string): Finding {
  try {
    return ok(name, check())
  } catch (error) {
    return failed(name, error)
  }
}

function ok(name: string, text: string): Finding {
  return { name, outcome: 'ok', text }
}

function warning(name: string, text: string): Finding {
  return { name, outcome: 'warn', text }
}

function failed(name: string, error: unknown, hint?: string): Finding {
  const failure = explain(error)
  return { name, outcome: 'fail', text: failure.message, hint: hint ?? failure.hint, failure }
}
