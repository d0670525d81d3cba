/** Messages exactly once (docs/guides/library.md). */
export {
  type Correspondence,
  type Correspondent,
  type CourierOptions,
  deliver,
  openCorrespondence,
  openCorrespondent,
  serve,
  takeRole,
} from './courier.ts'
export { MailboxError } from './error.ts'
export type { Batch, Inbox, Message } from './inbox.ts'
export type { Job, Run } from './job.ts'
export { limits } from './limits.ts'
export type { Mailbox } from './mailbox.ts'
export { OutFile } from './out-file.ts'
export type { Outbox } from './outbox.ts'
export type { Carries } from './position.ts'
export type { RefusalReason } from './refusal.ts'
export { isDelivered, queueFile } from './send-file.ts'
