import { BytesError, base64url } from '../bytes/bytes.ts'
import { asBoolean, asCount, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import type { Change, CommitOptions } from '../state/change.ts'
import { lostPrefix } from '../state/path.ts'
import type { Store } from '../state/store.ts'
import { limits } from './limits.ts'
import type { Lost } from './settlement.ts'

type Records = {
  list(prefix: string): string[]
  get(path: string): Promise<{ readonly payload: Uint8Array; readonly envelope: { readonly at: number } }>
}

/** What was given up with a peer, and when it was recorded: milliseconds since 1970. */
export type LostThen = Lost & { readonly at: number }

/** `isTold`: the peer has it on record, too. */
type Kept = Lost & { readonly path: string; readonly isTold: boolean }

/** Everything that was ever given up with a peer, oldest first. @throws BytesError */
export async function listLost(records: Records, peer: Uint8Array): Promise<LostThen[]> {
  return Promise.all(
    records.list(lostWith(peer)).map(async path => {
      const { payload, envelope } = await records.get(path)
      const { isTold: _, ...range } = decodeLost(payload)
      return { ...range, at: envelope.at }
    }),
  )
}

/** What was given up with one peer: each range once, and told to the peer until it has it on record. */
export class Losses {
  readonly #store: Store
  readonly #peer: Uint8Array
  readonly #kept: Kept[]

  private constructor(store: Store, peer: Uint8Array, kept: Kept[]) {
    this.#store = store
    this.#peer = peer
    this.#kept = kept
  }

  static async open(store: Store, peer: Uint8Array): Promise<Losses> {
    const kept: Kept[] = []
    for (const path of store.list(lostWith(peer)))
      kept.push({ path, ...decodeLost((await store.get(path)).payload) })
    return new Losses(store, peer, kept)
  }

  /** What the peer is to be told. */
  get untold(): readonly Lost[] {
    return this.#kept.filter(({ isTold }) => !isTold)
  }

  /** The records of what is not on record yet; `committed` is called once they are. */
  recording(lost: readonly Lost[], isTold = false): { readonly changes: Change[]; committed(): void } {
    const fresh = lost
      .filter(range => !this.#kept.some(kept => isSame(kept, range)))
      .map((range, index) => ({ ...range, isTold, path: this.#pathOf(index) }))
    return {
      changes: fresh.map(({ path, ...range }) => ({ put: path, payload: encodeLost(range) })),
      committed: () => void this.#kept.push(...fresh),
    }
  }

  /** The peer says what it gave up; true if that was news. @throws BytesError: more than anybody loses */
  async note(range: Lost): Promise<boolean> {
    if (this.#kept.length >= limits.lossesMax) throw new BytesError('too many losses')
    const { changes, committed } = this.recording([range], true)
    if (changes.length === 0) return false
    await this.#store.commit(changes, { committed, by: lostBy })
    return true
  }

  /** The peer has it on record. */
  async told(range: Lost): Promise<void> {
    const at = this.#kept.findIndex(kept => !kept.isTold && isSame(kept, range))
    const kept = this.#kept[at]
    if (kept === undefined) return
    const { path, ...rest } = { ...kept, isTold: true }
    const committed = () => void this.#kept.splice(at, 1, { ...kept, isTold: true })
    await this.#store.commit([{ put: path, payload: encodeLost(rest) }], { committed })
  }

  #pathOf(index: number): string {
    return `${lostWith(this.#peer)}${(this.#kept.length + index + 1).toString().padStart(8, '0')}`
  }
}

/** For the audit trail; the numbers are in the record. */
export const lostBy: CommitOptions['by'] = { subject: '', reason: () => 'after an amendment' }

function isSame(a: Lost, b: Lost): boolean {
  return a.way === b.way && a.arrived === b.arrived && a.first === b.first && a.last === b.last
}

function lostWith(peer: Uint8Array): string {
  return `${lostPrefix}${base64url(peer)}/`
}

function encodeLost({ isTold: told, ...range }: Lost & { readonly isTold: boolean }): Uint8Array {
  return encodeCbor({ format: 1, ...range, told })
}

/** @throws BytesError */
export function decodeLost(bytes: Uint8Array): Lost & { readonly isTold: boolean } {
  const map = decodeCborMap(bytes, ['format', 'way', 'arrived', 'first', 'last', 'told'])
  const way = map.way === 'sent' || map.way === 'received' ? map.way : undefined
  const [first, last] = [asCount(map.first), asCount(map.last)]
  if (map.format !== 1 || way === undefined || first < 1 || last < first)
    throw new BytesError('not what was lost')
  return { way, arrived: asBoolean(map.arrived), first, last, isTold: asBoolean(map.told) }
}
