import { equal } from '../bytes/bytes.ts'
import { allow, claimOf, fingerprint, isOpen } from '../mailbox/amended.ts'
import { Mailbox } from '../mailbox/mailbox.ts'
import { type Lost, settle } from '../mailbox/settlement.ts'
import type { Peer } from '../session/peers.ts'
import { StateError } from '../state/error.ts'
import type { Store } from '../state/store.ts'
import { whoAmI } from './backup.ts'
import { UsageError } from './command.ts'

/** A peer that went on by an amendment: whether it still waits for a word of this end's user, and what that gives up. */
export type Waiting = {
  readonly amendment: Uint8Array
  readonly waits: boolean
  readonly lost: readonly Lost[]
}

/**
 * `judge` does what looks at the positions of both, while nobody moves them.
 * @throws UsageError: it has stated none
 */
export async function claimWaiting(
  store: Store,
  { id, name }: Peer,
  judge: (work: () => Promise<readonly Lost[]>) => Promise<readonly Lost[]> = work => work(),
): Promise<Waiting> {
  const claim = await claimOf(store, id)
  if (claim === undefined)
    throw new UsageError(
      `${name} has not said that it went on by an amendment`,
      'let it send, or receive, once: it is refused, and what it says is kept',
    )
  if (!isOpen(claim)) return { amendment: claim.claimed, waits: false, lost: [] }
  const lost = await judge(async () => {
    const { outbox, inbox } = await Mailbox.open(store, id)
    return settle(outbox, inbox.accepted, claim.theirs).lost
  })
  return { amendment: claim.claimed, waits: true, lost }
}

/** The word, for that amendment and no other. @throws StateError EINVAL: the peer has stated another one since */
export async function allowClaim(store: Store, { id, name }: Peer, amendment: Uint8Array): Promise<void> {
  const claim = await claimOf(store, id)
  if (claim === undefined || !equal(claim.claimed, amendment))
    throw new StateError(
      'EINVAL',
      `${name} has stated another amendment than ${fingerprint(amendment)} since`,
    )
  if (isOpen(claim)) await allow(store, id, claim, whoAmI())
}
