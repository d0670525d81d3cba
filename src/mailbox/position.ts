import { equal } from '../bytes/bytes.ts'
import { Writer } from '../bytes/writer.ts'
import type { Positions } from '../channel/block.ts'
import { sha256 } from '../crypto/hash.ts'

/**
 * A place in the sequence of messages from one identity to another (docs/spec/mailbox.md): the number that comes
 * next, first 1, and the head over all before it. Positions outlive sessions and are never reset (C11).
 */
export type Position = { readonly next: number; readonly head: Uint8Array }

export const firstPosition: Position = { next: 1, head: new Uint8Array(32) }

/** The position after one more message. */
export function after({ next, head }: Position, message: Uint8Array): Position {
  const joined = new Writer(72).bytes(head).u64(next).bytes(sha256(message)).done()
  return { next: next + 1, head: sha256(joined) }
}

export function samePosition(a: Position, b: Position): boolean {
  return a.next === b.next && equal(a.head, b.head)
}

/**
 * What an end knows of its own sequence: `acknowledged` is where the peer was last known to be, `kept` the first message
 * that can still be sent, which is later where a restore brought the position and no message.
 */
export type Sent = {
  readonly sending: Position
  readonly acknowledged: Position
  readonly kept: Position
  /** The head before `number`, for every number from `kept.next` to `sending.next`. */
  headBefore(number: number): Uint8Array | undefined
}

/** Which messages a connection carries, seen from one end: those to the peer, those from it, or both. */
export type Carries = 'both' | 'out' | 'in'

export type PositionVerdict = 'agreed' | 'I was turned back' | 'the peer was turned back'

/**
 * Who went back, if anyone did. Numbers alone do not tell: an end that was turned back may have queued more since
 * than it lost, so wherever both know a head, the heads must agree. The sequence that this connection does not carry
 * may be moved by another one meanwhile: there, that the peer is behind says nothing.
 */
export function judgePositions(
  sent: Sent,
  receiving: Position,
  theirs: Positions,
  carries: Carries = 'both',
): PositionVerdict {
  const { nextExpected, headBeforeExpected, nextSend, headBeforeSend } = theirs
  if (nextExpected > sent.sending.next) return 'I was turned back'
  if (nextExpected >= sent.acknowledged.next) {
    const head = sent.headBefore(nextExpected)
    if (head === undefined || !equal(head, headBeforeExpected)) return 'I was turned back'
  } else if (carries !== 'in') return 'the peer was turned back'
  if (theirs.firstKept > receiving.next) return 'I was turned back'
  if (nextSend < receiving.next && carries !== 'out') return 'the peer was turned back'
  if (nextSend === receiving.next && !equal(headBeforeSend, receiving.head)) return 'the peer was turned back'
  return 'agreed'
}
