import { BytesError } from '../bytes/bytes.ts'
import { asArray, asBytes, asCount, asMap, asText, type CborMap, decodeCbor } from '../bytes/cbor.ts'
import type { Clock } from '../host/clock.ts'
import { type Wire, WireError } from '../host/wire.ts'
import { type Envelope, type Meta, openEnvelope, verify, wrap } from './envelope.ts'
import { StateError } from './error.ts'
import type { PastChange } from './history.ts'
import { decodeAnswer, encodeFrame, Frames, protocolLimits } from './protocol.ts'
import type { Found } from './records.ts'

/** One step of an atomic batch, as a client asks for it. */
export type ClientChange =
  | { readonly put: string; readonly payload: Uint8Array; readonly purpose?: string }
  | { readonly delete: string }

export type ClientOptions = { readonly deadlineMs?: number }

/** How long a process that holds a home may take to say so: one that is stopped never does. */
const greetingMs = 10_000

type Waiting = { readonly resolve: (answer: CborMap) => void; readonly reject: (error: unknown) => void }

/**
 * Speaks to the process that holds a home (docs/spec/stated.md). Requests may be made at once; each is answered for
 * itself. When the connection breaks, a change that was not answered may have taken effect: `outcome` is `unknown`.
 */
export class StateClient {
  readonly #wire: Wire
  readonly #clock: Clock
  readonly #frames: Frames
  readonly #waiting = new Map<number, Waiting>()
  #id = 0
  #broken: StateError | undefined
  /** Who the server takes this process for; empty for the owner of the home. */
  readonly subject: string
  readonly storeId: Uint8Array
  readonly payloadMax: number

  private constructor(wire: Wire, clock: Clock, frames: Frames, greeting: CborMap) {
    this.#wire = wire
    this.#clock = clock
    this.#frames = frames
    this.subject = asText(greeting.subject)
    this.storeId = asBytes(greeting.store, 32)
    this.payloadMax = asCount(greeting.payloadMax)
    void this.#receive()
  }

  /** @throws StateError EDAEMON if what is there is no such server, or goes away */
  static async open(wire: Wire, clock: Clock): Promise<StateClient> {
    const frames = new Frames()
    let isLate = false
    const giveUp = clock.after(greetingMs, () => {
      isLate = true
      wire.abort()
    })
    try {
      const frame = await nextFrame(wire, frames)
      if (frame === undefined) throw new WireError('lost', 'it closed the connection')
      const keys = ['pawl', 'version', 'subject', 'store', 'payloadMax', 'inFlightMax']
      const greeting = asMap(decodeCbor(frame), keys)
      if (greeting.pawl !== 'state' || greeting.version !== 1)
        throw new BytesError('it speaks another protocol')
      return new StateClient(wire, clock, frames, greeting)
    } catch (error) {
      wire.abort()
      const late = new WireError('lost', `no word from it in ${greetingMs / 1000} s`)
      throw asDaemonError(isLate ? late : error, false)
    } finally {
      giveUp()
    }
  }

  /** Wraps the payload, and answers with the generation it was committed in (D5). @throws StateError */
  async putAtomic(
    path: string,
    payload: Uint8Array,
    meta: { readonly purpose?: string } = {},
    options: ClientOptions = {},
  ): Promise<number> {
    return this.commit([{ put: path, payload, ...meta }], options)
  }

  /** As {@link putAtomic}, with an envelope that was made elsewhere: the server holds it against the payload. */
  async putEnveloped(
    path: string,
    envelope: Uint8Array,
    payload: Uint8Array,
    { deadlineMs }: ClientOptions = {},
  ): Promise<number> {
    const deadline = deadlineMs === undefined ? {} : { deadline: deadlineMs }
    const { generation } = await this.ask({ op: 'put', path, envelope, payload, ...deadline })
    return asCount(generation)
  }

  async delete(path: string, options: ClientOptions = {}): Promise<number> {
    return this.commit([{ delete: path }], options)
  }

