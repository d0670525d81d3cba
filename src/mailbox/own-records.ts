import type { OwnRecord } from '../state/fsck/records.ts'
import { decodePosition as decodeReceived } from './inbox.ts'
import { decodeOutFile } from './out-file.ts'
import { decodePosition as decodeSent, refuseOddPart } from './outbox.ts'
import { decodeJob } from './send-file.ts'

/** What `pawl state fsck` reads of docs/spec/mailbox.md. */
export const mailboxRecords: readonly OwnRecord[] = [
  {
    prefix: '/pawl/mailbox/',
    check: (path, payload) => (path.endsWith('/in') ? decodeReceived(payload) : decodeSent(payload)),
  },
  { prefix: '/pawl/outbox/', check: (_, payload) => refuseOddPart(payload) },
  { prefix: '/pawl/job/', check: (_, payload) => decodeJob(payload) },
  { prefix: '/pawl/receive/', check: (_, payload) => decodeOutFile(payload) },
]
