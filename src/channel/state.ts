import type { KemKeyPair } from '../crypto/kem.ts'
import type { Secret } from '../crypto/secret.ts'
import type { Suite } from '../crypto/suite.ts'
import type { Entropy } from '../host/entropy.ts'
import type { Identity } from '../signature/identity.ts'
import type { ContinueBlock, Positions } from './block.ts'
import type { Continued, Memory } from './continuity.ts'
import type { Action, Commit, Ending } from './events.ts'
import type { Tunable } from './limits.ts'
import type { Chain, HandshakeKeys } from './schedule.ts'
import type { Traffic } from './traffic.ts'

/** The states of a channel (C8). A state is used once: `step` gives the next one. */
export type {
  Action,
  Commit,
  CommonEvent,
  Ending,
  Event,
  HandshakeEvent,
  RekeyEvent,
  SendEvent,
  SessionEvent,
  Timer,
  Verdict,
} from './events.ts'

/** Who opened the stream, and who accepted it. */
export type Role = 'client' | 'server'

export type Step<S extends State = State> = { readonly state: S; readonly actions: readonly Action[] }

export type LocalConfig = {
  /** Best first. */
  readonly suites: readonly Suite[]
  readonly entropy: Entropy
  readonly identity: Identity
  readonly limits?: Partial<Tunable>
}

export type ClientConfig = LocalConfig & {
  /** Whom to reach, 32 bytes. */
  readonly peerId: Uint8Array
  /** Its secrets become the channel's: give copies. */
  readonly memory: Memory<Secret>
  readonly positions: Positions
}

type Local = Omit<LocalConfig, 'limits'> & { readonly limits: Tunable }
type ClientLocal = Local & Omit<ClientConfig, keyof LocalConfig>

/** Two ends prove who they are to each other: what was said so far, and the keys it is proved with. */
export type Proving = {
  readonly suite: Suite
  readonly transcript: readonly Uint8Array[]
  readonly keys: Omit<HandshakeKeys, 'clientKey' | 'serverKey'>
}

/** What an end has from SHLO on: keys of the handshake and what was said so far. */
export type Keyed = Proving & {
  readonly send: Traffic
  readonly receive: Traffic
  /** Whether the peer has proved who it is. */
  readonly authenticated: boolean
}

type Met = { readonly peer: Identity; readonly peerDataBytesMax: number }

/** The session to come, once a handshake has nothing more to say. */
export type Next = Met & {
  readonly suite: Suite
  readonly made: { readonly id: Uint8Array; readonly firstEpoch: number }
  readonly clientKey: Secret
  readonly serverKey: Secret
  readonly exporter: Secret
  readonly chain: Chain
}

export type ClientWaitsHello = {
  readonly name: 'client-waits-hello'
  readonly config: ClientLocal
  readonly pair: KemKeyPair
  readonly offered: readonly Suite[]
  readonly transcript: readonly Uint8Array[]
}
export type ClientWaitsProof = Keyed & { readonly name: 'client-waits-proof'; readonly config: ClientLocal }
export type ClientVerifying = Keyed &
  Met & { readonly name: 'client-verifying'; readonly config: ClientLocal }
export type ClientSigning = Keyed &
  Met & {
    readonly name: 'client-signing'
    readonly config: ClientLocal
    readonly flight: readonly Uint8Array[]
  }
export type ClientWaitsDone = Keyed &
  Met & { readonly name: 'client-waits-done'; readonly config: ClientLocal }
export type ClientJudging = Keyed & {
  readonly name: 'client-judging'
  readonly config: Local
  readonly next: Next
  readonly commit: Commit
}
export type ClientCommitting = Keyed & {
  readonly name: 'client-committing'
  readonly config: Local
  readonly next: Next
}

export type ServerWaitsHello = { readonly name: 'server-waits-hello'; readonly config: Local }
export type ServerSigning = Keyed & {
  readonly name: 'server-signing'
  readonly config: Local
  readonly flight: readonly Uint8Array[]
}
export type ServerWaitsProof = Keyed & { readonly name: 'server-waits-proof'; readonly config: Local }
export type ServerVerifying = Keyed &
  Met & {
    readonly name: 'server-verifying'
    readonly config: Local
    readonly block: ContinueBlock
    /** The transcript that the binders are over. */
    readonly before: Uint8Array
  }
