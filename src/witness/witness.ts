import { BytesError, equal, hex } from '../bytes/bytes.ts'
import type { Clock } from '../host/clock.ts'
import type { Log } from '../host/log.ts'
import {
  type Answer,
  decodeRequest,
  encodeAnswer,
  isRequestOf,
  type Request,
  type Sign,
  witnessKeyPath,
  witnessPath,
} from '../keeper/witness-wire.ts'
import { judgeAdvance, sameMark } from '../mark/mark.ts'
import { StateError } from '../state/error.ts'
import { storeIdOf } from '../state/signer.ts'
import type { Store } from '../state/store.ts'
import { Allowance } from './allowance.ts'
import { decodeHeld, encodeHeld, type HeldMark, heldPath, heldPrefix } from './held-mark.ts'

/** docs/spec/witness.md, "Bounds". */
export const witnessLimits = {
  marksMax: 10_000,
  /** Brought by one client. */
  marksEachMax: 64,
  waitingMax: 1_024,
  asked: { burst: 4_000, perSecond: 2_000, clientsMax: 4_096 },
  /** Of those who have shown no right to ask: a bad signature, an unknown store, one more to enrol. */
  strange: { burst: 100, perSecond: 2, clientsMax: 4_096 },
} as const
export type WitnessLimits = typeof witnessLimits extends infer Limits
  ? { readonly [name in keyof Limits]: Limits[name] extends number ? number : Allowances }
  : never
type Allowances = ConstructorParameters<typeof Allowance>[0]

export type WitnessParts = {
  readonly store: Pick<Store, 'list' | 'get' | 'commit'>
  /** What answers are signed with, and its public half. */
  readonly key: Uint8Array
  readonly sign: Sign
  readonly clock: Clock
  readonly log: Log
  /** Whether a store that is not known yet may come. */
  readonly enrols: boolean
  readonly limits?: WitnessLimits
  /** The store takes nothing more: called once. */
  readonly failed: (error: unknown) => void
}

export type Asked = { readonly path: string; readonly body: Uint8Array; readonly client: string }
type Reply = { readonly status: number; readonly body: Uint8Array }

/** Holds the marks of other stores in a store of its own: what it says yes to is durable and under its own mark. */
export class Witness {
  readonly #parts: WitnessParts
  readonly #limits: WitnessLimits
  readonly #asked: Allowance
  readonly #strange: Allowance
  /** As the store has them: changed once a commit has returned. */
  readonly #held = new Map<string, HeldMark>()
  readonly #broughtBy = new Map<string, number>()
  /** The last thing begun for each store: one after another, and so with all who enrol. */
  readonly #turns = new Map<string, Promise<unknown>>()
  #waiting = 0
  #failed = false

  private constructor(parts: WitnessParts) {
    this.#parts = parts
    this.#limits = parts.limits ?? witnessLimits
    this.#asked = new Allowance(this.#limits.asked, parts.clock)
    this.#strange = new Allowance(this.#limits.strange, parts.clock)
  }

  /** @throws StateError, BytesError if a mark that it holds is damaged */
  static async open(parts: WitnessParts): Promise<Witness> {
    const witness = new Witness(parts)
    for (const path of parts.store.list(heldPrefix))
      witness.#hold(decodeHeld(path, (await parts.store.get(path)).payload))
    return witness
  }

  get marks(): number {
    return this.#held.size
  }

