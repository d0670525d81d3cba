import type { OwnRecord } from '../state/fsck/records.ts'
import { amendedPrefix, lostPrefix, refusedPrefix } from '../state/path.ts'
import { decodeClaim, decodeKnown } from './amended.ts'
import { decodePosition as decodeReceived } from './inbox.ts'
import { decodeJob, decodeRuns } from './job.ts'
import { decodeLost } from './lost.ts'
import { decodeOutFile } from './out-file.ts'
import { decodePosition as decodeSent, refuseOddPart } from './outbox.ts'
import { decodeRefusal } from './refusal.ts'

/** What `pawl state fsck` reads of docs/spec/mailbox.md. */
export const mailboxRecords: readonly OwnRecord[] = [
  {
    prefix: '/pawl/mailbox/',
    check: (path, payload) => (path.endsWith('/in') ? decodeReceived(payload) : decodeSent(payload)),
  },
  { prefix: '/pawl/outbox/', check: (_, payload) => refuseOddPart(payload) },
  { prefix: lostPrefix, check: (_, payload) => decodeLost(payload) },
  { prefix: refusedPrefix, check: (_, payload) => decodeRefusal(payload) },
  { prefix: amendedPrefix, check: (_, payload) => decodeClaim(payload) },
  { prefix: '/pawl/recovered/', check: (_, payload) => decodeKnown(payload) },
  {
    prefix: '/pawl/job/',
    check: (path, payload) => (path.split('/').length === 4 ? decodeJob(payload) : decodeRuns(payload)),
  },
  { prefix: '/pawl/receive/', check: (_, payload) => decodeOutFile(payload) },
]
