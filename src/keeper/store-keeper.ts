import { type Keeper, type KeeperKind, type Mark, sameMark } from '../mark/mark.ts'
import type { FileKeeper } from './mark-file.ts'
import type { OutsideKeeper } from './outside.ts'

/**
 * What a store with an anchor advances: first the keeper outside, if it has one, then the one here. So the mark file is
 * never ahead of the keeper outside, and one that is has shown that the other went back.
 */
export class StoreKeeper implements Keeper {
  #outside: OutsideKeeper | undefined
  #here: Keeper
  /** The mark file whose mark, with that of the keeper outside, the next group gives up. */
  #givenUp: FileKeeper | undefined

  constructor(here: Keeper, outside: OutsideKeeper | undefined) {
    this.#here = here
    this.#outside = outside
  }

  /** For an amendment: whatever both hold, the next `advance` puts its mark there. */
  static givingUp(here: FileKeeper, outside: OutsideKeeper | undefined): StoreKeeper {
    const keeper = new StoreKeeper(here, outside)
    keeper.#givenUp = here
    return keeper
  }

  get kind(): KeeperKind {
    return (this.#outside ?? this.#here).kind
  }

  /** Whether what was opened is surely the newest: else it counts as a restore. */
  get openedAs(): 'newest' | 'maybe older' {
    if (this.#outside !== undefined) return this.#outside.openedAs ?? 'newest'
    return this.#here.kind === 'none' ? 'maybe older' : 'newest'
  }

  read(): Promise<Mark> {
    return (this.#outside ?? this.#here).read()
  }

  async advance(expected: Mark, next: Mark): Promise<void> {
    const givenUp = this.#givenUp
    if (givenUp !== undefined) {
      await this.#outside?.enrol(next, () => true)
      await givenUp.adopt(next) // before this the file still refuses the store
      this.#givenUp = undefined
      return
    }
    if (this.#outside !== undefined) await this.#outside.advance(expected, next)
    await this.#here.advance(expected, next) // a crash before this leaves the file behind by what was in flight
  }

  /** Brings whoever is behind to `mark`, which state that was made durable has arrived at. */
  async settle(held: { readonly outside: Mark | undefined; readonly here: Mark }, mark: Mark): Promise<void> {
    if (held.outside !== undefined && !sameMark(held.outside, mark))
      await this.#outside?.advance(held.outside, mark)
    if (!sameMark(held.here, mark)) await this.#here.advance(held.here, mark)
  }

  /** From now on by these; both hold the same mark as those before. The one outside before it is the caller's to close. */
  replace(here: Keeper, outside: OutsideKeeper | undefined): void {
    this.#here = here
    this.#outside = outside
  }

  get outside(): OutsideKeeper | undefined {
    return this.#outside
  }
}
