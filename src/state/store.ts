import type { Frontier } from '../bytes/merkle.ts'
import type { Secret } from '../crypto/secret.ts'
import type { Clock } from '../host/clock.ts'
import type { Entropy } from '../host/entropy.ts'
import type { Log } from '../host/log.ts'
import { SessionMarks } from '../keeper/session-marks.ts'
import type { Mark } from '../mark/mark.ts'
import { Admission } from './admission.ts'
import type { AmendingParts } from './amending.ts'
import { type AuditEntry, auditBytes } from './audit.ts'
import { type AuditTrail, auditLines } from './audit-trail.ts'
import type { Operation } from './block.ts'
import type { Budgets } from './budget.ts'
import { type Change, type CommitOptions, entriesOf } from './change.ts'
import type { Batch, Committer } from './committer.ts'
import { type Carried, Compaction } from './compaction.ts'
import type { Config } from './config.ts'
import type { Meta } from './envelope.ts'
import { inStateCodes, StateError } from './error.ts'
import { type Figures, figuresOf } from './figures.ts'
import { historyOf, type PastChange } from './history.ts'
import type { Journal } from './journal.ts'
import { batchBytesMax, batchRecordsMax } from './limits.ts'
import { bytesOf, carrying, operationOf } from './operation.ts'
import { checkPath, checkStatePath, ownPrefix } from './path.ts'
import type { Found, Records } from './records.ts'
import { type Rotated, Rotation, type RotationParts } from './rotation.ts'
import { ScopeChanges } from './scope-changes.ts'
import type { Scope, Scopes } from './scopes.ts'
import type { SegmentFiles } from './segment.ts'

export type StoreParts = {
  readonly config: Config
  readonly storeId: Uint8Array
  readonly committer: Committer
  readonly audit: AuditTrail
  readonly journal: Journal
  readonly source: SegmentFiles
  readonly records: Records
  readonly scopes: Scopes
  readonly clock: Clock
  readonly entropy: Entropy
  readonly log: Log
  readonly budgets: Budgets
  readonly rotating: Pick<RotationParts, 'keys' | 'storeKeys' | 'rekeyMark'>
  readonly amending: Omit<AmendingParts, 'storeId' | 'config' | 'records' | 'adopted' | 'put' | 'submit'>
  /** Releases what lies under the store: keeper, anchor and lock. */
  readonly release: () => Promise<void>
}

/** An open state store: what its records are, who may no longer be put to, and what it gives up by itself. */
export class Store {
  readonly openedAs: 'newest' | 'maybe older' // its keeper cannot tell: it counts as a restore
  /** Of sessions that are kept here, beside the store's own mark. */
  readonly sessionMarks: SessionMarks
  readonly #parts: StoreParts
  readonly #compaction: Compaction
  readonly #admission: Admission
  readonly #scopeChanges: ScopeChanges
  readonly #rotation: Rotation
  #slow = 0
  #closed = false
  #closing: Promise<void> | undefined

