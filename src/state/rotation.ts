import { Secret } from '../crypto/secret.ts'
import type { Entropy } from '../host/entropy.ts'
import type { StoreKeys } from '../keeper/store-keys.ts'
import type { AuditEntry } from './audit.ts'
import type { Batch } from './committer.ts'
import type { Compaction } from './compaction.ts'
import { StateError } from './error.ts'
import type { Journal } from './journal.ts'
import type { JournalKeys } from './journal-keys.ts'
import { keysPath } from './path.ts'
import type { Records } from './records.ts'
import type { ScopeChanges } from './scope-changes.ts'
import type { Scopes } from './scopes.ts'

/** What gets new keys: if nothing is said, all of it. */
export type Rotated = {
  /** The data keys of these scopes. */
  readonly scopes?: readonly string[] | undefined
  readonly storeKey?: boolean | undefined
}

export type RotationParts = {
  readonly keys: JournalKeys
  readonly storeKeys: StoreKeys
  /** Writes the mark under the current store key. */
  readonly rekeyMark: () => Promise<void>
  readonly scopes: Scopes
  readonly records: Records
  readonly journal: Journal
  readonly entropy: Entropy
  readonly compaction: Compaction
  readonly scopeChanges: ScopeChanges
  readonly submit: (batch: Batch) => Promise<number>
}

/**
 * New keys for an open store (S2): docs/spec/journal.md, "Rotation". New ones are taken into use in one commit; all
 * that is live is sealed again by giving up the segments it lies in, beside everything else; then the old ones are
 * destroyed. What a crash leaves is carried on from what anchor and journal say.
 */
export class Rotation {
  readonly #parts: RotationParts
  #running: Promise<void> | undefined
  /** Somebody has asked for a rotation that is not over. */
  #isAsked = false

  constructor(parts: RotationParts) {
    this.#parts = parts
  }

  /** Returns when the old keys are gone. @throws StateError EBUSY, ENOENT, ENOSPC, and what a commit throws */
  async rotate(what: Rotated): Promise<void> {
    if (this.#isAsked) throw new StateError('EBUSY', 'keys are being rotated already')
    this.#isAsked = true
    try {
      await this.idle()
      this.#running = this.#rotate(what)
      await this.#running
    } finally {
      this.#isAsked = false
    }
  }

  /** Carries on what was begun, beside everything else, if anything was. */
  resume(failed: (error: unknown) => void): void {
    if (!this.#isUnfinished) return
    this.#running = this.#finish()
    this.#running.catch(failed)
  }

  /** Returns when nothing is under way. */
  async idle(): Promise<void> {
    await this.#running?.catch(() => {})
  }

  async #rotate({ scopes, storeKey }: Rotated): Promise<void> {
    await this.#finish() // of what was begun before
    const isAll = scopes === undefined && storeKey === undefined
    const live = this.#parts.scopes.all().filter(({ state }) => state === 'live')
    const names = scopes ?? (isAll ? live.map(({ name }) => name) : [])
    if (storeKey ?? isAll) await this.#parts.storeKeys.add(new Secret(this.#parts.entropy.bytes(32)))
    // While it is being replaced a scope takes two slots: as many at a time as there is room for.
    for (let at = 0, count = 0; at < names.length; at += count) {
      count = Math.max(1, Math.min(this.#parts.scopes.free, names.length - at))
      await this.#parts.scopeChanges.replace(names.slice(at, at + count))
      await this.#finish()
    }
    await this.#finish()
  }

  get #isUnfinished(): boolean {
    const { storeKeys } = this.#parts
    return !storeKeys.isSettled || this.#retiring.length > 0
  }

  get #retiring() {
    return this.#parts.scopes.all().filter(({ state }) => state === 'retiring')
  }

  async #finish(): Promise<void> {
    const { storeKeys, keys, scopes, compaction, scopeChanges } = this.#parts
    if (!this.#isUnfinished) return
    await this.#takeIntoUse()
    const last = this.#lastUnderOldKeys()
    if (last !== undefined && !(await compaction.upTo(last)))
      throw new StateError('EINVAL', 'the store is closed: new keys are taken on to when it is opened again')
    if (this.#lastUnderOldKeys() !== undefined)
      throw new TypeError('something is still sealed under an old key')
    await scopeChanges.endRetired()
    if (!storeKeys.isSettled) {
      await this.#submit({ between: this.#parts.rekeyMark })
      await storeKeys.eraseOthers()
      keys.forgetOthers()
      scopes.forgetOthers()
    }
    await this.#submit({ audit: [entry('rotated')] })
  }

  /** Whatever is queued after this is sealed under the newest store key; behind it nothing is that was queued before. */
  #takeIntoUse(): Promise<void> {
    const { storeKeys, scopes, scopeChanges } = this.#parts
    return scopeChanges.inTurn(async () => {
      const newest = storeKeys.numbers.at(-1) ?? storeKeys.current
      const takeIntoUse = await scopes.prepare(newest)
      const between = async () => {
        storeKeys.goOnWith(newest)
        takeIntoUse()
      }
      // With an entry, so that the newest segment is not empty, and another can be begun.
      await this.#submit({ between, audit: [entry('rotate')] })
    })
  }

  /** The newest segment that has anything under a scope or a store key that goes. */
  #lastUnderOldKeys(): number | undefined {
    const { journal, records, storeKeys } = this.#parts
    const bySegment = journal.segments.filter(({ storeKey }) => storeKey !== storeKeys.current).at(-1)?.number
    const byScope = records.lastSegmentOf(this.#retiring.map(({ id }) => id))
    const last = Math.max(bySegment ?? 0, byScope ?? 0)
    return last === 0 ? undefined : last
  }

  async #submit(batch: Pick<Batch, 'between' | 'audit'>): Promise<void> {
    await this.#parts.submit({ operations: [], bytes: 0, use: 'all', ...batch })
  }
}

function entry(action: 'rotate' | 'rotated'): AuditEntry {
  return { action, decision: 'allow', path: keysPath, reason: 'owner', subject: '' }
}
