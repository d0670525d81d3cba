/** The mailbox's bounds, one place. Bytes and counts. */
export const limits = {
  messageBytesMax: 16 * 1024 * 1024,
  /** Of every fragment but a message's last. */
  fragmentBytesMin: 1024,
  /** Of a message that is not whole yet: after so many the position is acknowledged once more. */
  lifeSignBytes: 256 * 1024,
  /** Messages packed before the wire is asked again. */
  burstBytes: 512 * 1024,
  /** Payload of one outbox record: a run of small messages, or a part of a large one. */
  partBytesMax: 512 * 1024,
  /** Records deleted with one commit; the rest follows with the next. */
  deletesMax: 4096,
  /** Queued and not yet acknowledged: who queues asks `isFull` first, and waits. */
  outboxBytesMax: 32 * 1024 * 1024,
  outboxMessagesMax: 65_536,
  /** Ranges given up with one peer, on record. */
  lossesMax: 4096,
  /** Runs of lines in one record of a job. */
  jobRunsMax: 256,
  /** Lines of a file queued by one commit. */
  linesMax: 8192,
  /** Received and not yet accepted; the wire is not read beyond it. */
  inboxBytesMax: 16 * 1024 * 1024,
  inboxMessagesMax: 8192,
} as const