  /** Never throws for what was asked. */
  async answer({ path, body, client }: Asked): Promise<Reply> {
    if (!this.#asked.take(client)) return status(429)
    if (path === witnessKeyPath) return { status: 200, body: this.#parts.key }
    if (path !== witnessPath) return status(404)
    if (this.#failed || this.#waiting >= this.#limits.waitingMax) return status(503)
    this.#waiting++
    try {
      return await this.#answer(body, client)
    } catch (error) {
      if (error instanceof BytesError) return status(this.#strange.take(client) ? 400 : 429)
      this.#tell(error)
      return status(503)
    } finally {
      this.#waiting--
    }
  }

  async #answer(body: Uint8Array, client: string): Promise<Reply> {
    const request = decodeRequest(body)
    if (!equal(request.witness, this.#parts.key)) return status(this.#strange.take(client) ? 421 : 429)
    const known = this.#held.get(hex(request.domain))
    const isStrange = known === undefined || request.ask === 'enrol'
    if (isStrange && !this.#strange.take(client)) return status(429)
    const key = request.ask === 'enrol' ? request.signer.ed25519 : known?.ed25519
    if (key !== undefined && !(await isRequestOf(key, body)))
      return status(isStrange || this.#strange.take(client) ? 403 : 429)
    // Those who enrol are counted one after another, so that no crowd gets past the bound.
    const turn = request.ask === 'enrol' ? 'enrol' : hex(request.domain)
    const answer = await this.#inTurn(turn, () => this.#judge(request, client))
    if (answer === undefined) return status(403)
    return { status: 200, body: await encodeAnswer(body, answer, this.#parts.sign) }
  }

  async #judge(request: Request, client: string): Promise<Answer | undefined> {
    const known = this.#held.get(hex(request.domain))
    if (request.ask === 'enrol') return this.#enrol(request, known, client)
    if (known === undefined) return { verdict: 'unknown' }
    if (request.ask === 'read') return { verdict: 'held', held: known.mark }
    const { ask, expected, next } = request
    if (ask === 'amend' && sameMark(known.mark, expected) && !sameMark(known.mark, next)) {
      await this.#keep({ ...known, mark: next })
      const store = hex(request.domain)
      this.#parts.log.event('witness/amended', { store, abandoned: expected.number, adopted: next.number })
      return { verdict: 'advanced', held: next }
    }
    switch (judgeAdvance(known.mark, expected, next)) {
      case 'refuse':
        this.#parts.log.event('witness/refused', {
          store: hex(request.domain),
          held: known.mark.number,
          expected: expected.number,
        })
        return { verdict: 'refused', held: known.mark }
      case 'already':
        return { verdict: 'advanced', held: known.mark }
      case 'advance':
        await this.#keep({ ...known, mark: next })
        return { verdict: 'advanced', held: next }
    }
  }

  async #enrol(
    { domain, signer, first }: Extract<Request, { readonly ask: 'enrol' }>,
    known: HeldMark | undefined,
    client: string,
  ): Promise<Answer | undefined> {
    if (!equal(storeIdOf(signer), domain)) return undefined
    if (known !== undefined) return { verdict: 'held', held: known.mark }
    if (!this.#parts.enrols) return { verdict: 'closed' }
    const { marksMax, marksEachMax } = this.#limits
    if (this.#held.size >= marksMax || (this.#broughtBy.get(client) ?? 0) >= marksEachMax)
      return { verdict: 'full' }
    await this.#keep({ mark: first, ed25519: signer.ed25519, client })
    this.#parts.log.event('witness/enrolled', { store: hex(domain), client })
    return { verdict: 'held', held: first }
  }

  /** Durable and marked when it returns: only then is it told to anyone. */
  async #keep(held: HeldMark): Promise<void> {
    const meta = { subject: 'pawl', purpose: 'mark of another store' }
    await this.#parts.store.commit([{ put: heldPath(held.mark.domain), payload: encodeHeld(held), meta }])
    this.#hold(held)
  }

  #hold(held: HeldMark): void {
    const domain = hex(held.mark.domain)
    if (!this.#held.has(domain)) this.#broughtBy.set(held.client, (this.#broughtBy.get(held.client) ?? 0) + 1)
    this.#held.set(domain, held)
  }

  async #inTurn<T>(domain: string, then: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(domain)
    const turn = (before ?? Promise.resolve()).then(then, then)
    this.#turns.set(domain, turn)
    try {
      return await turn
    } finally {
      if (this.#turns.get(domain) === turn) this.#turns.delete(domain)
    }
  }

  /** Busy or full is for the client to try again; after anything else this process knows nothing for sure. */
  #tell(error: unknown): void {
    const message = error instanceof Error ? error.message : 'failed'
    this.#parts.log.event('witness/failed', { message })
    if (error instanceof StateError && (error.code === 'EBUSY' || error.code === 'ENOSPC')) return
    if (this.#failed) return
    this.#failed = true
    this.#parts.failed(error)
  }
}

function status(code: number): Reply {
  return { status: code, body: new Uint8Array(0) }
}
