import { BytesError } from '../bytes/bytes.ts'
import { DiskError, type DiskFault } from '../host/disk.ts'
import { WireError, type WireFault } from '../host/wire.ts'
import { MailboxError } from '../mailbox/error.ts'
import { HookError } from '../node/hooks.ts'
import { type SessionCode, SessionError } from '../session/error.ts'
import { SignatureError } from '../signature/error.ts'
import { BackupError } from '../state/backup/error.ts'
import { type StateCode, StateError } from '../state/error.ts'
import { HolderEndsError, NoHomeError, NoPeerError, OutputError, UsageError } from './command.ts'
import type { Exit } from './exits.ts'
import { fromBackup, hintFor, noNetworkHint } from './hints.ts'
import { ExposedError } from './home.ts'
import { nextFor, TurnedBackError } from './turned-back.ts'

/** What a command says when it does not end well: what happened, the code, what to do next, and how it ends. */
export type Failure = {
  readonly code: string
  readonly message: string
  readonly hint: string | undefined
  readonly exit: Exit
}

type Rule = { readonly exit: Exit; readonly hint: string }

type Code =
  | 'cli/NO_HOME'
  | 'cli/NO_PEER'
  | 'cli/OUTPUT'
  | `state/${StateCode}`
  | SessionCode
  | `mailbox/${MailboxError['code']}`
  | `signature/${SignatureError['code']}`
  | `backup/${BackupError['code']}`
  | `wire/${WireFault}`
  | `disk/${DiskFault}`
  | `hooks/${HookError['code']}`

const again = 'run the same command again; what was queued or accepted is kept'
const rerun = 'run the same command again; nothing that was acknowledged is lost'
const seeMessage = 'change what the message names; --help behind the command shows what it takes'
const newest = 'put the newest home and anchor back, both'
const turnedBackHint = nextFor['one of the two was turned back']('the other end')
const owner = 'run it as the user who owns it, or see whether it may be written'
const oneProcess = 'one process uses a home at a time: wait for it to end, or stop it'
const askThePeer = 'one end speaks another version, or something on the way changes what is sent'

/** Every code, how the command ends, and what to do about it (D4). */
export const rules: Readonly<Record<Code, Rule>> = {
  'cli/NO_HOME': {
    exit: 'noHome',
    hint: `name it with --home; if it is lost, ${fromBackup}; a new one: pawl init`,
  },
  'cli/NO_PEER': {
    exit: 'usage',
    hint: 'pawl peer list shows who is known; pawl peer add NAME IDENTITY adds one',
  },
  'cli/OUTPUT': {
    exit: 'failed',
    hint: 'see where standard output goes; what was done before the answer is done',
  },

  'state/EINVAL': { exit: 'usage', hint: seeMessage },
  'state/E2BIG': { exit: 'usage', hint: 'put it in parts, each within the limit' },
  'state/EBUSY': { exit: 'failed', hint: rerun },
  'state/EDAEMON': {
    exit: 'unreachable',
    hint: 'see that the process that holds the home runs, and whether the change is there, then try again',
  },
  'state/EDEADLINE': { exit: 'failed', hint: 'look whether it took effect, then try again' },
  'state/ENOENT': { exit: 'failed', hint: 'pawl state list shows what there is' },
  'state/ENOSPC': { exit: 'failed', hint: `make room on the disk, then ${rerun}` },
  'state/EPOISONED': { exit: 'failed', hint: `look after the disk, then ${rerun}` },
  'state/EPERM': { exit: 'refused', hint: owner },
  'state/EINTEGRITY': {
    exit: 'refused',
    hint: `put back the newest whole copy of what is missing or damaged, which pawl state fsck names; without one, ${fromBackup}; nothing was changed`,
  },
  'state/EROLLBACK': {
    exit: 'refused',
    hint: `${newest}; nothing was changed or sent; pawl recover says what was found, and the other ways on`,
  },
  'state/ELOCKED': { exit: 'locked', hint: oneProcess },
  'state/EKEEPER': {
    exit: 'unreachable',
    hint: 'see that its keeper runs and is reached from here, then run the same command again; pawl doctor names it',
  },

  'session/ROLLBACK': {
    exit: 'refused',
    hint: turnedBackHint,
  },
  'channel/UNKNOWN_IDENTITY': {
    exit: 'refused',
    hint: 'at the other end: pawl peer add NAME IDENTITY, with the line that pawl id prints here; if it is there already, pawl receive --from NAME',
  },
  'channel/NO_ANSWER': {
    exit: 'unreachable',
    hint: 'nobody listens there, or whoever does has another identity than the one pinned: see that pawl receive runs, and compare pawl peer list with pawl id there; what is queued stays',
  },
  'channel/INTERNAL': { exit: 'failed', hint: `see what the other end says, then ${again}` },
  'channel/CLOSED': { exit: 'failed', hint: again },
  'channel/UNSUPPORTED': { exit: 'unsupported', hint: 'run the same version at both ends' },
  'channel/PROTOCOL': { exit: 'refused', hint: askThePeer },
  'channel/TOO_LARGE': { exit: 'refused', hint: askThePeer },
  'channel/TAMPERED': { exit: 'refused', hint: askThePeer },
  'channel/REPLAY': { exit: 'refused', hint: askThePeer },
  'channel/DOWNGRADE': { exit: 'refused', hint: askThePeer },
  'channel/HANDSHAKE_FAILED': { exit: 'refused', hint: askThePeer },
  'channel/TRUNCATED': { exit: 'failed', hint: again },
  'channel/EXHAUSTED': { exit: 'failed', hint: again },
  'channel/STATE_CORRUPT': { exit: 'refused', hint: 'see what the other end says of its home' },
  'channel/OVERLOADED': { exit: 'unreachable', hint: again },
  'channel/TIMEOUT': { exit: 'unreachable', hint: again },

  'mailbox/ROLLBACK': {
    exit: 'refused',
    hint: turnedBackHint,
  },
  'mailbox/SEQUENCE': { exit: 'refused', hint: askThePeer },
  'mailbox/TOO_BIG': { exit: 'usage', hint: 'a message is at most 16 MiB; send it in parts' },

  'mailbox/LOST': {
    exit: 'refused',
    hint: 'the same command with --lost sends again what never arrives, and no other line; where lines may have arrived, look into the file of the peer first, and send what it has not as a file of its own; docs/guides/recovery.md',
  },

  'backup/EKEY': {
    exit: 'wrongKey',
    hint: 'name the secret recovery key whose public half the backup was taken with; both say their id',
  },
  'backup/EVERSION': {
    exit: 'unsupported',
    hint: 'restore it with the version that took it, or a newer one',
  },

  'signature/EINVAL': { exit: 'usage', hint: 'an identity is the one line that pawl id prints' },
  'signature/E2BIG': { exit: 'usage', hint: 'this identity has come to its end; make a new home' },
  'signature/EKEY': { exit: 'wrongKey', hint: newest },

  'wire/unreachable': { exit: 'unreachable', hint: again },
  'wire/lost': { exit: 'unreachable', hint: again },
  'wire/denied': { exit: 'failed', hint: 'choose another address or port; port 0 takes any that is free' },

  'disk/missing': { exit: 'failed', hint: 'see that it is there, then run it again' },
  'disk/exists': { exit: 'failed', hint: 'name another place, or take away what is there' },
  'disk/locked': { exit: 'locked', hint: oneProcess },
  'disk/full': { exit: 'failed', hint: `make room on the disk, then ${rerun}` },
  'disk/denied': { exit: 'refused', hint: owner },
  'disk/unfit': { exit: 'usage', hint: 'name a regular file, or a directory where one is asked for' },
  'disk/failed': { exit: 'failed', hint: `see what the system says of that place, then ${rerun}` },

  'hooks/EPERM': { exit: 'refused', hint: 'unset QSL_TEST_HOOKS' },
  'hooks/EINVAL': { exit: 'usage', hint: 'unset QSL_TEST_HOOKS, or set the hook to what it takes' },
}

