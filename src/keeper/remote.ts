import type { Clock } from '../host/clock.ts'
import {
  describeMark,
  judgeAdvance,
  type KeeperKind,
  type Mark,
  MarkError,
  rollbackError,
  sameMark,
} from '../mark/mark.ts'
import type { OutsideKeeper } from './outside.ts'
import {
  type Claim,
  type MarkSigner,
  openSignedMark,
  type SignedMark,
  sameClaim,
  signMark,
} from './signed-mark.ts'

/** What a register holds, and what it calls this state of itself: a later write gives another one. */
export type Held = { readonly value: Uint8Array; readonly revision: string }

/**
 * A register for the mark of one store, linearizable: what a remote keeper is made of. Every answer is durable at the
 * server before it is given. Each call ends within `ms`.
 */
export interface Register {
  /** What is there, and how the server names itself, so that another in its place shows. @throws AwayError, MarkError */
  read(ms: number): Promise<{ readonly instance: string; readonly held: Held | undefined }>
  /** Puts the first value there; `undefined` if there is one. @throws AwayError (maybe done), MarkError */
  create(value: Uint8Array, ms: number): Promise<Held | undefined>
  /** Replaces exactly what was held; `undefined` if that is not there. @throws AwayError (maybe done), MarkError */
  swap(held: Held, value: Uint8Array, ms: number): Promise<Held | undefined>
  close(): Promise<void>
}

/** No answer, or one that says nothing: what was asked for may have been done or not. */
export class AwayError extends Error {
  override readonly name = 'AwayError'
}

export type RemoteParts = {
  readonly kind: KeeperKind
  /** For messages. */
  readonly name: string
  readonly register: Register
  readonly domain: Uint8Array
  readonly signer: MarkSigner
  readonly clock: Clock
  /** As whom it is asked, where a home has owners. */
  readonly claim?: Claim | undefined
  /** How long a call may take, all its tries together. */
  readonly boundMs?: number
}

/** Longer than an election of etcd takes. */
export const remoteBoundMs = 10_000
const tryMsMax = 2_500
const pauseMs = 50

type Seen = { readonly held: Held; readonly instance: string; readonly mark: Mark }

/**
 * A keeper on another machine (S4): a register, what it holds signed, and what was seen of it remembered. A call whose
 * outcome is unknown is read again: only exactly what was asked for counts as done.
 */
export class RemoteKeeper implements OutsideKeeper {
  readonly #parts: RemoteParts
  /** What the register held when it last answered; `undefined` once that is in doubt. */
  #seen: Seen | undefined
  /** The highest mark that it ever answered with in this run. */
  #confirmed: Mark | undefined

  constructor(parts: RemoteParts) {
    this.#parts = parts
  }

  get kind(): KeeperKind {
    return this.#parts.kind
  }

