import { isZero } from '../bytes/bytes.ts'
import type { Positions } from '../channel/block.ts'
import type { Role } from '../channel/state.ts'
import { sessionPath } from '../session/memory.ts'
import type { Store } from '../state/store.ts'
import { Amended } from './amended.ts'
import { MailboxError } from './error.ts'
import { Inbox } from './inbox.ts'
import { Losses } from './lost.ts'
import { Outbox } from './outbox.ts'
import { type Carries, judgePositions, type PositionVerdict } from './position.ts'
import { forgetRefusal, keepRefusal, type RefusalReason } from './refusal.ts'
import { type Lost, settle } from './settlement.ts'

export type MailboxVerdict = PositionVerdict | RefusalReason

/** The two sequences of messages between this identity and one peer: one such object for each store and peer. */
export class Mailbox {
  readonly outbox: Outbox
  readonly inbox: Inbox
  readonly losses: Losses
  readonly #store: Store
  readonly #peer: Uint8Array
  readonly #amended: Amended

  private constructor(
    store: Store,
    peer: Uint8Array,
    parts: { outbox: Outbox; inbox: Inbox; losses: Losses; amended: Amended },
  ) {
    this.#store = store
    this.#peer = peer
    this.outbox = parts.outbox
    this.inbox = parts.inbox
    this.losses = parts.losses
    this.#amended = parts.amended
  }

  static async open(store: Store, peer: Uint8Array): Promise<Mailbox> {
    const [outbox, inbox] = [await Outbox.open(store, peer), await Inbox.open(store, peer)]
    const [losses, amended] = [await Losses.open(store, peer), await Amended.open(store, peer)]
    return new Mailbox(store, peer, { outbox, inbox, losses, amended })
  }

  /** What this end says in a handshake. */
  positions(role: Role): Positions {
    const { sending, kept } = this.outbox
    const { accepted } = this.inbox
    return {
      nextSend: sending.next,
      headBeforeSend: sending.head,
      nextExpected: accepted.next,
      headBeforeExpected: accepted.head,
      firstKept: kept.next,
      headBeforeKept: kept.head,
      amendment: this.#amended.stated(role),
    }
  }

  /** What this end makes of what the peer said. */
  judge(role: Role, theirs: Positions, carries: Carries = 'both'): MailboxVerdict {
    const verdict = this.#amended.judge(role, theirs, this.#isNew)
    if (verdict === 'not allowed here') return 'the peer went on by an amendment that is not allowed here'
    if (verdict === 'not the one that was allowed')
      return 'the peer does not state the amendment that was allowed here'
    return verdict === 'lenient'
      ? 'agreed'
      : judgePositions(this.outbox, this.inbox.accepted, theirs, carries)
  }

  /** What a peer said that is refused: if that is an amendment that our user knows nothing of, it is kept to be shown. */
  async refused(role: Role, theirs: Positions): Promise<void> {
    if (this.#amended.judge(role, theirs, this.#isNew) === 'not allowed here')
      await this.#amended.claim(theirs)
  }

  /**
   * Before a session is committed: after an amendment of either end both sequences go on where both ends can, and what that
   * gives up is recorded, in commits of their own; the same again changes nothing.
   * @throws MailboxError ROLLBACK
   */
  async settle(role: Role, theirs: Positions): Promise<readonly Lost[]> {
    const isOpen = this.#amended.judge(role, theirs, this.#isNew) === 'lenient'
    const { sendFrom, receiveFrom, lost } = isOpen
      ? settle(this.outbox, this.inbox.accepted, theirs)
      : { sendFrom: undefined, receiveFrom: undefined, lost: [] }
    const of = (way: Lost['way']) => this.losses.recording(lost.filter(range => range.way === way))
    const sent = of('sent')
    if (sendFrom !== undefined || lost.some(({ way }) => way === 'sent'))
      await this.outbox.goOn(sendFrom, sent)
    const received = of('received')
    if (receiveFrom !== undefined || received.changes.length > 0) {
      if (!(await this.inbox.goOn(receiveFrom, received)))
        throw new MailboxError('ROLLBACK', 'messages of before an amendment are not accepted yet')
    }
    await this.#amended.met(role, theirs)
    return lost
  }

  /** One of the two has refused the other: that is on record until they meet again. */
  async refuse(reason: RefusalReason, name: string): Promise<void> {
    await keepRefusal(this.#store, this.#peer, { reason, name })
  }

  /** They meet again. */
  async agree(): Promise<void> {
    const changes = forgetRefusal(this.#store, this.#peer)
    if (changes.length > 0) await this.#store.commit(changes)
  }

  /** Whether a peer that shows no secret of a session is met as if for the first time. */
  allowsNone(role: Role, theirs: Positions): boolean {
    return this.#amended.allowsNone(role, theirs)
  }

  /** Only the peer went on by an amendment, so what it says is all that there is to wait for. */
  isPeers(role: Role, theirs: Positions): boolean {
    return this.#amended.isPeers(theirs, role)
  }

  /**
   * One of the two went on by an amendment, and they have not settled in that role: what is queued may get numbers that are
   * lost, and what was acknowledged may be lost.
   */
  isUnsettled(role: Role): boolean {
    return this.#amended.isUnsettled(role)
  }

  /** This home went on by an amendment, and the peer has not said in that role that it knows. */
  isAmended(role: Role): boolean {
    return !isZero(this.#amended.stated(role))
  }

  /** The peer has settled, as this end has. */
  async finished(role: Role): Promise<void> {
    await this.#amended.finished(role)
    this.outbox.announce()
  }

  /** Nothing was ever exchanged with the peer. */
  get #isNew(): boolean {
    const roles = ['client', 'server'] as const
    const isFirst = this.inbox.accepted.next === 1 && this.outbox.acknowledged.next === 1
    return (
      isFirst &&
      this.outbox.kept.next === 1 &&
      !roles.some(role => this.#store.has(sessionPath(role, this.#peer)))
    )
  }
}
