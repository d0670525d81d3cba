import type { Positions } from '../channel/block.ts'
import { afterCommit, afterHeard } from '../channel/continuity.ts'
import { FrameReader } from '../channel/frame-reader.ts'
import { startClient, startServer } from '../channel/handshake.ts'
import { ChannelError, type CloseReason, closeReasons } from '../channel/reasons.ts'
import type { Action, Commit, Ending, Event, State, Step, Timer } from '../channel/state.ts'
import { step } from '../channel/step.ts'
import { suites } from '../crypto/suite.ts'
import type { Wire } from '../host/wire.ts'
import { signAs, verifyFrom } from '../signature/hybrid.ts'
import { type Identity, verifyIdentity } from '../signature/identity.ts'
import { SessionError, sessionCode } from './error.ts'
import type { Endpoint, Party, Told } from './party.ts'
import { judgeIdentity, rememberIdentity } from './peers.ts'

export type { Endpoint, Party } from './party.ts'

/** Received and not yet taken; the wire is not read beyond it. */
const undeliveredMax = 64

/**
 * Drives one channel over one wire: performs the pure machine's actions in order, makes durable what it says must be
 * durable before anything that commits the other end leaves, and hands over plaintexts. After a restart there is
 * always a new one: no key of an old connection is ever read from disk (S8).
 */
