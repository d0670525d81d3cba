import type { Frontier, Rooted } from '../bytes/merkle.ts'
import type { Clock } from '../host/clock.ts'
import { DiskError } from '../host/disk.ts'
import type { Entropy } from '../host/entropy.ts'
import { describeMark, type Keeper, type Mark, MarkError, sameMark } from '../mark/mark.ts'
import type { AuditEntry } from './audit.ts'
import type { AuditTrail, Chunk } from './audit-trail.ts'
import type { Operation } from './block.ts'
import { type Outcome, StateError, stateError } from './error.ts'
import { type SealedGroup, sealGroup } from './group.ts'
import type { Journal, ReserveUse } from './journal.ts'
import type { JournalKeys } from './journal-keys.ts'
import { batchBytesMax, batchRecordsMax } from './limits.ts'
import type { Records } from './records.ts'

/** Operations that are committed together. */
export type Batch = {
  readonly operations: readonly Operation[]
  /** As docs/spec/journal.md counts them. */
  readonly bytes: number
  /** What is told of it in the audit trail. */
  readonly audit?: readonly AuditEntry[] | undefined
  /** What it may take of the reserve when the disk is full. */
  readonly use: ReserveUse
  /** Asked when the group is sealed: an operation that is not wanted any more is left out. */
  readonly isWanted?: (operation: Operation) => boolean
  /** Runs in the same instant as the index change, before any reader can look. */
  readonly committed?: ((generation: number) => void) | undefined
  /** Runs first, while nothing is in flight, and may change what groups are sealed with; told of the tree so far. */
  readonly between?: ((tree: Frontier) => Promise<void>) | undefined
  /** After so many milliseconds its caller is told EDEADLINE. */
  readonly deadlineMs?: number | undefined
}

type Waiting = Batch & {
  readonly resolve: (generation: number) => void
  readonly reject: (error: unknown) => void
}

export type CommitterParts = {
  readonly keys: JournalKeys
  readonly journal: Journal
  readonly keeper: Keeper
  readonly records: Records
  readonly entropy: Entropy
  readonly clock: Clock
  readonly audit: AuditTrail
  /** Bytes of batches that may wait. */
  readonly queueBytes: number
  /** The journal's tree. */
  readonly end: Rooted
  /** What the keeper has confirmed. */
  readonly mark: Mark
}

/**
 * Group commit. Every batch is acknowledged in one order: state durable, then mark advanced, then the index changes
 * and the caller hears yes (S3, S5, D2).
 */
export class Committer {
  readonly #parts: CommitterParts
  #salt: Uint8Array
  #end: Rooted
  #mark: Mark
  #waiting: Waiting[] = []
  #waitingBytes = 0
  /** What the group holds that is being written: not in the index yet. */
  #inFlight: readonly Operation[] = []
  #running: Promise<void> | undefined
  #poison: unknown
  #tellFailed: (error: StateError) => void = () => {}
  /** Resolves when nothing is written any more, with why. */
  readonly failed: Promise<StateError> = new Promise(resolve => {
    this.#tellFailed = resolve
  })

  constructor(parts: CommitterParts) {
    this.#parts = parts
    // Fresh for this run: two runs never seal under one key, and two clones never arrive at one head.
    this.#salt = parts.entropy.bytes(32)
    this.#end = parts.end
    this.#mark = parts.mark
  }

  /** The newest mark that the keeper has confirmed: nothing shown lies beyond it. */
  get mark(): Mark {
    return this.#mark
  }

  /** Batches that wait to be written. */
  get waiting(): number {
    return this.#waiting.length
  }

  /** The failure after which nothing is written any more. */
  get poison(): unknown {
    return this.#poison
  }

