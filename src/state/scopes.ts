import { BytesError, concat, equal, utf8 } from '../bytes/bytes.ts'
import { asBoolean, asBytes, asCount, asText, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { Writer } from '../bytes/writer.ts'
import { hmacSha256 } from '../crypto/hash.ts'
import { hkdfSha256 } from '../crypto/kdf.ts'
import { equalSecrets, type Secret } from '../crypto/secret.ts'
import type { Entropy } from '../host/entropy.ts'
import type { Slots } from '../keeper/slots.ts'
import type { StoreKeys } from '../keeper/store-keys.ts'
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
  readonly state: ScopeState
  readonly check: Uint8Array
  /** Whether its records are in backups; so it cannot be shredded. Fixed when it is made. */
  readonly recoverable: boolean
}

const states = ['live', 'retiring', 'shredding', 'dead'] as const
/** `retiring`: another scope has its name, and what it holds is being sealed again under that one's key. */
export type ScopeState = (typeof states)[number]

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
  const names = ['format', 'name', 'id', 'slot', 'state', 'check', 'recoverable']
  const map = decodeCborMap(bytes, names)
  const state = states.find(known => known === map.state)
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

/** A key that records were sealed under. */
type KnownKey = { readonly id: Uint8Array; readonly key: Promise<Secret> }

type Place = Pick<ScopeTag, 'slot' | 'id'>

/** The scopes of an open store and their keys. Changes nothing by itself: the store commits, then calls `set`. */
export class Scopes {
  readonly #storeKeys: Pick<StoreKeys, 'current' | 'get'>
  readonly #slots: Slots
  readonly #bySlot = new Map<number, Scope>()
  /** By slot and number of the store key. */
  readonly #known = new Map<string, KnownKey>()
  /** What is sealed with. One object per scope, whoever asks: the group seals by scope, not by record. */
  readonly #sealing = new Map<number, ScopeKey>()

  constructor(storeKeys: Pick<StoreKeys, 'current' | 'get'>, slots: Slots) {
    this.#storeKeys = storeKeys
    this.#slots = slots
  }

  /**
   * The scope as a new record would have it: the first slot that no scope hangs on and that is not among `taken`, as
   * its bytes lie there.
   */
  async plan(
    name: string,
    recoverable: boolean,
    entropy: Entropy,
    taken: readonly number[] = [],
  ): Promise<Scope> {
    for (let slot = 0; slot < this.#slots.count; slot++) {
      const state = this.#bySlot.get(slot)?.state ?? 'dead'
      if (state !== 'dead' || taken.includes(slot)) continue
      const check = await this.slotCheck(slot)
      // A disk that misreads once would make a record of it that no later look agrees with.
      if (!equalSecrets(check, await this.slotCheck(slot))) throw misread(slot)
      return { name, id: entropy.bytes(16), slot, state: 'live', check, recoverable }
    }
    throw new StateError('ENOSPC', `all ${this.#slots.count} key slots of the anchor are in use`)
  }

  /** How many more scopes there can be. */
  get free(): number {
    return this.#slots.count - this.all().filter(({ state }) => state !== 'dead').length
  }

  set(scope: Scope): void {
    const isReadable = scope.state === 'live' || scope.state === 'retiring'
    if (!isReadable) this.#forget(scope.slot)
    this.#bySlot.set(scope.slot, scope)
  }

  /** The scope that what names it is put into. */
  find(name: string): Scope | undefined {
    return this.all().find(scope => scope.name === name && scope.state === 'live')
  }