  /** All changes or none. @throws StateError */
  async commit(changes: readonly ClientChange[], options: ClientOptions = {}): Promise<number> {
    const wanted = changes.map(change => {
      if ('delete' in change) return { path: change.delete }
      const { payload } = change
      if (payload.length > this.payloadMax)
        throw new StateError(
          'E2BIG',
          `a payload is at most ${this.payloadMax} bytes; this is ${payload.length}`,
        )
      const meta: Meta = { subject: this.subject, purpose: change.purpose ?? '', at: this.#clock.now() }
      return { path: change.put, envelope: wrap(payload, meta), payload }
    })
    const deadline = options.deadlineMs === undefined ? {} : { deadline: options.deadlineMs }
    const { generation } = await this.ask({ op: 'batch', changes: wanted, ...deadline })
    return asCount(generation)
  }

  /** @throws StateError ENOENT, EINTEGRITY, EPERM */
  async get(path: string, { fresh = false }: { readonly fresh?: boolean } = {}): Promise<Found> {
    const answer = await this.ask({ op: 'get', path, ...(fresh && { fresh }) })
    const payload = Uint8Array.from(asBytes(answer.payload))
    return {
      payload,
      envelope: verify(asBytes(answer.envelope), payload),
      generation: asCount(answer.generation),
    }
  }

  /** Paths that begin with `prefix`, in byte order: those behind `after`, at most `max`. */
  async list(prefix: string, after = '', max: number = Number.POSITIVE_INFINITY): Promise<string[]> {
    const paths: string[] = []
    for (let more = true; more && paths.length < max; ) {
      const answer = await this.ask({ op: 'list', prefix, after: paths.at(-1) ?? after })
      for (const path of asArray(answer.paths)) paths.push(asText(path))
      more = answer.more === true
    }
    return paths.slice(0, max)
  }

  async history(path: string): Promise<PastChange[]> {
    const { changes } = await this.ask({ op: 'history', path })
    return asArray(changes).map(change => pastChange(asMap(change, ['generation', 'kind', 'envelope?'])))
  }

  /** Counts by name, for the owner of the home. */
  async figures(): Promise<{ readonly [name: string]: number }> {
    const { figures } = await this.ask({ op: 'figures' })
    const named = Object.entries(asMap(figures, Object.keys(Object(figures))))
    return Object.fromEntries(named.map(([name, value]) => [name, asCount(value)]))
  }

  async compact(): Promise<void> {
    await this.ask({ op: 'compact' })
  }

  /** One request, with the keys that the operation has. @throws StateError */
  async ask(request: CborMap): Promise<CborMap> {
    if (this.#broken !== undefined) throw this.#broken
    const id = ++this.#id
    const frame = encodeFrame({ id, ...request })
    if (frame.length > 4 + protocolLimits.frameBytesMax)
      throw new StateError(
        'E2BIG',
        `a request is at most ${protocolLimits.frameBytesMax} bytes: make smaller batches`,
      )
    const answered = new Promise<CborMap>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
    })
    this.#wire.write(frame).catch(error => this.#break(error))
    try {
      return await answered
    } catch (error) {
      throw error instanceof BytesError ? asDaemonError(error) : error
    }
  }

  close(): void {
    this.#wire.close()
  }

  async #receive(): Promise<void> {
    try {
      for (;;) {
        const frame = await nextFrame(this.#wire, this.#frames)
        if (frame === undefined) throw new WireError('lost', 'it closed the connection')
        const { id, answer } = decodeAnswer(frame)
        const waiting = this.#waiting.get(id)
        this.#waiting.delete(id)
        if (id === 0 && answer instanceof StateError) throw answer
        if (waiting === undefined) throw new BytesError('an answer to nothing that was asked')
        if (answer instanceof StateError) waiting.reject(answer)
        else waiting.resolve(answer)
      }
    } catch (error) {
      this.#break(error)
    }
  }

  #break(error: unknown): void {
    this.#broken ??= asDaemonError(error)
    for (const { reject } of this.#waiting.values()) reject(this.#broken)
    this.#waiting.clear()
    this.#wire.abort()
  }
}

async function nextFrame(wire: Wire, frames: Frames): Promise<Uint8Array | undefined> {
  for (;;) {
    const frame = frames.next()
    if (frame !== undefined) return frame
    const bytes = await wire.read()
    if (bytes === undefined) return undefined
    frames.push(bytes)
  }
}

function pastChange({ generation, kind, envelope }: CborMap): PastChange {
  if (kind !== 'put' && kind !== 'delete' && kind !== 'destroyed')
    throw new BytesError('a change of an unknown kind')
  const read: Envelope | undefined = envelope === undefined ? undefined : openEnvelope(asBytes(envelope))
  return { generation: asCount(generation), kind, ...(read !== undefined && { envelope: read }) }
}

/** `sent`: whether a change may have been asked for by then. */
function asDaemonError(error: unknown, sent = true): StateError {
  if (error instanceof StateError) return error
  const why = error instanceof Error ? error.message : 'failed'
  const doubt = sent ? '; a change that was under way may have taken effect' : ''
  return new StateError('EDAEMON', `the process that holds the home: ${why}${doubt}`, {
    cause: error,
    outcome: sent ? 'unknown' : 'not applied',
  })
}
