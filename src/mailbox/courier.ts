import type { Positions } from '../channel/block.ts'
import type { CloseReason } from '../channel/reasons.ts'
import type { Role } from '../channel/state.ts'
import type { Clock } from '../host/clock.ts'
import { type Wire, WireError } from '../host/wire.ts'
import { Connection, type Endpoint, type Party } from '../session/connection.ts'
import { SessionError } from '../session/error.ts'
import { SessionMemory } from '../session/memory.ts'
import type { Peer } from '../session/peers.ts'
import type { Store } from '../state/store.ts'
import { runLink } from './link.ts'
import { Mailbox } from './mailbox.ts'
import { Patience } from './patience.ts'
import type { Carries } from './position.ts'
import { refusalOf } from './refusal.ts'
import type { Lost } from './settlement.ts'
import { Strangers } from './strangers.ts'

/** Exchanges messages with one peer, over as many connections as it takes. */
export type Correspondent = {
  readonly role: Role
  readonly party: Party
  readonly mailbox: Mailbox
  readonly carries: Carries
}

/** What is known of one peer, whoever of the two connects: one for each store and peer, or each would miss what the other did. */
export type Correspondence = { peer: Peer; readonly mailbox: Mailbox; isForgotten: boolean }

export async function openCorrespondence(store: Store, peer: Peer): Promise<Correspondence> {
  return { peer, mailbox: await Mailbox.open(store, peer.id), isForgotten: false }
}

/**
 * Alone with this peer in its store. For both roles at once, each takes its own with {@link takeRole}, and each
 * connection carries one sequence.
 */
export async function openCorrespondent(endpoint: Endpoint, peer: Peer, role: Role): Promise<Correspondent> {
  return takeRole(endpoint.store, await openCorrespondence(endpoint.store, peer), role, 'both')
}

/** One for each correspondence and role. Both ends of a connection must mean the same by what it `carries`. */
export async function takeRole(
  store: Store,
  correspondence: Correspondence,
  role: Role,
  carries: Carries,
): Promise<Correspondent> {
  const { mailbox } = correspondence
  let said: Positions | undefined
  const settle = async (theirs: Positions) => {
    const lost = await mailbox.settle(role, theirs)
    return lost.map(range => lossEvent(correspondence.peer, range))
  }
  const party: Party = {
    get peer() {
      return correspondence.peer
    },
    set peer(peer) {
      correspondence.peer = peer
    },
    get isForgotten() {
      return correspondence.isForgotten
    },
    memory: await SessionMemory.open(store, correspondence.peer.id, role),
    positions: () => mailbox.positions(role),
    judge: theirs => mailbox.judge(role, theirs, carries),
    allowsNone: theirs => mailbox.allowsNone(role, theirs),
    refused: theirs => mailbox.refused(role, theirs),
    async committing(theirs) {
      if (role === 'client') await mailbox.agree()
      if (role === 'client' || mailbox.isPeers(role, theirs)) return settle(theirs)
      said = theirs // a client that refuses what it is told has not agreed to anything
      return []
    },
    async heard() {
      await mailbox.agree()
      const told = said === undefined ? [] : await settle(said)
      said = undefined
      return told
    },
  }
  return { role, party, mailbox, carries }
}

export type CourierOptions = {
  readonly dial: () => Promise<Wire>
  /** Over once this holds; asked after every change of the outbox. */
  readonly done: () => boolean
  /** Without an acknowledgement for so long, or without contact if none is due, it gives up; what is queued stays. */
  readonly giveUpMs: number
  readonly stop?: AbortSignal
  /** The peer is out of reach, and will be tried for so long: once until it is reached again. */
  readonly unreached?: (leftMs: number) => void
}

const backoffMs = { first: 100, most: 5_000 } as const

/**
 * As client: connects, delivers, and connects again after whatever broke, until `done`. What only an end that has
 * proved who it is can say ends it at once; everything else is tried again.
 * @throws SessionError session/ROLLBACK, channel/UNKNOWN_IDENTITY, or the last trouble there was, after `giveUpMs`
 */
export async function deliver(endpoint: Endpoint, to: Correspondent, options: CourierOptions): Promise<void> {
  const { outbox } = to.mailbox
  const patience = new Patience(endpoint.clock, outbox, options.giveUpMs)
  try {
    await deliverAll(endpoint, to, options, patience)
  } catch (error) {
    await keepRefusal(to, error)
    throw error
  } finally {
    patience.dispose()
  }
  await outbox.flush()
}

async function deliverAll(
  endpoint: Endpoint,
  to: Correspondent,
  options: CourierOptions,
  patience: Patience,
): Promise<void> {
  const { clock, log } = endpoint
  const { outbox } = to.mailbox
  let wait: number = backoffMs.first
  let isOut = false
  while (!options.done() && options.stop?.aborted !== true) {
    let connection: Connection | undefined
    const before = outbox.acknowledged.next
    const hasMoved = () => outbox.acknowledged.next > before
    try {
      connection = await Connection.connect(endpoint, await options.dial(), to.party)
      patience.reached()
      isOut = false
      const open = connection
      const forget = [
        whenAborted(options.stop, () => end(open, 0, 'stopping')),
        patience.whenOver(() => end(open, 81, 'nothing is acknowledged')),
      ]
      try {
        const link = runLink(open, to.mailbox, {
          role: to.role,
          carries: to.carries,
          heard: () => patience.heard(),
          lost: tellLost(endpoint, to),
        })
        link.catch(() => undefined)
        await Promise.race([link, outbox.until(options.done)])
        if (options.done()) await outbox.flush() // the peer's word is kept before ours is given
        await open.close(0)
        await link
      } finally {
        for (const stop of forget) stop()
      }
      patience.reached()
      if (!hasMoved() && !options.done()) {
        if (wait > patience.leftMs)
          throw new SessionError('channel/NO_ANSWER', 'connections are ended and nothing is acknowledged', {
            trusted: true,
          })
        // So that two copies of this home, each ended by the other, do not chase each other.
        await pause(clock, wait, options.stop)
      }
    } catch (error) {
      if (!canPass(error)) throw error
      if (connection !== undefined) patience.reached()
      if (hasMoved()) wait = backoffMs.first
      log.event('mailbox/retry', { message: error instanceof Error ? error.message : 'failed', ms: wait })
      if (wait > patience.leftMs) throw error
      if (connection === undefined && !isOut) {
        isOut = true
        options.unreached?.(patience.leftMs)
      }
      await pause(clock, wait, options.stop)
    }
    wait = hasMoved() ? backoffMs.first : Math.min(2 * wait, backoffMs.most)
  }
}

