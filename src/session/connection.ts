import type { Positions } from '../channel/block.ts'
import { isStanding } from '../channel/close.ts'
import { afterCommit, afterHeard } from '../channel/continuity.ts'
import { FrameReader } from '../channel/frame-reader.ts'
import { startClient, startServer } from '../channel/handshake.ts'
import { ChannelError, type CloseReason, closeReasons } from '../channel/reasons.ts'
import type { Action, Commit, Ending, Event, State, StateName, Step, Timer } from '../channel/state.ts'
import { step } from '../channel/step.ts'
import type { Wire } from '../host/wire.ts'
import { signAs, verifyFrom } from '../signature/hybrid.ts'
import { type Identity, verifyIdentity } from '../signature/identity.ts'
import { Changes } from './changes.ts'
import { SessionError, sessionCode } from './error.ts'
import { Outgoing } from './outgoing.ts'
import { type Endpoint, localConfig, type Party, type Told } from './party.ts'
import { judgeIdentity } from './peers.ts'
import { refuse, remember, rememberRekey } from './remembering.ts'
import { Timers } from './timers.ts'

export type { Endpoint, Party } from './party.ts'

/** Received and not yet taken; the wire is not read beyond it. */
const undeliveredMax = 64

/** What is done for a rekey while traffic goes on. */
const meanwhile: ReadonlySet<Action['kind']> = new Set(['sign', 'verify', 'commit-rekey'])
/** Where no frame is looked at before the answer is there. */
const unread: StateName = 'client-verifying-commit'

/**
 * Drives one channel over one wire: performs the pure machine's actions in order, makes durable what it says must be
 * durable before anything that commits the other end leaves, and hands over plaintexts. After a restart there is
 * always a new one: no key of an old connection is ever read from disk (S8).
 */
export class Connection {
  readonly #endpoint: Endpoint
  readonly #wire: Wire
  readonly #outgoing: Outgoing
  readonly #find: (identity: Identity) => Party | undefined
  readonly #timers: Timers<Timer>
  readonly #plaintexts: Uint8Array[] = []
  #state: State
  #party: Party | undefined
  #mine: Positions | undefined
  #theirs: Positions | undefined
  #turn: Promise<unknown> = Promise.resolve()
  readonly #changes = new Changes()
  #release: () => void = () => undefined
  #sendBytesMax: number | undefined
  #heard = false
  #epoch = 0
  #ending: Ending | undefined
  /** Why this end refused, or would have, where the reason alone does not say. */
  #refusal: string | undefined

  private constructor(
    endpoint: Endpoint,
    wire: Wire,
    find: (identity: Identity) => Party | undefined,
    state: State,
  ) {
    this.#endpoint = endpoint
    this.#timers = new Timers(endpoint.clock)
    this.#wire = wire
    this.#outgoing = new Outgoing(wire, () => this.#changes.announce())
    this.#find = find
    this.#state = state
  }

  /** Connects as client; resolves once both ends are committed to the session. @throws SessionError */
  static async connect(endpoint: Endpoint, wire: Wire, party: Party): Promise<Connection> {
    const own = await localConfig(endpoint, wire)
    const mine = party.positions()
    const memory = party.memory.copy()
    const start = startClient({ ...own, peerId: party.peer.id, memory, positions: mine })
    const connection = new Connection(endpoint, wire, () => party, start.state)
    connection.#mine = mine
    return connection.#begin(start)
  }

  /** Serves a wire as server. `find` says whom: a peer it does not know is refused. @throws SessionError */
  static async accept(
    endpoint: Endpoint,
    wire: Wire,
    find: (identity: Identity) => Party | undefined,
  ): Promise<Connection> {
    const start = startServer(await localConfig(endpoint, wire))
    return new Connection(endpoint, wire, find, start.state).#begin(start)
  }

