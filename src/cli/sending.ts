import { type Correspondent, canPass, deliver } from '../mailbox/courier.ts'
import { isDelivered, type Job, queueFile } from '../mailbox/send-file.ts'
import { realDisk } from '../node/disk.ts'
import { connect } from '../node/tcp.ts'
import { placeOf } from '../node/wire.ts'
import type { Endpoint } from '../session/connection.ts'
import { SessionError } from '../session/error.ts'
import { identityText } from '../signature/identity.ts'
import type { Exit } from './exits.ts'
import type { Place } from './place.ts'
import type { Figures } from './progress.ts'
import { turnedBack } from './turned-back.ts'

export type Order = {
  /** The file's real path. */
  readonly path: string
  readonly to: Place
  readonly giveUpMs: number
  readonly again: boolean
  /** Hears that the peer is out of reach, once each time, and for how long it will be tried. */
  readonly unreached: (leftMs: number) => void
}

const dialMsMax = 5_000
/** How long a run that stops may take to say goodbye to the peer. */
const goodbyeMsMax = 2_500

/** One run of `pawl send`: queues the file's lines and delivers them, both at once, until the peer has all of them. */
export class Sending {
  readonly #endpoint: Endpoint
  readonly #peer: Correspondent
  readonly #order: Order
  readonly #stopped = new AbortController()
  #job: Job | undefined
  #linesBefore = 0
  #isQueued = false
  #alreadyDelivered = false

  constructor(endpoint: Endpoint, peer: Correspondent, order: Order) {
    this.#endpoint = endpoint
    this.#peer = peer
    this.#order = order
  }

  get lines(): number {
    return this.#job?.lines ?? 0
  }

  /** Lines that this run has queued. */
  get queued(): number {
    return this.lines - this.#linesBefore
  }

  get alreadyDelivered(): boolean {
    return this.#alreadyDelivered
  }

  get figures(): Figures {
    const missing = Math.max(0, (this.#job?.last ?? 0) + 1 - this.#peer.mailbox.outbox.acknowledged.next)
    return { queued: this.lines, acknowledged: Math.max(0, this.lines - missing) }
  }

  stop(): void {
    this.#stopped.abort()
  }

  /** @throws StateError, SessionError (`channel/NO_ANSWER` after giving up), MailboxError */
  async run(): Promise<Exit> {
    const { signal } = this.#stopped
    const interrupted = new Promise<Exit>(resolve => {
      signal.addEventListener('abort', () => resolve('interrupted'), { once: true })
    })
    let delivering: Promise<void> | undefined
    const work = this.#queueAndDeliver(begun => {
      delivering = begun
    })
    try {
      return await Promise.race([work.then((): Exit => 'done'), interrupted])
    } finally {
      // After trouble with the file, too, the peer is told that nothing more comes.
      this.#stopped.abort()
      await Promise.race([delivering?.catch(() => undefined), this.#soon()])
    }
  }

  async #queueAndDeliver(delivering: (promise: Promise<void>) => void): Promise<void> {
    const { outbox } = this.#peer.mailbox
    let begin: () => void = () => undefined
    const begun = new Promise<void>(resolve => {
      begin = resolve
    })
    const queueing = this.#queue(() => begin())
    await Promise.race([queueing, begun])
    this.#alreadyDelivered = this.#isQueued && this.#isDelivered()
    if (this.#alreadyDelivered) return outbox.flush()
    const delivery = this.#deliver()
    delivering(delivery)
    await Promise.all([queueing, delivery])
  }

  #soon(): Promise<void> {
    return new Promise(resolve => this.#endpoint.clock.after(goodbyeMsMax, resolve))
  }

  /** `begin` is called once there is something to deliver. */
  async #queue(begin: () => void): Promise<void> {
    const { store } = this.#endpoint
    const { outbox } = this.#peer.mailbox
    const { path, again } = this.#order
    const progress = (job: Job) => {
      if (this.#job === undefined) this.#linesBefore = job.lines
      this.#job = job
      if (!this.#isDelivered()) begin()
    }
    this.#job = await queueFile(realDisk, store, outbox, this.#peer.party.peer.id, path, { again, progress })
    this.#isQueued = true
    await outbox.flush() // what is already acknowledged is noticed with the next change of the outbox
  }

  async #deliver(): Promise<void> {
    const { to, giveUpMs, unreached } = this.#order
    try {
      await deliver(this.#endpoint, this.#peer, {
        dial: () => connect(to.host, to.port, { timeoutMs: Math.max(100, Math.min(dialMsMax, giveUpMs)) }),
        done: () => this.#isQueued && this.#isDelivered(),
        giveUpMs,
        unreached,
        stop: this.#stopped.signal,
      })
    } catch (error) {
      throw this.#explained(error)
    }
  }

  #isDelivered(): boolean {
    return this.#job === undefined || isDelivered(this.#job, this.#peer.mailbox.outbox)
  }

  #explained(error: unknown): unknown {
    const { peer } = this.#peer.party
    const place = placeOf(this.#order.to.host, this.#order.to.port)
    const last = error instanceof Error ? error.message : 'failed'
    if (canPass(error)) {
      const seconds = this.#order.giveUpMs / 1000
      const message = `no contact with ${peer.name} at ${place} for ${seconds} s, last: ${last}`
      return new SessionError('channel/NO_ANSWER', message, { trusted: true })
    }
    if (error instanceof SessionError && error.code === 'channel/UNKNOWN_IDENTITY') {
      const own = identityText(this.#endpoint.own.identity.id)
      return new SessionError(error.code, `${peer.name} does not take messages from this end, ${own}`, {
        trusted: true,
      })
    }
    return turnedBack(error, peer.name) ?? error
  }
}