/** What the process that holds the home said that a command ends with. */
export class HolderFailure extends Error {
  override readonly name = 'HolderFailure'
  readonly failure: Failure

  constructor(failure: Failure) {
    super(failure.message)
    this.failure = failure
  }
}

export function explain(error: unknown): Failure {
  if (error instanceof HolderFailure) return error.failure
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof UsageError) return { code: error.code, message, hint: error.hint, exit: 'usage' }
  const code = codeOf(error)
  if (code === undefined) return unexpected(message)
  const { exit, hint } = rules[code]
  return { code, message, hint: hintOf(error) ?? hint, exit }
}

/** A hint that knows more than the code does. */
function hintOf(error: unknown): string | undefined {
  if (error instanceof ExposedError) return error.remedy
  if (error instanceof HolderEndsError) return again
  if (error instanceof NoHomeError) return error.hint
  if (error instanceof TurnedBackError) return error.hint
  if (error instanceof SessionError) return noNetworkHint(error)
  return error instanceof StateError ? hintFor(error) : undefined
}

function codeOf(error: unknown): Code | undefined {
  if (error instanceof NoHomeError || error instanceof NoPeerError || error instanceof OutputError)
    return error.code
  if (error instanceof SessionError || error instanceof ExposedError || error instanceof HolderEndsError)
    return error.code
  if (error instanceof StateError) return `state/${error.code}`
  if (error instanceof MailboxError) return `mailbox/${error.code}`
  if (error instanceof BackupError) return `backup/${error.code}`
  if (error instanceof SignatureError) return `signature/${error.code}`
  if (error instanceof WireError) return `wire/${error.code}`
  if (error instanceof DiskError) return `disk/${error.code}`
  if (error instanceof HookError) return `hooks/${error.code}`
  if (error instanceof BytesError) return 'state/EINTEGRITY' // what the store authenticated does not parse
  return undefined
}

function unexpected(message: string): Failure {
  return {
    code: 'cli/UNEXPECTED',
    message: `something went wrong that should not be possible: ${message}`,
    hint: 'nothing that was acknowledged is lost; run it again with PAWL_DEBUG=1 to see where',
    exit: 'failed',
  }
}
