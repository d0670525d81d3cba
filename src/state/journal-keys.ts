import { expandLabel, hkdfSha256 } from '../crypto/kdf.ts'
import type { Secret } from '../crypto/secret.ts'
import type { StoreKeys } from '../keeper/store-keys.ts'

/** What every file of one journal is bound to: the store, and a MAC key for each store key that there is. */
export class JournalKeys {
  readonly storeId: Uint8Array
  readonly #storeKeys: Pick<StoreKeys, 'current' | 'get'>
  readonly #macs = new Map<number, Secret>()

  constructor(storeKeys: Pick<StoreKeys, 'current' | 'get'>, storeId: Uint8Array) {
    this.storeId = storeId
    this.#storeKeys = storeKeys
  }

  /** The number of the store key that is written under. */
  get current(): number {
    return this.#storeKeys.current
  }

  /** `undefined` if there is no store key of that number, or no more. */
  mac(storeKey: number): Secret | undefined {
    const known = this.#macs.get(storeKey)
    if (known !== undefined) return known
    const key = this.#storeKeys.get(storeKey)
    if (key === undefined) return undefined
    const mac = expandLabel(hkdfSha256, key, 'journal mac', this.storeId, 32)
    this.#macs.set(storeKey, mac)
    return mac
  }

  /** The one that is written under. */
  get macKey(): Secret {
    const mac = this.mac(this.current)
    if (mac === undefined) throw new TypeError('the store key that is written under is there')
    return mac
  }

  /** All but the one that is written under. */
  forgetOthers(): void {
    for (const [number, mac] of this.#macs)
      if (number !== this.current) {
        mac[Symbol.dispose]()
        this.#macs.delete(number)
      }
  }

  dispose(): void {
    for (const mac of this.#macs.values()) mac[Symbol.dispose]()
    this.#macs.clear()
  }
}
