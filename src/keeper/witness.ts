import { BytesError, equal } from '../bytes/bytes.ts'
import { ed25519 } from '../crypto/signature.ts'
import { WireError } from '../host/wire.ts'
import { describeMark, type Mark, MarkError, rollbackError, sameMark } from '../mark/mark.ts'
import { HttpClient, publicAuthorities, readCredentials } from '../node/https.ts'
import type { OutsideKeeper, OutsideParts } from './outside.ts'
import { PlaceError } from './place-error.ts'
import { AwayError, remoteBoundMs } from './remote.ts'
import { parseWitnessPlace, pinnedPlace, type WitnessPlace } from './witness-place.ts'
import {
  type Answer,
  decodeAnswer,
  encodeRequest,
  type Request,
  witnessKeyPath,
  witnessPath,
} from './witness-wire.ts'

const askMsMax = 4_000
const pauseMsFirst = 100
const pauseMsMax = 1_000

/** @throws WireError */
export type Post = (
  path: string,
  body: Uint8Array,
  ms: number,
) => Promise<{ readonly status: number; readonly body: Uint8Array }>

/** A way to a witness. */
export type WitnessLink = {
  /** For messages. */
  readonly name: string
  readonly post: Post
  readonly close: () => void
}

/** A keeper on a witness: docs/spec/witness.md. @throws PlaceError, DiskError */
export async function openWitnessKeeper(parts: OutsideParts): Promise<WitnessKeeper> {
  const place = parseWitnessPlace(parts.place)
  if (place.key === undefined) throw new PlaceError('name the key of the witness: URL#KEY')
  const { boundMs = parts.boundMs } = place
  return new WitnessKeeper(await linkTo(place), place.key, { ...parts, ...(boundMs && { boundMs }) })
}

/**
 * The place with the key of who answers there, which is believed this once; a place that names its key stays as it is.
 * @throws PlaceError, DiskError, MarkError EKEEPER
 */
export async function pinWitness(place: string): Promise<string> {
  const parsed = parseWitnessPlace(place)
  const { key, boundMs: ms = remoteBoundMs } = parsed
  if (key !== undefined) return place
  const { name, post, close } = await linkTo(parsed)
  try {
    const { status, body } = await away(() => post(witnessKeyPath, new Uint8Array(0), ms))
    if (status === 200 && body.length === 32) return pinnedPlace(place, body)
    throw new AwayError(`what answers is no witness: status ${status}`)
  } catch (error) {
    throw unreachable(name, error)
  } finally {
    close()
  }
}

async function linkTo({ url, ca }: WitnessPlace): Promise<WitnessLink> {
  const isPlain = url.protocol === 'http:'
  const credentials =
    ca === undefined ? publicAuthorities : await readCredentials({ ca, cert: undefined, key: undefined })
  const client = new HttpClient(isPlain ? undefined : credentials)
  const base = url.pathname.replace(/\/$/, '')
  return {
    name: `the witness at ${url.host}`,
    post: (path, body, ms) => client.post(new URL(base + path, url), body, ms),
    close: () => client.close(),
  }
}

type WitnessParts = Pick<OutsideParts, 'domain' | 'signer' | 'idParts' | 'clock' | 'entropy' | 'boundMs'>

/**
 * The keeper `witness`: the mark is held by another machine (docs/spec/witness.md). It catches home and anchor put
 * back together, and a live copy at its first group. What was asked and not answered is asked again, never guessed.
 */
export class WitnessKeeper implements OutsideKeeper {
  readonly kind = 'witness'
  readonly #link: WitnessLink
  readonly #key: Uint8Array
  readonly #parts: WitnessParts
  /** The newest that it confirmed in this run. */
  #confirmed: Mark | undefined
  #isClosed = false

  /** `key` is what its answers are signed with. */
  constructor(link: WitnessLink, key: Uint8Array, parts: WitnessParts) {
    this.#link = link
    this.#key = key
    this.#parts = parts
  }

  /** @throws MarkError EKEEPER, EINTEGRITY (it holds no mark of this store), EROLLBACK (it went back meanwhile) */
  async read(): Promise<Mark> {
    const answer = await this.#ask({ ask: 'read' })
    if (!('held' in answer)) throw this.#holdsNone(answer)
    const { held } = answer
    const known = this.#confirmed
    const isBehind = known !== undefined && held.number <= known.number && !sameMark(held, known)
    if (isBehind) throw this.#wentBack(held, known)
    this.#confirmed = held
    return held
  }