  constructor(parts: StoreParts) {
    this.#parts = parts
    this.openedAs = parts.amending.keeper.openedAs
    this.sessionMarks = new SessionMarks(parts.amending.world.disk, parts.amending.anchor)
    const { journal, records, source, scopes, entropy } = parts
    parts.audit.attach({
      commit: changes => this.#commitOwn(changes),
      flush: async () => {
        await parts.committer.submit({ operations: [], bytes: 0, use: 'some' })
      },
    })
    this.#scopeChanges = new ScopeChanges({
      scopes,
      records,
      entropy,
      commit: (own, goes, committed) => this.#commitOwn(own, goes ? 'all' : 'nothing', committed),
    })
    this.#compaction = new Compaction({
      journal,
      records,
      source,
      openingKey: scope => scopes.openingKey(scope),
      carry: (carried, begin) => this.#carry(carried, begin),
      roll: async () => {
        const between = (before: Frontier) => journal.roll(before)
        await parts.committer.submit({ operations: [], bytes: 0, use: 'all', between })
      },
    })
    this.#rotation = new Rotation({
      ...parts,
      ...parts.rotating,
      compaction: this.#compaction,
      scopeChanges: this.#scopeChanges,
      submit: batch => parts.committer.submit(batch),
      commit: change => this.#commitOwn([change]),
    })
    this.#admission = new Admission(scopes, this.#compaction)
  }

  get budgets(): Budgets {
    return this.#parts.budgets
  }

  get config(): Config {
    return this.#parts.config
  }

  /** What the store takes up and how it fares. */
  figures(): Figures {
    return figuresOf(this.#parts, this.#slow)
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
  async putAtomic(
    path: string,
    payload: Uint8Array,
    meta: Partial<Meta> = {},
    options: Pick<CommitOptions, 'deadlineMs'> = {},
  ): Promise<number> {
    return this.commit([{ put: checkStatePath(path), payload, meta }], options)
  }

  /** @deprecated The same as {@link putAtomic}, under the name it had before puts were atomic (D5). */
  put(path: string, payload: Uint8Array, meta: Partial<Meta> = {}): Promise<number> {
    return this.putAtomic(path, payload, meta)
  }

  async delete(path: string, options: Pick<CommitOptions, 'deadlineMs'> = {}): Promise<number> {
    return this.commit([{ delete: checkStatePath(path) }], options)
  }

  /**
   * Commits all changes or none, in one group, and answers with its generation.
   * @throws StateError EINVAL, E2BIG, ENOENT (scope), EBUSY, ENOSPC (nothing changed), EDEADLINE and EPOISONED (see
   * their `outcome`)
   */
  async commit(changes: readonly Change[], options: CommitOptions = {}): Promise<number> {
    const { clock, budgets } = this.#parts
    const begun = clock.monotonic()
    try {
      return await inStateCodes(this.#commit(changes, options, begun))
    } finally {
      const took = clock.monotonic() - begun
      if (took > budgets.latencyMs) this.#tellSlow('commit', took)
    }
  }

  async #commit(changes: readonly Change[], options: CommitOptions, begun: number): Promise<number> {
    this.#refuseIfUnusable()
    // Who need not wait must not: then it is in the queue before the next one is called.
    const own = this.#admission.isOpen(changes) ? changes : await this.#admission.inTurn(changes)
    const audit = entriesOf(own, options.by)
    const operations = own.map(change => operationOf(change, this.#parts))
    const bytes = bytesOf(operations) + auditBytes(audit)
    if (bytes > batchBytesMax || operations.length > batchRecordsMax)
      throw new StateError(
        'E2BIG',
        `a batch is at most ${batchBytesMax} bytes and ${batchRecordsMax} records`,
      )
    this.#refuseTooMany(operations)
    this.#refuseIfUnusable()
    for (const operation of operations) if (operation.kind === 'put') this.#refuseIfGone(operation.scope)
    const use = changes.every(change => 'delete' in change) ? 'some' : 'nothing'
    const { committed } = options
    const submit = () => {
      const deadlineMs = this.#left(options.deadlineMs, begun)
      return this.#parts.committer.submit({ operations, bytes, use, audit, committed, deadlineMs })
    }
    const generation = await this.#compaction.withRoom(submit, use !== 'nothing')
    this.#compaction.ifWorthwhile()
    this.#parts.audit.tidy()
    return generation
  }

  /** Tells the audit trail of a read or a refusal: with the next group, or in a second. Nobody waits for it. */
  note(entry: AuditEntry): void {
    this.#parts.audit.note(entry)
  }

  /** What the audit trail has, oldest first. @throws StateError EINTEGRITY */
  async *audit(): AsyncGenerator<string> {
    yield* auditLines(this.#parts.records)
  }

  /**
   * What the path holds. With `fresh` the keeper is asked first: what another process did with this store's mark
   * since it was opened is seen, and refused.
   * @throws StateError ENOENT, EINTEGRITY; with `fresh` also EROLLBACK, EKEEPER
   */
  async get(path: string, { fresh = false }: { readonly fresh?: boolean } = {}): Promise<Found> {
    this.#refuseIfClosed()
    if (fresh) await inStateCodes(this.#parts.committer.confirm())
    const { clock, budgets, records } = this.#parts
    const begun = clock.monotonic()
    const found = await records.get(path)
    const took = clock.monotonic() - begun
    if (took > budgets.latencyMs) this.#tellSlow('get', took)
    return found
  }

  async getSecret(path: string): Promise<Secret> {
    this.#refuseIfClosed()
    return this.#parts.records.getSecret(path)
  }

  /** Bytes of envelope and payload at a path; 0 if there is nothing. */
  sizeOf(path: string): number {
    return this.#parts.records.lengthOf(path)
  }

  has(path: string): boolean {
    return this.#parts.records.has(path)
  }

  /** Paths that begin with `prefix`, in byte order: those behind `after`, at most `max`. */
  list(prefix: string, after = '', max: number = Number.POSITIVE_INFINITY): string[] {
    return this.#parts.records.list(prefix, after, max)
  }

  /**
   * Makes a scope if there is none of that name. Its records can be destroyed together, later, and are in no backup; or
   * with `recoverable` they are in every backup, and can never be destroyed.
   * @throws StateError EINVAL (there is one of that name of the other kind), ENOSPC
   */
  makeScope(name: string, { recoverable = false }: { readonly recoverable?: boolean } = {}): Promise<void> {
    return inStateCodes(this.#scopeChanges.make(name, recoverable))
  }

  /**
   * Destroys every record of a scope for good: intent, mark, slot overwritten and read back, completion. A crash in
   * between is carried on at the next open. Copies in old segments and of the home die with the slot.
   * @throws StateError ENOENT, EINVAL (it is recoverable), EPOISONED
   */
  shred(name: string): Promise<void> {
    return inStateCodes(this.#scopeChanges.shred(name))
  }

  /**
   * New keys, for what is named or for everything: new ones are taken into use, all that is live is sealed again beside
   * whatever else is done, and the old ones are destroyed, with all copies of what was sealed under them. Left off by a
   * crash or by closing, it goes on when the store is opened again.
   * @throws StateError EBUSY (keys are being rotated already), ENOENT (scope), ENOSPC, EINVAL (closed meanwhile)
   */
  async rotate(what: Rotated = {}): Promise<void> {
    this.#refuseIfUnusable()
    await inStateCodes(this.#rotation.rotate(what))
  }

  /** For a store that was opened to be amended. Afterwards it is to be opened again. @throws StateError as `amend` */
  amend<T>(amend: (parts: AmendingParts) => Promise<T>): Promise<T> {
    this.#refuseIfUnusable()
    const { committer, amending } = this.#parts
    const put = (path: string, payload: Uint8Array, purpose: string) =>
      operationOf({ put: path, payload, meta: { subject: 'pawl', purpose } }, this.#parts)
    const submit = (batch: Batch) => committer.submit(batch)
    return inStateCodes(amend({ ...this.#parts, ...amending, adopted: committer.mark, put, submit }))
  }

  /** Resolves when this process can write nothing any more: EPOISONED, or what became of the keeper. */
  get failed(): Promise<StateError> {
    return this.#parts.committer.failed
  }

  /** What a crash has left unfinished: for whoever opens the store. */
  async finish(journalStart: number): Promise<void> {
    const { journal } = this.#parts
    await this.#scopeChanges.finish()
    while ((journal.oldest?.after ?? journalStart + 1) <= journalStart) await journal.giveUpOldest()
    this.#rotation.resume(error => {
      if (!this.#closed)
        this.#parts.log.event('state/rotation', {
          message: error instanceof Error ? error.message : 'failed',
        })
    })
  }

  /** Waits for what was begun, then closes the journal and lets the anchor go. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.#compaction.stop()
    await this.#rotation.idle()
    await this.#scopeChanges.idle()
    await this.#parts.audit.close()
    this.#closed = true
    await this.#parts.committer.idle()
    try {
      if (this.#parts.committer.poison === undefined) await this.#parts.journal.close()
      else await this.#parts.journal.abandon()
    } finally {
      this.#parts.scopes.dispose()
      await this.#parts.release()
    }
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
      scopeKey: async scope => (scopes.isReadable(scope) ? scopes.openingKey(scope) : undefined),
      upTo: () => this.mark.number,
    })
  }

  /**
   * Gives up every segment there is, so that the journal holds only what is live. Bounded steps, between which others
   * commit; it may be left off at any point, by a crash too, and begun again.
   * @throws StateError EINTEGRITY (a segment is damaged), ENOSPC
   */
  async compact(): Promise<void> {
    this.#refuseIfUnusable()
    await inStateCodes(this.#compaction.all())
  }

  async #carry(carried: readonly Carried[], begin: number | undefined): Promise<void> {
    this.#refuseIfUnusable()
    const isGone = (scope: Pick<Scope, 'slot' | 'id'>) => this.#scopeChanges.isGone(scope)
    await this.#parts.committer.submit(await carrying(carried, begin, { ...this.#parts, isGone }))
  }

  /** Of the store's own accord: no budget, no audit, no waiting for compaction. */
  async #commitOwn(
    changes: readonly Change[],
    use: 'nothing' | 'all' = 'nothing',
    committed?: () => void,
  ): Promise<void> {
    await this.#admission.loadKeys(changes)
    const operations = changes.map(change => operationOf(change, this.#parts))
    this.#refuseIfUnusable()
    await this.#parts.committer.submit({ operations, bytes: bytesOf(operations), use, committed })
  }

  #left(deadlineMs: number | undefined, begun: number): number | undefined {
    if (deadlineMs === undefined) return undefined
    const left = deadlineMs - (this.#parts.clock.monotonic() - begun)
    if (left > 0) return left
    const message = `not done within ${deadlineMs} ms; nothing was changed`
    throw new StateError('EDEADLINE', message, { outcome: 'not applied' })
  }

  #tellSlow(operation: string, took: number): void {
    this.#slow++
    this.#parts.log.event('state/slow', { operation, ms: Math.round(took) })
  }

  #refuseTooMany(operations: readonly Operation[]): void {
    const { records, budgets } = this.#parts
    let more = 0
    for (const { kind, path } of operations)
      if (kind === 'put' && !path.startsWith(ownPrefix) && !records.has(path)) more++
    const count = records.callersCount
    if (more > 0 && count + more > budgets.records)
      throw new StateError('ENOSPC', `the store may hold ${budgets.records} records, and has ${count}`)
  }

  #refuseIfGone(scope: Pick<Scope, 'slot' | 'id'>): void {
    if (this.#scopeChanges.isGone(scope)) throw new StateError('ENOENT', 'the scope is being destroyed')
  }

  #refuseIfUnusable(): void {
    this.#parts.committer.refuseIfPoisoned()
    this.#refuseIfClosed()
  }

  #refuseIfClosed(): void {
    if (this.#closed) throw new StateError('EINVAL', 'the store is closed')
  }
}
