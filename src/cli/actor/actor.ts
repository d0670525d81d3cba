import { BytesError, base64url, equal, fromBase64url, hex, utf8 } from '../../bytes/bytes.ts'
import type { Json } from '../../bytes/json.ts'
import type { Role } from '../../channel/state.ts'
import { sha256 } from '../../crypto/hash.ts'
import { suites } from '../../crypto/suite.ts'
import type { Clock } from '../../host/clock.ts'
import type { Entropy } from '../../host/entropy.ts'
import { MarkError } from '../../mark/mark.ts'
import { SessionError } from '../../session/error.ts'
import type { LetterOptions, LetterPoint } from '../../session/letter-endpoint.ts'
import type { LetterParty } from '../../session/letter-party.ts'
import { LetterSession } from '../../session/letters.ts'
import type { OwnIdentity } from '../../session/own-identity.ts'
import { newIdentity } from '../../signature/identity.ts'
import type { Parameters } from '../../state/parameters.ts'
import { asObject, asString, decodeSnapshot, encodeSnapshot } from './snapshot.ts'
import { ActorStore, type Contents, type Marks } from './store.ts'

/** The codes of the contract (S10; docs/reference/actor.md). */
export type ActorCode = 'UNSUPPORTED' | 'INVALID' | 'CRYPTO' | 'INTERNAL'

export class ActorError extends Error {
  override readonly name = 'ActorError'
  readonly code: ActorCode

  constructor(code: ActorCode, message: string) {
    super(message)
    this.code = code
  }
}

export type ActorOptions = {
  readonly entropy: Entropy
  readonly clock: Clock
  readonly parameters: Parameters
  /** Debug operations: only behind the gate of the test hooks. */
  readonly hooks: { readonly crashAt?: ((point: LetterPoint) => void) | undefined } | undefined
  /** What becomes of a session whose snapshot is not its newest state. */
  readonly onRollback: 'continue' | 'discard'
  /** Where the marks of one session are kept, by its local id. */
  marksOf(local: string): Promise<Marks>
}

type Session = {
  readonly role: Role
  readonly store: ActorStore
  readonly letters: LetterSession
  pinned: Uint8Array | undefined
}

type Answer = { readonly [name: string]: unknown }
type Params = ReadonlyMap<string, Json>

const discarded = { outcome: 'discarded', code: 'ROLLBACK_DETECTED' } as const
const sessionsMax = 64
const anyone = sha256(utf8('pawl actor'))
const suiteNames: ReadonlyMap<string, number> = new Map([
  ['Suite-1', suites[0].id],
  ['0x0101', suites[0].id],
])

/** One side of the durability tests: the shipped letter sessions, asked by name. Without a home. */
export class Actor {
  readonly #options: ActorOptions
  readonly #operations: ReadonlyMap<string, (params: Params) => Promise<Answer>>
  #own: OwnIdentity = newIdentity('hybrid')
  #sessions: Session[] = []