  /**
   * Answers with the generation of the group that the batch went into.
   * @throws StateError EBUSY (too much is waiting), ENOSPC, EDEADLINE (see its `outcome`), EPOISONED
   */
  async submit(batch: Batch): Promise<number> {
    this.refuseIfPoisoned()
    const isOwn = batch.use === 'all'
    if (!isOwn && this.#waiting.length > 0 && this.#waitingBytes + batch.bytes > this.#parts.queueBytes)
      throw new StateError('EBUSY', `${this.#waiting.length} batches are waiting already: try again`)
    let cancel: (() => void) | undefined
    try {
      return await new Promise((resolve, reject) => {
        const waiting = { ...batch, resolve, reject }
        this.#waiting.push(waiting)
        this.#waitingBytes += batch.bytes
        if (batch.deadlineMs !== undefined)
          cancel = this.#parts.clock.after(batch.deadlineMs, () => this.#expire(waiting))
        this.#running ??= this.#run()
      })
    } finally {
      cancel?.()
    }
  }

  /** Who still waits is taken out; whoever is being written may be written. */
  #expire(batch: Waiting): void {
    const at = this.#waiting.indexOf(batch)
    const outcome = at < 0 ? 'unknown' : 'not applied'
    if (at >= 0) this.#drop(at, 1)
    const message = at < 0 ? 'it was being written: whether it took effect is unknown' : 'nothing was changed'
    batch.reject(
      new StateError('EDEADLINE', `not done within ${batch.deadlineMs} ms; ${message}`, { outcome }),
    )
  }

