import { DiskError } from '../../host/disk.ts'
import { StateError } from '../error.ts'

/**
 * What is wrong with a backup besides damage (`StateError` EINTEGRITY).
 * - `EKEY`: it is sealed to another recovery key
 * - `EVERSION`: it is of a format that this version does not know
 */
export class BackupError extends Error {
  override readonly name = 'BackupError'
  readonly code: 'EKEY' | 'EVERSION'

  constructor(code: BackupError['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** What opening a new file threw: that there is no place for it says nothing of the home. */
export function notMade(path: string, error: unknown): unknown {
  if (!(error instanceof DiskError) || (error.code !== 'missing' && error.code !== 'unfit')) return error
  return new StateError('EINVAL', `${path} cannot be made: ${error.message}`, { cause: error })
}
