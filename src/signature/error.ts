/**
 * An identity, its text or its keys cannot be used.
 * - `EINVAL`: not an identity as docs/spec/identity.md defines it; nothing of it may be used
 * - `E2BIG`: more records, or a larger one, than the format allows
 * - `EKEY`: these private keys are not the ones that the record names
 */
export class SignatureError extends Error {
  override readonly name = 'SignatureError'
  readonly code: 'EINVAL' | 'E2BIG' | 'EKEY'

  constructor(code: SignatureError['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
