import { type CloseReason, closeReasons, isCloseReason } from '../../channel/reasons.ts'

/** What a refusal means, in plain words, by the reason that the refusing end gave. */
const meanings: Partial<Record<CloseReason, string>> = {
  10: 'the frame carries the id of another session, and every connection has its own',
  11: 'what arrived asks for a version that nobody offered',
  12: 'what arrived asks for algorithms that nobody offered',
  13: 'what arrived is not exactly what the format says, and nothing is guessed',
  14: 'frames are numbered, and this one was not the next',
  15: 'the frame claims more than any frame may have, and is refused before it gets memory',
  20: 'the seal over the frame and its header does not fit: some bit of it is not what was sealed',
  21: 'frames are numbered, and this number has been',
  23: 'the stream ended in the middle, which no honest end does',
  30: 'keys live for one epoch, and this frame is of another',
  50: 'whoever spoke did not prove the identity that was pinned',
  70: 'the two ends remember different pasts: one of them was put back',
  72: 'each session goes on from a secret of the one before; this secret was used up by somebody else',
}

export type Reason = {
  readonly number: number
  readonly name: string
  readonly code: string
  readonly meaning: string
}

export function reasonOf(number: number): Reason {
  if (!isCloseReason(number)) return { number, name: 'UNKNOWN', code: 'unknown', meaning: '' }
  const { name, code } = closeReasons[number]
  return { number, name, code: code ?? 'none', meaning: meanings[number] ?? '' }
}
