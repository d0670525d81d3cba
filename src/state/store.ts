import { equal } from '../bytes/bytes.ts'
import type { Rooted } from '../bytes/merkle.ts'
import type { Secret } from '../crypto/secret.ts'
import type { Clock } from '../host/clock.ts'
import { DiskError } from '../host/disk.ts'
import type { Entropy } from '../host/entropy.ts'
import type { Keeper, Mark } from '../mark/mark.ts'
import { type Operation, operationBytes } from './block.ts'
import type { Config } from './config.ts'
import { type Meta, wrap } from './envelope.ts'
import { StateError, stateError } from './error.ts'
import { type SealedGroup, sealGroup } from './group.ts'
import type { Journal } from './journal.ts'
import { batchBytesMax, limits } from './limits.ts'
import { checkPath, checkStatePath } from './path.ts'
import type { Found, Records } from './records.ts'
import { decodeScope, defaultScope, encodeScope, type Scope, type Scopes, scopePath } from './scopes.ts'

/** One step of an atomic batch. `scope` names the scope a put belongs to; it must exist. */
export type Change =
  | {
      readonly put: string
      readonly payload: Uint8Array
      readonly meta?: Partial<Meta>
      readonly scope?: string
    }
  | { readonly delete: string }

type Waiting = {
  readonly operations: readonly Operation[]
  readonly bytes: number
  /** Runs in the same instant as the index change, before any reader can look. */
  readonly committed: ((generation: number) => void) | undefined
  readonly resolve: (generation: number) => void
  readonly reject: (error: unknown) => void
}

export type StoreParts = {
  readonly config: Config
  readonly storeId: Uint8Array
  readonly macKey: Secret
  readonly journal: Journal
  readonly keeper: Keeper
  readonly records: Records
  readonly scopes: Scopes
  /** The journal's tree. */
  readonly end: Rooted
  /** What the keeper has confirmed. */
  readonly mark: Mark
  readonly clock: Clock
  readonly entropy: Entropy
  /** Releases what lies under the store: keeper, anchor and lock. */
  readonly release: () => Promise<void>
}

/**
 * An open state store. Every change is acknowledged in one order: state durable, then mark advanced, then the index
 * changes and the caller hears yes (S3, S5, D2).
 */
export class Store {
  readonly #parts: StoreParts
  #salt: Uint8Array
  #end: Rooted
  #mark: Mark
  #waiting: Waiting[] = []
  #running: Promise<void> | undefined
  #poison: unknown
  #closed = false
  #closing: Promise<void> | undefined
  /** Scopes are made and destroyed one at a time: two at once would meet on one slot. */
  #scopeChanges: Promise<void> = Promise.resolve()
  /** The scope whose destruction is being committed: nothing more is put there. */
  #doomed: Scope | undefined

  constructor(parts: StoreParts) {
    this.#parts = parts
    // Fresh for this run: two runs never seal under one key, and two clones never arrive at one head.
    this.#salt = parts.entropy.bytes(32)
    this.#end = parts.end
    this.#mark = parts.mark
  }

  get config(): Config {
    return this.#parts.config
  }

  get storeId(): Uint8Array {
    return this.#parts.storeId
  }

  /** The newest mark that the keeper has confirmed: nothing shown by this store lies beyond it. */
  get mark(): Mark {
    return this.#mark
  }

  /**
   * Wraps the payload, commits it and answers with its generation (D5).
   * @throws StateError EINVAL (path), E2BIG, ENOSPC (nothing changed), EPOISONED (outcome unknown)
   */
  async putAtomic(path: string, payload: Uint8Array, meta: Partial<Meta> = {}): Promise<number> {
    return this.commit([{ put: checkStatePath(path), payload, meta }])
  }

  async delete(path: string): Promise<number> {
    return this.commit([{ delete: checkStatePath(path) }])
  }