  #drop(at: number, count: number): Waiting[] {
    const dropped = this.#waiting.splice(at, count)
    for (const { bytes } of dropped) this.#waitingBytes -= bytes
    return dropped
  }

  /**
   * Asks the keeper whether it still holds what this process was told, or what is in flight.
   * @throws MarkError EROLLBACK, EKEEPER, EINTEGRITY
   */
  async confirm(): Promise<void> {
    this.refuseIfPoisoned()
    const known = this.#mark
    const held = await this.#parts.keeper.read()
    const isSame = held.number === known.number && sameMark(held, known)
    const isLater = held.number > known.number && held.number <= this.#end.tree.size
    if (!isSame && !isLater)
      throw new MarkError(
        'EROLLBACK',
        `the keeper holds ${describeMark(held)}, but confirmed ${describeMark(known)} to this process`,
        { rollback: held.number < known.number ? 'the keeper went back' : 'the store forked' },
      )
  }

  /** Returns when nothing is waiting and nothing in flight. */
  async idle(): Promise<void> {
    await this.#running
  }

  refuseIfPoisoned(): void {
    if (this.#poison !== undefined)
      throw this.#told('an earlier write failed; close and open the store again', 'not applied')
  }

  /** While one group is being written the next is sealed; at most these two are in flight. */
  async #run(): Promise<void> {
    let finishing: Promise<void> = Promise.resolve()
    for (;;) {
      // Those who come while the last group is being written are served too, before this loop may end.
      if (this.#waiting.length === 0) await finishing
      if (this.#waiting.length === 0) break
      await this.#gather()
      const taken = this.#take()
      try {
        for (const { between } of taken)
          if (between !== undefined) {
            await this.#behind(finishing)
            await between(this.#end.tree)
          }
      } catch (error) {
        this.#refuse(error, taken)
        continue
      }
      const wanted = this.#wanted(taken)
      const entries = taken.flatMap(({ audit }) => audit ?? [])
      const chunk = this.#parts.audit.chunk(entries, this.#end.tree.size + 1)
      const operations = chunk === undefined ? wanted : [...wanted, chunk.operation]
      if (operations.length === 0) {
        try {
          await this.#behind(finishing)
          for (const batch of taken) batch.resolve(this.#mark.number)
        } catch (error) {
          this.#fail(error, taken)
        }
        continue
      }
      let group: SealedGroup
      try {
        group = this.#seal(operations)
      } catch (error) {
        for (const batch of taken) batch.reject(error)
        continue
      }
      try {
        const use = taken.reduce<ReserveUse>((least, batch) => lesser(least, batch.use), 'all')
        if (!this.#parts.journal.fits(group.bytes.length, use)) {
          await this.#behind(finishing)
          await this.#parts.journal.reserve(group.bytes.length, this.#end.tree, use)
        }
      } catch (error) {
        this.#refuse(error, taken)
        continue
      }
      this.#end = group.after
      chunk?.taken()
      await finishing
      this.#inFlight = operations
      finishing = this.#finish(group, taken, chunk)
    }
    this.#running = undefined
  }

  /** A segment begun behind a group that was not written would say that the group is there. */
  async #behind(finishing: Promise<void>): Promise<void> {
    await finishing
    this.refuseIfPoisoned()
  }

  #seal(operations: readonly Operation[]): SealedGroup {
    return sealGroup({
      operations,
      before: this.#end,
      confirmed: this.#mark.number,
      salt: this.#salt,
      keys: this.#parts.keys,
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
      const isFull = bytes > batchBytesMax || records > batchRecordsMax
      const isAlone = batch.between !== undefined // if it fails, nobody else is refused for it
      if (count > 0 && (isFull || isAlone)) break
      count++
      if (isAlone) break
    }
    return this.#drop(0, count)
  }

  /** What is carried lapses if its path was written to since, also by a group in flight or earlier in this one. */
  #wanted(taken: readonly Waiting[]): readonly Operation[] {
    if (taken.every(({ isWanted }) => isWanted === undefined))
      return taken.flatMap(({ operations }) => operations)
    const written = new Set(this.#inFlight.map(({ path }) => path))
    const wanted: Operation[] = []
    for (const { operations, isWanted } of taken)
      for (const operation of operations) {
        if (isWanted !== undefined && (written.has(operation.path) || !isWanted(operation))) continue
        written.add(operation.path)
        wanted.push(operation)
      }
    return wanted
  }

  async #finish(group: SealedGroup, taken: readonly Waiting[], chunk: Chunk | undefined): Promise<void> {
    try {
      if (this.#poison !== undefined) throw this.#poison
      const { generation, after } = group
      const next: Mark = { domain: this.#mark.domain, number: generation, head: after.root }
      const at = await this.#parts.journal.append(group) // a crash here leaves a torn tail, which open drops
      await this.#parts.keeper.advance(this.#mark, next) // now no restore can hide it
      this.#mark = next
      this.#parts.records.apply(generation, group.placed, at) // only now may a reader see it
      this.#inFlight = []
      chunk?.committed()
      for (const batch of taken) batch.committed?.(generation)
      for (const batch of taken) batch.resolve(generation)
    } catch (error) {
      this.#fail(error, taken)
    }
  }

  /** There is no room for a group of these, or making it failed. */
  #refuse(error: unknown, taken: readonly Waiting[]): void {
    // The generation is sealed again, so under another salt: also the same changes, tried once more, must not repeat
    // key and nonce.
    this.#salt = this.#parts.entropy.bytes(32)
    if (!(error instanceof DiskError && error.code === 'full')) {
      this.#fail(error, taken)
      return
    }
    // A full disk is expected trouble: nothing was written and nothing is poisoned. Who frees space and only shared
    // the group with those who need some is tried again without them.
    const least = taken.reduce<ReserveUse>((use, batch) => lesser(use, batch.use), 'all')
    const isRefused = (batch: Waiting) => batch.use === least
    for (const batch of taken.filter(isRefused)) batch.reject(stateError(error))
    const again = taken.filter(batch => !isRefused(batch))
    this.#waiting.unshift(...again)
    for (const { bytes } of again) this.#waitingBytes += bytes
  }

  /** After a failed write or sync nothing is known of what the disk holds: this process never writes again. */
  #fail(error: unknown, taken: readonly Waiting[]): void {
    this.#poison ??= error
    const poisoned = this.#told('the write failed; whether it took effect is unknown', 'unknown')
    for (const batch of [...taken, ...this.#drop(0, this.#waiting.length)]) batch.reject(poisoned)
    this.#tellFailed(poisoned)
  }

  /** A keeper that did not answer, or refused, goes by its own code: the disk is well. */
  #told(what: string, outcome: Outcome): StateError {
    const cause = this.#poison
    if (!(cause instanceof MarkError)) return new StateError('EPOISONED', what, { cause })
    return new StateError(cause.code, `${cause.message}; ${what}`, { cause, outcome })
  }
}

const uses = ['nothing', 'some', 'all'] as const

function lesser(a: ReserveUse, b: ReserveUse): ReserveUse {
  return uses.indexOf(a) < uses.indexOf(b) ? a : b
}
