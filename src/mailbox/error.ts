/**
 * `ROLLBACK`: one of the two ends was turned back; refused until an amendment says otherwise. `SEQUENCE`: the peer
 * broke the mailbox protocol. `TOO_BIG`: a message over its limit. `LOST`: messages of what is asked for were given up after
 * an amendment.
 */
export class MailboxError extends Error {
  override readonly name = 'MailboxError'
  readonly code: 'ROLLBACK' | 'SEQUENCE' | 'TOO_BIG' | 'LOST'

  constructor(code: MailboxError['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
