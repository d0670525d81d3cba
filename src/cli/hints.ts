import type { Rollback } from '../mark/mark.ts'
import { quoted } from '../node/permissions.ts'
import type { SessionError } from '../session/error.ts'
import type { StateError } from '../state/error.ts'

/** The way back where no whole copy is left. */
export const fromBackup = 'pawl state restore brings it back from a backup'

/** Where the anchor is not where it was made. */
export const lostAnchor = `name where it was moved with --anchor; if it is lost, this home opens no more, and only ${fromBackup}`

const otherName = 'name another one'
const recordPaths = 'for example /state/orders/last, or pawl state list for those there are'
const recoveryKeys =
  'pawl state recovery-key FILE makes a pair: backups are sealed to FILE.pub (--to) and restored with FILE (--key)'

/** What to do where a message knows more than its code. The first that fits is said. */
const hints: readonly (readonly [code: StateError['code'], message: RegExp, hint: string])[] = [
  ['EINTEGRITY', /^no whole anchor/, lostAnchor],
  [
    'ELOCKED',
    /(is owned by|has an owner)/,
    'pawl doctor says who owns it, and whether that one is there; with --standby, pawl receive and pawl stated wait and take over',
  ],
  [
    'EINTEGRITY',
    /^the backup is damaged/,
    'nothing was made; use another backup, or a whole copy of this one',
  ],
  [
    'EINTEGRITY',
    /which the anchor does not have/,
    `if this home was restored, or its keys rotated, this copy was given up and never opens again: use the home that came of that; if not, put the newest whole copy back; without one, ${fromBackup}`,
  ],
  [
    'ENOSPC',
    /key slots/,
    'make another home for more peers; docs/guides/home-and-anchor.md, "How many peers"',
  ],
  ['ENOENT', /^no policy/, 'adopt one with: pawl state policy adopt FILE; docs/guides/policy.md'],
  ['ENOENT', /^no scope/, 'pawl state inspect lists the scopes there are'],
  [
    'EROLLBACK',
    /^(policy|parameters) version/,
    'write what it is to say into a file with a greater version, and adopt that',
  ],
  [
    'EINVAL',
    /^an anchor of this store stands/,
    'to practise, use --check, or another machine; to go on from the backup, leave --anchor out, so that the new anchor replaces that one',
  ],
  [
    'EINVAL',
    /^a restore was cut short/,
    'run it again with the --home and --anchor that it had; then this one',
  ],
  ['EINVAL', /is in the way/, 'see what it is; once it is moved aside, the same command again'],
  ['EINVAL', /^no home can be made/, 'name another place with --home'],
  ['EINVAL', /^no anchor can be made/, 'name another place with --anchor'],
  ['EINVAL', /recovery (public )?key(?! is never)/, recoveryKeys],
  ['EINVAL', /^(paths begin with|path is over|not a path)/, recordPaths],
  ['EINVAL', /is pinned to another identity/, 'pawl peer list shows which; pawl peer remove NAME forgets it'],
  ['EINVAL', /is already known as/, 'use that name, or forget it first: pawl peer remove NAME'],
  ['EINVAL', /identity of this home itself/, 'take the line that pawl id prints at the other end'],
  ['EINVAL', /^a peer's name/, 'the name is yours to choose: any word will do'],
  [
    'EINVAL',
    /^parameters/,
    'correct the file and try again; pawl state parameters show lists every key, what is in force, and its range',
  ],
  ['EINVAL', /^policy|policy file/, 'correct the file and try again; docs/guides/policy.md shows one'],
  [
    'EINVAL',
    /has changed in the part/,
    'a file that merely grew goes on where it stopped; a new one may have any name',
  ],
  [
    'EINVAL',
    /: line \d+ is over/,
    'a message is at most 16 MiB; put line ends into the file, or send it in parts',
  ],
  ['EINVAL', /only a file can be resumed/, 'write it to a file first'],
  ['EINVAL', /\.new exists/, 'see that no other backup is at work, then take that file away'],
  ['EINVAL', /exists|holds the messages of|not an empty|no directory$|stands at/, otherName],
]

const otherWays = 'nothing was changed or sent; pawl recover shows the other ways on'
const rollbackHints: Readonly<Record<Rollback, string>> = {
  'the store went back': `put the newer home back: this one is an older copy; ${otherWays}`,
  'the keeper went back': `put the newer anchor back, or the newer state of its keeper: what is there is older than this home; ${otherWays}`,
  'the store forked': `put the home back that went on with this mark: another copy of this one did, by an amendment or by being written to; ${otherWays}`,
  'the anchor went back': `put the newest home and anchor back, both: these are older copies; ${otherWays}`,
}

/** Of a peer that was not reached: not it is to be looked after where this end has no network. */
export function noNetworkHint({ code, message }: SessionError): string | undefined {
  if (code !== 'channel/NO_ANSWER' || !/: (ENETUNREACH|ENETDOWN|EAFNOSUPPORT)$/.test(message))
    return undefined
  return 'see that this machine has a way there, and the process that holds the home: pawl stated under its unit has none; docs/guides/stated.md, "Sending from there"'
}

/** A hint that knows more than the code does. */
export function hintFor({ code, message, rollback }: StateError): string | undefined {
  if (rollback !== undefined) return rollbackHints[rollback]
  const lock = /^the lock file (.*) is (gone|not the empty file it was)$/s.exec(message)?.[1]
  if (code === 'EINTEGRITY' && lock !== undefined)
    return `make sure that no process uses this home, then: install -m 600 /dev/null ${quoted(lock)}`
  return hints.find(([of, said]) => of === code && said.test(message))?.[2]
}