export type ServerDeciding = Omit<ServerVerifying, 'name'> & { readonly name: 'server-deciding' }
export type ServerCommitting = Keyed & {
  readonly name: 'server-committing'
  readonly config: Local
  readonly next: Next
  readonly done: Uint8Array
}

export type ClientHandshaking =
  | ClientWaitsHello
  | ClientWaitsProof
  | ClientVerifying
  | ClientSigning
  | ClientWaitsDone
  | ClientJudging
  | ClientCommitting
export type ServerHandshaking =
  | ServerWaitsHello
  | ServerSigning
  | ServerWaitsProof
  | ServerVerifying
  | ServerDeciding
  | ServerCommitting
export type Handshaking = ClientHandshaking | ServerHandshaking

type Session = {
  readonly config: Local
  readonly role: Role
  readonly suite: Suite
  readonly receive: Traffic
  /** Opens a CLOSE of the handshake's epoch until the client's first frame (C5); servers only. */
  readonly previous: Traffic | undefined
  readonly secretId: Uint8Array
  readonly heard: boolean
}

type Open = Session & {
  readonly peer: Identity
  readonly peerDataBytesMax: number
  readonly send: Traffic
  readonly exporter: Secret
  readonly chain: Chain
}

export type Established = Open & { readonly name: 'established' }

/** The epoch to come. */
export type Rekeyed = {
  readonly epoch: number
  readonly clientKey: Secret
  readonly serverKey: Secret
  readonly exporter: Secret
  readonly chain: Chain
  readonly id: Uint8Array
}

export type ServerWaitsAck = Open & {
  readonly name: 'server-waits-ack'
  readonly pair: KemKeyPair
  readonly transcript: readonly Uint8Array[]
}
export type ServerVerifyingAck = Open &
  Proving & { readonly name: 'server-verifying-ack'; readonly shown: Identity }
export type ServerSigningCommit = Open &
  Proving & {
    readonly name: 'server-signing-commit'
    readonly shown: Identity
    readonly flight: readonly Uint8Array[]
  }
export type ServerCommittingRekey = Open & {
  readonly name: 'server-committing-rekey'
  readonly next: Rekeyed
  readonly flight: readonly Uint8Array[]
}
export type ServerWaitsSwitch = Open & {
  readonly name: 'server-waits-switch'
  readonly following: Traffic
  /** Frames taken in the epoch before since COMMIT was sent. */
  readonly inFlight: number
}

/** It has asked for a rekey. */
export type ClientWaitsInit = Open & { readonly name: 'client-waits-init' }
export type ClientSigningAck = Open &
  Proving & { readonly name: 'client-signing-ack'; readonly flight: readonly Uint8Array[] }
export type ClientWaitsCommit = Open & Proving & { readonly name: 'client-waits-commit' }
export type ClientVerifyingCommit = Open & {
  readonly name: 'client-verifying-commit'
  readonly next: Rekeyed
  readonly commit: Continued<Secret> & { readonly peer: Identity }
}
export type ClientCommittingRekey = Open & {
  readonly name: 'client-committing-rekey'
  readonly next: Rekeyed
}

export type ServerRekeying =
  | ServerWaitsAck
  | ServerVerifyingAck
  | ServerSigningCommit
  | ServerCommittingRekey
  | ServerWaitsSwitch
export type ClientRekeying =
  | ClientWaitsInit
  | ClientSigningAck
  | ClientWaitsCommit
  | ClientVerifyingCommit
  | ClientCommittingRekey
export type Rekeying = ServerRekeying | ClientRekeying

/** A session that stands: it seals and opens. */
export type Standing = Established | Rekeying

export type Closing = Session & { readonly name: 'closing' }
export type Closed = { readonly name: 'closed'; readonly ending: Ending }

export type State = Handshaking | Standing | Closing | Closed
export type StateName = State['name']