export class Connection {
  readonly #endpoint: Endpoint
  readonly #wire: Wire
  readonly #find: (identity: Identity) => Party | undefined
  readonly #timers = new Map<Timer, () => void>()
  readonly #plaintexts: Uint8Array[] = []
  #state: State
  #party: Party | undefined
  #mine: Positions | undefined
  #theirs: Positions | undefined
  #turn: Promise<unknown> = Promise.resolve()
  #drained: Promise<unknown> = Promise.resolve()
  #changed: () => void = () => undefined
  #release: () => void = () => undefined
  #limitReached = false
  #established = false
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
    this.#wire = wire
    this.#find = find
    this.#state = state
  }

  /** Connects as client; resolves once both ends are committed to the session. @throws SessionError */
  static async connect(endpoint: Endpoint, wire: Wire, party: Party): Promise<Connection> {
    const mine = party.positions()
    const start = startClient({
      ...local(endpoint),
      peerId: party.peer.id,
      memory: party.memory.copy(),
      positions: mine,
    })
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
    const start = startServer(local(endpoint))
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

  /** Seals and sends; resolves when the wire takes more. @throws SessionError once the session has ended */
  async send(plaintext: Uint8Array): Promise<void> {
    if (this.#ending !== undefined) throw this.#error(this.#ending)
    await this.#event({ kind: 'send', plaintext })
    let drained = false
    void this.#drained.then(() => {
      drained = true
      this.#changed()
    })
    // A peer that takes nothing cannot hold up the end.
    while (!drained && this.#ending === undefined) await this.#change()
  }

  /** The next plaintext, in order; `undefined` after a normal end. @throws SessionError */
  async receive(): Promise<Uint8Array | undefined> {
    for (;;) {
      const plaintext = this.#plaintexts.shift()
      if (plaintext !== undefined) {
        this.#changed()
        return plaintext
      }
      if (this.#ending !== undefined) {
        if (this.#ending.code === undefined) return undefined
        throw this.#error(this.#ending)
      }
      await this.#change()
    }
  }

  /** Resolves once a soft limit asks for a fresh handshake: end this connection then and make another. */
  async untilLimit(): Promise<void> {
    while (!this.#limitReached && this.#ending === undefined) await this.#change()
  }

  /** Says why, waits for the other end's word, and is over. */
  async close(reason: CloseReason, text = ''): Promise<void> {
    await this.#event({ kind: 'close-requested', reason, text })
    while (this.#ending === undefined) await this.#change()
  }

  /** A newer connection of the same peer has taken over. */
  supersede(): void {
    this.#inform({ kind: 'close-requested', reason: 0, text: 'superseded by a newer connection' })
  }

  async #begin(start: Step): Promise<Connection> {
    await this.#perform(start)
    void this.#readAll().catch(() => undefined) // the ending says it
    while (!this.#established && this.#ending === undefined) await this.#change()
    if (this.#ending !== undefined && !this.#established) throw this.#error(this.#ending)
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
        while (this.#plaintexts.length > undeliveredMax && this.#ending === undefined) await this.#change()
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
    if (event.kind === 'send' && this.#state.name !== 'established') {
      if (this.#ending !== undefined) throw this.#error(this.#ending)
      throw new SessionError('channel/CLOSED', 'the session is closing', { trusted: true })
    }
    await this.#perform(next(this.#state, event))
  }

  async #perform({ state, actions }: Step): Promise<void> {
    this.#state = state
    for (const action of actions) {
      const answer = await this.#act(action)
      if (answer === undefined) continue
      await this.#take(answer)
      // What was to be done on the strength of another answer is not done; the end of what has ended is.
      if (state.name !== 'closed' && /^clos(ing|ed)$/.test(this.#state.name)) return
    }
  }

  async #act(action: Action): Promise<Event | undefined> {
    switch (action.kind) {
      case 'send':
        // Not awaited here: a peer that takes nothing must not hold up timers. `send` awaits it.
        this.#drained = this.#wire.write(action.bytes).catch(() => undefined)
        return undefined
      case 'start-timer':
        this.#timers.get(action.timer)?.()
        this.#timers.set(
          action.timer,
          this.#endpoint.clock.after(action.ms, () => this.#inform({ kind: 'timeout', timer: action.timer })),
        )
        return undefined
      case 'stop-timer':
        this.#timers.get(action.timer)?.()
        this.#timers.delete(action.timer)
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
        this.#established = true
        this.#changed()
        return undefined
      case 'peer-heard': {
        const kept = await this.#party?.memory.update(memory => afterHeard(memory, action.secretId))
        if (kept !== true) return refuse(72, 'a newer session of this peer has been heard')
        this.#tell(await this.#party?.heard?.())
        return undefined
      }
      case 'deliver':
        this.#plaintexts.push(action.plaintext)
        this.#changed()
        return undefined
      case 'limit-reached':
        this.#limitReached = true
        this.#changed()
        return undefined
      case 'end-wire':
        this.#wire.close()
        return undefined
      case 'closed':
        this.#ended(action)
        return undefined
    }
  }

  async #verify(action: Action & { readonly kind: 'verify' }): Promise<Event> {
    const { identity, purpose, payload, signature } = action
    const good =
      (await verifyIdentity(identity)) && (await verifyFrom(identity.current, purpose, payload, signature))
    if (!good) return { kind: 'verified', good }
    const party = this.#find(identity)
    if (party === undefined) return { kind: 'verified', good }
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

  /** State first, then mark, then the message that commits the other end (design: order of acknowledgement). */
  async #commit(commit: Commit): Promise<Event> {
    const party = this.#party
    if (party === undefined) return refuse(90, 'a commit for nobody')
    try {
      if (party.isForgotten === true) {
        commit.secret.res[Symbol.dispose]()
        return refuse(51, 'this identity is not served here')
      }
      if (judgeIdentity(party.peer, commit.peer) === 'newer')
        party.peer = await rememberIdentity(this.#endpoint.store, party.peer, commit.peer)
      this.#tell(await party.committing?.(commit.theirs))
      const made = await party.memory.update(memory => afterCommit(memory, commit))
      if (!made) {
        commit.secret.res[Symbol.dispose]()
        return refuse(72, 'another session of this peer came first')
      }
    } catch (error) {
      this.#endpoint.log.event('session/commit-failed', {
        message: error instanceof Error ? error.message : '',
      })
      return refuse(90, 'the session could not be made durable')
    } finally {
      this.#release()
    }
    this.#theirs = commit.theirs
    const superseded = party.live
    party.live = this
    superseded?.supersede()
    return { kind: 'committed' }
  }

  #tell(told: readonly Told[] = []): void {
    for (const { event, ...fields } of told) this.#endpoint.log.event(event, fields)
  }

  #ended(ending: Ending): void {
    this.#ending = ending
    this.#release()
    for (const cancel of this.#timers.values()) cancel()
    this.#timers.clear()
    if (this.#party?.live === this) this.#party.live = undefined
    this.#wire.close()
    this.#endpoint.log.event('session/ended', {
      reason: ending.reason,
      by: ending.by,
      remote: this.#wire.remote,
    })
    this.#changed()
  }

  #error(ending: Ending): SessionError {
    const code = ending.code === undefined ? 'channel/CLOSED' : sessionCode(ending.code)
    const said = ending.text || closeReasons[ending.reason].name
    const text = ending.by === 'us' && this.#refusal !== undefined ? `${said}; ${this.#refusal}` : said
    const message = ending.by === 'peer' ? `the peer says: ${text}` : text
    return new SessionError(code, message, { trusted: ending.trusted, verdict: this.#refusal })
  }

  /** Resolves at the next change of anything that is waited for here. */
  #change(): Promise<void> {
    const before = this.#changed
    return new Promise(resolve => {
      this.#changed = () => {
        this.#changed = () => undefined
        before()
        resolve()
      }
    })
  }
}

function local(endpoint: Endpoint) {
  const { entropy, limits } = endpoint
  return { suites, entropy, identity: endpoint.own.identity, ...(limits === undefined ? {} : { limits }) }
}

function next(state: State, event: Event): Step {
  if (event.kind !== 'send') return step(state, event)
  if (state.name === 'established' || state.name === 'closing' || state.name === 'closed')
    return step(state, event)
  throw new TypeError(`send in ${state.name}`)
}

function refuse(reason: CloseReason, text: string): Event {
  return { kind: 'close-requested', reason, text }
}
