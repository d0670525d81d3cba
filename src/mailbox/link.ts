import { BytesError, isZero } from '../bytes/bytes.ts'
import type { CloseReason } from '../channel/reasons.ts'
import type { Role } from '../channel/state.ts'
import type { Connection } from '../session/connection.ts'
import { MailboxError } from './error.ts'
import { limits } from './limits.ts'
import type { Mailbox } from './mailbox.ts'
import type { Carries, Position } from './position.ts'
import type { Lost } from './settlement.ts'
import { Assembler, FramePacker, type Item, parseItems } from './wire.ts'

export type LinkOptions = {
  /** Of this end; `client` without it. */
  readonly role?: Role
  readonly carries?: Carries
  readonly heard?: () => void
  /** The peer says what was given up, and it was not on record here. */
  readonly lost?: (lost: Lost) => void
}

/**
 * Moves messages and acknowledgements over one connection until it ends. Starts where the handshake said: the peer
 * is sent what it expects next, and sends what this end expects next. It touches only what it `carries`: what comes of
 * the other sequence is let go. `heard` is called for every acknowledgement that comes over it, also of what was
 * acknowledged before.
 * @throws MailboxError ROLLBACK, SEQUENCE; SessionError as the connection ends badly
 */
export async function runLink(
  connection: Connection,
  mailbox: Mailbox,
  options: LinkOptions = {},
): Promise<void> {
  try {
    await exchange(connection, mailbox, options)
  } catch (error) {
    await connection.close(closeReason(error))
    throw asMailboxError(error)
  }
}

async function exchange(
  connection: Connection,
  mailbox: Mailbox,
  { role = 'client', carries = 'both', heard = () => undefined, lost = () => undefined }: LinkOptions,
): Promise<void> {
  const { mine, theirs } = connection.positions
  const [out, into] = [carries !== 'in', carries !== 'out']
  const isAmended = !isZero(mine.amendment) || !isZero(theirs.amendment)
  // A server settles once the client was heard: before that, what the client said may be of messages not settled yet.
  if (isAmended && role === 'server') await connection.heard()
  if (out) mailbox.outbox.acknowledge({ next: theirs.nextExpected, head: theirs.headBeforeExpected })
  const sending = sendAll(connection, mailbox, {
    isSettled: isAmended && role === 'client',
    // What is not kept is not sent: the peer has gone on behind it, or is refused.
    from: out ? Math.max(theirs.nextExpected, mine.firstKept) : undefined,
    told: into ? Math.max(mine.nextExpected, theirs.firstKept) : undefined,
  })
  const acknowledged = (position: Position) => {
    if (!out) return
    mailbox.outbox.acknowledge(position)
    heard()
  }
  const isBehind = mine.nextExpected < theirs.firstKept
  const expected = isBehind
    ? { next: theirs.firstKept, head: theirs.headBeforeKept }
    : { next: mine.nextExpected, head: mine.headBeforeExpected }
  const others = async (item: Exclude<Item, { kind: 'fragment' }>) => {
    if (item.kind === 'acknowledgement') acknowledged(item.position)
    else if (item.kind === 'noted') await mailbox.losses.told(item.lost)
    else if (item.kind === 'settled') {
      await mailbox.finished(role)
      if (isAmended && role === 'server') sending.tell({ kind: 'settled' }) // it is, since the client was heard
    } else {
      const mirrored = mirror(item.lost)
      if (await mailbox.losses.note(mirrored)) lost(mirrored)
      sending.tell({ kind: 'noted', lost: item.lost })
    }
  }
  const receiving = into
    ? receiveAll(connection, mailbox, expected, { others, acknowledge: sending.acknowledge })
    : receiveOthers(connection, others)
  try {
    // Whichever half ends first ends the connection, and with it the other half.
    await Promise.race([sending.done, receiving, connection.ended()])
    await receiving // a bad end may have come while messages before it were still being taken in
  } finally {
    sending.stop()
    await Promise.allSettled([sending.done, receiving])
  }
}

/** From which message on, and up to where acceptance was told; neither for a sequence that is not carried. */
type Bearings = {
  readonly isSettled: boolean
  readonly from: number | undefined
  readonly told: number | undefined
}

