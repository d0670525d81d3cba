import { equal, utf8 } from '../bytes/bytes.ts'
import type { Entropy } from '../host/entropy.ts'
import { StateError } from './error.ts'
import type { Records } from './records.ts'
import { decodeScope, defaultScope, encodeScope, type Scope, type Scopes, scopePath } from './scopes.ts'

export type ScopeChangesParts = {
  readonly scopes: Scopes
  readonly records: Records
  readonly entropy: Entropy
  /** Commits records of the store's own together; scopes that go may use the reserve for it. */
  readonly commit: (records: readonly OwnRecord[], goes: boolean, committed: () => void) => Promise<void>
}

type OwnRecord = { readonly put: string; readonly payload: Uint8Array }

/** Makes, replaces and destroys scopes, one change at a time: two at once would meet on one slot. */
export class ScopeChanges {
  readonly #parts: ScopeChangesParts
  #turn: Promise<void> = Promise.resolve()
  /** The scopes whose destruction is being committed: nothing more is put there. */
  #doomed: readonly Scope[] = []

  constructor(parts: ScopeChangesParts) {
    this.#parts = parts
  }

  /** Makes a scope if there is none of that name. */
  make(name: string, recoverable: boolean): Promise<void> {
    const { scopes, entropy } = this.#parts
    return this.inTurn(async () => {
      const bytes = utf8(name).length
      if (bytes < 1 || bytes > 255 || !name.isWellFormed())
        throw new StateError('EINVAL', 'the name of a scope is 1 to 255 bytes')
      const found = scopes.find(name)
      if (found === undefined) await this.#commit([await scopes.plan(name, recoverable, entropy)])
      else if (found.recoverable !== recoverable)
        throw new StateError('EINVAL', `scope ${name} was made ${found.recoverable ? '' : 'not '}recoverable`)
    })
  }

  /** Intent, mark, slot overwritten and read back, completion. */
  shred(name: string): Promise<void> {
    return this.inTurn(async () => {
      const { scopes } = this.#parts
      if (scopes.find(name) === undefined) throw new StateError('ENOENT', `no scope ${name}`)
      if (name === defaultScope) throw new StateError('EINVAL', 'the default scope holds the store together')
      if (scopes.find(name)?.recoverable === true)
        throw new StateError('EINVAL', `scope ${name} is recoverable: its records would live on in backups`)
      // While it is being replaced there is one more of that name.
      await this.#destroy(scopes.all().filter(scope => scope.name === name && scopes.isReadable(scope)))
    })
  }

  /**
   * Gives each scope of these names a successor, whose slot is fresh, and retires it: what is put from now on is put
   * into the successor. All or none, in one commit.
   */
  replace(names: readonly string[]): Promise<void> {
    const { scopes, entropy } = this.#parts
    return this.inTurn(async () => {
      const pairs: { readonly old: Scope; readonly slot: number }[] = []
      for (const name of names) {
        const old = scopes.find(name)
        if (old === undefined) throw new StateError('ENOENT', `no scope ${name}`)
        const taken = pairs.map(({ slot }) => slot)
        pairs.push({ old, slot: (await scopes.plan(name, old.recoverable, entropy, taken)).slot })
      }
      const changes: Scope[] = []
      for (const { old, slot } of pairs) {
        // What a dead record says of its slot does not hold from now on.
        const dead = scopes.all().find(scope => scope.slot === slot)
        if (dead !== undefined) await this.#commit([{ ...dead, state: 'shredding' }])
        const check = await scopes.overwriteSlot(slot, entropy.bytes(32))
        const successor: Scope = { ...old, id: entropy.bytes(16), slot, check }
        await scopes.key(successor) // at hand from the instant that it is put into
        changes.push({ ...old, state: 'retiring' }, successor)
      }
      await this.#commit(changes)
    })
  }

  /** Destroys the scopes that were replaced, of which nothing is live any more. */
  endRetired(): Promise<void> {
    return this.inTurn(() =>
      this.#destroy(this.#parts.scopes.all().filter(({ state }) => state === 'retiring')),
    )
  }

  /** Carries on every intent without completion that a crash has left. */
  async finish(): Promise<void> {
    for (const scope of this.#parts.scopes.all()) if (scope.state === 'shredding') await this.#finish(scope)
  }

  /** Whether nothing may be put there. */
  isGone(scope: Pick<Scope, 'slot' | 'id'>): boolean {
    return this.#doomed.some(({ id }) => equal(id, scope.id)) || !this.#parts.scopes.isLive(scope)
  }

  /** Returns when nothing is under way. */
  idle(): Promise<void> {
    return this.#turn
  }

  /** While this is done no scope is made or destroyed. */
  inTurn(change: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(change)
    this.#turn = done.catch(() => {})
    return done
  }

  async #destroy(scopes: readonly Scope[]): Promise<void> {
    if (scopes.length === 0) return
    this.#doomed = scopes
    const going = scopes.map(scope => ({ ...scope, state: 'shredding' as const }))
    try {
      await this.#commit(going)
    } finally {
      this.#doomed = []
    }
    for (const scope of going) await this.#finish(scope)
  }

  async #finish(scope: Scope): Promise<void> {
    const { scopes, entropy, records } = this.#parts
    records.forget(scope.id)
    const check = await scopes.overwriteSlot(scope.slot, entropy.bytes(32))
    await this.#commit([{ ...scope, state: 'dead', check }])
  }

  async #commit(changes: readonly Scope[]): Promise<void> {
    const { commit, scopes, records } = this.#parts
    const own = changes.map(scope => ({ put: scopePath(scope.slot), payload: encodeScope(scope) }))
    const goes = !changes.some(({ state }) => state === 'live')
    await commit(own, goes, () => {
      for (const { payload } of own) {
        const scope = decodeScope(payload)
        scopes.set(scope)
        if (!scopes.isReadable(scope)) records.forget(scope.id)
      }
    })
  }
}
