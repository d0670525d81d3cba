import { equal } from '../bytes/bytes.ts'
import type { Offer } from './block.ts'
import { channelLimits } from './limits.ts'

/**
 * What an end remembers of a peer between sessions, and the rule for keeping it (docs/spec/channel.md section 3,
 * Continuity; design: review A6, A7). One record for each (own identity, peer identity, who is client). Pure, and
 * indifferent to what a secret is made of.
 */
export type Memory<Res> = {
  /** Newest first, at most two. */
  readonly secrets: readonly Held<Res>[]
  /** "None" still counts as a secret: the first session was made but nothing was heard in it. Servers only. */
  readonly noneAllowed: boolean
  readonly highestEpoch: number
}

export type Held<Res> = { readonly id: Uint8Array; readonly res: Res }

/** What a handshake settled and is to be made durable. */
export type Continued<Res> = {
  /** The id of the secret that it went on from; nothing for none. */
  readonly proved: Uint8Array | undefined
  readonly secret: Held<Res>
  readonly firstEpoch: number
}

export type Choice<Res> =
  | { readonly kind: 'secret'; readonly held: Held<Res> }
  | { readonly kind: 'none' }
  | { readonly kind: 'refused' }

/** Before the first meeting. */
export const nothingRemembered: Memory<never> = { secrets: [], noneAllowed: false, highestEpoch: 0 }

/** Which secret a server goes on from: the newest it holds that is offered and shown to be held. */
export function choose<Res>(
  memory: Memory<Res>,
  offers: readonly Offer[],
  shows: (held: Held<Res>, offer: Offer) => boolean,
): Choice<Res> {
  for (const held of memory.secrets) {
    const offer = offers.find(({ id }) => equal(id, held.id))
    if (offer !== undefined && shows(held, offer)) return { kind: 'secret', held }
  }
  const none = memory.secrets.length === 0 || (memory.noneAllowed && offers.length === 0)
  return none ? { kind: 'none' } : { kind: 'refused' }
}

/** Whether a client may go on with what the server answered. */
export function accepts<Res>(
  memory: Memory<Res>,
  answer: { readonly chosen: Uint8Array | undefined; readonly firstEpoch: number },
): Choice<Res> {
  if (answer.firstEpoch <= memory.highestEpoch) return { kind: 'refused' }
  const { chosen } = answer
  if (chosen === undefined) return { kind: memory.secrets.length === 0 ? 'none' : 'refused' }
  const held = memory.secrets.find(({ id }) => equal(id, chosen))
  return held === undefined ? { kind: 'refused' } : { kind: 'secret', held }
}

/**
 * What to keep when a handshake commits, at either end: the new secret and the one it went on from. Nothing if that
 * one is no longer remembered, or the epoch no longer new: another session was heard between decision and commit, and
 * this one is refused (72).
 */
export function afterCommit<Res>(memory: Memory<Res>, made: Continued<Res>): Memory<Res> | undefined {
  if (made.firstEpoch <= memory.highestEpoch) return undefined
  const { proved } = made
  if (proved === undefined) {
    if (memory.secrets.length > 0 && !memory.noneAllowed) return undefined
    return { secrets: [made.secret], noneAllowed: true, highestEpoch: made.firstEpoch }
  }
  const old = memory.secrets.find(({ id }) => equal(id, proved))
  if (old === undefined) return undefined
  return { secrets: [made.secret, old], noneAllowed: false, highestEpoch: made.firstEpoch }
}

/**
 * What to keep once the peer was heard in the session that made `id`: that secret alone, since the peer has it.
 * Nothing if that session is no longer the newest: it is superseded, and its connection is to be closed.
 */
export function afterHeard<Res>(memory: Memory<Res>, id: Uint8Array): Memory<Res> | undefined {
  const [newest] = memory.secrets
  if (newest === undefined || !equal(newest.id, id)) return undefined
  return { ...memory, secrets: [newest], noneAllowed: false }
}

export function checkMemory<Res>(memory: Memory<Res>): Memory<Res> {
  if (memory.secrets.length > channelLimits.offersMax) throw new TypeError('at most two secrets')
  if (!Number.isInteger(memory.highestEpoch) || memory.highestEpoch < 0)
    throw new TypeError('an epoch is a count')
  return memory
}
