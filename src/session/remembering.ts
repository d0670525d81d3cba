import { afterCommit, afterHeard, type Memory } from '../channel/continuity.ts'
import type { CloseReason } from '../channel/reasons.ts'
import type { Action, Event } from '../channel/state.ts'
import type { Secret } from '../crypto/secret.ts'
import type { Identity } from '../signature/identity.ts'
import type { Endpoint, Party } from './party.ts'
import { judgeIdentity, rememberIdentity } from './peers.ts'

/** What a handshake or a rekey is about to be remembered by. */
export type Remembered = {
  readonly peer: Identity
  readonly res: Secret
  readonly rule: (memory: Memory<Secret>) => Memory<Secret> | undefined
  /** What has to be durable before it is. */
  readonly before?: () => Promise<void>
}

/**
 * State first, then mark, then the message that commits the other end (design: order of acknowledgement). The answer is
 * `committed`, or why not; then the new secret is wiped.
 */
export async function remember(
  { store, log }: Endpoint,
  party: Party,
  { peer, res, rule, before }: Remembered,
): Promise<Event> {
  let isKept = false
  try {
    if (party.isForgotten === true) return refuse(51, 'this identity is not served here')
    if (judgeIdentity(party.peer, peer) === 'newer')
      party.peer = await rememberIdentity(store, party.peer, peer)
    await before?.()
    isKept = await party.memory.update(rule)
    return isKept ? { kind: 'committed' } : refuse(72, 'another session of this peer came first')
  } catch (error) {
    log.event('session/commit-failed', { message: error instanceof Error ? error.message : '' })
    return refuse(90, 'the session could not be made durable')
  } finally {
    if (!isKept) res[Symbol.dispose]()
  }
}

/**
 * The new keys of a session that is still this peer's newest. What is remembered is held meanwhile, so that a handshake
 * that looked at it finds it so when it commits.
 */
export async function rememberRekey(
  endpoint: Endpoint,
  party: Party | undefined,
  { peer, alone, ...made }: Extract<Action, { kind: 'commit-rekey' }>,
  live: Party['live'],
): Promise<Event> {
  const { id, res } = made.secret
  const release = await party?.memory.hold()
  try {
    if (party === undefined || party.live !== live) {
      res[Symbol.dispose]()
      return { kind: 'close-requested', reason: 0, text: 'superseded by a newer connection' }
    }
    const rule = (memory: Memory<Secret>) => {
      const both = afterCommit(memory, made)
      return alone && both ? afterHeard(both, id) : both
    }
    return await remember(endpoint, party, { peer, res, rule })
  } finally {
    release?.()
  }
}

export function refuse(reason: CloseReason, text: string): Event {
  return { kind: 'close-requested', reason, text }
}
