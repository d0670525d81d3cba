import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Inbox } from '../../src/mailbox/inbox.ts'
import { Outbox } from '../../src/mailbox/outbox.ts'
import { after, type Position } from '../../src/mailbox/position.ts'
import { type StateCode, StateError } from '../../src/state/error.ts'
import type { Store } from '../../src/state/store.ts'
import { type AtRest, IdleClock, introduced, run } from '../session/world.ts'

/** The other end, as far as a mailbox alone is concerned. */
export const peer = new Uint8Array(32).fill(7)

export const clock = new IdleClock()

let pair: ReturnType<typeof introduced> | undefined

/** A fresh home with nothing in its mailbox. */
export async function freshHome(): Promise<AtRest> {
  pair ??= introduced()
  return (await pair)[0]
}

/** Opens the store of a home at rest, uses it, and closes it; answers with the home after. */
export async function withStore(site: AtRest, use: (store: Store) => Promise<void>): Promise<AtRest> {
  const { endpoint, close } = await run(site, clock)
  await use(endpoint.store)
  return close()
}

export const openOutbox = (store: Store): Promise<Outbox> => Outbox.open(store, peer)
export const openInbox = (store: Store): Promise<Inbox> => Inbox.open(store, peer)

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)
export const textOf = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes)

/** All that the outbox retains, oldest first. */
export function retained(outbox: Outbox): string[] {
  const out: string[] = []
  for (let number = outbox.acknowledged.next; number < outbox.sending.next; number++)
    out.push(textOf(outbox.message(number)))
  return out
}

/** Where an outbox stands after so many of its retained messages. */
export function positionAfter(outbox: Outbox, count: number): Position {
  let position = outbox.acknowledged
  for (let i = 0; i < count; i++) {
    const message = outbox.message(position.next)
    assert.ok(message !== undefined)
    position = after(position, message)
  }
  return position
}

/** Brings messages in as one connection does, from where the inbox stands. */
export async function deliverAll(
  inbox: Inbox,
  messages: readonly Uint8Array[],
  from: Position = inbox.accepted,
): Promise<Position> {
  let position = from
  for (const message of messages) position = await inbox.deliver(position, [message])
  return position
}

export function coded(code: StateCode, ...words: string[]): (error: unknown) => true {
  return error => {
    assert.ok(error instanceof StateError, String(error))
    assert.equal(error.code, code, error.message)
    for (const word of words) assert.ok(error.message.includes(word), `${word} in: ${error.message}`)
    return true
  }
}

setFlagsFromString('--expose-gc')
export const collectGarbage: () => void = runInNewContext('gc')
