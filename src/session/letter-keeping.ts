import { base64url } from '../bytes/bytes.ts'
import {
  type ClientHello,
  decodeClientHello,
  decodeServerHello,
  decodeSession,
  encodeClientHello,
  encodeServerHello,
  encodeSession,
  type LetterState,
  markHead,
  type Sealed,
  type ServerHello,
  secretsIn,
} from '../channel/letter/index.ts'
import type { Role } from '../channel/state.ts'
import { Secret } from '../crypto/secret.ts'
import { suites } from '../crypto/suite.ts'
import type { SessionMark } from '../keeper/session-marks.ts'
import { type judgeOpen, type Mark, sameMark } from '../mark/mark.ts'
import { amendmentPrefix, amendments } from '../state/amendments.ts'
import type { Change } from '../state/change.ts'
import { StateError, stateError } from '../state/error.ts'
import { letterAmendmentPrefix, signLetterAmendment } from './letter-amendment.ts'
import type { LetterEndpoint, LetterStore } from './letter-endpoint.ts'
import { judgeSession, markOf } from './letter-mark.ts'
import { type Paths, pathsOf } from './letter-paths.ts'
import { type Addition, letterDigest, ReplaySet } from './replay-set.ts'

/** A handshake that waits for the other end. */
export type Hello =
  | { readonly role: 'client'; readonly waiting: ClientHello }
  | { readonly role: 'server'; readonly waiting: ServerHello }

type Found =
  | { readonly verdict: 'go on' }
  | { readonly verdict: 'no mark'; readonly error: unknown }
  | {
      readonly verdict:
        | Exclude<ReturnType<typeof judgeOpen>, 'go on'>
        | 'the store may have gone back'
        | 'the peer has heard more'
      readonly state: LetterState
      readonly mark: Mark
    }

/** What is committed with a state. */
type Also = {
  /** The letter that was opened. */
  readonly opened?: Sealed
  readonly changes?: readonly Change[]
  /** Secrets that were made on the way. */
  readonly made?: readonly Secret[]
  /** Secrets of no use if it fails. */
  readonly orElse?: readonly Secret[]
}

/** Where one letter session lies, and how far it has come: its record, its mark, and the one order of both. */
export class LetterKeeping {
  readonly #endpoint: LetterEndpoint
  readonly #paths: Paths
  #state: LetterState | undefined
  #hello: Hello | undefined
  #proof: Uint8Array | undefined
  #mark: SessionMark | undefined
  #held: Mark | undefined
  #confirmed = 0
  #replays: ReplaySet | undefined
  /** What was found here may be older than it was: the keeper cannot tell, or the store went on by an amendment since. */
  #isDoubtful = false
  /** Why there is no mark to hold the session against. */
  #markless: unknown
  /** A write whose outcome is not known: what is in memory may be neither old nor new. */
  #failed: unknown

  private constructor(endpoint: LetterEndpoint, paths: Paths) {
    this.#endpoint = endpoint
    this.#paths = paths
  }

  static async open(endpoint: LetterEndpoint, key: string, role: Role): Promise<LetterKeeping> {
    const kept = new LetterKeeping(endpoint, pathsOf(key, role))
    await kept.#load(role)
    return kept
  }

  get state(): LetterState | undefined {
    return this.#state
  }

  get hello(): Hello | undefined {
    return this.#hello
  }

