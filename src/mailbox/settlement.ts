import { equal } from '../bytes/bytes.ts'
import type { Positions } from '../channel/block.ts'
import type { Position, Sent } from './position.ts'

/**
 * Messages, from `first` to `last`, of the sequence that this end sends or receives, which one end goes without. Where they
 * have `arrived` it is the sender, which does not know any more what they are, and gives up what it has of these numbers;
 * else the receiver, which never gets them.
 */
export type Lost = {
  readonly way: 'sent' | 'received'
  readonly arrived: boolean
  readonly first: number
  readonly last: number
}

/** How two ends go on whose users both said that they may (docs/spec/mailbox.md, "After an amendment"). */
export type Settlement = {
  /** Where the sequence that this end sends goes on, if not where it is. */
  readonly sendFrom: Position | undefined
  /** Where the sequence that it receives goes on, if not where it is. */
  readonly receiveFrom: Position | undefined
  readonly lost: readonly Lost[]
}

/**
 * The same at both ends, each from what it knows and what the other says. What the receiver has is never taken back, so
 * nothing is accepted twice: a sender that knows less goes on where the receiver is. What the sender has no more the
 * receiver goes without. No message gets another number.
 */
export function settle(sent: Sent, receiving: Position, theirs: Positions): Settlement {
  const out = settleSent(sent, { next: theirs.nextExpected, head: theirs.headBeforeExpected })
  const into = settleReceived(receiving, theirs)
  const lost = [lostOf('sent', out), lostOf('received', into)].filter(range => range !== undefined)
  return { sendFrom: out.from, receiveFrom: into.from, lost }
}

type Settled = {
  readonly from?: Position | undefined
  readonly arrived: boolean
  readonly first: number
  readonly behind: number
}

const nothing: Settled = { arrived: false, first: 0, behind: 0 }

function settleSent(sent: Sent, expected: Position): Settled {
  const { kept, sending } = sent
  const { next, head } = expected
  if (next < kept.next) return { arrived: false, first: next, behind: kept.next }
  const own = next <= sending.next ? sent.headBefore(next) : undefined
  if (own !== undefined && equal(own, head)) return nothing
  return { from: expected, arrived: true, first: kept.next, behind: next }
}

function settleReceived({ next, head }: Position, theirs: Positions): Settled {
  const { firstKept, headBeforeKept, nextSend, headBeforeSend } = theirs
  if (next < firstKept)
    return { from: { next: firstKept, head: headBeforeKept }, arrived: false, first: next, behind: firstKept }
  const isOther =
    next > nextSend ||
    (next === nextSend && !equal(head, headBeforeSend)) ||
    (next === firstKept && !equal(head, headBeforeKept))
  return isOther ? { arrived: true, first: firstKept, behind: next } : nothing
}

function lostOf(way: Lost['way'], { arrived, first, behind }: Settled): Lost | undefined {
  return first < behind ? { way, arrived, first, last: behind - 1 } : undefined
}
