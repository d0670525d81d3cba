import { BytesError, base64url } from '../bytes/bytes.ts'
import { asBytes, asCount, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import type { Change, Store } from '../state/store.ts'
import { limits } from './limits.ts'
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

/**
 * Messages from one peer: each number once, in order, across crashes of either end (C11). What is delivered and not
 * accepted lives in memory only; the sender still has it.
 */
export class Inbox {
  readonly #store: Store
  readonly #path: string
  #accepted: Position
  /** Where the newest delivered message stands: ahead of `#accepted` by what is in memory. */
  #delivered: number
  #waiting: Uint8Array[] = []
  #waitingBytes = 0
  #taken = false
  #closed = false
  #failure: unknown
  readonly #watchers = new Set<() => void>()

  private constructor(store: Store, path: string, accepted: Position) {
    this.#store = store
    this.#path = path
    this.#accepted = accepted
    this.#delivered = accepted.next
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
   * Takes a message in from a connection; waits while too much is waiting. A number that is already here (from a
   * connection that broke) is passed over.
   */
  async deliver(number: number, message: Uint8Array): Promise<void> {
    if (number < this.#delivered) return
    if (number !== this.#delivered)
      throw new BytesError(`message ${number} delivered where ${this.#delivered} was due`)
    this.#delivered++
    this.#waiting.push(message)
    this.#waitingBytes += message.length
    this.#changed()
    await this.until(
      () =>
        this.#closed ||
        (this.#waitingBytes < limits.inboxBytesMax && this.#waiting.length < limits.inboxMessagesMax),
    )
  }

  /** Batches as they come, each after the one before it was accepted; ends after `close`. */
  async *batches(): AsyncGenerator<Batch, void, undefined> {
    for (;;) {
      await this.until(() => this.#closed || (this.#waiting.length > 0 && !this.#taken))
      if (this.#failure !== undefined) throw this.#failure
      if (this.#closed) return
      const messages = this.#waiting.splice(0)
      this.#waitingBytes = 0
      this.#taken = true
      const first = this.#accepted.next
      const accept = (changes: readonly Change[] = []) =>
        this.#accept(first, messages, changes, messages.length)
      this.#changed()
      yield { messages, first, accept }
    }
  }

  /** Single messages, for `for await (const message of inbox) await message.accept(changes)`. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined> {
    for await (const batch of this.batches())
      for (const [index, body] of batch.messages.entries()) {
        const number = batch.first + index
        const left = batch.messages.length - index
        yield { number, body, accept: (changes = []) => this.#accept(number, [body], changes, left) }
      }
  }

  /** Ends the iteration; with a failure, that is what it throws. */
  close(failure?: unknown): void {
    this.#closed = true
    this.#failure ??= failure
    this.#changed()
  }

  watch(then: () => void): () => void {
    this.#watchers.add(then)
    return () => this.#watchers.delete(then)
  }

  async until(done: () => boolean): Promise<void> {
    if (done()) return
    await new Promise<void>(resolve => {
      const stop = this.watch(() => {
        if (!done()) return
        stop()
        resolve()
      })
    })
  }

  async #accept(
    first: number,
    messages: readonly Uint8Array[],
    changes: readonly Change[],
    left: number,
  ): Promise<void> {
    if (first !== this.#accepted.next) throw new RangeError('messages are accepted once, in order')
    let position = this.#accepted
    for (const message of messages) position = after(position, message)
    await this.#store.commit([{ put: this.#path, payload: encodePosition(position) }, ...changes], () => {
      this.#accepted = position
      if (left === messages.length) this.#taken = false
    })
    this.#changed()
  }

  #changed(): void {
    for (const watcher of [...this.#watchers]) watcher()
  }
}

function inboxPath(peer: Uint8Array): string {
  return `/pawl/mailbox/${base64url(peer)}/in`
}

function encodePosition(position: Position): Uint8Array {
  return encodeCbor({ format: 1, next: position.next, head: position.head })
}

function decodePosition(bytes: Uint8Array): Position {
  const map = decodeCborMap(bytes, ['format', 'next', 'head'])
  if (map.format !== 1) throw new BytesError('inbox position of an unknown format')
  return { next: asCount(map.next), head: asBytes(map.head, 32) }
}
