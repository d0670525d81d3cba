/** Close reasons, the codes callers see, and the one table between them (C7; docs/spec/channel.md section 6). */
export const closeReasons = {
  0: { name: 'NORMAL', code: undefined },
  10: { name: 'PROTOCOL_ERROR', code: 'channel/PROTOCOL' },
  11: { name: 'VERSION', code: 'channel/UNSUPPORTED' },
  12: { name: 'SUITE', code: 'channel/UNSUPPORTED' },
  13: { name: 'DECODE', code: 'channel/PROTOCOL' },
  14: { name: 'UNEXPECTED', code: 'channel/PROTOCOL' },
  15: { name: 'TOO_LARGE', code: 'channel/TOO_LARGE' },
  20: { name: 'AEAD_DECRYPT_FAILED', code: 'channel/TAMPERED' },
  21: { name: 'REPLAY', code: 'channel/REPLAY' },
  22: { name: 'AEAD_LIMIT', code: 'channel/EXHAUSTED' },
  23: { name: 'TRUNCATED', code: 'channel/TRUNCATED' },
  30: { name: 'EPOCH_MISMATCH', code: 'channel/REPLAY' },
  31: { name: 'EPOCH_EXHAUSTED', code: 'channel/EXHAUSTED' },
  40: { name: 'REKEY_FAILED', code: 'channel/PROTOCOL' },
  41: { name: 'REKEY_TIMEOUT', code: 'channel/TIMEOUT' },
  42: { name: 'REKEY_CONFIRM', code: 'channel/TAMPERED' },
  50: { name: 'HANDSHAKE_FAILED', code: 'channel/HANDSHAKE_FAILED' },
  51: { name: 'UNKNOWN_IDENTITY', code: 'channel/UNKNOWN_IDENTITY' },
  52: { name: 'DOWNGRADE', code: 'channel/DOWNGRADE' },
  70: { name: 'ROLLBACK', code: 'channel/ROLLBACK' },
  71: { name: 'STATE_CORRUPT', code: 'channel/STATE_CORRUPT' },
  72: { name: 'CONTINUE_REJECTED', code: 'channel/ROLLBACK' },
  80: { name: 'OVERLOADED', code: 'channel/OVERLOADED' },
  81: { name: 'IDLE', code: 'channel/TIMEOUT' },
  90: { name: 'INTERNAL_ERROR', code: 'channel/INTERNAL' },
} as const satisfies { readonly [reason: number]: { name: string; code: `channel/${string}` | undefined } }

export type CloseReason = keyof typeof closeReasons

/** Stable; one per thing a caller can do differently. */
export type ChannelCode =
  | NonNullable<(typeof closeReasons)[CloseReason]['code']>
  | 'channel/NO_ANSWER'
  | 'channel/CLOSED'

export function isCloseReason(value: number): value is CloseReason {
  return Object.hasOwn(closeReasons, value)
}

/** What a caller is told for a reason; nothing for a normal end. */
export function codeOf(reason: CloseReason): ChannelCode | undefined {
  return closeReasons[reason].code
}

/**
 * What ended a channel, or refused a call to it. With a `reason` the other end was refused (or refused us); without
 * one the call was out of place and the channel is as it was.
 */
export class ChannelError extends Error {
  override readonly name = 'ChannelError'
  readonly code: ChannelCode
  readonly reason: CloseReason | undefined

  constructor(
    code: ChannelCode,
    message: string,
    options?: ErrorOptions & { readonly reason?: CloseReason },
  ) {
    super(message, options)
    this.code = code
    this.reason = options?.reason
  }
}

/** Why the other end is refused. Names what was wrong, never an excerpt of what came. */
export function refusal(reason: CloseReason, message: string, cause?: unknown): ChannelError {
  return new ChannelError(codeOf(reason) ?? 'channel/CLOSED', message, { reason, cause })
}
