import type { Change } from './change.ts'
import type { Compaction } from './compaction.ts'
import { defaultScope, type Scopes } from './scopes.ts'

/**
 * What a commit waits for before it is queued: the keys of its scopes, and segments to be given up. Commits are queued
 * in the order of their calls: who need not wait does not, unless somebody before does.
 */
export class Admission {
  readonly #scopes: Scopes
  readonly #compaction: Compaction
  /** The last who waits. */
  #turn: Promise<void> | undefined

  constructor(scopes: Scopes, compaction: Compaction) {
    this.#scopes = scopes
    this.#compaction = compaction
  }

  isOpen(changes: readonly Change[]): boolean {
    if (this.#turn !== undefined || this.#compaction.isBehind) return false
    return !changes.some(change => this.#lacksKey(change))
  }

  /** Answers with the changes as they were when it was called, once they may be queued. */
  async inTurn(changes: readonly Change[]): Promise<readonly Change[]> {
    const own = changes.map(change =>
      'put' in change ? { ...change, payload: Buffer.from(change.payload) } : change,
    )
    const bytes = own.reduce((sum, change) => sum + ('put' in change ? change.payload.length : 0), 0)
    const ready = (this.#turn ?? Promise.resolve()).then(async () => {
      await this.loadKeys(own)
      await this.#compaction.pace(bytes)
    })
    const turn = ready.catch(() => {}) // each is told of its own failure
    this.#turn = turn
    void turn.then(() => {
      if (this.#turn === turn) this.#turn = undefined
    })
    await ready
    return own
  }

  async loadKeys(changes: readonly Change[]): Promise<void> {
    for (const change of changes) {
      const scope = 'put' in change ? this.#scopes.find(change.scope ?? defaultScope) : undefined
      if (scope !== undefined) await this.#scopes.key(scope)
    }
  }

  #lacksKey(change: Change): boolean {
    const scope = 'put' in change ? this.#scopes.find(change.scope ?? defaultScope) : undefined
    return scope !== undefined && this.#scopes.keyAtHand(scope) === undefined
  }
}
