import { judgeAdvance, type Keeper, type Mark, MarkError } from '../mark/mark.ts'

/**
 * The keeper `none`: holds nothing beyond this run, so it catches nothing and every open counts as a restore (S4).
 * It is given the mark that the journal itself arrived at.
 */
export class NoKeeper implements Keeper {
  readonly kind = 'none'
  #held: Mark

  constructor(first: Mark) {
    this.#held = first
  }

  async read(): Promise<Mark> {
    return this.#held
  }

  async advance(expected: Mark, next: Mark): Promise<void> {
    if (judgeAdvance(this.#held, expected, next) === 'refuse')
      throw new MarkError('EROLLBACK', 'two writers in one process')
    this.#held = next
  }
}