  async enrol(mark: Mark, mayReplace: (held: Mark) => boolean = () => false): Promise<void> {
    const { register, signer, claim } = this.#parts
    const until = this.#deadline()
    for (;;) {
      const { instance, held } = await this.#try(until, ms => register.read(ms))
      const value = await signMark({ mark, instance, claim }, signer)
      if (held !== undefined) {
        const found = await this.#open(held)
        // Only its owner gives up what a shared home had; who owns none may still begin anew from a backup.
        if (claim !== undefined && !sameClaim(found.claim, claim)) throw taken(found.claim)
        if (sameMark(found.mark, mark) && found.instance === instance && sameClaim(found.claim, claim)) {
          this.#seen = { held, instance, mark }
          this.#confirmed = mark
          return
        }
        if (!sameMark(found.mark, mark) && !mayReplace(found.mark))
          throw new MarkError(
            'EROLLBACK',
            `${this.#name} holds ${describeMark(found.mark)} of this store already`,
          )
      }
      // Whether it was done is seen when it is read again.
      const put = await this.#once(until, ms =>
        held === undefined ? register.create(value, ms) : register.swap(held, value, ms),
      )
      if (put === undefined) await this.#pause(until, 'another one is quicker')
    }
  }

  async peek(): Promise<Mark | undefined> {
    const { held } = await this.#try(this.#deadline(), ms => this.#parts.register.read(ms))
    return held && (await this.#open(held)).mark
  }

  async read(): Promise<Mark> {
    return (await this.#look(this.#deadline())).mark
  }

  async advance(expected: Mark, next: Mark): Promise<void> {
    const { register, signer, claim } = this.#parts
    const until = this.#deadline()
    let seen = this.#seen
    let isFresh = false
    for (;;) {
      if (seen === undefined) {
        seen = await this.#look(until)
        isFresh = true
      }
      const verdict = judgeAdvance(seen.mark, expected, next)
      if (verdict !== 'advance' && !isFresh) {
        seen = undefined // only what it says now counts
        continue
      }
      if (verdict === 'already') return
      if (verdict === 'refuse') {
        const [held, wanted] = [describeMark(seen.mark), describeMark(expected)]
        const message = `${this.#name} holds ${held}, not ${wanted}`
        throw new MarkError('EROLLBACK', message, { rollback: 'the store forked' }) // by another writer
      }
      const { held, instance } = seen
      const value = await signMark({ mark: next, instance, claim }, signer)
      this.#seen = undefined
      const swapped = await this.#once(until, ms => register.swap(held, value, ms))
      if (swapped !== undefined) {
        this.#seen = { held: swapped, instance, mark: next }
        this.#confirmed = next
        return
      }
      seen = undefined
      await this.#pause(until, 'another one is quicker')
    }
  }

  async owner(): Promise<Claim | undefined> {
    return (await this.#found(this.#deadline())).claim
  }

  async claim(from: Claim | undefined, to: Claim): Promise<void> {
    const { register, signer } = this.#parts
    const until = this.#deadline()
    for (;;) {
      const { held, instance, mark, claim } = await this.#found(until)
      if (sameClaim(claim, to)) return
      if (!sameClaim(claim, from)) throw taken(claim)
      const value = await signMark({ mark, instance, claim: to }, signer)
      // Whether it was done is seen when it is read again: no other takeover has this owner.
      const swapped = await this.#once(until, ms => register.swap(held, value, ms))
      if (swapped === undefined) await this.#pause(until, 'another one is quicker')
    }
  }

  async close(): Promise<void> {
    await this.#parts.register.close()
  }

  /** What is there, whoever owns it. @throws as {@link RemoteKeeper.#look}, but for ELOCKED */
  async #found(until: number): Promise<Seen & { readonly claim: Claim | undefined }> {
    const { instance, held } = await this.#try(until, ms => this.#parts.register.read(ms))
    if (held === undefined)
      throw new MarkError('EINTEGRITY', `${this.#name} has no mark of this store, and had one`)
    const found = await this.#open(held)
    if (found.instance !== instance)
      throw rollbackError(
        'the keeper went back',
        `${this.#name} is ${instance}, and the mark was written to ${found.instance}`,
      )
    return { held, instance, mark: found.mark, claim: found.claim }
  }

  /**
   * @throws MarkError EKEEPER, EINTEGRITY, EROLLBACK (it is behind what it has answered before, or another one), ELOCKED
   * (somebody else owns it)
   */
  async #look(until: number): Promise<Seen> {
    const known = this.#confirmed
    const { claim, ...seen } = await this.#found(until)
    if (!sameClaim(claim, this.#parts.claim)) throw taken(claim)
    if (known !== undefined) {
      const { mark } = seen
      const isBehind = mark.number < known.number || (mark.number === known.number && !sameMark(mark, known))
      if (isBehind)
        throw rollbackError(
          'the keeper went back',
          `${this.#name} holds ${describeMark(mark)}, and had ${describeMark(known)}`,
        )
    }
    this.#seen = seen
    // While this was asked a change may have been confirmed, and this answer be of before it.
    if (this.#confirmed === undefined || seen.mark.number > this.#confirmed.number)
      this.#confirmed = seen.mark
    return seen
  }

  #open({ value }: Held): Promise<SignedMark> {
    const { domain, signer } = this.#parts
    return openSignedMark(value, domain, signer.publicKey)
  }

  /** Asks again until there is an answer. @throws MarkError EKEEPER */
  async #try<T>(until: number, ask: (ms: number) => Promise<T>): Promise<T> {
    for (;;) {
      const answered = await this.#once(until, async ms => ({ answer: await ask(ms) }))
      if (answered !== undefined) return answered.answer
    }
  }

  /** Asks once; `undefined` also if there is no answer, while there is time left. @throws MarkError EKEEPER */
  async #once<T>(until: number, ask: (ms: number) => Promise<T | undefined>): Promise<T | undefined> {
    try {
      return await ask(Math.max(1, Math.min(tryMsMax, until - this.#parts.clock.monotonic())))
    } catch (error) {
      if (!(error instanceof AwayError)) throw error
      await this.#pause(until, error.message, error)
      return undefined
    }
  }

  /** Before it is asked again. @throws MarkError EKEEPER: there is no time left for that */
  async #pause(until: number, why: string, cause?: unknown): Promise<void> {
    const { clock } = this.#parts
    if (until - clock.monotonic() <= pauseMs)
      throw new MarkError('EKEEPER', `${this.#name} did not answer in time: ${why}`, { cause })
    await new Promise<void>(resolve => clock.after(pauseMs, resolve))
  }

  #deadline(): number {
    return this.#parts.clock.monotonic() + (this.#parts.boundMs ?? remoteBoundMs)
  }

  get #name(): string {
    return this.#parts.name
  }
}

function taken(by: Claim | undefined): MarkError {
  if (by === undefined) return new MarkError('ELOCKED', 'nobody owns this home at its keeper')
  return new MarkError('ELOCKED', `this home is owned by ${by.owner}, in term ${by.term}`)
}