  /**
   * Commits all changes or none, in one group. `committed` runs as the index changes, in commit order: what it sets
   * is never ahead of what is durable and marked.
   */
  async commit(changes: readonly Change[], committed?: (generation: number) => void): Promise<number> {
    this.#refuseIfUnusable()
    const operations: Operation[] = []
    let bytes = 0
    for (const change of changes) {
      const operation = await this.#operation(change)
      operations.push(operation)
      bytes += operationBytes(operation)
    }
    if (bytes > batchBytesMax || operations.length > limits.groupRecordsMax)
      throw new StateError(
        'E2BIG',
        `a batch is at most ${batchBytesMax} bytes and ${limits.groupRecordsMax} records`,
      )
    this.#refuseIfUnusable()
    for (const operation of operations) if (operation.kind === 'put') this.#refuseIfGone(operation.scope)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ operations, bytes, committed, resolve, reject })
      this.#running ??= this.#run()
    })
  }

  async get(path: string): Promise<Found> {
    this.#refuseIfClosed()
    return this.#parts.records.get(path)
  }

  async getSecret(path: string): Promise<Secret> {
    this.#refuseIfClosed()
    return this.#parts.records.getSecret(path)
  }

  has(path: string): boolean {
    return this.#parts.records.has(path)
  }

  list(prefix: string): string[] {
    return this.#parts.records.list(prefix)
  }

  /** Makes a scope if there is none of that name: its records can be destroyed together, later. */
  makeScope(name: string): Promise<void> {
    const { scopes, entropy } = this.#parts
    return this.#inTurn(async () => {
      if (scopes.find(name) === undefined) await this.#commitScope(await scopes.plan(name, entropy))
    })
  }

  /**
   * Destroys every record of a scope for good: intent, mark, slot overwritten and read back, completion. A crash in
   * between is carried on at the next open. Copies in old segments and backups die with the slot.
   */
  shred(name: string): Promise<void> {
    return this.#inTurn(async () => {
      const scope = this.#parts.scopes.find(name)
      if (scope === undefined) throw new StateError('ENOENT', `no scope ${name}`)
      if (name === defaultScope) throw new StateError('EINVAL', 'the default scope holds the store together')
      this.#doomed = scope
      try {
        await this.#commitScope({ ...scope, state: 'shredding' })
      } finally {
        this.#doomed = undefined
      }
      await this.finishShredding({ ...scope, state: 'shredding' })
    })
  }

  /** The second half of {@link shred}; `open` calls it for every intent without completion. */
  async finishShredding(scope: Scope): Promise<void> {
    const { scopes, entropy, records } = this.#parts
    records.forget(scope.id)
    await scopes.overwriteSlot(scope.slot, entropy.bytes(32))
    await this.#commitScope({ ...scope, state: 'dead', check: await scopes.slotCheck(scope.slot) })
  }

  /** Waits for what was begun, then closes the journal and lets the anchor go. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.#scopeChanges
    this.#closed = true
    await this.#running
    try {
      if (this.#poison === undefined) await this.#parts.journal.close()
      else await this.#parts.journal.abandon()
    } finally {
      this.#parts.scopes.dispose()
      await this.#parts.release()
    }
  }

  #inTurn(change: () => Promise<void>): Promise<void> {
    const done = this.#scopeChanges.then(change)
    this.#scopeChanges = done.catch(() => {})
    return done
  }

  async #commitScope(scope: Scope): Promise<void> {
    const path = scopePath(scope.slot)
    await this.commit([{ put: path, payload: encodeScope(scope) }], () => {
      this.#parts.scopes.set(decodeScope(encodeScope(scope)))
      if (scope.state !== 'live') this.#parts.records.forget(scope.id)
    })
  }

  async #operation(change: Change): Promise<Operation> {
    if ('delete' in change) return { kind: 'delete', path: checkPath(change.delete) }
    const { meta } = change
    // A copy: what the caller does with its bytes while the group waits must not part them from their hash.
    const payload = Buffer.from(change.payload)
    if (payload.length > limits.payloadBytesMax)
      throw new StateError(
        'E2BIG',
        `a payload is at most ${limits.payloadBytesMax} bytes; this is ${payload.length}`,
      )
    const scope = this.#parts.scopes.find(change.scope ?? defaultScope)
    if (scope === undefined) throw new StateError('ENOENT', `no scope ${change.scope}`)
    const full = {
      subject: meta?.subject ?? '',
      purpose: meta?.purpose ?? '',
      at: meta?.at ?? this.#parts.clock.now(),
    }
    return {
      kind: 'put',
      path: checkPath(change.put),
      scope: await this.#parts.scopes.key(scope),
      envelope: wrap(payload, full),
      payload,
    }
  }

  #refuseIfGone(scope: Pick<Scope, 'slot' | 'id'>): void {
    const doomed = this.#doomed !== undefined && equal(this.#doomed.id, scope.id)
    if (doomed || !this.#parts.scopes.isLive(scope))
      throw new StateError('ENOENT', 'the scope is being destroyed')
  }

  #refuseIfUnusable(): void {
    if (this.#poison !== undefined)
      throw new StateError('EPOISONED', 'an earlier write failed; close and open the store again', {
        cause: this.#poison,
      })
    this.#refuseIfClosed()
  }

  #refuseIfClosed(): void {
    if (this.#closed) throw new StateError('EINVAL', 'the store is closed')
  }

  /** Group commit: while one group is being written the next is sealed; at most these two are in flight. */
  async #run(): Promise<void> {
    let finishing: Promise<void> = Promise.resolve()
    for (;;) {
      // Those who come while the last group is being written are served too, before this loop may end.
      if (this.#waiting.length === 0) await finishing
      if (this.#waiting.length === 0) break
      await this.#gather()
      const taken = this.#take()
      let group: SealedGroup
      try {
        group = this.#seal(taken)
      } catch (error) {
        for (const batch of taken) batch.reject(error)
        continue
      }
      try {
        if (!this.#parts.journal.fits(group.bytes.length)) {
          await finishing
          await this.#parts.journal.reserve(group.bytes.length, this.#end.tree)
        }
      } catch (error) {
        // A full disk is expected trouble: nothing was written and nothing is poisoned. The generation is sealed
        // again, so under another salt: also the same changes, tried once more, must not repeat key and nonce.
        this.#salt = this.#parts.entropy.bytes(32)
        if (error instanceof DiskError && error.code === 'full')
          for (const batch of taken) batch.reject(stateError(error))
        else this.#fail(error, taken)
        continue
      }
      this.#end = group.after
      await finishing
      finishing = this.#finish(group, taken)
    }
    this.#running = undefined
  }

  #seal(taken: readonly Waiting[]): SealedGroup {
    return sealGroup({
      operations: taken.flatMap(batch => batch.operations),
      before: this.#end,
      confirmed: this.#mark.number,
      storeId: this.#parts.storeId,
      salt: this.#salt,
      macKey: this.#parts.macKey,
    })
  }

  /** Who commits in the same turn shares the group: a disk that answers at once would else serve the first alone. */
  async #gather(): Promise<void> {
    for (let seen = 0; seen < this.#waiting.length; ) {
      seen = this.#waiting.length
      await undefined
    }
  }

  #take(): Waiting[] {
    let bytes = 0
    let records = 0
    let count = 0
    for (const batch of this.#waiting) {
      bytes += batch.bytes
      records += batch.operations.length
      if (count > 0 && (bytes > batchBytesMax || records > limits.groupRecordsMax)) break
      count++
    }
    return this.#waiting.splice(0, count)
  }

  async #finish(group: SealedGroup, taken: readonly Waiting[]): Promise<void> {
    try {
      if (this.#poison !== undefined) throw this.#poison
      const { generation, after } = group
      const next: Mark = { domain: this.#mark.domain, number: generation, head: after.root }
      const at = await this.#parts.journal.append(group) // a crash here leaves a torn tail, which open drops
      await this.#parts.keeper.advance(this.#mark, next) // now no restore can hide it
      this.#mark = next
      this.#parts.records.apply(generation, group.placed, at) // only now may a reader see it
      for (const batch of taken) batch.committed?.(generation)
      for (const batch of taken) batch.resolve(generation)
    } catch (error) {
      this.#fail(error, taken)
    }
  }

  /** After a failed write or sync nothing is known of what the disk holds: this process never writes again. */
  #fail(error: unknown, taken: readonly Waiting[]): void {
    this.#poison ??= error
    const poisoned = new StateError('EPOISONED', 'the write failed; whether it took effect is unknown', {
      cause: error,
    })
    for (const batch of [...taken, ...this.#waiting.splice(0)]) batch.reject(poisoned)
  }
}
