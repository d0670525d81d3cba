import { equal } from '../bytes/bytes.ts'
import {
  answerHello,
  beginLetters,
  enterEpoch,
  type LetterBounds,
  type LetterState,
  moveOn,
  needsEpoch,
  openTrial,
  type Pen,
  parseLetter,
  promisedBy,
  proofDigest,
  readAnswer,
  readProof,
  type Sealed,
  saltBytes,
  seal,
  sealClose,
  secretsIn,
  type Trial,
  tryLetter,
} from '../channel/letter/index.ts'
import { ChannelError, refusal } from '../channel/reasons.ts'
import type { Purpose } from '../channel/schedule.ts'
import type { Role } from '../channel/state.ts'
import { suites } from '../crypto/suite.ts'
import { signAs, verifyFrom } from '../signature/hybrid.ts'
import { type Identity, verifyIdentity } from '../signature/identity.ts'
import type { Change } from '../state/change.ts'
import { parametersIn } from '../state/parameters.ts'
import type { Store } from '../state/store.ts'
import { SessionError, sessionCode } from './error.ts'
import type { LetterEndpoint, LetterOptions } from './letter-endpoint.ts'
import { LetterKeeping, unlike, wipe } from './letter-keeping.ts'
import { type LetterParty, partyOf } from './letter-party.ts'
import type { Peer } from './peers.ts'

/**
 * The letters exchanged with a peer: what this end has of them in its store, if anything. The end that begins is the
 * client.
 * @throws SessionError `session/ROLLBACK`; StateError EINTEGRITY (the session's mark is gone or damaged)
 */
export async function openLetters(
  home: Omit<LetterEndpoint, 'store' | 'parameters'> & { readonly store: Store },
  peer: Peer,
  role: Role,
  options: LetterOptions = {},
): Promise<LetterSession> {
  const parameters = await parametersIn(home.store)
  return LetterSession.open({ ...home, parameters }, partyOf(home, peer), role, options)
}

/**
 * Sealed messages that need no live connection, made durable (docs/spec/letter.md). Steps are taken one at a time, and
 * each is committed, then marked, then answered.
 */
