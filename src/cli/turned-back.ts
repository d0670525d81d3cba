import { type RefusalReason, refusalOf } from '../mailbox/refusal.ts'
import { SessionError } from '../session/error.ts'

/** Either end was turned back, by the word of an end that has proved who it is. */
export class TurnedBackError extends SessionError {
  readonly hint: string

  constructor(message: string, hint: string) {
    super('session/ROLLBACK', message, { trusted: true })
    this.hint = hint
  }
}

/**
 * The one error that both commands end with, naming the peer; `undefined` for anything else. `isAmended`: this home went on
 * by an amendment that the peer does not know yet.
 */
export function turnedBack(
  error: unknown,
  { peer, isAmended }: { readonly peer: string; readonly isAmended: boolean },
): TurnedBackError | undefined {
  const reason = refusalOf(error)
  if (reason === undefined || !(error instanceof Error)) return undefined
  const detail = error.message.replace(/^the peer says: (ROLLBACK|CONTINUE_REJECTED)$/, '')
  const message = `this end and ${peer} do not agree on what they have exchanged${detail && `: ${detail}`}`
  const mayWait = isAmended && reason === 'one of the two was turned back'
  return new TurnedBackError(message, mayWait ? waiting(peer) : nextFor[reason](peer))
}

/** What to do about it, as far as this end can know. */
export const nextFor: Readonly<Record<RefusalReason, (peer: string) => string>> = {
  'I was turned back': peer =>
    `${peer} has seen more of this home than there is here: put its newest home and anchor back, both; if they are gone, pawl recover --go-on here, then pawl peer allow-lost at ${peer}`,
  'the peer was turned back': peer =>
    `there is less at ${peer} than it had: put its newest home and anchor back, both, there; if they are gone, pawl recover --go-on there, then pawl peer allow-lost ${peer} here`,
  'the peer went on by an amendment that is not allowed here': peer =>
    `${peer} was put back, or restored, and went on: if pawl recover shows the same amendment there as here, pawl peer allow-lost ${peer} here, which says first what that loses`,
  'the peer does not state the amendment that was allowed here': peer =>
    `this is not the home of ${peer} that was allowed to go on, but a copy of before: put that one back at ${peer}; if it is gone, pawl recover --go-on there, then pawl peer allow-lost ${peer} here`,
  'one of the two was turned back': peer =>
    `pawl recover, here and at ${peer}, says what each has: at the end that has less, put its newest home and anchor back, both; if they are gone, pawl recover --go-on there, then pawl peer allow-lost at the other`,
}

function waiting(peer: string): string {
  return `this home went on by an amendment, which pawl recover shows: ${peer} takes it with pawl peer allow-lost there, for that amendment; then the same command again`
}
