import { equal } from '../bytes/bytes.ts'
import type { Secret } from '../crypto/secret.ts'
import type { Clock } from '../host/clock.ts'
import type { Entropy } from '../host/entropy.ts'
import type { Mark } from '../mark/mark.ts'
import { type Operation, operationBytes } from './block.ts'
import type { Committer } from './committer.ts'
import { type Carried, Compaction } from './compaction.ts'
import type { Config } from './config.ts'
import { type Meta, wrap } from './envelope.ts'
import { StateError } from './error.ts'
import { historyOf, type PastChange } from './history.ts'
import { encodeJournalStart, type Journal } from './journal.ts'
import { batchBytesMax, limits } from './limits.ts'
import { checkPath, checkStatePath, journalPath } from './path.ts'
import type { Found, Records } from './records.ts'
import { decodeScope, defaultScope, encodeScope, type Scope, type Scopes, scopePath } from './scopes.ts'
import type { SegmentFiles } from './segment.ts'

/** One step of an atomic batch. `scope` names the scope a put belongs to; it must exist. */
export type Change =
  | {
      readonly put: string
      readonly payload: Uint8Array
      readonly meta?: Partial<Meta>
      readonly scope?: string
    }
  | { readonly delete: string }

export type StoreParts = {
  readonly config: Config
  readonly storeId: Uint8Array
  readonly committer: Committer
  readonly journal: Journal
  readonly source: SegmentFiles
  readonly records: Records
  readonly scopes: Scopes
  readonly clock: Clock
  readonly entropy: Entropy
  /** Releases what lies under the store: keeper, anchor and lock. */
  readonly release: () => Promise<void>
}

/** An open state store: what its records are, who may no longer be put to, and what it gives up by itself. */
export class Store {
  readonly #parts: StoreParts
  readonly #compaction: Compaction
  #closed = false
  #closing: Promise<void> | undefined
  /** Scopes are made and destroyed one at a time: two at once would meet on one slot. */
  #scopeChanges: Promise<void> = Promise.resolve()
  /** The scope whose destruction is being committed: nothing more is put there. */
  #doomed: Scope | undefined

  constructor(parts: StoreParts) {
    this.#parts = parts
    const { journal, records, source, scopes } = parts
    this.#compaction = new Compaction({
      journal,
      records,
      source,
      scopeKey: scope => scopes.key(scope),
      carry: carried => this.#carry(carried),
      begin: size => this.#begin(size),
      roll: async () => {
        await parts.committer.submit({ operations: [], bytes: 0, use: 'all', roll: true })
      },
    })
  }

  get config(): Config {
    return this.#parts.config
  }

  get storeId(): Uint8Array {
    return this.#parts.storeId
  }

  /** The newest mark that the keeper has confirmed: nothing shown by this store lies beyond it. */
  get mark(): Mark {
    return this.#parts.committer.mark
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
    await this.#compaction.pace(bytes)
    this.#refuseIfUnusable()
    for (const operation of operations) if (operation.kind === 'put') this.#refuseIfGone(operation.scope)
    const use = changes.every(change => 'delete' in change) ? 'some' : 'nothing'
    const batch = { operations, bytes, use, committed } as const
    const generation = await this.#parts.committer.submit(batch).catch(async error => {
      if (!(error instanceof StateError && error.code === 'ENOSPC')) throw error
      const makingSpace = this.#compaction.makeSpace()
      // Who deletes is what the reserve is for: it waits until there is room.
      if (use === 'nothing' || !(await makingSpace)) throw error
      return this.#parts.committer.submit(batch)
    })
    this.#compaction.ifWorthwhile()
    return generation
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
    await this.#compaction.stop()
    await this.#parts.committer.idle()
    try {
      if (this.#parts.committer.poison === undefined) await this.#parts.journal.close()
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

  /**
   * Everything the journal still has of a path, oldest first; compaction takes away what is overwritten and deleted.
   * @throws StateError EINTEGRITY
   */
  async history(path: string): Promise<PastChange[]> {
    this.#refuseIfClosed()
    const { journal, source, scopes } = this.#parts
    return historyOf(checkPath(path), {
      journal,
      source,
      scopeKey: async scope => (scopes.isLive(scope) ? (await scopes.key(scope)).key : undefined),
      upTo: this.mark.number,
    })
  }

  /**
   * Gives up every segment there is, so that the journal holds only what is live. Bounded steps, between which others
   * commit; it may be left off at any point, by a crash too, and begun again.
   * @throws StateError EINTEGRITY (a segment is damaged), ENOSPC
   */
  async compact(): Promise<void> {
    this.#refuseIfUnusable()
    await this.#compaction.all()
  }

  async #carry(carried: readonly Carried[]): Promise<void> {
    this.#refuseIfUnusable()
    const isLive = new Map<Operation, () => boolean>()
    let bytes = 0
    for (const { put, isLive: live } of carried) {
      if (this.#isGone(put.scope)) continue
      isLive.set(put, live)
      bytes += operationBytes(put)
    }
    const isWanted = (operation: Operation) => isLive.get(operation)?.() ?? false
    await this.#parts.committer.submit({ operations: [...isLive.keys()], bytes, use: 'all', isWanted })
  }

  async #begin(size: number): Promise<void> {
    await this.#commitOwn({ put: journalPath, payload: encodeJournalStart(size) }, 'all')
  }

  async #commitScope(scope: Scope): Promise<void> {
    const put = { put: scopePath(scope.slot), payload: encodeScope(scope) }
    await this.#commitOwn(put, scope.state === 'live' ? 'nothing' : 'all', () => {
      this.#parts.scopes.set(decodeScope(encodeScope(scope)))
      if (scope.state !== 'live') this.#parts.records.forget(scope.id)
    })
  }

  async #commitOwn(change: Change, use: 'nothing' | 'all', committed?: () => void): Promise<void> {
    const operation = await this.#operation(change)
    this.#refuseIfUnusable()
    const bytes = operationBytes(operation)
    await this.#parts.committer.submit({ operations: [operation], bytes, use, committed })
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
    if (this.#isGone(scope)) throw new StateError('ENOENT', 'the scope is being destroyed')
  }

  #isGone(scope: Pick<Scope, 'slot' | 'id'>): boolean {
    const doomed = this.#doomed !== undefined && equal(this.#doomed.id, scope.id)
    return doomed || !this.#parts.scopes.isLive(scope)
  }

  #refuseIfUnusable(): void {
    this.#parts.committer.refuseIfPoisoned()
    this.#refuseIfClosed()
  }

  #refuseIfClosed(): void {
    if (this.#closed) throw new StateError('EINVAL', 'the store is closed')
  }
}
