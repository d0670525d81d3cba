import type { ChannelCode } from '../channel/reasons.ts'

/**
 * Why a session ended or was not made. `session/ROLLBACK`: one of the two ends was turned back, and both refuse until
 * an amendment; every other code is the channel's own.
 */
export type SessionCode = 'session/ROLLBACK' | Exclude<ChannelCode, 'channel/ROLLBACK'>

export class SessionError extends Error {
  override readonly name = 'SessionError'
  readonly code: SessionCode
  /** False for what an end claimed that has not proved who it is: worth another try. */
  readonly trusted: boolean
  /** What this end made of what the peer said of itself, where that is why: `Party.judge` has the words. */
  readonly verdict: string | undefined

  constructor(
    code: SessionCode,
    message: string,
    options: { readonly trusted: boolean; readonly verdict?: string | undefined },
  ) {
    super(message)
    this.code = code
    this.trusted = options.trusted
    this.verdict = options.verdict
  }
}

export function sessionCode(code: ChannelCode): SessionCode {
  return code === 'channel/ROLLBACK' ? 'session/ROLLBACK' : code
}
