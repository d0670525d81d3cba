import { equal } from '../../bytes/bytes.ts'
import { Reader } from '../../bytes/reader.ts'
import { Writer } from '../../bytes/writer.ts'
import type { Secret } from '../../crypto/secret.ts'
import type { Suite } from '../../crypto/suite.ts'
import { frameTypes } from '../frame.ts'
import { ChannelError, refusal } from '../reasons.ts'
import type { Role } from '../state.ts'
import { contentBytesMin, openFrame, type Sealed, sealFrame } from './frames.ts'
import { type LetterBounds, letterLimits } from './limits.ts'
import { chainAfter, chainOf, commitmentTo, keyOf, rootAfter } from './ratchet.ts'
import { admit, after, newWindow, type Window } from './window.ts'

/**
 * A letter session (docs/spec/letter.md sections 4 and 5), as pure steps: each gives the next state and leaves the one
 * given as it was, so that it can be committed first, or thrown away. No key that seals is in a state: those are in a
 * {@link Pen}, which lives and dies with its process.
 */
export type LetterState = {
  readonly suite: Suite
  readonly role: Role
  /** 32 bytes; the domain of the session's mark. */
  readonly id: Uint8Array
  /** As it is in headers. */
  readonly sessionId: Uint8Array
  readonly markKey: Secret
  readonly send: Direction
  readonly receive: Direction & {
    readonly current: Opening | undefined
    readonly previous: Opening | undefined
  }
  /** The highest epoch of ours that the peer has opened a letter of. */
  readonly peerHeard: number
  /** Letters sealed since the session began. */
  readonly sealed: number
  /** SHA-256 of the proof that rides in front: taken from the client by a server, sent by a client until it is answered. */
  readonly proof: Uint8Array | undefined
  /** How far this end must have been, by the word of its peer, before it was turned back: nothing goes on from here. */
  readonly turnedBack: Promised | undefined
}

/** The highest epoch entered, and the root of the one after it. */
type Direction = { readonly epoch: number; readonly ahead: Secret }

/** What opens the letters of one epoch that are not opened yet. */
export type Opening = {
  readonly epoch: number
  /** Of the one run of the sender that this epoch belongs to; nothing while none was heard. */
  readonly salt: Uint8Array | undefined
  /** The chain at the window's lower edge; the epoch's root while there is no salt. */
  readonly chain: Secret
  readonly window: Window
}

/** What seals, in memory only: the chain for the next letter of one epoch. */
export type Pen = {
  readonly epoch: number
  readonly salt: Uint8Array
  readonly chain: Secret
  /** Of the letter before. */
  readonly seq: number
}

/** How far both directions were promised to go. */
export type Promised = { readonly send: number; readonly receive: number }

const perDirection = letterLimits.epochMax + 1

/** Both epochs in the one number of a mark: it grows whenever either does. */
export function markNumber({ send, receive }: LetterState): number {
  return send.epoch * perDirection + receive.epoch
}

export function promisedBy(number: number): Promised {
  return { send: Math.floor(number / perDirection), receive: number % perDirection }
}

export function markHead({ suite, send, receive }: LetterState): Uint8Array {
  return commitmentTo(suite.kdf, send.ahead, receive.ahead)
}

/** Whether the next letter begins an epoch: the first of a run, after an answer, and when one has had its letters. */
export function needsEpoch(state: LetterState, pen: Pen | undefined): boolean {
  return pen === undefined || state.peerHeard >= pen.epoch || pen.seq >= letterLimits.epochLettersMax
}

/** Enters the next epoch of ours. `salt` is fresh random bytes. @throws ChannelError 31 */
export function enterEpoch(
  state: LetterState,
  salt: Uint8Array,
): { readonly state: LetterState; readonly pen: Pen } {
  const { kdf } = state.suite
  const epoch = state.send.epoch + 1
  if (epoch > letterLimits.epochMax) throw exhausted('no epoch is left to seal in: begin a new session')
  const send = { epoch, ahead: rootAfter(kdf, state.send.ahead, 1) }
  return {
    state: { ...state, send },
    pen: { epoch, salt, chain: chainOf(kdf, state.send.ahead, salt), seq: 0 },
  }
}