  get party(): Party {
    if (this.#party === undefined) throw new TypeError('not connected')
    return this.#party
  }

  /** What the two ends told each other of their messages. */
  get positions(): { readonly mine: Positions; readonly theirs: Positions } {
    if (this.#mine === undefined || this.#theirs === undefined) throw new TypeError('not connected')
    return { mine: this.#mine, theirs: this.#theirs }
  }

  /** The most that one `send` may carry: what both ends take. */
  get sendBytesMax(): number {
    if (this.#sendBytesMax === undefined) throw new TypeError('not connected')
    return this.#sendBytesMax
  }

  /** Seals and sends; resolves when the wire takes more. @throws SessionError once the session has ended */
  async send(plaintext: Uint8Array): Promise<void> {
    if (this.#ending !== undefined) throw this.#error(this.#ending)
    await this.#event({ kind: 'send', plaintext })
    // The next frame is made while the kernel takes this one. A peer that takes nothing cannot hold up the end.
    await this.#until(() => !this.#outgoing.isFull)
  }

  /** The next plaintext, in order; `undefined` after a normal end. @throws SessionError */
  async receive(): Promise<Uint8Array | undefined> {
    for (;;) {
      const plaintext = this.#plaintexts.shift()
      if (plaintext !== undefined) {
        this.#changes.announce()
        return plaintext
      }
      if (this.#ending !== undefined) {
        if (this.#ending.code === undefined) return undefined
        throw this.#error(this.#ending)
      }
      await this.#until(() => this.#plaintexts.length > 0)
    }
  }

  /** Makes new keys now, before a limit asks for it; resolves once both ends have gone on to them. @throws SessionError */
  async rekey(): Promise<void> {
    const before = this.#epoch
    await this.#event({ kind: 'rekey-requested' })
    await this.#until(() => this.#epoch !== before)
    if (this.#ending !== undefined) throw this.#error(this.#ending)
  }

  /** Says why, waits for the other end's word, and is over. */
  async close(reason: CloseReason, text = ''): Promise<void> {
    await this.#event({ kind: 'close-requested', reason, text })
    await this.ended()
  }

  /** Resolves once the other end was heard in this session, and all that follows from it is done; or once it is over. */
  async heard(): Promise<void> {
    await this.#until(() => this.#heard)
  }

  /** Resolves once it is over, however it ended. */
  async ended(): Promise<void> {
    await this.#until(() => false)
  }

  /** A newer connection of the same peer has taken over. */
  supersede(): void {
    this.#inform({ kind: 'close-requested', reason: 0, text: 'superseded by a newer connection' })
  }

  async #begin(start: Step): Promise<Connection> {
    await this.#perform(start)
    void this.#readAll().catch(() => undefined) // the ending says it
    await this.#until(() => this.#sendBytesMax !== undefined)
    if (this.#ending !== undefined && this.#sendBytesMax === undefined) throw this.#error(this.#ending)
    return this
  }

  /** The stream's bytes, one event after another: no frame is looked at while an answer is owed to the machine. */
  async #readAll(): Promise<void> {
    const reader = new FrameReader()
    for (;;) {
      const chunk = await this.#wire.read().catch(() => undefined)
      if (chunk === undefined) break
      for (const event of reader.feed(chunk)) {
        await this.#event(event)
        await this.#until(() => this.#plaintexts.length <= undeliveredMax && this.#state.name !== unread)
        if (this.#ending !== undefined) return
      }
    }
    await this.#event({ kind: 'wire-ended' })
  }

  /** Events are taken one at a time, each with all its actions and their answers. */
  async #event(event: Event): Promise<void> {
    const turn = this.#turn.then(() => this.#take(event)).catch(error => this.#failed(error))
    this.#turn = turn
    const failure = await turn
    if (failure !== undefined) throw failure
  }

  /** Trouble at this end ends the session; a call that was merely out of place does not. */
  #failed(error: unknown): unknown {
    const outOfPlace =
      error instanceof SessionError || (error instanceof ChannelError && error.reason === undefined)
    if (!outOfPlace && this.#ending === undefined) {
      this.#wire.abort()
      const text = error instanceof Error ? error.message : 'failed'
      this.#ended({ reason: 90, by: 'us', code: 'channel/INTERNAL', text, trusted: true })
    }
    return error
  }

  /** An event whose outcome nobody waits for: if it fails, the ending says so. */
  #inform(event: Event): void {
    this.#event(event).catch(() => undefined)
  }

  async #take(event: Event): Promise<void> {
    if (event.kind === 'send' && !isStanding(this.#state)) {
      if (this.#ending !== undefined) throw this.#error(this.#ending)
      throw new SessionError('channel/CLOSED', 'the session is closing', { trusted: true })
    }
    await this.#perform(next(this.#state, event))
  }

  async #perform({ state, actions }: Step): Promise<void> {
    this.#state = state
    for (const action of actions) {
      if (isStanding(state) && meanwhile.has(action.kind)) {
        void this.#answerLater(action)
        continue
      }
      const answer = await this.#act(action)
      if (answer === undefined) continue
      await this.#take(answer)
      // What was to be done on the strength of another answer is not done; the end of what has ended is.
      if (state.name !== 'closed' && /^clos(ing|ed)$/.test(this.#state.name)) return
    }
  }

  /** Of a rekey: traffic goes on until the answer is there. */
  async #answerLater(action: Action): Promise<void> {
    try {
      const answer = await this.#act(action)
      if (answer !== undefined) await this.#event(answer)
    } catch (error) {
      this.#failed(error)
    }
    this.#changes.announce()
  }

  async #act(action: Action): Promise<Event | undefined> {
    switch (action.kind) {
      case 'send':
        // Not awaited here: a peer that takes nothing must not hold up timers. `send` awaits it.
        void this.#outgoing.write(action.parts)
        return undefined
      case 'start-timer':
        this.#timers.start(action.timer, action.ms, () =>
          this.#inform({ kind: 'timeout', timer: action.timer }),
        )
        return undefined
      case 'stop-timer':
        this.#timers.stop(action.timer)
        return undefined
      case 'sign': {
        const { identity, keys } = this.#endpoint.own
        const signature = await signAs(keys, identity.current, action.purpose, action.payload)
        return { kind: 'signed', signature }
      }
      case 'verify':
        return this.#verify(action)
      case 'decide': {
        const party = this.#find(action.peer)
        if (party === undefined || party.isForgotten === true)
          return refuse(51, 'this identity is not served here')
        this.#release = await party.memory.hold()
        const positions = party.positions()
        this.#mine = positions
        const verdict = await this.#judge(party, action.theirs)
        const memory = party.memory.copy()
        const noneAllowed = memory.noneAllowed && party.allowsNone?.(action.theirs) !== false
        return { kind: 'decided', memory: { ...memory, noneAllowed }, positions, verdict }
      }
      case 'judge-positions': {
        const party = this.#party
        return {
          kind: 'positions-judged',
          verdict: party === undefined ? 'refused' : await this.#judge(party, action.theirs),
        }
      }
      case 'peer-refused':
        if (this.#party !== undefined) await this.#judge(this.#party, action.theirs)
        return undefined
      case 'commit':
        return this.#commit(action)
      case 'established':
        this.#sendBytesMax = action.dataBytesMax
        this.#epoch = action.epoch
        this.#changes.announce()
        return undefined
      case 'peer-heard': {
        const kept = await this.#party?.memory.update(memory => afterHeard(memory, action.secretId))
        if (kept !== true) return refuse(72, 'a newer session of this peer has been heard')
        this.#tell(await this.#party?.heard?.())
        this.#heard = true
        this.#changes.announce()
        return undefined
      }
      case 'deliver':
        this.#plaintexts.push(action.plaintext)
        this.#changes.announce()
        return undefined
      case 'commit-rekey':
        return rememberRekey(this.#endpoint, this.#party, action, this)
      case 'rekeyed':
        this.#epoch = action.epoch
        this.#endpoint.log.event('session/rekeyed', { epoch: action.epoch, remote: this.#wire.remote })
        this.#changes.announce()
        return undefined
      case 'end-wire':
        this.#wire.close()
        return undefined
      case 'closed':
        this.#ended(action)
        return undefined
    }
  }

  async #verify(claim: Action & { readonly kind: 'verify' }): Promise<Event> {
    const { identity, purpose, payload, signature } = claim
    const good =
      (await verifyIdentity(identity)) && (await verifyFrom(identity.current, purpose, payload, signature))
    const party = this.#party ?? this.#find(identity)
    if (!good || party === undefined) return { kind: 'verified', good }
    this.#party = party
    const shown = judgeIdentity(party.peer, identity)
    if (shown === 'older') {
      this.#refusal = 'the peer was turned back'
      return refuse(70, 'an identity record older than the one already seen')
    }
    return { kind: 'verified', good: shown !== 'another' }
  }

  async #judge(party: Party, theirs: Positions): Promise<'ok' | 'refused'> {
    const verdict = party.judge(theirs)
    if (verdict === 'agreed') return 'ok'
    this.#refusal = verdict
    await party.refused?.(theirs)
    return 'refused'
  }

  async #commit(commit: Commit): Promise<Event> {
    const party = this.#party
    if (party === undefined) return refuse(90, 'a commit for nobody')
    const answer = await remember(this.#endpoint, party, {
      peer: commit.peer,
      res: commit.secret.res,
      rule: memory => afterCommit(memory, commit),
      before: async () => this.#tell(await party.committing?.(commit.theirs)),
    })
    this.#release()
    if (answer.kind !== 'committed') return answer
    this.#theirs = commit.theirs
    const superseded = party.live
    party.live = this
    superseded?.supersede()
    return answer
  }

  #tell(told: readonly Told[] = []): void {
    for (const { event, ...fields } of told) this.#endpoint.log.event(event, fields)
  }

