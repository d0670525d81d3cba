import { BytesError } from '../bytes/bytes.ts'
import type { Clock } from '../host/clock.ts'
import type { Entropy } from '../host/entropy.ts'
import { WireError } from '../host/wire.ts'
import { describeMark, type Keeper, type Mark, MarkError, sameMark } from '../mark/mark.ts'
import {
  type Answer,
  decodeAnswer,
  encodeRequest,
  type Request,
  type Sign,
  type StoreSigner,
  witnessKeyPath,
  witnessPath,
} from './witness-wire.ts'

/** Of one question, and of all that is done to have an advance or a read answered: then it is EKEEPER. */
export const witnessPatience = { askMs: 4_000, allMs: 12_000, pauseMs: 100, pauseMsMax: 1_000 } as const
export type WitnessPatience = { readonly [limit in keyof typeof witnessPatience]: number }

export type Post = (
  path: string,
  body: Uint8Array,
  timeoutMs: number,
) => Promise<{ readonly status: number; readonly body: Uint8Array }>

/** A way to a witness, and who asks it. */
export type WitnessLink = {
  /** For people: where it is. */
  readonly place: string
  readonly post: Post
  readonly close: () => void
  /** What its answers are signed with. */
  readonly key: Uint8Array
  /** The store's. */
  readonly domain: Uint8Array
  readonly sign: Sign
  readonly clock: Clock
  readonly entropy: Entropy
  readonly patience?: WitnessPatience
}

/**
 * The keeper `witness`: the mark is held by another machine (docs/spec/witness.md). It catches home and anchor put
 * back together, and a live copy at its first group. What was asked and not answered is asked again, never guessed.
 */
export class WitnessKeeper implements Keeper {
  readonly kind = 'witness'
  readonly #link: WitnessLink
  readonly #closing = new AbortController()

  constructor(link: WitnessLink) {
    this.#link = link
  }

  /** @throws MarkError EKEEPER, EINTEGRITY (it holds no mark of this store) */
  async read(): Promise<Mark> {
    const answer = await this.#ask({ ask: 'read' })
    if (!('held' in answer)) throw this.#holdsNone(answer)
    return answer.held
  }

  async advance(expected: Mark, next: Mark): Promise<void> {
    const answer = await this.#ask({ ask: 'advance', expected, next })
    if (!('held' in answer)) throw this.#holdsNone(answer)
    const { verdict, held } = answer
    if (verdict === 'advanced' && sameMark(held, next)) return
    const found = `the witness at ${this.#link.place} holds ${describeMark(held)}, not ${describeMark(expected)}`
    throw new MarkError(
      'EROLLBACK',
      held.number < expected.number ? `the keeper went back: ${found}` : `the store went back: ${found}`,
    )
  }

  /**
   * Has the witness hold the store's mark, the one before any group, if it holds none.
   * @throws MarkError EKEEPER: also when it takes no more
   */
  async enrol(signer: StoreSigner): Promise<Mark> {
    const answer = await this.#ask({ ask: 'enrol', signer })
    if ('held' in answer) return answer.held
    const why = answer.verdict === 'full' ? 'holds as many marks as it may' : 'takes no new stores'
    throw new MarkError('EKEEPER', `the witness at ${this.#link.place} ${why}`)
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#link.close()
  }

  /** A question may be asked twice: the first may have been answered, and nobody heard it. */
  async #ask(question: Question): Promise<Answer> {
    const { clock, patience = witnessPatience, place } = this.#link
    const until = clock.monotonic() + patience.allMs
    for (let pauseMs: number = patience.pauseMs; ; pauseMs = Math.min(2 * pauseMs, patience.pauseMsMax)) {
      try {
        return await this.#askOnce(question, Math.min(patience.askMs, until - clock.monotonic()))
      } catch (error) {
        if (!(error instanceof AwayError) || this.#closing.signal.aborted) throw unreachable(place, error)
        if (clock.monotonic() + pauseMs >= until) throw unreachable(place, error)
      }
      await new Promise<void>(resolve => clock.after(pauseMs, resolve))
    }
  }

  async #askOnce(question: Question, timeoutMs: number): Promise<Answer> {
    const { post, key, domain, sign, entropy } = this.#link
    const common = { witness: key, domain, nonce: entropy.bytes(32) }
    const request = await encodeRequest({ ...common, ...question }, sign)
    const { status, body } = await away(() => post(witnessPath, request, timeoutMs))
    if (status === 429 || status >= 500) throw new AwayError(`it answered with status ${status}`)
    if (status !== 200) throw new MarkError('EKEEPER', `what answers is no witness: status ${status}`)
    return decodeAnswer(body, request, key, domain)
  }

  #holdsNone({ verdict }: Answer): MarkError {
    const { place } = this.#link
    return new MarkError('EINTEGRITY', `the witness at ${place} holds no mark of this store (${verdict})`)
  }
}

type Question = Request extends infer Asked
  ? Asked extends Request
    ? Omit<Asked, 'witness' | 'domain' | 'nonce'>
    : never
  : never

/** Nobody answered, or nobody could just then. */
class AwayError extends Error {
  override readonly name = 'AwayError'
}

async function away<T>(asked: () => Promise<T>): Promise<T> {
  try {
    return await asked()
  } catch (error) {
    if (!(error instanceof WireError)) throw error
    throw new AwayError(error.message, { cause: error })
  }
}

function unreachable(place: string, cause: unknown): unknown {
  if (cause instanceof AwayError || cause instanceof BytesError || cause instanceof MarkError)
    return new MarkError('EKEEPER', `the witness at ${place}: ${cause.message}`, { cause })
  return cause
}

/**
 * The key that a witness says it answers with, for who was given none: believed once, at init.
 * @throws MarkError EKEEPER
 */
export async function askWitnessKey(place: string, post: Post, timeoutMs: number): Promise<Uint8Array> {
  try {
    const { status, body } = await away(() => post(witnessKeyPath, new Uint8Array(0), timeoutMs))
    if (status === 200 && body.length === 32) return body
    throw new AwayError(`what answers is no witness: status ${status}`)
  } catch (error) {
    throw unreachable(place, error)
  }
}
