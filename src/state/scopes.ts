import { BytesError, concat, equal, utf8 } from '../bytes/bytes.ts'
import { asBoolean, asBytes, asCount, asText, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { Writer } from '../bytes/writer.ts'
import { hmacSha256 } from '../crypto/hash.ts'
import { hkdfSha256 } from '../crypto/kdf.ts'
import { equalSecrets, type Secret } from '../crypto/secret.ts'
import type { Entropy } from '../host/entropy.ts'
import type { Slots } from '../keeper/slots.ts'
import type { ScopeKey, ScopeTag } from './block.ts'
import { StateError } from './error.ts'

/**
 * A scope: records that are sealed under one data key and can be destroyed together, by destroying its slot (S2).
 * `check` commits to the slot's bytes, so that a slot file put back alone is seen.
 */
export type Scope = {
  readonly name: string
  readonly id: Uint8Array
  readonly slot: number
  readonly state: 'live' | 'shredding' | 'dead'
  readonly check: Uint8Array
  /** Whether its records are in backups; so it cannot be shredded. Fixed when it is made. */
  readonly recoverable: boolean
}

export const scopePrefix = '/pawl/scope/'
/** The scope of everything that names no other; it cannot be shredded. */
export const defaultScope = 'default'

export function scopePath(slot: number): string {
  return `${scopePrefix}${slot}`
}

export function encodeScope(scope: Scope): Uint8Array {
  return encodeCbor({ format: 1, ...scope })
}

/** @throws BytesError */
export function decodeScope(bytes: Uint8Array): Scope {
  const map = decodeCborMap(bytes, ['format', 'name', 'id', 'slot', 'state', 'check', 'recoverable'])
  const state = (['live', 'shredding', 'dead'] as const).find(known => known === map.state)
  if (map.format !== 1 || state === undefined) throw new BytesError('scope record of an unknown kind')
  return {
    name: asText(map.name),
    id: asBytes(map.id, 16),
    slot: asCount(map.slot, 0xffff),
    state,
    check: asBytes(map.check, 32),
    recoverable: asBoolean(map.recoverable),
  }
}

/** `ready` once it was derived. */
type KnownKey = { readonly id: Uint8Array; readonly key: Promise<ScopeKey>; ready: ScopeKey | undefined }

/** The scopes of an open store and their keys. Changes nothing by itself: the store commits, then calls `set`. */
export class Scopes {
  readonly #storeKey: Secret
  readonly #slots: Slots
  readonly #bySlot = new Map<number, Scope>()
  /** One object per scope, whoever asks: the group seals by scope, not by record. */
  readonly #keys = new Map<number, KnownKey>()

  constructor(storeKey: Secret, slots: Slots) {
    this.#storeKey = storeKey
    this.#slots = slots
  }

  /** The scope as a new record would have it: the first slot that no live scope hangs on, as its bytes lie there. */
  async plan(name: string, recoverable: boolean, entropy: Entropy): Promise<Scope> {
    for (let slot = 0; slot < this.#slots.count; slot++) {
      const taken = this.#bySlot.get(slot)
      if (taken !== undefined && taken.state !== 'dead') continue
      const check = await this.slotCheck(slot)
      return { name, id: entropy.bytes(16), slot, state: 'live', check, recoverable }
    }
    throw new StateError('ENOSPC', `all ${this.#slots.count} key slots of the anchor are in use`)
  }

  set(scope: Scope): void {
    const old = this.#bySlot.get(scope.slot)
    if (old !== undefined && scope.state !== 'live') this.#forget(scope.slot)
    this.#bySlot.set(scope.slot, scope)
  }

  find(name: string): Scope | undefined {
    for (const scope of this.#bySlot.values()) if (scope.name === name && scope.state === 'live') return scope
    return undefined
  }

  isLive(tag: Pick<ScopeTag, 'slot' | 'id'>): boolean {
    const scope = this.#bySlot.get(tag.slot)
    return scope !== undefined && scope.state === 'live' && equal(scope.id, tag.id)
  }

  /** The live scope of a sealed block. */
  of(tag: Pick<ScopeTag, 'slot' | 'id'>): Scope | undefined {
    return this.isLive(tag) ? this.#bySlot.get(tag.slot) : undefined
  }

  /** Those that are live, by slot. */
  live(): Scope[] {
    return [...this.#bySlot.values()].filter(scope => scope.state === 'live').sort((a, b) => a.slot - b.slot)
  }

  /** Scopes whose destruction was promised and not yet completed. */
  shredding(): Scope[] {
    return [...this.#bySlot.values()].filter(scope => scope.state === 'shredding')
  }

  /** Scopes whose slot does not hold what the journal says of it. */
  async misfits(): Promise<Scope[]> {
    const found: Scope[] = []
    for (const scope of this.#bySlot.values())
      if (scope.state !== 'shredding' && !equalSecrets(scope.check, await this.slotCheck(scope.slot)))
        found.push(scope)
    return found
  }

  key(scope: Pick<Scope, 'slot' | 'id'>): Promise<ScopeKey> {
    const known = this.#keys.get(scope.slot)
    if (known !== undefined && equal(known.id, scope.id)) return known.key
    const made: KnownKey = { id: scope.id, key: this.#derive(scope), ready: undefined }
    this.#keys.set(scope.slot, made)
    made.key.then(
      key => (made.ready = key),
      () => this.#keys.get(scope.slot) === made && this.#keys.delete(scope.slot),
    )
    return made.key
  }

  /** The same at once, if it was asked for before. */
  keyAtHand(scope: Pick<Scope, 'slot' | 'id'>): ScopeKey | undefined {
    const known = this.#keys.get(scope.slot)
    return known !== undefined && equal(known.id, scope.id) ? known.ready : undefined
  }

  async overwriteSlot(slot: number, fresh: Uint8Array): Promise<void> {
    await this.#slots.overwrite(slot, fresh)
  }

  async slotCheck(slot: number): Promise<Uint8Array> {
    using secret = await this.#slots.read(slot)
    const place = new Writer(8).u32(slot).done()
    return hmacSha256(this.#storeKey.bytes, utf8('pawl v1 slot check'), place, secret.bytes)
  }

  dispose(): void {
    for (const slot of [...this.#keys.keys()]) this.#forget(slot)
  }

  async #derive({ slot, id }: Pick<Scope, 'slot' | 'id'>): Promise<ScopeKey> {
    using secret = await this.#slots.read(slot)
    using extracted = hkdfSha256.extract(secret.bytes, this.#storeKey.bytes)
    return { slot, id, key: hkdfSha256.expand(extracted, concat(utf8('pawl v1 scope key'), id), 32) }
  }

  #forget(slot: number): void {
    const wipe = ({ key }: ScopeKey) => key[Symbol.dispose]()
    this.#keys.get(slot)?.key.then(wipe, () => {})
    this.#keys.delete(slot)
  }
}