type Notice = Extract<Item, { kind: 'lost' | 'noted' | 'settled' }>

function sendAll(connection: Connection, mailbox: Mailbox, { isSettled, from, told }: Bearings) {
  const { inbox, outbox } = mailbox
  let cursor = from ?? 0
  const next = () => (from === undefined ? undefined : outbox.message(cursor))
  let acknowledged = told ?? Number.POSITIVE_INFINITY
  let isDue = false
  const notices: Notice[] = mailbox.losses.untold.map(lost => ({ kind: 'lost', lost }))
  if (isSettled) notices.unshift({ kind: 'settled' })
  let stopped = false
  let wake: () => void = () => undefined
  const wakeUp = () => wake()
  const watches = [inbox.watch(wakeUp), outbox.watch(wakeUp)]
  const run = async () => {
    while (!stopped) {
      isDue ||= inbox.accepted.next > acknowledged
      if (!isDue && notices.length === 0 && next() === undefined) {
        await new Promise<void>(resolve => {
          wake = resolve
        })
        continue
      }
      const packer = new FramePacker(connection.sendBytesMax)
      for (const notice of notices.splice(0))
        if (notice.kind === 'settled') packer.settled()
        else packer.lost(notice.kind, notice.lost)
      if (isDue) packer.acknowledgement(inbox.accepted)
      if (told !== undefined) acknowledged = inbox.accepted.next
      isDue = false
      for (let bytes = 0; bytes < limits.burstBytes; cursor++) {
        const message = next()
        if (message === undefined) break
        packer.message(cursor, message)
        bytes += message.length
      }
      for (const frame of packer.take()) await connection.send(frame)
    }
  }
  const done = run()
  return {
    done,
    /** Says once more up to where everything is accepted. */
    acknowledge() {
      isDue = true
      wake()
    },
    tell(notice: Notice) {
      notices.push(notice)
      wake()
    },
    stop() {
      stopped = true
      for (const unwatch of watches) unwatch()
      wake()
    },
  }
}

async function receiveAll(
  connection: Connection,
  mailbox: Mailbox,
  expected: Position,
  { others, acknowledge }: { readonly others: Others; readonly acknowledge: () => void },
): Promise<void> {
  const assembler = new Assembler(expected.next)
  let position = expected
  for (let bytes = 0; ; ) {
    const plaintext = await connection.receive()
    if (plaintext === undefined) return
    const whole: Uint8Array[] = []
    try {
      for (const item of parseItems(plaintext)) {
        if (item.kind !== 'fragment') await others(item)
        else {
          const message = assembler.take(item)
          if (message !== undefined) whole.push(message)
          bytes = message === undefined ? bytes + item.bytes.length : 0
        }
      }
    } finally {
      // Also the good ones of a frame that turns out bad.
      if (whole.length > 0) position = await mailbox.inbox.deliver(position, whole)
    }
    if (bytes < limits.lifeSignBytes) continue
    bytes = 0
    acknowledge() // a long message on a slow way: the sender hears that it is not in vain
  }
}

/** Messages that come all the same find nobody who takes them: they stay with the peer. */
async function receiveOthers(connection: Connection, others: Others): Promise<void> {
  for (;;) {
    const plaintext = await connection.receive()
    if (plaintext === undefined) return
    for (const item of parseItems(plaintext)) if (item.kind !== 'fragment') await others(item)
  }
}

type Others = (item: Exclude<Item, { kind: 'fragment' }>) => Promise<void>

/** As the other end sees it. */
function mirror({ way, ...range }: Lost): Lost {
  return { way: way === 'sent' ? 'received' : 'sent', ...range }
}

/** Close reasons of docs/spec/channel.md. */
function closeReason(error: unknown): CloseReason {
  if (error instanceof MailboxError && error.code === 'ROLLBACK') return 70
  return error instanceof BytesError ? 10 : 90
}

function asMailboxError(error: unknown): unknown {
  return error instanceof BytesError ? new MailboxError('SEQUENCE', error.message, { cause: error }) : error
}
