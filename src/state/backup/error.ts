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
