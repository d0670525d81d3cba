import { StateError } from './error.ts'
import { limits } from './limits.ts'

/** What operations may cost (D3). A budget may be tightened, never widened. */
export type Budgets = {
  /** Bytes of one payload under `/state/`; default and at most 1 MiB. */
  readonly payloadBytes: number
  /** How long an operation may take before it is counted and told as slow, in milliseconds; default and at most 250. */
  readonly latencyMs: number
  /** Bytes of batches that wait to be written; default and at most 32 MiB. */
  readonly queueBytes: number
  /** Records of callers that are live at once: each takes some 130 bytes of memory; default and at most 4,000,000. */
  readonly records: number
}

export const budgets: Budgets = {
  payloadBytes: limits.payloadBytesMax,
  latencyMs: 250,
  queueBytes: 32 * 1024 * 1024,
  records: 4_000_000,
}

const names = ['payloadBytes', 'latencyMs', 'queueBytes', 'records'] as const

/** The defaults with some of them tightened. @throws StateError EINVAL, naming the one that is not */
export function tightened(wanted: Partial<Budgets>): Budgets {
  for (const name of names) {
    const value = wanted[name]
    if (value === undefined) continue
    if (!Number.isSafeInteger(value) || value < 1 || value > budgets[name])
      throw new StateError('EINVAL', `${name} is a whole number from 1 to ${budgets[name]}, not ${value}`)
  }
  return { ...budgets, ...wanted }
}
