import { type LetterState, markHead, markNumber, promisedBy } from '../channel/letter/index.ts'
import { judgeOpen, type Mark } from '../mark/mark.ts'

/** How far a session has come, as its mark has it. */
export function markOf(state: LetterState): Mark {
  return { domain: state.id, number: markNumber(state), head: markHead(state) }
}

/** What the mark makes of a session that was found: docs/spec/letter.md, section 6. */
export function judgeSession(
  state: LetterState,
  mark: Mark,
  confirmed: number,
): ReturnType<typeof judgeOpen> {
  const own = markOf(state)
  const promised = promisedBy(mark.number)
  // Either direction ahead of a mark that is ahead as a whole: another history of the same session.
  const isFork =
    own.number < mark.number && (state.send.epoch > promised.send || state.receive.epoch > promised.receive)
  if (isFork) return 'the store forked'
  const rootAtMark = own.number === mark.number ? own.head : own.number > mark.number ? mark.head : undefined
  return judgeOpen({ mark, size: own.number, confirmed, rootAtMark })
}
