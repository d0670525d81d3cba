import { BytesError, base64url, concat, equal } from '../bytes/bytes.ts'
import { asBytes, asCount, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { Changes } from '../session/changes.ts'
import { wentOnFrom } from '../state/amendments.ts'
import type { Change } from '../state/change.ts'
import { StateError } from '../state/error.ts'
import type { Store } from '../state/store.ts'
import { MailboxError } from './error.ts'
import { limits } from './limits.ts'
import { lostBy } from './lost.ts'
import { after, firstPosition, type Position, type Sent, samePosition } from './position.ts'

/** A message that is queued durably and that the peer has not acknowledged. */
type Retained = { readonly message: Uint8Array; readonly before: Position; readonly paths: readonly string[] }

type Alongside = readonly Change[] | ((last: number) => readonly Change[])

/** What is committed with it, and told once it is. */
type Recording = { readonly changes: readonly Change[]; committed(): void }

const positionFields = ['format', 'next', 'head', 'ackNext', 'ackHead', 'keptNext', 'keptHead'] as const

/**
 * Messages to one peer, queued in the store before anything of them leaves (C11). Numbers are never reused: a
 * message exists once the group with its last part and the new position is committed. What was acknowledged is
 * deleted with the next commit, or by `flush`.
 */
export class Outbox implements Sent {
  readonly #store: Store
  readonly #prefix: string
  readonly #positionPath: string
  readonly #scope: string
  readonly #retained = new Map<number, Retained>()
  #retainedBytes = 0
  #sending: Position
  #acknowledged: Position
  /** The first message that can still be sent: later than `#acknowledged` only where a restore brought no messages. */
  #kept: Position
  /** Records whose every message is acknowledged. */
  #garbage: string[] = []
  /** Parts of messages that never came to be: gone before anything is written under their number again. */
  #unfinished: string[] = []
  #persistedAck: number
  readonly #changes = new Changes()
  #putting: Promise<unknown> = Promise.resolve()

  private constructor(store: Store, peer: Uint8Array, acknowledged: Position, kept: Position) {
    this.#store = store
    this.#prefix = outboxPrefix(peer)
    this.#positionPath = positionPath(peer)
    this.#scope = mailboxScope(peer)
    this.#sending = kept
    this.#acknowledged = acknowledged
    this.#kept = kept
    this.#persistedAck = acknowledged.next
  }

  /**
   * Reads back what is retained and holds it against the recorded head. What waited when the home's state was given up
   * may be there no more: then it is not kept, and stays unacknowledged. @throws StateError EINTEGRITY
   */
  static async open(store: Store, peer: Uint8Array): Promise<Outbox> {
    await store.makeScope(mailboxScope(peer))
    const path = positionPath(peer)
    const found = store.has(path) ? await store.get(path) : undefined
    const fields = found === undefined ? undefined : decodePosition(found.payload)
    const acknowledged = fields?.acknowledged ?? firstPosition
    const sending = fields?.sending ?? firstPosition
    const kept = fields?.kept ?? firstPosition
    const outbox = new Outbox(store, peer, acknowledged, kept)
    await outbox.#load(sending)
    if (samePosition(outbox.sending, sending)) return outbox
    if (found !== undefined && outbox.#retained.size === 0 && (await wentOnFrom(store, found.generation)))
      return new Outbox(store, peer, acknowledged, sending)
    throw new StateError('EINTEGRITY', 'the outbox does not hold what its position says')
  }

  get sending(): Position {
    return this.#sending
  }

  get acknowledged(): Position {
    return this.#acknowledged
  }

  get kept(): Position {
    return this.#kept
  }

  get retainedBytes(): number {
    return this.#retainedBytes
  }

  /** More is queued than should be: wait until some of it is acknowledged. */
  get isFull(): boolean {
    return this.#retainedBytes >= limits.outboxBytesMax || this.#retained.size >= limits.outboxMessagesMax
  }

  headBefore(number: number): Uint8Array | undefined {
    if (number === this.#sending.next) return this.#sending.head
    return this.#retained.get(number)?.before.head
  }

  /** A retained message, `undefined` past the newest. */
  message(number: number): Uint8Array | undefined {
    return this.#retained.get(number)?.message
  }

  /**
   * Queues messages and commits `alongside` with them, all or none; durable when it returns. The small ones of one
   * call share a record; keep a call under 1 MiB of them. The bytes are the outbox's from then on. `alongside` may
   * depend on the number that the last of them gets.
   * @throws MailboxError TOO_BIG; StateError as `Store.commit`
   */
  async put(messages: readonly Uint8Array[], alongside: Alongside = []): Promise<void> {
    const turn = this.#putting.then(() => this.#put(messages, alongside))
    this.#putting = turn.catch(() => undefined)
    return turn
  }

  /**
   * The peer has everything before `position`, durably.
   * @throws MailboxError ROLLBACK if its head is not ours: one of the two histories is not the one that was sent
   */
  acknowledge(position: Position): void {
    if (position.next <= this.#acknowledged.next || position.next < this.#kept.next) return
    const head = this.headBefore(position.next)
    if (head === undefined || !equal(head, position.head))
      throw new MailboxError('ROLLBACK', 'the peer acknowledged messages that this end has never sent')
    this.#letGo(position.next)
    this.#acknowledged = position
    this.#kept = position
    this.#changes.announce()
  }

  /**
   * Goes on at `from`, by an amendment: what is kept before it is given up, what is kept behind it follows on it, each with
   * the number that it has. Without `from` it goes on at what is kept, where the peer will be, too. Commits `alongside` with it.
   */
  goOn(from: Position | undefined, alongside: Recording): Promise<void> {
    const turn = this.#putting.then(() => this.#goOn(from, alongside))
    this.#putting = turn.catch(() => undefined)
    return turn
  }

  /** Makes durable what the peer acknowledged, and deletes it. */
  async flush(): Promise<void> {
    while (this.#persistedAck !== this.#acknowledged.next || this.#garbage.length > 0) await this.put([])
  }

  /** Something else has changed that whoever waits here asks for. */
  announce(): void {
    this.#changes.announce()
  }

  /** Calls back after every queued message and every acknowledgement, until the answer is called. */
  watch(then: () => void): () => void {
    return this.#changes.watch(then)
  }

  /** Resolves once `done` holds; asked again after every change. */
  until(done: () => boolean): Promise<void> {
    return this.#changes.until(done)
  }

  async #goOn(from: Position | undefined, alongside: Recording): Promise<void> {
    await this.#deleteUnfinished()
    const start = from ?? this.#kept
    const moved: Retained[] = []
    let sending = start
    for (let number = start.next; number < this.#sending.next; number++) {
      const retained = this.#retained.get(number)
      if (retained === undefined) throw new TypeError('what is kept is there')
      moved.push({ ...retained, before: sending })
      sending = after(sending, retained.message)
    }
    const payload = encodePosition({ sending, acknowledged: start, kept: start })
    const committed = () => {
      this.#letGo(start.next)
      for (const entry of moved) this.#retained.set(entry.before.next, entry)
      this.#sending = sending
      this.#acknowledged = start
      this.#kept = start
      this.#persistedAck = start.next
      alongside.committed()
    }
    await this.#store.commit([{ put: this.#positionPath, payload }, ...alongside.changes], {
      committed,
      by: lostBy,
    })
    this.#changes.announce()
  }

  /** What lies before that number is not kept any more. */
  #letGo(next: number): void {
    for (let number = this.#kept.next; number < Math.min(next, this.#sending.next); number++) {
      const retained = this.#retained.get(number)
      this.#retained.delete(number)
      this.#retainedBytes -= retained?.message.length ?? 0
      const shared = this.#retained.get(number + 1)?.paths
      if (retained !== undefined && shared !== retained.paths) this.#garbage.push(...retained.paths)
    }
  }

  async #put(messages: readonly Uint8Array[], alongside: Alongside): Promise<void> {
    for (const { length } of messages)
      if (length > limits.messageBytesMax)
        throw new MailboxError('TOO_BIG', `a message is at most ${limits.messageBytesMax} bytes`)
    if (this.#sending.next + messages.length > Number.MAX_SAFE_INTEGER)
      throw new MailboxError('TOO_BIG', 'no more messages can be numbered for this peer')
    await this.#deleteUnfinished()
    const changes: Change[] = []
    const queued: Retained[] = []
    let position = this.#sending
    let run: { path: string; paths: string[]; writer: Writer } | undefined
    const endRun = () => {
      if (run !== undefined) changes.push({ put: run.path, payload: run.writer.done(), scope: this.#scope })
      run = undefined
    }
    for (const message of messages) {
      if (message.length + 5 > limits.partBytesMax) {
        endRun()
        const paths = await this.#putParts(position.next, message, changes)
        queued.push({ message, before: position, paths })
      } else {
        if (run !== undefined && run.writer.length + 4 + message.length > limits.partBytesMax) endRun()
        if (run === undefined) {
          const path = this.#path(position.next, 0)
          run = { path, paths: [path], writer: new Writer(4096).u8(1) }
        }
        run.writer.u32(message.length).bytes(message)
        queued.push({ message, before: position, paths: run.paths })
      }
      position = after(position, message)
    }
    endRun()
    const garbage = this.#garbage.splice(0, limits.deletesMax)
    const [acknowledged, kept] = [this.#acknowledged, this.#kept]
    changes.push(...garbage.map(path => ({ delete: path })))
    changes.push({
      put: this.#positionPath,
      payload: encodePosition({ sending: position, acknowledged, kept }),
    })
    try {
      const committed = () => {
        this.#persistedAck = acknowledged.next
        this.#unfinished = []
        for (const entry of queued) this.#retain(entry)
        this.#sending = position
      }
      const more = typeof alongside === 'function' ? alongside(position.next - 1) : alongside
      await this.#store.commit([...changes, ...more], { committed })
    } catch (error) {
      this.#garbage.unshift(...garbage)
      throw error
    }
    this.#changes.announce()
  }

  /** All parts but the last are committed ahead; without the position they are not yet a message. */
  async #putParts(number: number, message: Uint8Array, changes: Change[]): Promise<string[]> {
    const size = limits.partBytesMax - 5
    const paths: string[] = []
    for (let part = 0, offset = 0; offset < message.length; part++, offset += size) {
      const path = this.#path(number, part)
      const bytes = message.subarray(offset, offset + size)
      const payload = new Writer(bytes.length + 5).u8(2).u32(part).bytes(bytes).done()
      const change = { put: path, payload, scope: this.#scope }
      paths.push(path)
      if (offset + size < message.length) {
        this.#unfinished.push(path)
        await this.#store.commit([change])
      } else changes.push(change)
    }
    return paths
  }

  async #deleteUnfinished(): Promise<void> {
    while (this.#unfinished.length > 0) {
      const paths = this.#unfinished.slice(0, limits.deletesMax)
      await this.#store.commit(paths.map(path => ({ delete: path })))
      this.#unfinished = this.#unfinished.slice(paths.length)
    }
  }

  #retain(entry: Retained): void {
    this.#retained.set(entry.before.next, entry)
    this.#retainedBytes += entry.message.length
  }

  #path(number: number, part: number): string {
    return `${this.#prefix}${number.toString().padStart(16, '0')}/${part.toString().padStart(3, '0')}`
  }

  /** Messages before the acknowledged position may still lie in the first records; they count no more. */
  async #load(sending: Position): Promise<void> {
    const paths = this.#store.list(this.#prefix)
    for (let at = 0; at < paths.length; ) {
      const directory = (paths[at] ?? '').slice(0, -3)
      let end = at
      while (paths[end]?.startsWith(directory)) end++
      const parts = paths.slice(at, end)
      at = end
      let number = Number(directory.slice(this.#prefix.length, -1))
      if (number >= sending.next) {
        this.#unfinished.push(...parts)
        continue
      }
      const messages = await this.#read(parts)
      if (number + messages.length <= this.#kept.next) this.#garbage.push(...parts)
      for (const message of messages) {
        const isKnown = number < this.#sending.next
        number++
        if (isKnown) continue
        this.#retain({ message, before: this.#sending, paths: parts })
        this.#sending = after(this.#sending, message)
      }
    }
  }

  async #read(paths: readonly string[]): Promise<Uint8Array[]> {
    const pieces: Uint8Array[] = []
    for (const [index, path] of paths.entries()) {
      const reader = new Reader((await this.#store.get(path)).payload)
      const kind = reader.u8()
      if (kind === 1 && paths.length === 1) {
        const messages: Uint8Array[] = []
        while (reader.left > 0) messages.push(reader.bytes(reader.u32()))
        return messages
      }
      if (kind !== 2 || reader.u32() !== index)
        throw new StateError('EINTEGRITY', `${path} is not part ${index}`)
      pieces.push(reader.rest())
    }
    return [concat(...pieces)]
  }
}

/** Messages that share a record, or a part of one message. @throws BytesError for anything else */
export function refuseOddPart(bytes: Uint8Array): void {
  const reader = new Reader(bytes)
  const kind = reader.u8()
  if (kind === 1) while (reader.left > 0) reader.bytes(reader.u32())
  else if (kind === 2) reader.u32()
  else throw new BytesError('outbox record of an unknown kind')
}

/** The scope that seals every message body kept for or from a peer. */
function mailboxScope(peer: Uint8Array): string {
  return `mailbox:${base64url(peer)}`
}

function outboxPrefix(peer: Uint8Array): string {
  return `/pawl/outbox/${base64url(peer)}/`
}

function positionPath(peer: Uint8Array): string {
  return `/pawl/mailbox/${base64url(peer)}/out`
}

type OutPosition = { readonly sending: Position; readonly acknowledged: Position; readonly kept: Position }

function encodePosition({ sending, acknowledged, kept }: OutPosition): Uint8Array {
  const { next, head } = sending
  const [ackNext, ackHead] = [acknowledged.next, acknowledged.head]
  return encodeCbor({ format: 1, next, head, ackNext, ackHead, keptNext: kept.next, keptHead: kept.head })
}

/** @throws BytesError */
export function decodePosition(bytes: Uint8Array): OutPosition {
  const map = decodeCborMap(bytes, positionFields)
  if (map.format !== 1) throw new BytesError('outbox position of an unknown format')
  return {
    sending: { next: asCount(map.next), head: asBytes(map.head, 32) },
    acknowledged: { next: asCount(map.ackNext), head: asBytes(map.ackHead, 32) },
    kept: { next: asCount(map.keptNext), head: asBytes(map.keptHead, 32) },
  }
}