  async await(hello: Hello): Promise<void> {
    this.#refuseIfFailed()
    const { store } = this.#endpoint
    await store.makeScope(this.#paths.helloScope)
    const amendments = this.#amendments
    using payload = new Secret(
      hello.role === 'client'
        ? encodeClientHello({ ...hello, amendments })
        : encodeServerHello({ ...hello, amendments }),
    )
    await store.commit([{ put: this.#paths.hello, payload: payload.bytes, scope: this.#paths.helloScope }])
    wipeHello(this.#hello)
    this.#hello = hello
  }

  /** The session before is destroyed, then the mark is made, then the new one stands. */
  async establish(state: LetterState, proof: Uint8Array | undefined): Promise<void> {
    this.#refuseIfFailed()
    const { store } = this.#endpoint
    const { session, scope, hello, helloScope, mark } = this.#paths
    await this.#forget()
    await shredIfThere(store, scope)
    const first = { domain: state.id, number: 0, head: markHead(state) }
    this.#mark = await store.sessionMarks.begin(mark, state.markKey, first).catch(inStateCodes)
    this.#held = await this.#mark.read()
    await store.makeScope(scope)
    using payload = new Secret(encodeSession({ state, confirmed: 0, amendments: this.#amendments }))
    await store.commit([
      { put: session, payload: payload.bytes, scope },
      ...(proof === undefined ? [] : [{ put: this.#paths.proof, payload: proof, scope }]),
      { delete: hello },
    ])
    this.#state = state
    await this.#loadReplays()
    this.#isDoubtful = false
    this.#proof = proof
    wipeHello(this.#hello)
    this.#hello = undefined
    await shredIfThere(store, helloScope)
  }

  /** What the mark makes of what was found here; one that is behind it by a crash is moved on. */
  async holdAgainstMark(): Promise<Found> {
    const [state, mark] = [this.#state, this.#held]
    if (state === undefined) return { verdict: 'go on' }
    if (mark === undefined) return { verdict: 'no mark', error: this.#markless }
    const verdict = judgeSession(state, mark, this.#confirmed)
    if (verdict !== 'go on') return { verdict, state, mark }
    if (this.#isDoubtful) return { verdict: 'the store may have gone back', state, mark }
    await this.#advance(state)
    if (state.turnedBack !== undefined) return { verdict: 'the peer has heard more', state, mark }
    return { verdict }
  }

  /** State durable, then mark advanced, then this object changes; only then is anything given away. */
  async commit(
    next: LetterState,
    { opened, changes = [], made = [], orElse = [] }: Also = {},
  ): Promise<void> {
    this.#refuseIfFailed()
    const before = this.#state
    const { crashAt } = this.#endpoint
    const kept = { state: next, confirmed: this.#held?.number ?? 0, amendments: this.#amendments }
    using payload = new Secret(encodeSession(kept))
    const { session, scope, proof } = this.#paths
    const isAnswered = this.#proof !== undefined && next.proof === undefined
    let added: Addition | undefined
    try {
      added =
        opened && this.#replays?.add(letterDigest(next.id, opened.whole), opened.epoch, oldestOpen(next))
      const committing = this.#write([
        { put: session, payload: payload.bytes, scope },
        ...(isAnswered ? [{ delete: proof }] : []),
        ...(added?.changes ?? []),
        ...changes,
      ])
      crashAt?.('letter/committing')
      await committing
    } catch (error) {
      wipe(unlike(secretsIn(next), before, [...made, ...orElse]))
      throw error
    }
    crashAt?.('letter/marking')
    await this.#advance(next)
    if (isAnswered) this.#proof = undefined
    added?.apply()
    this.#state = next
    wipe(unlike(before === undefined ? [] : secretsIn(before), next, made))
  }

  /** @throws ChannelError 21, of a letter whose digest is kept */
  refuseIfRemembered({ whole }: Sealed): void {
    if (this.#state !== undefined) this.#replays?.refuseIfKnown(letterDigest(this.#state.id, whole))
  }

  /** Goes on above what was promised, with an amendment that says from where to where. */
  async goOn(moved: LetterState, by: string): Promise<void> {
    const [state, held] = [this.#state, this.#held]
    if (state === undefined || held === undefined) throw new TypeError('nothing to go on from')
    const { store, own, clock } = this.#endpoint
    const adopted = markOf(state)
    const payload = await signLetterAmendment(
      { abandoned: held, adopted, reason: 'recovery', by, at: clock.now() },
      own,
    )
    const place = `${letterAmendmentPrefix}${base64url(state.id)}/`
    const put = `${place}${store.list(place).length + 1}`
    await this.commit(moved, { changes: [{ put, payload }] })
    this.#isDoubtful = false
  }

  /** The letter, with the proof in front as long as the other end may not have it. */
  withProof(letter: Uint8Array): Uint8Array {
    return this.#proof === undefined ? letter : Buffer.concat([this.#proof, letter])
  }

  /** No handshake waits here any more. */
  async forgetHello(): Promise<void> {
    await shredIfThere(this.#endpoint.store, this.#paths.helloScope)
    wipeHello(this.#hello)
    this.#hello = undefined
  }

  /**
   * The session is over with the one commit that its record goes with, and `changes` are in that; then every copy of
   * it is destroyed. A crash in between is made up for at the next open. A handshake that waits is another session's.
   */
  async close(changes: readonly Change[] = []): Promise<void> {
    const { store } = this.#endpoint
    const { session, proof, mark, scope } = this.#paths
    const deleted = [session, proof].filter(path => store.has(path)).map(path => ({ delete: path }))
    if (deleted.length + changes.length > 0) await this.#write([...deleted, ...changes])
    await this.#forget()
    await store.sessionMarks.remove(mark)
    // Last, for it says to whoever finds it that this is not done.
    await shredIfThere(store, scope)
  }

  async end(): Promise<void> {
    await this.#forget()
    wipeHello(this.#hello)
    this.#hello = undefined
  }

  async #write(changes: readonly Change[]): Promise<void> {
    try {
      await this.#endpoint.store.commit(changes)
    } catch (error) {
      if (!(error instanceof StateError && error.outcome === 'not applied')) this.#failed = error
      throw error
    }
  }

  async #load(role: Role): Promise<void> {
    const { store } = this.#endpoint
    const { session, proof, mark, scope } = this.#paths
    this.#hello = await this.#loadHello(role)
    if (!store.has(session)) {
      const isCutShort = await shredIfThere(store, scope)
      // The mark of a session that waits to be made again says how far it was.
      if (isCutShort && this.#hello === undefined) await store.sessionMarks.remove(mark)
      return
    }
    using payload = await store.getSecret(session)
    const kept = decodeSession(payload.bytes, suites)
    this.#state = kept.state
    this.#confirmed = kept.confirmed
    this.#isDoubtful = await this.#mayBeOlder(kept.amendments)
    if (store.has(proof)) this.#proof = (await store.get(proof)).payload
    const { markKey, id } = kept.state
    try {
      this.#mark = await store.sessionMarks.open(mark, markKey, id)
      this.#held = await this.#mark.read()
    } catch (error) {
      this.#markless = stateError(error)
    }
    await this.#loadReplays()
  }

  async #loadReplays(): Promise<void> {
    const { store, clock, parameters } = this.#endpoint
    const { seen: place, scope } = this.#paths
    if (!parameters.holds('letter.replay_digests') && store.list(`${place}/`, '', 1).length === 0) return
    this.#replays = await ReplaySet.load(store, { place, scope }, clock, {
      entriesMax: parameters.count('dur.replay_cache_max_entries'),
      ttlMs: parameters.count('dur.replay_entry_ttl_seconds') * 1000,
    })
  }

  /** What waits may be from before it was used: then it is no more. */
  async #loadHello(role: Role): Promise<Hello | undefined> {
    const { store } = this.#endpoint
    const { hello, helloScope } = this.#paths
    if (store.has(hello)) {
      using payload = await store.getSecret(hello)
      const found: Hello & { readonly amendments: number } =
        role === 'client'
          ? { role, ...decodeClientHello(payload.bytes, suites) }
          : { role, ...decodeServerHello(payload.bytes, suites) }
      if (!(await this.#mayBeOlder(found.amendments))) return found
      wipeHello(found)
    }
    await shredIfThere(store, helloScope)
    return undefined
  }

  get #amendments(): number {
    return this.#endpoint.store.list(amendmentPrefix).length
  }

  async #mayBeOlder(before: number): Promise<boolean> {
    const { store } = this.#endpoint
    if (store.openedAs === 'maybe older') return true
    if (this.#amendments === before) return false
    const since = (await amendments(store)).slice(before)
    // A change of keeper goes on from the newest state there is.
    return since.some(({ amendment }) => amendment.reason !== 'keeper-change')
  }

  async #advance(state: LetterState): Promise<void> {
    const next = markOf(state)
    const [mark, held] = [this.#mark, this.#held]
    if (mark === undefined || held === undefined) throw new TypeError('a session has a mark')
    if (sameMark(held, next)) return
    try {
      await mark.advance(held, next)
    } catch (error) {
      this.#failed = error
      throw stateError(error)
    }
    this.#held = next
  }

  async #forget(): Promise<void> {
    if (this.#state !== undefined) wipe(secretsIn(this.#state))
    this.#state = undefined
    this.#proof = undefined
    this.#replays = undefined
    await this.#mark?.close()
    this.#mark = undefined
    this.#held = undefined
    this.#markless = undefined
    this.#confirmed = 0
  }

  #refuseIfFailed(): void {
    if (this.#failed !== undefined)
      throw new StateError('EPOISONED', 'a write of this session failed: open it again', {
        cause: this.#failed,
      })
  }
}

/** The lowest epoch that a letter may still be opened of. */
function oldestOpen({ receive }: LetterState): number {
  return receive.previous?.epoch ?? receive.current?.epoch ?? receive.epoch + 1
}

/** Whether it was. */
async function shredIfThere(store: LetterStore, scope: string): Promise<boolean> {
  try {
    await store.shred(scope)
    return true
  } catch (error) {
    if (error instanceof StateError && error.code === 'ENOENT') return false
    throw error
  }
}

/** What of these the state does not have. */
export function unlike(
  secrets: readonly Secret[],
  state: LetterState | undefined,
  made: readonly Secret[],
): Secret[] {
  const kept = state === undefined ? [] : secretsIn(state)
  return [...secrets, ...made].filter(secret => !kept.includes(secret))
}

export function wipe(secrets: readonly Secret[]): void {
  for (const secret of secrets) secret[Symbol.dispose]()
}

export function wipeHello(hello: Hello | undefined): void {
  if (hello?.role === 'client') wipe([hello.waiting.seed])
  if (hello?.role === 'server')
    wipe([hello.waiting.hs, hello.waiting.clientKey, hello.waiting.clientFinished])
}

function inStateCodes(error: unknown): never {
  throw stateError(error)
}