export class LetterSession {
  readonly role: Role
  readonly #endpoint: LetterEndpoint
  readonly #party: LetterParty
  readonly #kept: LetterKeeping
  readonly #options: LetterOptions
  readonly #bounds: LetterBounds
  #pen: Pen | undefined
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(
    endpoint: LetterEndpoint,
    party: LetterParty,
    kept: LetterKeeping,
    role: Role,
    options: LetterOptions,
  ) {
    this.#endpoint = endpoint
    this.#party = party
    this.#kept = kept
    this.role = role
    this.#options = options
    const { parameters } = endpoint
    this.#bounds = {
      lateMax: parameters.count('dur.max_out_of_order_messages'),
      skipMax: parameters.count('qsp.max_skip'),
      followMax: parameters.count('letter.epochs_followed'),
      bodyBytesMax: parameters.count('qsp.max_body_ct_len'),
    }
  }

  static async open(
    endpoint: LetterEndpoint,
    party: LetterParty,
    role: Role,
    options: LetterOptions = {},
  ): Promise<LetterSession> {
    const kept = await LetterKeeping.open(endpoint, party.key, role)
    const session = new LetterSession(endpoint, party, kept, role, options)
    await session.#inTurn(() => session.#settle())
    return session
  }

  /** Whether there is a session to seal and open in. */
  get stands(): boolean {
    return this.#kept.state !== undefined
  }

  /** The session's id, 32 bytes, the same at both ends. @throws SessionError `channel/CLOSED` */
  get id(): Uint8Array {
    return this.#standing().id
  }

  /** The session id of frames, 8 bytes: known to both ends from the second flight on. */
  get frameId(): Uint8Array | undefined {
    const { state, hello } = this.#kept
    return hello?.role === 'server' ? hello.waiting.sessionId : state?.sessionId
  }

  /** The highest epoch entered in each direction. @throws SessionError `channel/CLOSED` */
  get epochs(): { readonly send: number; readonly receive: number } {
    const { send, receive } = this.#standing()
    return { send: send.epoch, receive: receive.epoch }
  }

  /** The client's first flight. A session that stands goes on until {@link finish}. */
  begin(): Promise<Uint8Array> {
    return this.#withPeer(async () => {
      this.#require('client')
      const { waiting, flight } = beginLetters({ ...this.#endpoint, suites }, this.#party.calls)
      await this.#kept.await({ role: 'client', waiting })
      return flight
    })
  }

  /** The server's answer to it. A session that stands goes on until a letter comes in the new one. */
  answer(hello: Uint8Array): Promise<Uint8Array> {
    return this.#withPeer(async () => {
      this.#require('server')
      const { identity } = this.#endpoint.own
      const signing = answerHello({ ...this.#endpoint, suites }, { ...this.#party, identity }, hello)
      const { waiting, flight } = signing.go(await this.#sign(signing))
      await this.#kept.await({ role: 'server', waiting })
      return flight
    })
  }

  /** The client's session stands from here on; the one before it is destroyed. */
  finish(answer: Uint8Array): Promise<void> {
    return this.#withPeer(async () => {
      this.#require('client')
      const { hello } = this.#kept
      if (hello?.role !== 'client') throw closed('no session was begun here')
      const { entropy, own } = this.#endpoint
      const verifying = readAnswer(hello.waiting, { identity: own.identity, entropy }, answer)
      await this.#verify(verifying)
      const signing = verifying.go()
      const { state, proof } = signing.go(await this.#sign(signing))
      await this.#establish(state, proof)
    })
  }

  /**
   * Seals a letter. Committed and marked before it is returned, so that nothing which a restore could take back was
   * ever given away.
   * @throws SessionError `channel/CLOSED` (no session), `channel/TOO_LARGE`, `channel/EXHAUSTED`
   */
  seal(body: Uint8Array): Promise<Uint8Array> {
    return this.#withPeer(async () => {
      const state = this.#state()
      const { bodyBytesMax } = this.#bounds
      if (body.length > bodyBytesMax)
        throw new ChannelError('channel/TOO_LARGE', `a letter has at most ${bodyBytesMax} bytes`)
      const sealed = this.#write(state, (at, pen) => seal(at, pen, body))
      await this.#kept.commit(sealed.state, { orElse: [sealed.pen.chain] })
      this.#pen = sealed.pen
      return this.#kept.withProof(sealed.bytes)
    })
  }

  /**
   * Opens a letter, once. `accept` says what is to be committed together with the fact that it was opened; without it a
   * crash after the commit loses the text. `undefined`: it was the peer's last one, and the session is over here too.
   * @throws SessionError `channel/REPLAY` (opened before, or too old), `channel/TAMPERED`, `channel/PROTOCOL`,
   * `session/ROLLBACK`; nothing has changed then
   */
  open(
    letter: Uint8Array,
    accept?: (body: Uint8Array) => readonly Change[],
  ): Promise<Uint8Array | undefined> {
    return this.#withPeer(async () => {
      const crashAt = this.#endpoint.crashAt ?? (() => undefined)
      const { proof, data } = parseLetter(letter)
      crashAt('letter/parsed')
      if (proof !== undefined) await this.#takeProof(proof)
      const state = this.#state()
      this.#kept.refuseIfRemembered(data)
      const trial = tryLetter(state, data, this.#bounds)
      crashAt('letter/decrypting')
      const opened = this.#openTrial(state, trial)
      crashAt('letter/opened')
      if (opened.kind === 'close') {
        wipe(trial.made)
        await this.#over()
        return undefined
      }
      if (opened.kind === 'turned back') {
        await this.#kept.commit(opened.state, trial)
        throw turnedBack()
      }
      const { body } = opened
      await this.#kept.commit(opened.state, {
        opened: data,
        changes: accept?.(body) ?? [],
        made: trial.made,
      })
      crashAt('letter/committed')
      return body
    })
  }

  /**
   * Ends the session for good: all that is kept of it is destroyed, with every copy of it (S2), and so is a handshake
   * that waits. Answers with the last letter, which ends it at the peer when it is opened there; with none where there
   * is no session to seal in. `accept` says what is to be committed together with the end, such as that letter in an
   * outbox; without it a crash after the commit loses it, and the peer is not told.
   */
  close(accept?: (letter: Uint8Array | undefined) => readonly Change[]): Promise<Uint8Array | undefined> {
    return this.#inTurn(async () => {
      const letter = (await this.#party.isKnown?.()) === false ? undefined : this.#lastLetter()
      await this.#kept.forgetHello()
      await this.#over(accept?.(letter))
      return letter
    })
  }

  /** Lets go of it; it is there when it is opened again. */
  end(): Promise<void> {
    return this.#inTurn(async () => {
      this.#drop()
      await this.#kept.end()
    })
  }

  #write(state: LetterState, sealing: typeof sealClose): ReturnType<typeof sealClose> {
    const pen = this.#pen
    // Whatever becomes of it, it is used now.
    this.#pen = undefined
    const fresh = needsEpoch(state, pen) || pen === undefined
    const at = fresh ? enterEpoch(state, this.#endpoint.entropy.bytes(saltBytes)) : { state, pen }
    const sealed = sealing(at.state, at.pen)
    pen?.chain[Symbol.dispose]()
    if (fresh) at.pen.chain[Symbol.dispose]()
    return sealed
  }

  /** It enters its epoch in memory alone: the session and its mark are gone before it is given away. */
  #lastLetter(): Uint8Array | undefined {
    const { state } = this.#kept
    if (state === undefined || state.turnedBack !== undefined) return undefined
    try {
      const { bytes, state: after, pen } = this.#write(state, sealClose)
      wipe(unlike(secretsIn(after), state, [pen.chain]))
      return this.#kept.withProof(bytes)
    } catch (error) {
      if (error instanceof ChannelError && error.code === 'channel/EXHAUSTED') return undefined
      throw error
    }
  }

  async #over(changes?: readonly Change[]): Promise<void> {
    this.#drop()
    await this.#kept.close(changes)
  }

  #openTrial(state: LetterState, trial: Trial) {
    try {
      return openTrial(state, trial, this.#bounds)
    } catch (error) {
      wipe(trial.made)
      throw error
    }
  }

  /** A server's session stands once the client has proved who it is, in front of its first letter. */
  async #takeProof(proof: Sealed): Promise<void> {
    const { hello, state } = this.#kept
    if (hello?.role === 'server' && equal(proof.sessionId, hello.waiting.sessionId)) {
      const verifying = readProof(hello.waiting, proof)
      await this.#verify(verifying)
      await this.#establish(verifying.go())
    } else if (state?.role !== 'server' || state.proof === undefined)
      throw refusal(10, 'a proof that nothing was asked for')
    else if (!equal(proofDigest(proof.whole), state.proof)) throw refusal(13, 'another proof than was taken')
  }

  async #establish(state: LetterState, proof?: Uint8Array): Promise<void> {
    this.#drop()
    await this.#kept.establish(state, proof)
    await this.#settle()
  }

  /** Holds the session against its mark (S3, S9). */
  async #settle(): Promise<void> {
    const found = await this.#kept.holdAgainstMark()
    if (found.verdict === 'go on') return
    if (this.#options.restored === 'discard') {
      await this.#kept.forgetHello()
      return this.#over()
    }
    if (found.verdict === 'no mark') {
      await this.#kept.end()
      throw found.error
    }
    const { state, mark } = found
    if (!waysOn.has(found.verdict) || this.#options.restored !== 'continue') {
      await this.#kept.end()
      const message = `the letter session is not the newest: ${found.verdict}`
      throw new SessionError('session/ROLLBACK', message, { trusted: true })
    }
    const promised = promisedBy(mark.number)
    const send = Math.max(promised.send, state.turnedBack?.send ?? 0)
    const receive = Math.max(promised.receive, state.turnedBack?.receive ?? 0)
    await this.#kept.goOn(moveOn(state, { send, receive }), this.#options.by ?? 'the caller')
  }

  async #sign({ purpose, payload }: { readonly purpose: Purpose; readonly payload: Uint8Array }) {
    const { identity, keys } = this.#endpoint.own
    return signAs(keys, identity.current, purpose, payload)
  }

  async #verify(claim: {
    readonly identity: Identity
    readonly purpose: Purpose
    readonly payload: Uint8Array
    readonly signature: Uint8Array
  }): Promise<void> {
    const { identity, purpose, payload, signature } = claim
    const good =
      (await verifyIdentity(identity)) && (await verifyFrom(identity.current, purpose, payload, signature))
    if (!good) throw refusal(50, 'the other end did not prove its identity')
    const shown = await this.#party.meet(identity)
    if (shown === 'another') throw refusal(51, 'another identity than the one that is wanted')
    if (shown === 'older') throw refusal(70, 'an identity record older than the one already seen')
  }

  #standing(): LetterState {
    const { state } = this.#kept
    if (state === undefined) throw closed('there is no session: begin one')
    return state
  }

  /** To seal or open in. */
  #state(): LetterState {
    const state = this.#standing()
    if (state.turnedBack !== undefined) throw turnedBack()
    return state
  }

  #require(role: Role): void {
    if (this.role !== role) throw new TypeError(`this end is the ${this.role}`)
  }

  #drop(): void {
    this.#pen?.chain[Symbol.dispose]()
    this.#pen = undefined
  }

  #withPeer<T>(step: () => Promise<T>): Promise<T> {
    return this.#inTurn(async () => {
      if ((await this.#party.isKnown?.()) === false)
        throw refusal(51, 'this identity is no peer of ours any more')
      return step()
    })
  }

  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(step).catch(error => {
      if (error instanceof ChannelError)
        throw new SessionError(sessionCode(error.code), error.message, { trusted: true })
      throw error
    })
    this.#turn = turn.catch(() => undefined)
    return turn
  }
}

/** What a caller may choose to go on from. */
const waysOn: ReadonlySet<string> = new Set([
  'the store went back',
  'the store may have gone back',
  'the peer has heard more',
])

function turnedBack(): ChannelError {
  return refusal(70, 'the peer has opened letters that this end does not know of: it was turned back')
}

function closed(message: string): ChannelError {
  return new ChannelError('channel/CLOSED', message)
}
