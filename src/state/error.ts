import { BytesError } from '../bytes/bytes.ts'
import { SealError } from '../crypto/aead.ts'
import { DiskError } from '../host/disk.ts'
import { MarkError, type Rollback } from '../mark/mark.ts'

/** One code per thing a caller can do differently (D4); the same in library, daemon and command line. */
export const stateCodes = [
  'EINTEGRITY',
  'EROLLBACK',
  'E2BIG',
  'EBUSY',
  'EDEADLINE',
  'EDAEMON',
  'EINVAL',
  'ENOENT',
  'ENOSPC',
  'EPERM',
  'EPOISONED',
  'ELOCKED',
  'EKEEPER',
] as const

export type StateCode = (typeof stateCodes)[number]

export function isStateCode(value: unknown): value is StateCode {
  return stateCodes.some(code => code === value)
}

/** What a failed write left behind: certainly nothing, or either, which only reading again can tell. */
export type Outcome = 'not applied' | 'unknown'

export function isOutcome(value: unknown): value is Outcome {
  return value === 'not applied' || value === 'unknown'
}

export class StateError extends Error {
  override readonly name = 'StateError'
  readonly code: StateCode
  /** Of a write that failed. */
  readonly outcome: Outcome | undefined
  /** Of an EROLLBACK of mark and journal: which of them. */
  readonly rollback: Rollback | undefined

  constructor(
    code: StateCode,
    message: string,
    options?: ErrorOptions & { readonly outcome?: Outcome; readonly rollback?: Rollback | undefined },
  ) {
    super(message, options)
    this.code = code
    this.rollback = options?.rollback
    this.outcome = options?.outcome ?? outcomes[code]
  }
}

/** Where the code alone says it. */
const outcomes: { readonly [code in StateCode]?: Outcome } = {
  E2BIG: 'not applied',
  EBUSY: 'not applied',
  EINVAL: 'not applied',
  ENOSPC: 'not applied',
  EPERM: 'not applied',
  EPOISONED: 'unknown',
}

/** Names what lower rows throw by the store's codes; anything else passes unchanged. */
export function stateError(error: unknown): unknown {
  if (error instanceof MarkError)
    return new StateError(error.code, error.message, { cause: error, rollback: error.rollback })
  if (error instanceof SealError || error instanceof BytesError)
    return new StateError('EINTEGRITY', error.message, { cause: error })
  if (error instanceof DiskError && error.code !== 'exists' && error.code !== 'failed')
    return new StateError(diskCodes[error.code], error.message, { cause: error })
  return error
}

/** What was asked for; what lower rows threw instead, by the store's codes. */
export async function inStateCodes<T>(asked: Promise<T>): Promise<T> {
  try {
    return await asked
  } catch (error) {
    throw stateError(error)
  }
}

// A file that has to be there and is not, or is no file, is damage, never absence (S5): `ENOENT` says only that no
// record is there.
const diskCodes = {
  missing: 'EINTEGRITY',
  unfit: 'EINTEGRITY',
  locked: 'ELOCKED',
  full: 'ENOSPC',
  denied: 'EPERM',
} as const
