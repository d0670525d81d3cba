/**
 * `ROLLBACK`: one of the two ends was turned back; refused until an amendment says otherwise. `SEQUENCE`: the peer
 * broke the mailbox protocol. `TOO_BIG`: a message over its limit. `LOST`: messages that waited to be sent when the backup
 * was taken that this home was restored from, which no backup has.
 */
export class MailboxError extends Error {
  override readonly name = 'MailboxError'
  readonly code: 'ROLLBACK' | 'SEQUENCE' | 'TOO_BIG' | 'LOST'

  constructor(code: MailboxError['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