  /** Of every slot that was ever used. */
  all(): Scope[] {
    return [...this.#bySlot.values()]
  }

  isLive(place: Place): boolean {
    return this.#at(place)?.state === 'live'
  }

  isReadable(place: Place): boolean {
    return this.of(place) !== undefined
  }

  /** The scope of a sealed block, if it can be opened. */
  of(place: Place): Scope | undefined {
    const scope = this.#at(place)
    return scope?.state === 'live' || scope?.state === 'retiring' ? scope : undefined
  }

  /** Where a record of that scope is put when it is sealed again. */
  successor(place: Place): Scope | undefined {
    const scope = this.of(place)
    return scope && this.find(scope.name)
  }

  /** Scopes whose slot does not hold what the journal says of it. */
  async misfits(): Promise<Scope[]> {
    const found: Scope[] = []
    for (const scope of this.#bySlot.values())
      if (scope.state !== 'shredding' && !equalSecrets(scope.check, await this.slotCheck(scope.slot)))
        found.push(scope)
    return found
  }

  /** What a scope is sealed with; one that is not known yet is held against the check it has here. */
  async key({ slot, id, check }: Place & { readonly check?: Uint8Array }): Promise<ScopeKey> {
    for (;;) {
      const number = this.#storeKeys.current
      const key = await this.#derived({ slot, id }, number, check)
      if (number !== this.#storeKeys.current) continue
      const known = this.keyAtHand({ slot, id })
      if (known !== undefined) return known
      const made = { slot, id, key }
      this.#sealing.set(slot, made)
      return made
    }
  }

  /** The same at once, if it was asked for before. */
  keyAtHand({ slot, id }: Place): ScopeKey | undefined {
    const known = this.#sealing.get(slot)
    return known !== undefined && equal(known.id, id) ? known : undefined
  }

  /** What opens the blocks of that tag. @throws StateError EINTEGRITY */
  openingKey(tag: Place & Pick<ScopeTag, 'storeKey'>): Promise<Secret> {
    return this.#derived(tag, tag.storeKey)
  }

  /** Derives all keys under another store key; what it answers with takes them into use, and is called as that is. */
  async prepare(storeKey: number): Promise<() => void> {
    const ready = new Map<number, Secret>()
    for (const scope of this.all())
      if (this.isReadable(scope)) ready.set(scope.slot, await this.#derived(scope, storeKey))
    return () => {
      for (const [slot, sealing] of this.#sealing) {
        const key = ready.get(slot)
        if (key === undefined) this.#sealing.delete(slot)
        else sealing.key = key
      }
    }
  }

  /** Wipes the keys under every store key but the current one. */
  forgetOthers(): void {
    for (const [name, { key }] of this.#known)
      if (!name.endsWith(`/${this.#storeKeys.current}`)) {
        wipe(key)
        this.#known.delete(name)
      }
  }

  /** Answers with the check of what lies there then. */
  async overwriteSlot(slot: number, fresh: Uint8Array): Promise<Uint8Array> {
    const check = checkOf(slot, fresh)
    await this.#slots.overwrite(slot, fresh)
    return check
  }

  async slotCheck(slot: number): Promise<Uint8Array> {
    using secret = await this.#slots.read(slot)
    return checkOf(slot, secret.bytes)
  }

  dispose(): void {
    for (const slot of [...this.#bySlot.keys(), ...this.#sealing.keys()]) this.#forget(slot)
    for (const { key } of this.#known.values()) wipe(key)
    this.#known.clear()
  }

  #at({ slot, id }: Place): Scope | undefined {
    const scope = this.#bySlot.get(slot)
    return scope !== undefined && equal(scope.id, id) ? scope : undefined
  }

  #derived(place: Place, storeKey: number, check?: Uint8Array): Promise<Secret> {
    const name = `${place.slot}/${storeKey}`
    const known = this.#known.get(name)
    if (known !== undefined && equal(known.id, place.id)) return known.key
    const made: KnownKey = { id: place.id, key: this.#derive(place, storeKey, check) }
    this.#known.set(name, made)
    made.key.catch(() => this.#known.get(name) === made && this.#known.delete(name))
    return made.key
  }

  async #derive({ slot, id }: Place, number: number, check?: Uint8Array): Promise<Secret> {
    using secret = await this.#slots.read(slot)
    const expected = check ?? this.of({ slot, id })?.check
    if (expected !== undefined && !equalSecrets(expected, checkOf(slot, secret.bytes))) throw misread(slot)
    const storeKey = this.#storeKeys.get(number)
    if (storeKey === undefined)
      throw new StateError('EINTEGRITY', `sealed under store key ${number}, which the anchor does not have`)
    using extracted = hkdfSha256.extract(secret.bytes, storeKey.bytes)
    return hkdfSha256.expand(extracted, concat(utf8('pawl v1 scope key'), id), 32)
  }

  #forget(slot: number): void {
    this.#sealing.delete(slot)
    for (const [name, { key }] of this.#known)
      if (name.startsWith(`${slot}/`)) {
        wipe(key)
        this.#known.delete(name)
      }
  }
}

/** Commits to what lies in a slot: 32 random bytes, so it tells nothing of them. */
function checkOf(slot: number, secret: Uint8Array): Uint8Array {
  return hmacSha256(secret, utf8('pawl v1 slot check'), new Writer(8).u32(slot).done())
}

function misread(slot: number): StateError {
  return new StateError('EINTEGRITY', `key slot ${slot} does not read as it did`)
}

function wipe(key: Promise<Secret>): void {
  key.then(
    secret => secret[Symbol.dispose](),
    () => {},
  )
}