/** What a letter is, said under its seal. One of a kind that is not here is refused. */
const kinds = { message: 1, close: 2 } as const

/** Seals the next letter. A pen that is used twice would repeat a key: a mistake of the program, and an assertion. */
export function seal(state: LetterState, pen: Pen, body: Uint8Array): Written {
  return write(state, pen, kinds.message, body)
}

/** Seals the last letter of a session: who opens it ends the session, too. */
export function sealClose(state: LetterState, pen: Pen): Written {
  return write(state, pen, kinds.close, new Uint8Array(0))
}

type Written = { readonly bytes: Uint8Array; readonly state: LetterState; readonly pen: Pen }

function write(state: LetterState, pen: Pen, kind: number, body: Uint8Array): Written {
  const { suite, sessionId } = state
  if (body.length > letterLimits.bodyBytesMax)
    throw new ChannelError('channel/TOO_LARGE', `a letter has at most ${letterLimits.bodyBytesMax} bytes`)
  const { epoch, salt } = pen
  if (pen.seq >= letterLimits.seqMax) throw exhausted('no number is left to seal with')
  if (used.has(pen)) throw new TypeError('a pen was used twice')
  used.add(pen)
  const seq = pen.seq + 1
  const plaintext = new Writer(contentBytesMin + body.length)
    .u8(kind)
    .u32(state.receive.epoch)
    .bytes(body)
    .done()
  using key = keyOf(suite.kdf, pen.chain)
  const frame = { type: frameTypes.data, sessionId, epoch, seq, salt }
  return {
    bytes: sealFrame(suite.aead, key, frame, plaintext),
    state: { ...state, sealed: state.sealed + 1 },
    pen: { ...pen, chain: chainAfter(suite.kdf, pen.chain, 1), seq },
  }
}

const used = new WeakSet<Pen>()

/** `turned back`: the letter is not opened, and says that this end was put back: the state keeps that. */
export type Opened =
  | { readonly kind: 'message'; readonly state: LetterState; readonly body: Uint8Array }
  | { readonly kind: 'turned back'; readonly state: LetterState }
  /** The peer has ended the session; no state comes after it. */
  | { readonly kind: 'close' }

/** A letter that may still be opened, and the key to try: nothing of it is authentic yet. */
export type Trial = {
  readonly data: Sealed
  readonly opening: Opening
  readonly receive: LetterState['receive']
  /** Secrets that the state does not have: to be wiped when it comes to nothing. */
  readonly made: readonly Secret[]
}

/**
 * Finds what would open a letter, on a copy: bounded work, and no change of state.
 * @throws ChannelError 10 (another session), 20, 21, 22, 30 (an epoch that is closed, or too far ahead)
 */
export function tryLetter(state: LetterState, data: Sealed, bounds: LetterBounds): Trial {
  const { kdf } = state.suite
  const { receive } = state
  if (!equal(data.sessionId, state.sessionId)) throw refusal(10, 'a letter of another session')
  if (data.seq < 1 || data.seq > letterLimits.seqMax) throw refusal(31, `letter ${data.seq} has no place`)
  if (data.epoch <= receive.epoch) {
    const found = [receive.current, receive.previous].find(opening => opening?.epoch === data.epoch)
    if (found === undefined) throw refusal(30, `a letter of epoch ${data.epoch}, which is closed`)
    admit(found.window, data.seq, bounds)
    if (found.salt !== undefined && !equal(found.salt, data.salt))
      throw refusal(20, 'a letter of another run of its sender')
    if (found.salt !== undefined) return { data, opening: found, receive, made: [] }
    const chain = chainOf(kdf, found.chain, data.salt)
    return { data, opening: { ...found, chain }, receive, made: [chain] }
  }
  const ahead = data.epoch - receive.epoch
  if (ahead > bounds.followMax || data.epoch > letterLimits.epochMax)
    // Nothing of it is authentic, and to find out is more work than a stranger may cause.
    throw refusal(
      30,
      `a letter of epoch ${data.epoch}, ${ahead} ahead: this end was put back, or so many epochs never came, or it is forged; begin a new session`,
    )
  admit(newWindow, data.seq, bounds)
  using root = rootAfter(kdf, receive.ahead, ahead - 1)
  const chain = chainOf(kdf, root, data.salt)
  const next = rootAfter(kdf, root, 1)
  const skipped = ahead > 1 ? rootAfter(kdf, receive.ahead, ahead - 2) : undefined
  const previous = skipped === undefined ? receive.current : unheard(data.epoch - 1, skipped)
  return {
    data,
    opening: { epoch: data.epoch, salt: data.salt, chain, window: newWindow },
    receive: { epoch: data.epoch, ahead: next, current: undefined, previous },
    made: skipped === undefined ? [chain, next] : [chain, next, skipped],
  }
}

