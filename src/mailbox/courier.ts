import type { Wire } from '../host/wire.ts'
import { Connection, type Endpoint, type Party } from '../session/connection.ts'
import { SessionError } from '../session/error.ts'
import { SessionMemory } from '../session/memory.ts'
import type { Peer } from '../session/peers.ts'
import { runLink } from './link.ts'
import { Mailbox } from './mailbox.ts'

/** Exchanges messages with one peer, over as many connections as it takes. */
export type Correspondent = { readonly party: Party; readonly mailbox: Mailbox }

export async function openCorrespondent(
  endpoint: Endpoint,
  peer: Peer,
  role: 'client' | 'server',
): Promise<Correspondent> {
  const mailbox = await Mailbox.open(endpoint.store, peer.id)
  const memory = await SessionMemory.open(endpoint.store, peer.id, role)
  const party: Party = {
    peer,
    memory,
    positions: () => mailbox.positions(),
    judge: theirs => mailbox.judge(theirs),
  }
  return { party, mailbox }
}

export type CourierOptions = {
  readonly dial: () => Promise<Wire>
  /** Over once this holds; asked after every change of the outbox. */
  readonly done: () => boolean
  /** Without any contact for so long, it gives up; what is queued stays queued. */
  readonly giveUpMs: number
  readonly stop?: AbortSignal
}

const backoffMs = { first: 100, most: 5_000 } as const

/**
 * As client: connects, delivers, and connects again after whatever broke, until `done`. What only an end that has
 * proved who it is can say ends it at once; everything else is tried again.
 * @throws SessionError session/ROLLBACK, channel/UNKNOWN_IDENTITY, or after `giveUpMs` the last trouble there was
 */
export async function deliver(endpoint: Endpoint, to: Correspondent, options: CourierOptions): Promise<void> {
  const { clock, log } = endpoint
  const { outbox } = to.mailbox
  let contact = clock.monotonic()
  let wait: number = backoffMs.first
  while (!options.done() && options.stop?.aborted !== true) {
    let connection: Connection | undefined
    try {
      connection = await Connection.connect(endpoint, await options.dial(), to.party)
      contact = clock.monotonic()
      wait = backoffMs.first
      const open = connection
      const onStop = () => void open.close(0, 'stopping').catch(() => undefined)
      options.stop?.addEventListener('abort', onStop, { once: true })
      const link = runLink(open, to.mailbox)
      link.catch(() => undefined)
      await Promise.race([link, outbox.until(options.done)])
      options.stop?.removeEventListener('abort', onStop)
      if (options.done()) await outbox.flush() // the peer's word is kept before ours is given
      await open.close(0)
      await link
      contact = clock.monotonic()
    } catch (error) {
      if (!canPass(error)) throw error
      if (connection !== undefined) contact = clock.monotonic()
      log.event('mailbox/retry', { message: error instanceof Error ? error.message : 'failed', ms: wait })
      if (clock.monotonic() - contact + wait > options.giveUpMs) throw error
      await new Promise<void>(resolve => clock.after(wait, resolve))
      wait = Math.min(2 * wait, backoffMs.most)
    }
  }
  await outbox.flush()
}

/** As server: one wire, from handshake to end. @throws SessionError, MailboxError */
export async function serve(
  endpoint: Endpoint,
  wire: Wire,
  correspondents: readonly Correspondent[],
): Promise<void> {
  const find = (id: Uint8Array) => correspondents.find(({ party }) => Buffer.compare(party.peer.id, id) === 0)
  const connection = await Connection.accept(endpoint, wire, identity => find(identity.id)?.party)
  const correspondent = find(connection.party.peer.id)
  if (correspondent === undefined) throw new TypeError('served a stranger')
  await runLink(connection, correspondent.mailbox)
}

/** Whether trying again can mend it: trouble on the way, or words of an end that has not proved who it is. */
function canPass(error: unknown): boolean {
  if (error instanceof SessionError) return !error.trusted || !finalCodes.has(error.code)
  return error instanceof Error && error.name === 'WireError'
}

const finalCodes: ReadonlySet<string> = new Set([
  'session/ROLLBACK',
  'channel/UNKNOWN_IDENTITY',
  'channel/INTERNAL',
])