  #ended(ending: Ending): void {
    this.#ending = ending
    this.#release()
    this.#timers.stopAll()
    if (this.#party?.live === this) this.#party.live = undefined
    this.#wire.close()
    this.#endpoint.log.event('session/ended', {
      reason: ending.reason,
      by: ending.by,
      remote: this.#wire.remote,
    })
    this.#changes.announce()
  }

  #error(ending: Ending): SessionError {
    const code = ending.code === undefined ? 'channel/CLOSED' : sessionCode(ending.code)
    const said = ending.text || closeReasons[ending.reason].name
    const text = ending.by === 'us' && this.#refusal !== undefined ? `${said}; ${this.#refusal}` : said
    const message = ending.by === 'peer' ? `the peer says: ${text}` : text
    return new SessionError(code, message, { trusted: ending.trusted, verdict: this.#refusal })
  }

  /** Resolves once that holds, or all is over. */
  #until(holds: () => boolean): Promise<void> {
    return this.#changes.until(() => this.#ending !== undefined || holds())
  }
}

function next(state: State, event: Event): Step {
  if (event.kind !== 'send' && event.kind !== 'rekey-requested') return step(state, event)
  if (isStanding(state) || state.name === 'closing' || state.name === 'closed') return step(state, event)
  throw new TypeError(`${event.kind} in ${state.name}`)
}
