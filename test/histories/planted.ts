import type { Edit } from '../state/explore-job.ts'
import type { Mode } from './history.ts'

/** A mistake in the source that histories of a mode exist to find: the one of this seed fails of it, saying this. */
export type Bug = {
  readonly broken: string
  readonly mode: Mode
  readonly edits: readonly Edit[]
  readonly seed: number
  readonly found: string
  /** Only in the slow suite. */
  readonly isSlow?: boolean
}

/** Handshakes ask for nothing that was agreed on before. */
const anyoneIsNew: readonly Edit[] = [
  {
    file: 'src/channel/continuity.ts',
    from: "return none ? { kind: 'none' } : { kind: 'refused' }",
    to: "return { kind: 'none' }",
  },
  {
    file: 'src/channel/continuity.ts',
    from: "return { kind: memory.secrets.length === 0 ? 'none' : 'refused' }",
    to: "return { kind: 'none' }",
  },
  {
    file: 'src/channel/continuity.ts',
    from: 'if (memory.secrets.length > 0 && !memory.noneAllowed) return undefined',
    to: '',
  },
]

export const bugs: readonly Bug[] = [
  {
    broken: 'the promise lies in what is put back: the mark goes where the home is',
    mode: 'stream',
    edits: [
      {
        file: 'src/keeper/anchor.ts',
        from: 'await createMarkFile(disk, join(path, anchorNames.mark),',
        to: "await createMarkFile(disk, '/disk/mark',",
      },
      {
        file: 'src/keeper/anchor.ts',
        from: 'const path = join(anchor.path, anchorNames.mark)',
        to: "const path = '/disk/mark'",
      },
    ],
    seed: 14,
    found: 'the home alone was put back, and it opened',
    isSlow: true,
  },
  {
    broken: 'the keeper is not held against what it has confirmed',
    mode: 'stream',
    edits: [
      {
        file: 'src/mark/mark.ts',
        from: "if (mark.number < confirmed) return 'the keeper went back'",
        to: '',
      },
    ],
    seed: 8,
    found: 'the anchor alone was put back, and it opened',
    isSlow: true,
  },
  {
    broken: 'the mark is advanced before the state is durable',
    mode: 'stream',
    edits: [
      {
        file: 'src/state/committer.ts',
        from: 'const at = await this.#parts.journal.append(group) //',
        to: 'await this.#parts.keeper.advance(this.#mark, next); const at = await this.#parts.journal.append(group) //',
      },
    ],
    seed: 9,
    found: 'is an older copy',
    isSlow: true,
  },
  {
    broken: 'the mark is advanced by two',
    mode: 'stream',
    edits: [
      {
        file: 'src/state/committer.ts',
        from: 'await this.#parts.keeper.advance(this.#mark, next) //',
        to: 'await this.#parts.keeper.advance(this.#mark, next); await this.#parts.keeper.advance(next, { ...next, number: next.number + 1 }) //',
      },
    ],
    seed: 1,
    found: 'is an older copy',
  },
  {
    broken: 'the old secret is dropped when the new one is made, not when it was heard',
    mode: 'stream',
    edits: [
      {
        file: 'src/channel/continuity.ts',
        from: 'secrets: [made.secret, old], noneAllowed',
        to: 'secrets: [made.secret], noneAllowed',
      },
    ],
    seed: 3,
    found: 'refused, and nobody was turned back',
  },
  {
    broken: 'a rekey forgets the secret before when the new one is made, not when it was heard',
    mode: 'stream',
    edits: [{ file: 'src/session/remembering.ts', from: 'return alone && both ?', to: 'return both ?' }],
    seed: 29,
    found: 'refused, and nobody was turned back',
  },
  {
    broken: 'positions are judged by their numbers alone, and whoever shows no secret is new',
    mode: 'stream',
    edits: [
      ...anyoneIsNew,
      {
        file: 'src/mailbox/position.ts',
        from: 'if (head === undefined || !equal(head, headBeforeExpected))',
        to: 'if (head === undefined)',
      },
      {
        file: 'src/mailbox/position.ts',
        from: 'if (nextSend === receiving.next && !equal(headBeforeSend, receiving.head))',
        to: 'if (nextSend < 0)',
      },
      {
        file: 'src/mailbox/outbox.ts',
        from: 'if (head === undefined || !equal(head, position.head))',
        to: 'if (head === undefined)',
      },
      {
        file: 'src/mailbox/inbox.ts',
        from: 'if (!equal(before.head, this.#delivered.head))',
        to: 'if (before.next < 0)',
      },
    ],
    seed: 14,
    found: 'was told of what nobody accepted',
    isSlow: true,
  },
  {
    broken: 'what was accepted is told before it is committed',
    mode: 'stream',
    edits: [
      {
        file: 'src/mailbox/inbox.ts',
        from: 'await this.#store.commit([put, ...changes], { committed })',
        to: 'committed(); this.#changes.announce(); await this.#store.commit([put, ...changes])',
      },
    ],
    seed: 353,
    found: 'nobody noticed',
    isSlow: true,
  },
  {
    broken: 'the position and what the application changes are two commits',
    mode: 'stream',
    edits: [
      {
        file: 'src/mailbox/inbox.ts',
        from: 'await this.#store.commit([put, ...changes], { committed })',
        to: 'await this.#store.commit(changes); await this.#store.commit([put], { committed })',
      },
    ],
    seed: 52,
    found: 'the position differ',
    isSlow: true,
  },
  {
    broken: 'the promise lies in what is put back: marks of sessions go where the home is',
    mode: 'letter',
    edits: [
      {
        file: 'src/keeper/session-marks.ts',
        from: 'this.#directory = directory',
        to: "this.#directory = directory && '/disk'",
      },
    ],
    seed: 1,
    found: 'had promised',
  },
  {
    broken: 'the salt of a run is not fresh',
    mode: 'letter',
    edits: [
      {
        file: 'src/session/letters.ts',
        from: 'this.#endpoint.entropy.bytes(saltBytes))',
        to: 'new Uint8Array(saltBytes))',
      },
    ],
    seed: 37,
    found: '(key, nonce) was used twice',
  },
  {
    broken: 'after a restore the floor is not raised',
    mode: 'letter',
    edits: [
      {
        file: 'src/channel/letter/session.ts',
        from: 'receive: { ...on(state.receive, promised.receive), current: undefined, previous: undefined },',
        to: 'receive: state.receive,',
      },
    ],
    seed: 9,
    found: 'the mark file holds',
  },
  {
    broken: 'the windows stay open below what was promised',
    mode: 'letter',
    edits: [
      {
        file: 'src/channel/letter/session.ts',
        from: 'receive: { ...on(state.receive, promised.receive), current: undefined, previous: undefined },',
        to: 'receive: { ...state.receive, ...on(state.receive, promised.receive) },',
      },
    ],
    seed: 210,
    found: 'opened, and by the rules: refused',
    isSlow: true,
  },
  {
    broken: 'an end follows as far as it is asked to',
    mode: 'letter',
    edits: [{ file: 'src/channel/letter/session.ts', from: 'if (ahead > bounds.followMax ||', to: 'if (' }],
    seed: 481,
    found: 'opened, and by the rules: refused',
    isSlow: true,
  },
  {
    broken: 'the secret of the epoch before is dropped when the next one begins',
    mode: 'letter',
    edits: [
      {
        file: 'src/channel/letter/session.ts',
        from: 'const previous = skipped === undefined ? receive.current : unheard(data.epoch - 1, skipped)',
        to: 'const previous = skipped === undefined ? undefined : unheard(data.epoch - 1, skipped)',
      },
    ],
    seed: 2,
    found: 'by the rules: opens',
    isSlow: true,
  },
  {
    broken: 'the mark is advanced twice',
    mode: 'letter',
    edits: [
      {
        file: 'src/session/letter-keeping.ts',
        from: 'await mark.advance(held, next)',
        to: 'await mark.advance(held, next); await mark.advance(next, { ...next, number: next.number + 1 })',
      },
    ],
    seed: 3,
    found: 'is not the newest',
    isSlow: true,
  },
  {
    broken: 'the mark is not advanced',
    mode: 'letter',
    edits: [
      {
        file: 'src/session/letter-keeping.ts',
        from: 'if (sameMark(held, next)) return',
        to: 'if (sameMark(held, next) || next.number > 0) return',
      },
    ],
    seed: 1,
    found: 'had promised',
    isSlow: true,
  },
  {
    broken: 'the mark is advanced before the record is durable',
    mode: 'letter',
    edits: [
      {
        file: 'src/session/letter-keeping.ts',
        from: 'await committing\n',
        to: 'await this.#advance(next); await committing\n',
      },
    ],
    seed: 110,
    found: 'is not the newest',
    isSlow: true,
  },
  {
    broken: 'the text is given away before the commit',
    mode: 'letter',
    edits: [
      {
        file: 'src/session/letters.ts',
        from: 'await this.#kept.commit(opened.state, {',
        to: 'void this.#kept.state; if (false) await this.#kept.commit(opened.state, {',
      },
    ],
    seed: 1,
    found: 'twice',
    isSlow: true,
  },
  {
    broken: 'what was opened is not marked in the window',
    mode: 'letter',
    edits: [
      {
        file: 'src/channel/letter/window.ts',
        from: 'let opened = window.opened | (1n << BigInt(seq - base))',
        to: 'let opened = window.opened',
      },
    ],
    seed: 1,
    found: 'twice',
    isSlow: true,
  },
  {
    broken: 'a start of the writer enters no epoch',
    mode: 'letter',
    edits: [
      {
        file: 'src/channel/letter/session.ts',
        from: 'const epoch = state.send.epoch + 1\n',
        to: 'const epoch = Math.max(1, state.send.epoch)\n',
      },
    ],
    seed: 1,
    found: 'the mark file holds',
    isSlow: true,
  },
  {
    broken: 'what the peer has heard is not held against what was sealed',
    mode: 'letter',
    edits: [
      {
        file: 'src/channel/letter/session.ts',
        from: 'if (heard > state.send.epoch)',
        to: 'if (heard > letterLimits.epochMax)',
      },
    ],
    seed: 114,
    found: 'by the rules: turned back',
    isSlow: true,
  },
  {
    broken: 'a full replay set makes room',
    mode: 'letter',
    edits: [
      {
        file: 'src/session/replay-set.ts',
        from: 'if (left >= this.#bounds.entriesMax)',
        to: 'if (left >= this.#bounds.entriesMax * 10)',
      },
    ],
    seed: 215,
    found: 'by the rules: full',
    isSlow: true,
  },
  {
    broken: 'a close that was opened ends nothing',
    mode: 'letter',
    edits: [
      {
        file: 'src/session/letters.ts',
        from: '        wipe(trial.made)\n        await this.#over()\n',
        to: '',
      },
    ],
    seed: 14,
    found: 'opened, and by the rules: refused',
    isSlow: true,
  },
  {
    broken: 'an amendment of the store does not put its sessions in doubt',
    mode: 'letter',
    edits: [
      {
        file: 'src/session/letter-keeping.ts',
        from: 'if (this.#isDoubtful) return',
        to: 'if (false) return',
      },
    ],
    seed: 3,
    found: 'not refused as it is',
    isSlow: true,
  },
]