/**
 * Opens it. What comes out is for the caller only once the state is committed.
 * @throws ChannelError 13, 15, 20
 */
export function openTrial(state: LetterState, trial: Trial, bounds: LetterBounds): Opened {
  const { kdf, aead } = state.suite
  const { data, opening, receive } = trial
  using chain = chainAfter(kdf, opening.chain, data.seq - opening.window.base)
  using key = keyOf(kdf, chain)
  const plaintext = openFrame(aead, key, data)
  if (plaintext.length < contentBytesMin) throw refusal(13, 'a letter without its first fields')
  const reader = new Reader(plaintext)
  const [kind, heard] = [reader.u8(), reader.u32()]
  const body = Uint8Array.from(reader.rest())
  if (kind !== kinds.message && kind !== kinds.close) throw refusal(13, `a letter of kind ${kind}`)
  if (kind === kinds.close && body.length > 0) throw refusal(13, 'a close with a body')
  if (body.length > bounds.bodyBytesMax) throw refusal(15, 'a letter that is too large')
  if (heard > state.send.epoch) {
    const receive = Math.max(state.receive.epoch, data.epoch)
    return { kind: 'turned back', state: { ...state, turnedBack: { send: heard, receive } } }
  }
  if (kind === kinds.close) return { kind: 'close' }
  const window = after(opening.window, data.seq, bounds.lateMax)
  const next: Opening = {
    epoch: opening.epoch,
    salt: Uint8Array.from(data.salt),
    chain: chainAfter(kdf, opening.chain, window.base - opening.window.base),
    window,
  }
  const isPrevious = receive.previous?.epoch === next.epoch
  return {
    kind: 'message',
    body,
    state: {
      ...state,
      receive: isPrevious ? { ...receive, previous: next } : { ...receive, current: next },
      peerHeard: Math.max(state.peerHeard, heard),
      // A client that is answered has been proved.
      proof: state.role === 'client' ? undefined : state.proof,
    },
  }
}

/**
 * After a restore: nothing at or below what was promised is sealed in or opened again.
 * @throws ChannelError `channel/EXHAUSTED` when more was lost than is worth deriving
 */
export function moveOn(state: LetterState, promised: Promised): LetterState {
  const { kdf } = state.suite
  const on = ({ epoch, ahead }: Direction, to: number): Direction => {
    const steps = Math.max(0, to - epoch)
    if (steps > letterLimits.moveOnMax) throw exhausted(`${steps} epochs were lost: begin a new session`)
    return { epoch: epoch + steps, ahead: rootAfter(kdf, ahead, steps) }
  }
  return {
    ...state,
    send: on(state.send, promised.send),
    receive: { ...on(state.receive, promised.receive), current: undefined, previous: undefined },
    turnedBack: undefined,
  }
}

/** Every secret of a state, for who wipes what the next one does not have. */
export function secretsIn(state: LetterState): Secret[] {
  const { current, previous } = state.receive
  const openings = [current, previous].flatMap(opening => (opening === undefined ? [] : [opening.chain]))
  return [state.markKey, state.send.ahead, state.receive.ahead, ...openings]
}

function unheard(epoch: number, root: Secret): Opening {
  return { epoch, salt: undefined, chain: root, window: newWindow }
}

function exhausted(message: string): ChannelError {
  return new ChannelError('channel/EXHAUSTED', message)
}
