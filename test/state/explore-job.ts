import type { Options } from './explore.ts'
import type { Found } from './finders.ts'

/** A piece of the exploration, done in a thread of its own. Histories are the names of their steps. */
export type Job =
  | {
      readonly kind: 'crashes'
      readonly history: readonly string[]
      readonly options: Omit<Options, 'plant'>
      /** Answers what was sealed. */
      readonly sealings?: boolean
    }
  | {
      readonly kind: 'faults' | 'recovery faults' | 'damage'
      readonly history: readonly string[]
      readonly lastStepOnly?: boolean
      readonly seed: number
      readonly budgetMs?: number
    }
  | { readonly kind: 'bug'; readonly name: string; readonly isPlanted: boolean }

export type Counts = {
  histories: number
  points: number
  images: number
  distinct: number
  opens: number
  injected: number
  damaged: number
  refused: number
}

export type Report = {
  readonly counts: Partial<Counts>
  /** Nothing was left out: no choice of states, no budget that ran out. */
  readonly isComplete: boolean
  /** A number for each pair of key and nonce. */
  readonly sealings?: Float64Array
  readonly found?: Found
}

export type Answer = { readonly report: Report } | { readonly failure: string }

/** A change of one line of the source as it is loaded, for a bug that nothing around the code can imitate. */
export type Edit = { readonly file: string; readonly from: string; readonly to: string }
