/** Every limit of mode `letter` (docs/spec/letter.md). */
export const letterLimits = {
  bodyBytesMax: 1_000_000,
  proofBytesMax: 131_072,
  /** The last epoch of a direction: two of them fit the number of one mark. */
  epochMax: 2 ** 26 - 1,
  /** A receiver follows so many epochs forward, and no further. */
  followMax: 64,
  /** An end that was restored goes so many epochs on, and no further. */
  moveOnMax: 2 ** 16,
  /** After so many letters the next one begins a new epoch. */
  epochLettersMax: 2 ** 20,
  seqMax: 2 ** 32 - 2,
  /** Letters of one epoch that may be passed over at once, below those that may still come late. */
  skipMax: 1_000,
  lateMax: 1_024,
} as const

/** What an end may lower for itself (docs/spec/parameters.md). */
export type LetterBounds = {
  readonly lateMax: number
  readonly skipMax: number
  readonly followMax: number
  readonly bodyBytesMax: number
}
