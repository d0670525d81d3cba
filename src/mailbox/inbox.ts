import { BytesError, base64url, equal } from '../bytes/bytes.ts'
import { asBytes, asCount, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { Changes } from '../session/changes.ts'
import type { Change } from '../state/change.ts'
import type { Store } from '../state/store.ts'
import { MailboxError } from './error.ts'
import { limits } from './limits.ts'
import { lostBy } from './lost.ts'
import { after, firstPosition, type Position } from './position.ts'

/** Messages that arrived in order, and the one way to accept them. */
export type Batch = {
  readonly messages: readonly Uint8Array[]
  /** The first one's number. */
  readonly first: number
  /**
   * Commits "all of these are mine" with the application's own changes in one group; only then is the sender told.
   * Until it has been called nothing was accepted, and after a crash the same messages come again with the same
   * numbers: effects outside the store happen at least once, with the number as their stable id.
   */
  accept(changes?: readonly Change[]): Promise<void>
}

/** One message of a {@link Batch} by itself. */
export type Message = {
  readonly number: number
  readonly body: Uint8Array
  accept(changes?: readonly Change[]): Promise<void>
}

/** A message that arrived and is not accepted yet, and the position after it. */
type Delivered = { readonly message: Uint8Array; readonly position: Position }

/**
 * Messages from one peer: each number once, in order, across crashes of either end (C11). What is delivered and not
 * accepted lives in memory only; the sender still has it.
 */
export class Inbox {
  readonly #store: Store
  readonly #path: string
  #accepted: Position
  /** After the newest delivered message: ahead of `#accepted` by what is in memory. */
  #delivered: Position
  #waiting: Delivered[] = []
  #waitingBytes = 0
  /** Handed out by `batches` and not accepted yet. */
  #taken: Delivered[] = []
  #accepting: Promise<unknown> = Promise.resolve()
  #closed = false
  #failure: unknown
  readonly #changes = new Changes()

  private constructor(store: Store, path: string, accepted: Position) {
    this.#store = store
    this.#path = path
    this.#accepted = accepted
    this.#delivered = accepted
  }

  static async open(store: Store, peer: Uint8Array): Promise<Inbox> {
    const path = inboxPath(peer)
    const accepted = store.has(path) ? decodePosition((await store.get(path)).payload) : firstPosition
    return new Inbox(store, path, accepted)
  }

  /** The position up to which everything is accepted and durable: what is acknowledged, and told in handshakes. */
  get accepted(): Position {
    return this.#accepted
  }

  /**
   * Goes on at `at`, by an amendment, and commits `alongside` with it; without `at` that alone. False, and nothing is
   * changed, while messages are here that are not accepted.
   */
  async goOn(
    at: Position | undefined,
    alongside: { readonly changes: readonly Change[]; committed(): void },
  ): Promise<boolean> {
    const turn = this.#accepting.then(async () => {
      if (at !== undefined && (this.#waiting.length > 0 || this.#taken.length > 0)) return false
      const put = at && { put: this.#path, payload: encodePosition(at) }
      const committed = () => {
        alongside.committed()
        if (at === undefined) return
        this.#accepted = at
        this.#delivered = at
      }
      await this.#store.commit([...(put ? [put] : []), ...alongside.changes], { committed, by: lostBy })
      this.#changes.announce()
      return true
    })
    this.#accepting = turn.catch(() => undefined)
    return turn
  }

  /**
   * Takes in the messages that stand at `before` of what its connection brings, and answers with the position after
   * them; waits while too much is waiting. A number that is already here (from a connection that broke) is passed over.
   * What comes in one call shares a batch.
   * @throws MailboxError ROLLBACK if one does not follow what is here: two copies of the peer are sending
   */
  async deliver(before: Position, messages: readonly Uint8Array[]): Promise<Position> {
    let position = before
    try {
      for (const message of messages) position = this.#take(position, message)
    } finally {
      this.#changes.announce()
    }
    await this.until(
      () =>
        this.#closed ||
        (this.#waitingBytes < limits.inboxBytesMax && this.#waiting.length < limits.inboxMessagesMax),
    )
    return position
  }

  /**
   * Batches as they come, each after the one before it was accepted; ends after `close`. What a loop leaves behind
   * that was not accepted comes again in the next one.
   */
  async *batches(): AsyncGenerator<Batch, void, undefined> {
    for (;;) {
      await this.until(() => this.#closed || (this.#waiting.length > 0 && this.#taken.length === 0))
      if (this.#failure !== undefined) throw this.#failure
      if (this.#closed) return
      const taken = this.#waiting.splice(0)
      this.#taken = taken
      this.#waitingBytes = 0
      this.#changes.announce()
      const messages = taken.map(({ message }) => message)
      const accept = (changes: readonly Change[] = []) => this.#accept(taken, changes)
      let isLeft = true
      try {
        yield { messages, first: this.#accepted.next, accept }
        isLeft = false
      } finally {
        if (isLeft) this.#putBack()
      }
    }
  }

  /** Single messages, for `for await (const message of inbox) await message.accept(changes)`. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined> {
    for await (const { first } of this.batches())
      for (const [index, entry] of [...this.#taken].entries())
        yield {
          number: first + index,
          body: entry.message,
          accept: (changes = []) => this.#accept([entry], changes),
        }
  }

  /** Ends the iteration; with a failure, that is what it throws. */
  close(failure?: unknown): void {
    this.#closed = true
    this.#failure ??= failure
    this.#changes.announce()
  }

  watch(then: () => void): () => void {
    return this.#changes.watch(then)
  }

  /** Resolves once `done` holds; asked again after every change. */
  until(done: () => boolean): Promise<void> {
    return this.#changes.until(done)
  }

  #take(before: Position, message: Uint8Array): Position {
    const position = after(before, message)
    if (before.next < this.#delivered.next) return position
    if (before.next !== this.#delivered.next)
      throw new BytesError(`message ${before.next} delivered where ${this.#delivered.next} was due`)
    if (!equal(before.head, this.#delivered.head))
      throw new MailboxError(
        'ROLLBACK',
        `message ${before.next} follows others than those received before it`,
      )
    this.#delivered = position
    this.#waiting.push({ message, position })
    this.#waitingBytes += message.length
    return position
  }

  /** One after another, so that nothing is accepted twice and nothing is passed over. */
  #accept(entries: readonly Delivered[], changes: readonly Change[]): Promise<void> {
    const turn = this.#accepting.then(async () => {
      const [first, last] = [entries[0], entries.at(-1)]
      if (first === undefined || last === undefined || first.position.next !== this.#accepted.next + 1)
        throw new RangeError('messages are accepted once, in order')
      const { position } = last
      const committed = () => {
        this.#accepted = position
        this.#drop(entries.length)
      }
      const put = { put: this.#path, payload: encodePosition(position) }
      await this.#store.commit([put, ...changes], { committed })
      this.#changes.announce()
    })
    this.#accepting = turn.catch(() => undefined)
    return turn
  }

  /** The oldest that were not accepted are now. They wait again if the loop that took them was left. */
  #drop(count: number): void {
    if (this.#taken.length > 0) this.#taken.splice(0, count)
    else for (const { message } of this.#waiting.splice(0, count)) this.#waitingBytes -= message.length
  }

  #putBack(): void {
    for (const { message } of this.#taken) this.#waitingBytes += message.length
    this.#waiting = [...this.#taken, ...this.#waiting]
    this.#taken = []
    this.#changes.announce()
  }
}

function inboxPath(peer: Uint8Array): string {
  return `/pawl/mailbox/${base64url(peer)}/in`
}

function encodePosition(position: Position): Uint8Array {
  return encodeCbor({ format: 1, next: position.next, head: position.head })
}

/** @throws BytesError */
export function decodePosition(bytes: Uint8Array): Position {
  const map = decodeCborMap(bytes, ['format', 'next', 'head'])
  if (map.format !== 1) throw new BytesError('inbox position of an unknown format')
  return { next: asCount(map.next), head: asBytes(map.head, 32) }
}
