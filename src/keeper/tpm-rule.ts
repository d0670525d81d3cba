import type { TpmClock } from './tpm-command.ts'
import type { Pinned } from './tpm-file.ts'

/** What the TPM shows at one moment. */
export type Shown = {
  readonly counter: number
  readonly clock: TpmClock
  /** The TPM's largest orderly count. */
  readonly orderly: number
}

export type Judgement =
  | 'go on'
  | 'increment is missing'
  | 'jumped'
  | 'the keeper went back'
  | 'the anchor went back'

/** docs/spec/keepers-tpm.md, section 4: the table. */
export function judgePin({ pin, resets }: Pick<Pinned, 'pin' | 'resets'>, shown: Shown): Judgement {
  const { counter, clock, orderly } = shown
  if (counter === pin) return 'go on'
  if (counter === pin - 1) return 'increment is missing'
  if (counter < pin - 1) return 'the keeper went back'
  const isJump = counter === ceiling(pin, orderly)
  return isJump && clock.resets !== resets ? 'jumped' : 'the anchor went back'
}

/** `value | mask` beyond 32 bits: the highest value of its block. */
function ceiling(value: number, mask: number): number {
  return value - (value % (mask + 1)) + mask
}

/** docs/spec/keepers-tpm.md, section 5. */
export const allowance = {
  increments: 16,
  msEach: 10_000,
  /** With fewer an advance rides on a loose pin. */
  tightAt: 2,
  looseMsMax: 30_000,
} as const

/** So many more than there are may be spent: one to say that a pin is loose. */
const debtMax = 2

/** Increments left at `now`, by the TPM's clock; may be below zero. */
export function left(full: number, now: number): number {
  const missing = Math.max(0, Math.min(full, fullest(now)) - now)
  return allowance.increments - missing / allowance.msEach
}

/** `full` after one more increment. */
export function spent(full: number, now: number): number {
  return Math.min(Math.max(full, now) + allowance.msEach, fullest(now))
}

function fullest(now: number): number {
  return now + (allowance.increments + debtMax) * allowance.msEach
}
