import { placeOf } from '../node/wire.ts'
import type { Place } from './place.ts'

/** One sending to a peer: where it looks for the peer, and who hears that it is not to be reached. */
export type Traveller = { readonly to: Place; readonly unreached: (leftMs: number) => void }

/**
 * The way to one peer, which one connection has at a time: a second one would only supersede the first. Whoever has the
 * turn carries what all of them have queued, and looks for the peer at the places of all.
 */
export class Lane {
  readonly #travellers = new Set<Traveller>()
  #last: Promise<void> = Promise.resolve()

  join(traveller: Traveller): () => void {
    this.#travellers.add(traveller)
    return () => this.#travellers.delete(traveller)
  }

  /** What gives the turn back, once it has come; nothing if `over` comes first. @throws what `over` does */
  async turn(over: Promise<void>): Promise<(() => void) | undefined> {
    const before = this.#last
    let release = () => {}
    this.#last = new Promise(resolve => {
      release = resolve
    })
    try {
      const isMine = await Promise.race([before.then(() => true), over.then(() => false)])
      if (isMine) return release
    } catch (error) {
      void before.then(release)
      throw error
    }
    void before.then(release)
    return undefined
  }

  /** Where to look next: at the place of whoever has the turn, then at those of the others, and again. */
  *places(own: Place): Generator<Place, never> {
    for (;;) {
      yield own
      const seen = new Set([textOf(own)])
      for (const { to } of [...this.#travellers]) {
        if (seen.has(textOf(to))) continue
        seen.add(textOf(to))
        yield to
      }
    }
  }

  unreached(leftMs: number): void {
    for (const { unreached } of this.#travellers) unreached(leftMs)
  }
}

function textOf({ host, port }: Place): string {
  return placeOf(host, port)
}
