import type { Positions } from '../channel/block.ts'
import type { Store } from '../state/store.ts'
import { Inbox } from './inbox.ts'
import { Outbox } from './outbox.ts'
import { type Carries, judgePositions, type PositionVerdict } from './position.ts'

/** The two sequences of messages between this identity and one peer: one such object for each store and peer. */
export class Mailbox {
  readonly outbox: Outbox
  readonly inbox: Inbox

  private constructor(outbox: Outbox, inbox: Inbox) {
    this.outbox = outbox
    this.inbox = inbox
  }

  static async open(store: Store, peer: Uint8Array): Promise<Mailbox> {
    return new Mailbox(await Outbox.open(store, peer), await Inbox.open(store, peer))
  }

  /** What this end says in a handshake. */
  positions(): Positions {
    const { sending } = this.outbox
    const { accepted } = this.inbox
    return {
      nextSend: sending.next,
      headBeforeSend: sending.head,
      nextExpected: accepted.next,
      headBeforeExpected: accepted.head,
    }
  }

  /** What this end makes of what the peer said. */
  judge(theirs: Positions, carries: Carries = 'both'): PositionVerdict {
    return judgePositions(this.outbox, this.inbox.accepted, theirs, carries)
  }
}
