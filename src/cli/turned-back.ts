import { MailboxError } from '../mailbox/error.ts'
import { SessionError } from '../session/error.ts'

/**
 * Either end was turned back, by the word of an end that has proved who it is: the one error that both commands end
 * with, naming the peer. `undefined` for anything else.
 */
export function turnedBack(error: unknown, peer: string): SessionError | undefined {
  const said =
    error instanceof MailboxError
      ? error.code === 'ROLLBACK'
      : error instanceof SessionError && error.code === 'session/ROLLBACK' && error.trusted
  if (!said || !(error instanceof Error)) return undefined
  const detail = error.message.replace(/^the peer says: (ROLLBACK|CONTINUE_REJECTED)$/, '')
  const message = `this end and ${peer} do not agree on what they have exchanged${detail && `: ${detail}`}`
  return new SessionError('session/ROLLBACK', message, { trusted: true })
}
