import { BytesError } from '../bytes/bytes.ts'
import type { CloseReason } from '../channel/reasons.ts'
import type { Connection } from '../session/connection.ts'
import { MailboxError } from './error.ts'
import { limits } from './limits.ts'
import type { Mailbox } from './mailbox.ts'
import type { Position } from './position.ts'
import { Assembler, FramePacker, parseItems } from './wire.ts'

/**
 * Moves messages and acknowledgements over one connection until it ends. Starts where the handshake said: the peer
 * is sent what it expects next, and sends what this end expects next. `heard` is called for every acknowledgement that
 * comes over it, also of what was acknowledged before.
 * @throws MailboxError ROLLBACK, SEQUENCE; SessionError as the connection ends badly
 */
export async function runLink(
  connection: Connection,
  mailbox: Mailbox,
  heard: () => void = () => undefined,
): Promise<void> {
  const { mine, theirs } = connection.positions
  mailbox.outbox.acknowledge({ next: theirs.nextExpected, head: theirs.headBeforeExpected })
  const sending = sendAll(connection, mailbox, theirs.nextExpected, mine.nextExpected)
  const expected = { next: mine.nextExpected, head: mine.headBeforeExpected }
  const receiving = receiveAll(connection, mailbox, expected, { heard, acknowledge: sending.acknowledge })
  try {
    // Whichever half ends first ends the connection, and with it the other half.
    const limit = connection.untilLimit().then(() => connection.close(0, 'time for a fresh handshake'))
    await Promise.race([sending.done, receiving, limit])
    await receiving // a bad end may have come while messages before it were still being taken in
  } catch (error) {
    await connection.close(closeReason(error))
    throw asMailboxError(error)
  } finally {
    sending.stop()
    await Promise.allSettled([sending.done, receiving])
  }
}

function sendAll(connection: Connection, mailbox: Mailbox, from: number, told: number) {
  const { inbox, outbox } = mailbox
  let cursor = from
  let acknowledged = told
  let isDue = false
  let stopped = false
  let wake: () => void = () => undefined
  const wakeUp = () => wake()
  const watches = [inbox.watch(wakeUp), outbox.watch(wakeUp)]
  const run = async () => {
    while (!stopped) {
      isDue ||= inbox.accepted.next > acknowledged
      if (!isDue && outbox.message(cursor) === undefined) {
        await new Promise<void>(resolve => {
          wake = resolve
        })
        continue
      }
      const packer = new FramePacker()
      if (isDue) packer.acknowledgement(inbox.accepted)
      acknowledged = inbox.accepted.next
      isDue = false
      for (let bytes = 0; bytes < limits.burstBytes; cursor++) {
        const message = outbox.message(cursor)
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
  { heard, acknowledge }: { readonly heard: () => void; readonly acknowledge: () => void },
): Promise<void> {
  const assembler = new Assembler(expected.next)
  let position = expected
  for (let bytes = 0; ; ) {
    const plaintext = await connection.receive()
    if (plaintext === undefined) return
    const whole: Uint8Array[] = []
    try {
      for (const item of parseItems(plaintext)) {
        if (item.kind === 'acknowledgement') {
          mailbox.outbox.acknowledge(item.position)
          heard()
        } else {
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

/** Close reasons of docs/spec/channel.md. */
function closeReason(error: unknown): CloseReason {
  if (error instanceof MailboxError && error.code === 'ROLLBACK') return 70
  return error instanceof BytesError ? 10 : 90
}

function asMailboxError(error: unknown): unknown {
  return error instanceof BytesError ? new MailboxError('SEQUENCE', error.message, { cause: error }) : error
}