  constructor(options: ActorOptions) {
    this.#options = options
    const operations: [string, (params: Params) => Promise<Answer>][] = [
      ['capabilities', async () => ({ ops: [...this.#operations.keys()], suites: [...suiteNames.keys()] })],
      ['ping', async () => ({})],
      ['reset', () => this.#reset()],
      ['handshake_init', params => this.#init(params)],
      ['handshake_respond', params => this.#respond(params)],
      ['handshake_finish', params => this.#finish(params)],
      ['encrypt', params => this.#encrypt(params)],
      ['decrypt', params => this.#decrypt(params)],
    ]
    if (options.hooks !== undefined)
      operations.push(
        ['debug_snapshot', async () => ({ snapshot_b64: this.#snapshot() })],
        ['debug_restore', params => this.#restore(params)],
      )
    this.#operations = new Map(operations)
  }

  /** @throws ActorError */
  async perform(op: string, params: Params): Promise<Answer> {
    const operation = this.#operations.get(op)
    if (operation === undefined)
      throw new ActorError('UNSUPPORTED', `no operation ${JSON.stringify(op.slice(0, 60))}`)
    try {
      return await operation(params)
    } catch (error) {
      throw actorError(error)
    }
  }

  /** A new identity, and no sessions. Keys are random whatever seed was asked for. */
  async #reset(): Promise<Answer> {
    await this.#endAll()
    this.#own.keys[Symbol.dispose]()
    this.#own = newIdentity('hybrid')
    return { deterministic: false }
  }

  async #init(params: Params): Promise<Answer> {
    checkSuite(params)
    const session = await this.#begin('client')
    return { msg1_b64: base64url(await session.letters.begin()) }
  }

  async #respond(params: Params): Promise<Answer> {
    checkSuite(params)
    const message = bytesOf(params, 'msg1_b64')
    const session = await this.#begin('server')
    try {
      const answer = await session.letters.answer(message)
      return { msg2_b64: base64url(answer), session_id: nameOf(session) }
    } catch (error) {
      await this.#drop(session)
      throw error
    }
  }

  async #finish(params: Params): Promise<Answer> {
    checkSuite(params)
    const message = bytesOf(params, 'msg2_b64')
    const waiting = this.#sessions.filter(({ role, letters }) => role === 'client' && !letters.stands)
    const [session] = waiting
    if (session === undefined || waiting.length !== 1)
      throw new ActorError('INVALID', `${waiting.length} handshakes wait to be finished, and it takes one`)
    await session.letters.finish(message)
    return { session_id: nameOf(session) }
  }

  async #encrypt(params: Params): Promise<Answer> {
    const { letters } = this.#named(params)
    return { ciphertext_b64: base64url(await letters.seal(bytesOf(params, 'plaintext_b64'))) }
  }

  async #decrypt(params: Params): Promise<Answer> {
    const { letters } = this.#named(params)
    const body = await letters.open(bytesOf(params, 'ciphertext_b64'))
    if (body === undefined) throw new ActorError('INVALID', 'the peer has closed the session')
    return { plaintext_b64: base64url(body) }
  }

  #snapshot(): string {
    return encodeSnapshot(
      this.#sessions.map(({ role, pinned, store }) => ({ role, pinned, contents: store.contents })),
    )
  }

  /**
   * In place of all there is. The gate, and the choice of what becomes of an older state, make it the explicit recovery
   * that a rollback takes (S9).
   */
  async #restore(params: Params): Promise<Answer> {
    const snapshots = decodeSnapshot(asString(params.get('snapshot_b64')))
    const keepsReplays = params.get('without_replay_set') !== true
    await this.#endAll()
    const outcomes: Answer[] = []
    for (const { role, pinned, contents } of snapshots) {
      const marks = await this.#options.marksOf(localName(contents.id))
      const store = await ActorStore.restore(marks, keepsReplays ? contents : withoutReplays(contents))
      const isOlder = store.openedAs === 'maybe older'
      if (isOlder && this.#options.onRollback === 'discard') {
        outcomes.push(discarded)
        await store.close()
        continue
      }
      const session = await this.#open(role, store, pinned, {
        restored: 'continue',
        by: 'debug_restore',
      }).catch(
        // Older than its newest handshake: its mark is another session's.
        error => {
          if (!isOlder) throw error
          return this.#open(role, store, pinned, { restored: 'discard' })
        },
      )
      if (isOlder && !session.letters.stands) {
        // From before a handshake: nothing is there to go on from.
        outcomes.push(discarded)
        await this.#drop(session)
      } else outcomes.push({ session_id: nameOf(session), outcome: isOlder ? 'recovered' : 'newest' })
    }
    return { sessions: outcomes }
  }

  async #begin(role: Role): Promise<Session> {
    if (this.#sessions.length >= sessionsMax)
      throw new ActorError('INVALID', `there are ${sessionsMax} sessions: reset`)
    const id = this.#options.entropy.bytes(32)
    const marks = await this.#options.marksOf(localName(id))
    return this.#open(role, await ActorStore.begin(marks, id, this.#options.entropy.bytes(32)), undefined)
  }

  async #open(
    role: Role,
    store: ActorStore,
    pinned: Uint8Array | undefined,
    options: LetterOptions = {},
  ): Promise<Session> {
    const { entropy, clock, parameters, hooks } = this.#options
    const endpoint = { store, own: this.#own, entropy, clock, parameters, crashAt: hooks?.crashAt }
    let session: Session | undefined
    const party: LetterParty = {
      key: 'peer',
      calls: anyone,
      calledAs: anyone,
      async meet({ id }) {
        if (session === undefined) throw new TypeError('nobody is met before there is a session')
        session.pinned ??= id
        return equal(session.pinned, id) ? 'known' : 'another'
      },
    }
    session = { role, store, pinned, letters: await LetterSession.open(endpoint, party, role, options) }
    this.#sessions.push(session)
    return session
  }

  #named(params: Params): Session {
    const name = asString(params.get('session_id'))
    const found = this.#sessions.find(session => nameOf(session) === name)
    if (found === undefined) throw new ActorError('INVALID', 'there is no such session')
    return found
  }

  async #drop(session: Session): Promise<void> {
    this.#sessions = this.#sessions.filter(other => other !== session)
    await session.letters.end()
    await session.store.close()
  }

  async #endAll(): Promise<void> {
    for (const session of [...this.#sessions]) await this.#drop(session)
  }
}

/** The same at both ends, from the second flight on; nothing before. */
function nameOf({ letters }: Session): string | undefined {
  const { frameId } = letters
  return frameId && base64url(sha256(utf8('pawl actor session'), frameId).subarray(0, 16))
}

function localName(id: Uint8Array): string {
  return hex(id).slice(0, 32)
}

function withoutReplays(contents: Contents): Contents {
  return { ...contents, records: contents.records.filter(({ path }) => !path.includes('/seen/')) }
}

function checkSuite(params: Params): void {
  const suite = asString(params.get('suite'))
  if (!suiteNames.has(suite)) throw new ActorError('UNSUPPORTED', 'no such suite')
  if (params.has('options')) asObject(params.get('options'))
}

function bytesOf(params: Params, name: string): Uint8Array {
  return fromBase64url(asString(params.get(name)))
}

function actorError(error: unknown): ActorError {
  if (error instanceof ActorError) return error
  if (error instanceof BytesError) return new ActorError('INVALID', error.message)
  if (error instanceof SessionError) {
    const isCallers = error.code === 'channel/TOO_LARGE' || error.code === 'channel/CLOSED'
    return new ActorError(isCallers ? 'INVALID' : 'CRYPTO', `${error.code}: ${error.message}`)
  }
  if (error instanceof MarkError) return new ActorError('CRYPTO', `${error.code}: ${error.message}`)
  return new ActorError('INTERNAL', error instanceof Error ? error.message : 'failed')
}
