import { hostname } from 'node:os'
import { join } from 'node:path'
import { realDisk } from '../node/disk.ts'
import type { StateError } from '../state/error.ts'
import type { OpenOptions, World } from '../state/home.ts'
import { signIn } from '../state/pulse.ts'
import { type Owned, silenceMsMin, takeOver } from '../state/takeover.ts'
import { isShared, newestWhole, type Term } from '../state/terms.ts'
import { type Given, UsageError } from './command.ts'
import { logOf, notice } from './log.ts'

export type SharedOptions = OpenOptions & {
  /** Hears once that another node has taken over. */
  readonly lost?: (error: StateError) => void
  /** Ends waiting for the owner to be gone. */
  readonly signal?: AbortSignal
}

/** The shared home at that place, if one is there: docs/guides/two-nodes.md. */
export async function sharedAt(home: string): Promise<Term | undefined> {
  return (await isShared(realDisk, home)) ? newestWhole(realDisk, home) : undefined
}

/** Opens a shared home as its owner: at once if the owner before has ended, or when it is silent; waits with `--standby`. */
export async function own(given: Given, world: World, home: string, options: SharedOptions): Promise<Owned> {
  const standby = given.has('--standby')
  const log = logOf(given)
  const silenceMs = silenceNamed(given)
  if (standby) {
    const { highest } = await signIn(world.disk, home)
    const words = `standing by: ${home} is in term ${highest}`
    notice(given, log, words, { event: 'shared/standing-by', term: highest })
  }
  const owned = await takeOver(world, home, { ...options, node: hostname(), standby, ...silenceMs })
  if (standby) {
    const { number } = owned.term
    notice(given, log, `owner of ${home}, in term ${number}`, { event: 'shared/owner', term: number })
  }
  return owned
}

/** Nobody takes over a home that is not shared. @throws UsageError */
export function refuseStandingBy(given: Given, home: string): void {
  if (given.has('--standby') || given.text('--silence') !== undefined)
    throw new UsageError(
      `${home} is no shared home, so nobody stands by for its owner`,
      'leave --standby and --silence out, or make a shared home: docs/guides/two-nodes.md',
    )
}

/** `--silence SECONDS`: how long an owner may give no sign of life. */
function silenceNamed(given: Given): { readonly silenceMs?: number } {
  const text = given.text('--silence')
  if (text === undefined) return {}
  const silenceMs = Number(text) * 1000
  if (!/^[0-9]{1,4}$/.test(text) || silenceMs < silenceMsMin)
    throw new UsageError(
      `--silence takes whole seconds, 1 or more, not ${JSON.stringify(text)}`,
      'for example --silence 5, which is what it is without it',
    )
  return { silenceMs }
}

/** Where a file lies that messages are received into: in the directory of the term, so that every owner has its own. */
export function outIn(term: Term, name: string): string {
  return join(term.out, name)
}

/** @throws UsageError */
export function checkOutName(name: string): string {
  if (/^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/.test(name)) return name
  throw new UsageError(
    `--out takes a name in a shared home, not ${JSON.stringify(name)}`,
    'a name of letters, digits, . _ and -: the file goes with the home from node to node; docs/guides/two-nodes.md',
  )
}

/** What one at a time may do, and a shared home does not know yet. @throws UsageError */
export async function refuseShared(home: string): Promise<void> {
  if (!(await isShared(realDisk, home))) return
  throw new UsageError(
    `${home} is a shared home, which this command does not know`,
    'docs/guides/two-nodes.md says what works on one',
  )
}