const strangersOf = new WeakMap<Endpoint, Strangers>()

/**
 * As server: one wire, from handshake to end; `met` hears who it is once the session stands, `unknown` who has proved
 * to be somebody else, maybe twice. A refusal with session/ROLLBACK is a judgement on the peer as it is now, or on this
 * end: what merely came late, after a newer session of the same peer, is channel/CLOSED. Of too many strangers at one
 * endpoint the oldest is dropped.
 * @throws SessionError, MailboxError
 */
export async function serve(
  endpoint: Endpoint,
  wire: Wire,
  correspondents: readonly Correspondent[],
  met: (correspondent: Correspondent) => void = () => undefined,
  unknown: (id: Uint8Array) => void = () => undefined,
): Promise<void> {
  const find = (id: Uint8Array) => correspondents.find(({ party }) => Buffer.compare(party.peer.id, id) === 0)
  const strangers = strangersOf.get(endpoint) ?? new Strangers()
  strangersOf.set(endpoint, strangers)
  const crowdedOut = new Promise<never>((_, reject) => {
    strangers.add(wire, () =>
      reject(new SessionError('channel/OVERLOADED', 'too many strangers', { trusted: true })),
    )
  })
  let epochs = correspondents.map(({ party }) => party.memory.epoch)
  let asks: Correspondent | undefined
  try {
    const accepting = Connection.accept(endpoint, wire, ({ id }) => {
      const correspondent = find(id)
      if (correspondent === undefined) unknown(id)
      asks = correspondent
      return correspondent?.party
    })
    const connection = await Promise.race([accepting, crowdedOut])
    strangers.delete(wire)
    epochs = correspondents.map(({ party }) => party.memory.epoch)
    const correspondent = find(connection.party.peer.id)
    if (correspondent === undefined) throw new TypeError('served a stranger')
    met(correspondent)
    await runLink(connection, correspondent.mailbox, {
      role: correspondent.role,
      carries: correspondent.carries,
      lost: tellLost(endpoint, correspondent),
    })
  } catch (error) {
    const overtaken = correspondents.some(({ party }, i) => party.memory.epoch !== epochs[i])
    if (overtaken && error instanceof SessionError && error.code === 'session/ROLLBACK')
      throw new SessionError('channel/CLOSED', `overtaken by a newer session: ${error.message}`, {
        trusted: true,
      })
    if (asks !== undefined) await keepRefusal(asks, error)
    throw error
  } finally {
    strangers.delete(wire)
  }
}

/** A refusal is kept for whoever asks why, and told to the audit trail; a store that takes no more changes nothing of it. */
async function keepRefusal({ mailbox, party }: Correspondent, error: unknown): Promise<void> {
  const reason = refusalOf(error)
  if (reason !== undefined) await mailbox.refuse(reason, party.peer.name).catch(() => undefined)
}

function tellLost({ log }: Endpoint, { party }: Correspondent): (lost: Lost) => void {
  return lost => {
    const { event, ...fields } = lossEvent(party.peer, lost)
    log.event(event, fields)
  }
}

/** What has arrived is not lost: it is unknown to its sender. */
function lossEvent({ name }: Peer, { arrived, ...range }: Lost) {
  return { event: arrived ? 'mailbox/unknown' : 'mailbox/lost', peer: name, ...range }
}

/** Calls `then` once the signal is given, also if it has been; the answer forgets it. */
function whenAborted(signal: AbortSignal | undefined, then: () => void): () => void {
  if (signal?.aborted === true) then()
  else signal?.addEventListener('abort', then, { once: true })
  return () => signal?.removeEventListener('abort', then)
}

function pause(clock: Clock, ms: number, stop: AbortSignal | undefined): Promise<void> {
  return new Promise(resolve => {
    const ended = () => {
      cancel()
      forget()
      resolve()
    }
    const cancel = clock.after(ms, ended)
    const forget = whenAborted(stop, () => queueMicrotask(ended))
  })
}

function end(connection: Connection, reason: CloseReason, text: string): void {
  connection.close(reason, text).catch(() => undefined)
}

/** Whether trying again can mend it: trouble on the way, or words of an end that has not proved who it is. */
export function canPass(error: unknown): boolean {
  if (error instanceof SessionError) return !error.trusted || !finalCodes.has(error.code)
  return error instanceof WireError
}

const finalCodes: ReadonlySet<string> = new Set([
  'session/ROLLBACK',
  'channel/UNKNOWN_IDENTITY',
  'channel/INTERNAL',
])