  async advance(expected: Mark, next: Mark): Promise<void> {
    const { domain } = this.#parts
    if (!equal(expected.domain, domain) || !equal(next.domain, domain))
      throw new MarkError('EROLLBACK', `${this.#link.name} is asked about another store`)
    const answer = await this.#ask({ ask: 'advance', expected, next })
    if (!('held' in answer)) throw this.#holdsNone(answer)
    const { verdict, held } = answer
    if (verdict !== 'advanced' || !sameMark(held, next)) throw this.#wentBack(held, expected)
    this.#confirmed = next
  }

  async enrol(mark: Mark, mayReplace: (held: Mark) => boolean = () => false): Promise<void> {
    const { signer, idParts } = this.#parts
    const asked = { ask: 'enrol', signer: { ed25519: signer.publicKey, ...idParts }, first: mark } as const
    let answer = await this.#ask(asked)
    if ('held' in answer && !sameMark(answer.held, mark) && mayReplace(answer.held))
      answer = await this.#ask({ ask: 'amend', expected: answer.held, next: mark })
    if (!('held' in answer)) {
      const why = answer.verdict === 'full' ? 'holds as many marks as it may' : 'takes no new stores'
      throw new MarkError('EKEEPER', `${this.#link.name} ${why}`)
    }
    const { held } = answer
    if (!sameMark(held, mark))
      throw new MarkError('EROLLBACK', `${this.#link.name} holds ${describeMark(held)} of this store already`)
    this.#confirmed = mark
  }

  /** What it holds, if it does. @throws MarkError EKEEPER */
  async peek(): Promise<Mark | undefined> {
    const answer = await this.#ask({ ask: 'read' })
    return 'held' in answer ? answer.held : undefined
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#link.close()
  }

  /** A question may be asked twice: the first may have been answered, and nobody heard it. */
  async #ask(question: Question): Promise<Answer> {
    const { clock, boundMs = remoteBoundMs } = this.#parts
    const until = clock.monotonic() + boundMs
    for (let pauseMs = pauseMsFirst; ; pauseMs = Math.min(2 * pauseMs, pauseMsMax)) {
      try {
        return await this.#askOnce(question, Math.min(askMsMax, until - clock.monotonic()))
      } catch (error) {
        const isOver = this.#isClosed || clock.monotonic() + pauseMs >= until
        if (isOver || !(error instanceof AwayError)) throw unreachable(this.#link.name, error)
      }
      await new Promise<void>(resolve => clock.after(pauseMs, resolve))
    }
  }

  async #askOnce(question: Question, ms: number): Promise<Answer> {
    const { domain, signer, entropy } = this.#parts
    const asked = { witness: this.#key, domain, nonce: entropy.bytes(32), ...question }
    const request = await encodeRequest(asked, message => ed25519.sign(signer.seed, message, noContext))
    const { status, body } = await away(() => this.#link.post(witnessPath, request, ms))
    if (status === 429 || status >= 500) throw new AwayError(`it answered with status ${status}`)
    if (status !== 200) throw new MarkError('EKEEPER', `what answers is no witness: status ${status}`)
    return decodeAnswer(body, request, this.#key, domain)
  }

  #wentBack(held: Mark, expected: Mark): MarkError {
    const who = held.number < expected.number ? 'the keeper went back' : 'the store went back'
    const found = `${this.#link.name} holds ${describeMark(held)}, not ${describeMark(expected)}`
    return rollbackError(who, found)
  }

  #holdsNone({ verdict }: Answer): MarkError {
    return new MarkError('EINTEGRITY', `${this.#link.name} holds no mark of this store (${verdict})`)
  }
}

const noContext = new Uint8Array(0)

type Question = Request extends infer Asked
  ? Asked extends Request
    ? Omit<Asked, 'witness' | 'domain' | 'nonce'>
    : never
  : never

async function away<T>(asked: () => Promise<T>): Promise<T> {
  try {
    return await asked()
  } catch (error) {
    if (!(error instanceof WireError)) throw error
    throw new AwayError(error.message, { cause: error })
  }
}

function unreachable(name: string, cause: unknown): unknown {
  if (cause instanceof AwayError || cause instanceof BytesError || cause instanceof MarkError)
    return new MarkError('EKEEPER', `${name}: ${cause.message}`, { cause })
  return cause
}
