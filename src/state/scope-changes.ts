import { equal, utf8 } from '../bytes/bytes.ts'
import type { Entropy } from '../host/entropy.ts'
import { StateError } from './error.ts'
import type { Records } from './records.ts'
import { decodeScope, defaultScope, encodeScope, type Scope, type Scopes, scopePath } from './scopes.ts'

export type ScopeChangesParts = {
  readonly scopes: Scopes
  readonly records: Records
  readonly entropy: Entropy
  /** Commits a record of the store's own; a scope that goes may use the reserve for it. */
  readonly commit: (path: string, payload: Uint8Array, goes: boolean, committed: () => void) => Promise<void>
}

/** Makes and destroys scopes, one at a time: two at once would meet on one slot. */
export class ScopeChanges {
  readonly #parts: ScopeChangesParts
  #turn: Promise<void> = Promise.resolve()
  /** The scope whose destruction is being committed: nothing more is put there. */
  #doomed: Scope | undefined

  constructor(parts: ScopeChangesParts) {
    this.#parts = parts
  }

  /** Makes a scope if there is none of that name. */
  make(name: string, recoverable: boolean): Promise<void> {
    const { scopes, entropy } = this.#parts
    return this.#inTurn(async () => {
      const bytes = utf8(name).length
      if (bytes < 1 || bytes > 255 || !name.isWellFormed())
        throw new StateError('EINVAL', 'the name of a scope is 1 to 255 bytes')
      const found = scopes.find(name)
      if (found === undefined) await this.#commit(await scopes.plan(name, recoverable, entropy))
      else if (found.recoverable !== recoverable)
        throw new StateError('EINVAL', `scope ${name} was made ${found.recoverable ? '' : 'not '}recoverable`)
    })
  }

  /** Intent, mark, slot overwritten and read back, completion. */
  shred(name: string): Promise<void> {
    return this.#inTurn(async () => {
      const scope = this.#parts.scopes.find(name)
      if (scope === undefined) throw new StateError('ENOENT', `no scope ${name}`)
      if (name === defaultScope) throw new StateError('EINVAL', 'the default scope holds the store together')
      if (scope.recoverable)
        throw new StateError('EINVAL', `scope ${name} is recoverable: its records would live on in backups`)
      this.#doomed = scope
      try {
        await this.#commit({ ...scope, state: 'shredding' })
      } finally {
        this.#doomed = undefined
      }
      await this.#finish({ ...scope, state: 'shredding' })
    })
  }

  /** Carries on every intent without completion that a crash has left. */
  async finish(): Promise<void> {
    for (const scope of this.#parts.scopes.shredding()) await this.#finish(scope)
  }

  isGone(scope: Pick<Scope, 'slot' | 'id'>): boolean {
    const doomed = this.#doomed !== undefined && equal(this.#doomed.id, scope.id)
    return doomed || !this.#parts.scopes.isLive(scope)
  }

  /** Returns when nothing is under way. */
  idle(): Promise<void> {
    return this.#turn
  }

  async #finish(scope: Scope): Promise<void> {
    const { scopes, entropy, records } = this.#parts
    records.forget(scope.id)
    await scopes.overwriteSlot(scope.slot, entropy.bytes(32))
    await this.#commit({ ...scope, state: 'dead', check: await scopes.slotCheck(scope.slot) })
  }

  async #commit(scope: Scope): Promise<void> {
    const { commit, scopes, records } = this.#parts
    const payload = encodeScope(scope)
    await commit(scopePath(scope.slot), payload, scope.state !== 'live', () => {
      scopes.set(decodeScope(payload))
      if (scope.state !== 'live') records.forget(scope.id)
    })
  }

  #inTurn(change: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(change)
    this.#turn = done.catch(() => {})
    return done
  }
}
