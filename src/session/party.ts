import type { Positions } from '../channel/block.ts'
import { channelLimits, type Tunable } from '../channel/limits.ts'
import type { CloseReason } from '../channel/reasons.ts'
import type { LocalConfig } from '../channel/state.ts'
import { suites } from '../crypto/suite.ts'
import type { Clock } from '../host/clock.ts'
import type { Entropy } from '../host/entropy.ts'
import type { Log } from '../host/log.ts'
import type { Wire } from '../host/wire.ts'
import { parametersIn } from '../state/parameters.ts'
import type { Store } from '../state/store.ts'
import type { SessionMemory } from './memory.ts'
import type { OwnIdentity } from './own-identity.ts'
import type { Peer } from './peers.ts'

/** What a session needs of its home. */
export type Endpoint = {
  readonly store: Store
  readonly own: OwnIdentity
  readonly clock: Clock
  readonly entropy: Entropy
  readonly log: Log
  readonly limits?: Partial<Tunable>
}

type Live = {
  close(reason: CloseReason, text?: string): Promise<void>
  rekey(): Promise<void>
  supersede(): void
}

/** An event of the log. */
export type Told = { readonly event: string; readonly [field: string]: string | number }

/** One peer's side of things: who it is, what is remembered of it, and where our exchange with it stands. */
export type Party = {
  peer: Peer
  readonly memory: SessionMemory
  /** What this end says of its messages in a handshake. */
  positions(): Positions
  /** What it makes of what the peer says: `agreed`, or why not, such as who was turned back. */
  judge(theirs: Positions): string
  /** Whether a client that shows no secret may be met as if for the first time, where what is remembered allows it. */
  allowsNone?(theirs: Positions): boolean
  /** Keeps, of what is refused, what our user is to decide on. */
  refused?(theirs: Positions): Promise<void>
  /** A session is about to be committed, on what the peer says. Answers with what to tell, as does the next. */
  committing?(theirs: Positions): Promise<readonly Told[]>
  /** The peer was heard in that session for the first time: it has committed it, too. */
  heard?(): Promise<readonly Told[]>
  /** Its name was removed: no session is made with it any more, and nothing is remembered of it. */
  readonly isForgotten?: boolean
  /** The connection that carries this session now; a newer one supersedes it. */
  live?: Live | undefined
}

/** What every channel of a home begins with. A wire for which it cannot be had is not left open. */
export async function localConfig(
  { store, own, entropy, limits = {} }: Endpoint,
  wire: Wire,
): Promise<LocalConfig> {
  try {
    const sealed = (await parametersIn(store)).count('qsp.max_body_ct_len')
    const dataBytesMax = Math.min(limits.dataBytesMax ?? channelLimits.dataBytesMax, sealed)
    return { suites, entropy, identity: own.identity, limits: { ...limits, dataBytesMax } }
  } catch (error) {
    wire.abort()
    throw error
  }
}
