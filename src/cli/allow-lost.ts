import { allow, claimOf, fingerprint, isOpen } from '../mailbox/amended.ts'
import { Mailbox } from '../mailbox/mailbox.ts'
import { type Lost, settle } from '../mailbox/settlement.ts'
import { whoAmI } from './backup.ts'
import { type Run, UsageError } from './command.ts'
import { confirmed, notConfirmed } from './confirm.ts'
import { openOwnHome, peerNamed } from './home.ts'
import { answer, answerJson } from './output.ts'

/** The word of this end's user that a peer may go on by the amendment that it stated; what is given up is said before. */
export const allowLost: Run = async given => {
  const name = given.word(0)
  const store = await openOwnHome(given)
  try {
    const { id } = await peerNamed(store, name)
    const claim = await claimOf(store, id)
    if (claim === undefined)
      throw new UsageError(
        `${name} has not said that it went on by an amendment`,
        'let it send, or receive, once: it is refused, and what it says is kept',
      )
    const amendment = fingerprint(claim.claimed)
    const { outbox, inbox } = await Mailbox.open(store, id)
    const { lost } = settle(outbox, inbox.accepted, claim.theirs)
    if (isOpen(claim)) {
      const what = `${name} went on by amendment ${amendment}; given up are ${describeLost(lost)}. pawl recover at ${name} shows the same amendment, or it is somebody else with its keys`
      if (!(await confirmed(given, what))) throw notConfirmed()
      await allow(store, id, claim, whoAmI())
    }
    if (given.json) await answerJson({ peer: name, amendment, lost })
    else await answer(`${name} may go on by amendment ${amendment}`)
    return 'done'
  } finally {
    await store.close()
  }
}

export function describeLost(lost: readonly Lost[]): string {
  if (lost.length === 0) return 'no messages that this end knows of'
  return lost
    .map(
      ({ way, first, last }) =>
        `messages ${first} to ${last} ${way === 'sent' ? 'sent to it' : 'received from it'}`,
    )
    .join(' and ')
}
