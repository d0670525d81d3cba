import { equal } from '../bytes/bytes.ts'
import { Secret } from '../crypto/secret.ts'
import { newSeed } from '../crypto/signature.ts'
import { SignatureError } from './error.ts'
import { algorithms, type IdentityRecord, type KeyName, type Owes, owed } from './record.ts'

/** The private half of one record: a seed and its public key for each algorithm that the record owes. */
export class IdentityKeys implements Disposable {
  readonly owes: Owes
  readonly #seeds: ReadonlyMap<KeyName, Secret>
  readonly #publicKeys: ReadonlyMap<KeyName, Uint8Array>

  private constructor(owes: Owes, seeds: ReadonlyMap<KeyName, Secret>) {
    this.owes = owes
    this.#seeds = seeds
    this.#publicKeys = new Map(Array.from(seeds, ([name, seed]) => [name, algorithms[name].publicKey(seed)]))
  }

  /** `seed` draws 32 fresh random bytes. */
  static generate(owes: Owes, seed: () => Secret = newSeed): IdentityKeys {
    return new IdentityKeys(owes, new Map(owed[owes].map(name => [name, seed()])))
  }

  /**
   * The inverse of {@link encode}. The public keys are derived again and compared with the record's, so a seed that
   * rotted or belongs elsewhere never signs. The blob stays the caller's to wipe.
   * @throws SignatureError EINVAL, EKEY
   */
  static decode(blob: Secret, record: IdentityRecord): IdentityKeys {
    const names = owed[record.owes]
    if (blob.length !== 2 + 32 * names.length || blob.bytes[0] !== 1 || blob.bytes[1] !== mask(record.owes))
      throw new SignatureError('EINVAL', 'identity keys: not a blob of this format, or of other algorithms')
    const seeds = names.map(
      (name, i) => [name, new Secret(Uint8Array.from(blob.bytes.subarray(2 + 32 * i, 34 + 32 * i)))] as const,
    )
    const keys = new IdentityKeys(record.owes, new Map(seeds))
    if (keys.belongTo(record)) return keys
    keys[Symbol.dispose]()
    throw new SignatureError('EKEY', 'identity keys: the private keys are not those of the record')
  }

  /** u8 format 1, u8 algorithms (1 Ed25519, 2 ML-DSA-87), the 32-byte seeds in that order. To be sealed at rest. */
  encode(): Secret {
    const names = owed[this.owes]
    const blob = new Uint8Array(2 + 32 * names.length)
    blob.set([1, mask(this.owes)])
    names.forEach((name, i) => {
      blob.set(this.seed(name).bytes, 2 + 32 * i)
    })
    return new Secret(blob)
  }

  /** Whether these are the keys that the record names: all of them and no others. */
  belongTo(record: IdentityRecord): boolean {
    return (
      record.owes === this.owes &&
      owed[this.owes].every(name => {
        const named = record[name]
        return named !== undefined && equal(named, this.publicKey(name))
      })
    )
  }

  publicKey(name: KeyName): Uint8Array {
    return present(this.#publicKeys.get(name), name)
  }

  /** Still owned here: wiped with these keys. */
  seed(name: KeyName): Secret {
    return present(this.#seeds.get(name), name)
  }

  [Symbol.dispose](): void {
    for (const seed of this.#seeds.values()) seed[Symbol.dispose]()
  }
}

function mask(owes: Owes): number {
  return { classical: 1, hybrid: 3, pqc: 2 }[owes]
}

function present<T>(value: T | undefined, name: KeyName): T {
  if (value === undefined) throw new TypeError(`these identity keys hold no ${name} key`)
  return value
}
