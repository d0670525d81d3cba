/** The channel's public face (C1 to C8): what session/ and the tests use. `handshake.ts` says what a driver owes. */
export type { Positions } from './block.ts'
export { dispose, secretsOf } from './close.ts'
export {
  afterCommit,
  afterHeard,
  type Continued,
  type Held,
  type Memory,
  nothingRemembered,
} from './continuity.ts'
export { exportFrom } from './established.ts'
export { type FrameEvent, FrameReader } from './frame-reader.ts'
export { startClient, startServer } from './handshake.ts'
export { channelLimits, type Tunable } from './limits.ts'
export { type ChannelCode, ChannelError, type CloseReason, closeReasons, codeOf } from './reasons.ts'
export { type Purpose, purposes } from './schedule.ts'
export type {
  Action,
  ClientConfig,
  Closed,
  Closing,
  Commit,
  Ending,
  Established,
  Event,
  HandshakeEvent,
  Handshaking,
  LocalConfig,
  Role,
  SendEvent,
  State,
  StateName,
  Step,
  Timer,
  Verdict,
} from './state.ts'
export { step } from './step.ts'
