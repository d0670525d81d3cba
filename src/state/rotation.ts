import { BytesError, concat, equal } from '../bytes/bytes.ts'
import { asBytes, asCount, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { Secret } from '../crypto/secret.ts'
import type { Entropy } from '../host/entropy.ts'
import type { StoreKeys } from '../keeper/store-keys.ts'
import type { AuditEntry } from './audit.ts'
import type { Change } from './change.ts'
import type { Batch } from './committer.ts'
import type { Compaction } from './compaction.ts'
import { StateError } from './error.ts'
import type { Journal } from './journal.ts'
import type { JournalKeys } from './journal-keys.ts'
import { keysPath, rotationPath } from './path.ts'
import type { Records } from './records.ts'
import type { ScopeChanges } from './scope-changes.ts'
import type { Scope, Scopes } from './scopes.ts'

/** What gets new keys: if nothing is said, all of it. */
export type Rotated = {
  /** The data keys of these scopes. */
  readonly scopes?: readonly string[] | undefined
  readonly storeKey?: boolean | undefined
}

/** What is to go, as docs/spec/journal.md has it: until it is gone, whoever opens the store goes on with it. */
type Intent = {
  /** The number of a store key; 0 for none. */
  readonly storeKey: number
  readonly scopeIds: readonly Uint8Array[]
}

const scopeIdBytes = 16

function encodeIntent({ storeKey, scopeIds }: Intent): Uint8Array {
  return encodeCbor({ format: 1, storeKey, scopes: concat(...scopeIds) })
}

/** @throws BytesError */
export function decodeIntent(bytes: Uint8Array): Intent {
  const map = decodeCborMap(bytes, ['format', 'storeKey', 'scopes'])
  const ids = asBytes(map.scopes)
  if (map.format !== 1 || ids.length % scopeIdBytes !== 0) throw new BytesError('rotation of an unknown kind')
  const scopeIds = Array.from({ length: ids.length / scopeIdBytes }, (_, at) =>
    ids.slice(at * scopeIdBytes, (at + 1) * scopeIdBytes),
  )
  return { storeKey: asCount(map.storeKey), scopeIds }
}

export type RotationParts = {
  readonly storeKeys: StoreKeys
  readonly keys: JournalKeys
  /** Writes the mark under the current store key. */
  readonly rekeyMark: () => Promise<void>
  readonly scopes: Scopes
  readonly records: Records
  readonly journal: Journal
  readonly entropy: Entropy
  readonly compaction: Compaction
  readonly scopeChanges: ScopeChanges
  readonly submit: (batch: Batch) => Promise<number>
  /** Commits a record of the store's own, or its deletion. */
  readonly commit: (change: Change) => Promise<void>
}

/**
 * New keys for an open store (S2): docs/spec/journal.md, "Rotation". What is to go is committed first. New keys are
 * taken into use in one commit; all that is live is sealed again by giving up the segments it lies in, beside everything
 * else; then the old ones are destroyed. What a crash leaves is carried on from what anchor and journal say.
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
    this.#running = this.#carryOn()
    this.#running.catch(failed)
  }

  /** Returns when nothing is under way. */
  async idle(): Promise<void> {
    await this.#running?.catch(() => {})
  }

  async #rotate({ scopes: names, storeKey }: Rotated): Promise<void> {
    const { scopes, storeKeys, commit } = this.#parts
    await this.#carryOn() // what was begun before
    const isAll = names === undefined && storeKey === undefined
    const wanted = names === undefined ? [] : names.map(name => this.#named(name))
    const replaced = isAll ? scopes.all().filter(({ state }) => state === 'live') : wanted
    const isKeyWanted = storeKey ?? isAll
    if (replaced.length === 0 && !isKeyWanted) return
    if (replaced.length > 0 && scopes.free === 0)
      throw new StateError(
        'ENOSPC',
        'all key slots of the anchor are in use, and a scope that gets a new key needs one',
      )
    const intent = {
      storeKey: isKeyWanted ? storeKeys.current : 0,
      scopeIds: replaced.map(({ id }) => id),
    }
    await commit({ put: rotationPath, payload: encodeIntent(intent) })
    await this.#carryOn()
  }

  #named(name: string): Scope {
    const scope = this.#parts.scopes.find(name)
    if (scope === undefined) throw new StateError('ENOENT', `no scope ${name}`)
    return scope
  }

  get #isUnfinished(): boolean {
    const { storeKeys, records } = this.#parts
    return records.has(rotationPath) || !storeKeys.isSettled || this.#retiring.length > 0
  }

  get #retiring(): Scope[] {
    return this.#parts.scopes.all().filter(({ state }) => state === 'retiring')
  }

  async #carryOn(): Promise<void> {
    if (!this.#isUnfinished) return
    const { storeKeys, scopes, scopeChanges, records, entropy, commit } = this.#parts
    const intent = records.has(rotationPath)
      ? decodeIntent((await records.get(rotationPath)).payload)
      : undefined
    if (intent?.storeKey === storeKeys.current && storeKeys.isSettled)
      await storeKeys.add(new Secret(entropy.bytes(32)))
    for (;;) {
      // While it is being replaced a scope takes two slots: as many at a time as there is room for.
      const isLeft = ({ id, state }: Scope) =>
        state === 'live' && intent?.scopeIds.some(other => equal(other, id)) === true
      const left = scopes.all().filter(isLeft)
      const some = left.slice(0, Math.max(1, scopes.free))
      if (some.length > 0) await scopeChanges.replace(some.map(({ name }) => name))
      await this.#endOld()
      if (some.length === left.length) break
    }
    if (intent !== undefined) await commit({ delete: rotationPath })
    await this.#submit({ audit: [entry('rotated')] })
  }

  /** Takes what is new into use, seals what is live again, and destroys what is old. */
  async #endOld(): Promise<void> {
    const { storeKeys, keys, scopes, compaction, scopeChanges } = this.#parts
    if (storeKeys.isSettled && this.#retiring.length === 0) return
    await this.#takeIntoUse()
    const last = this.#lastUnderOldKeys()
    if (last !== undefined && !(await compaction.upTo(last)))
      throw new StateError('EINVAL', 'the store is closed: the rotation goes on when it is opened again')
    if (this.#lastUnderOldKeys() !== undefined)
      throw new TypeError('something is still sealed under an old key')
    await scopeChanges.endRetired()
    if (storeKeys.isSettled) return
    await this.#submit({ between: this.#parts.rekeyMark })
    await storeKeys.eraseOthers()
    keys.forgetOthers()
    scopes.forgetOthers()
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
