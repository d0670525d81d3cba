import type { Secret } from '../crypto/secret.ts'
import type { Identity } from '../signature/identity.ts'
import type { Positions } from './block.ts'
import type { Continued, Memory } from './continuity.ts'
import type { FrameEvent } from './frame-reader.ts'
import type { Hint } from './hello.ts'
import type { ChannelCode, CloseReason } from './reasons.ts'
import type { Purpose } from './schedule.ts'

/** What happens to a channel, and what it wants done (C8; `handshake.ts` says what a driver owes). */
export type Timer = 'handshake' | 'age' | 'rekey' | 'close'

// ---- events ----

export type Verdict = 'ok' | 'refused'

export type HandshakeEvent =
  | FrameEvent
  | { readonly kind: 'signed'; readonly signature: Uint8Array }
  | { readonly kind: 'verified'; readonly good: boolean }
  /** The secrets in `memory` become the channel's: give copies. */
  | {
      readonly kind: 'decided'
      readonly memory: Memory<Secret>
      readonly positions: Positions
      readonly verdict: Verdict
    }
  | { readonly kind: 'positions-judged'; readonly verdict: Verdict }
  | { readonly kind: 'committed' }
  | CommonEvent

export type SendEvent = { readonly kind: 'send'; readonly plaintext: Uint8Array }

/** New keys are wanted now, before any limit asks for them. */
export type RekeyEvent = { readonly kind: 'rekey-requested' }

/** What happens to a session that stands. */
export type SessionEvent =
  | FrameEvent
  | SendEvent
  | RekeyEvent
  | Extract<HandshakeEvent, { kind: 'signed' | 'verified' | 'committed' }>
  | CommonEvent

export type CommonEvent =
  | { readonly kind: 'close-requested'; readonly reason: CloseReason; readonly text: string }
  | { readonly kind: 'wire-ended' }
  | { readonly kind: 'timeout'; readonly timer: Timer }

export type Event = HandshakeEvent | SendEvent | RekeyEvent

// ---- actions ----

export type Commit = Continued<Secret> & {
  readonly peer: Identity
  /** What the other end said of its mailboxes. */
  readonly theirs: Positions
}

export type Ending = {
  readonly reason: CloseReason
  readonly by: 'us' | 'peer' | 'wire'
  /** Nothing for a normal end. */
  readonly code: ChannelCode | undefined
  /** For people: the peer's words, escaped, or what was wrong. */
  readonly text: string
  /** False when it comes from an end that has not proved who it is, or from none. */
  readonly trusted: boolean
  /** What an ABORT hinted at, which anyone on the path can send. */
  readonly hint?: Hint
  /** The last of our frames that the peer says it has, in the epoch of its CLOSE. */
  readonly peerReceived?: number
}

export type Action =
  /** One frame, in parts that belong one behind the other. */
  | { readonly kind: 'send'; readonly parts: readonly Uint8Array[] }
  | { readonly kind: 'start-timer'; readonly timer: Timer; readonly ms: number }
  | { readonly kind: 'stop-timer'; readonly timer: Timer }
  | { readonly kind: 'sign'; readonly purpose: Purpose; readonly payload: Uint8Array }
  | {
      readonly kind: 'verify'
      readonly identity: Identity
      readonly purpose: Purpose
      readonly payload: Uint8Array
      readonly signature: Uint8Array
    }
  | {
      readonly kind: 'decide'
      readonly peer: Identity
      readonly offered: readonly Uint8Array[]
      readonly theirs: Positions
    }
  | { readonly kind: 'judge-positions'; readonly theirs: Positions }
  /** A server that is refused for what it does not remember: it may have said why. */
  | { readonly kind: 'peer-refused'; readonly theirs: Positions }
  /** `secret.res` becomes the driver's. */
  | ({ readonly kind: 'commit' } & Commit)
  | {
      readonly kind: 'established'
      readonly peer: Identity
      readonly epoch: number
      readonly sessionId: Uint8Array
      /** The most a `send` may carry. */
      readonly dataBytesMax: number
    }
  /** New keys are to be remembered; `alone`: without the ones before, since the peer has them. `secret.res` is the driver's. */
  | ({ readonly kind: 'commit-rekey'; readonly peer: Identity; readonly alone: boolean } & Continued<Secret>)
  | { readonly kind: 'peer-heard'; readonly secretId: Uint8Array }
  | { readonly kind: 'deliver'; readonly plaintext: Uint8Array }
  /** Both directions have gone on to this epoch. */
  | { readonly kind: 'rekeyed'; readonly epoch: number }
  | { readonly kind: 'end-wire' }
  | ({ readonly kind: 'closed' } & Ending)
