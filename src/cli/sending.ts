import type { File } from '../host/disk.ts'
import { type Correspondent, canPass, deliver } from '../mailbox/courier.ts'
import { MailboxError } from '../mailbox/error.ts'
import { type Job, type LostLines, lostLines, type Run } from '../mailbox/job.ts'
import { listLost } from '../mailbox/lost.ts'
import { Patience } from '../mailbox/patience.ts'
import { isDelivered, queueFile } from '../mailbox/send-file.ts'
import { connect } from '../node/tcp.ts'
import { placeOf } from '../node/wire.ts'
import type { Endpoint } from '../session/connection.ts'
import { SessionError } from '../session/error.ts'
import { identityText } from '../signature/identity.ts'
import type { Exit } from './exits.ts'
import type { SendOrder } from './holder.ts'
import type { Lane } from './lane.ts'
import { numbers } from './lost-words.ts'
import type { Figures } from './progress.ts'
import { turnedBack } from './turned-back.ts'

export type Order = Omit<SendOrder, 'peer'> & {
  readonly open: (path: string) => Promise<File>
  /** Hears that the peer is out of reach, once each time, and for how long it will be tried. */
  readonly unreached: (leftMs: number) => void
}

const dialMsMax = 5_000
/** How long a run that stops may take to say goodbye to the peer. */
const goodbyeMsMax = 2_500
/** For whoever carries the lines of several sendings to have brought an acknowledgement. */
const turnMsMin = 2_000

/** One sending: queues the file's lines and delivers them, both at once, until the peer has all of them. */
export class Sending {
  readonly #endpoint: Endpoint
  readonly #peer: Correspondent
  readonly #lane: Lane
  readonly #order: Order
  readonly #stopped = new AbortController()
  readonly #parts: Promise<void>[] = []
  #failure: unknown
  #job: Job | undefined
  #queued = 0
  #isQueued = false
  #isSettling = false
  #hadContact = false
  #alreadyDelivered = false
  #looked: () => void = () => undefined

  constructor(endpoint: Endpoint, peer: Correspondent, lane: Lane, order: Order) {
    this.#endpoint = endpoint
    this.#peer = peer
    this.#lane = lane
    this.#order = order
  }

  get lines(): number {
    return this.#job?.lines ?? 0
  }

  /** Lines that this run has queued. */
  get queued(): number {
    return this.#queued
  }

  get alreadyDelivered(): boolean {
    return this.#alreadyDelivered
  }

  get figures(): Figures {
    const missing = Math.max(0, (this.#job?.last ?? 0) + 1 - this.#peer.mailbox.outbox.acknowledged.next)
    return { queued: this.lines, acknowledged: Math.max(0, this.lines - missing) }
  }

  /** Ends it early: what is queued stays queued. A failure is what `run` ends with then. */
  stop(failure?: unknown): void {
    this.#failure ??= failure
    this.#stopped.abort()
  }

  /** @throws StateError, SessionError (`channel/NO_ANSWER` after giving up), MailboxError, what it was stopped with */
  async run(): Promise<Exit> {
    const interrupted = new Promise<Exit>(resolve => {
      if (this.isOver) resolve('interrupted')
      this.#stopped.signal.addEventListener('abort', () => resolve('interrupted'), { once: true })
    })
    const work = this.#queueAndDeliver()
    try {
      const exit = await Promise.race([work.then((): Exit => 'done'), interrupted])
      if (exit === 'interrupted' && this.#failure !== undefined) throw this.#failure
      if (exit === 'done') await this.#refuseLost()
      return exit
    } finally {
      // After trouble with the file, too, the peer is told that nothing more comes.
      this.#stopped.abort()
      await Promise.race([this.settled(), this.#soon()])
    }
  }

  /** What was given up is not delivered. @throws MailboxError LOST */
  async #refuseLost(): Promise<void> {
    if (this.#job === undefined) return
    const { store } = this.#endpoint
    const { peer } = this.#peer.party
    const words = describeLines(await lostLines(store, this.#job, await listLost(store, peer.id)), {
      path: this.#order.path,
      peer: peer.name,
    })
    if (words !== undefined) throw new MailboxError('LOST', words)
  }

  /** Once nothing of it is under way any more. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#parts)
  }

  /** Stopped, or at its end: what is still under way is about to end. */
  get isOver(): boolean {
    return this.#stopped.signal.aborted
  }

  async #queueAndDeliver(): Promise<void> {
    const { outbox } = this.#peer.mailbox
    // What is queued before both have settled may get numbers that are lost, and what was acknowledged may be lost.
    if (this.#peer.mailbox.isUnsettled('client')) {
      this.#hadContact = true
      this.#isSettling = true
      const settling = this.#deliver()
      this.#parts.push(settling)
      await settling
      this.#isSettling = false
      if (this.isOver) return
    }
    let begin: () => void = () => undefined
    const begun = new Promise<void>(resolve => {
      begin = resolve
    })
    const queueing = this.#queue(() => begin())
    this.#parts.push(queueing)
    await Promise.race([queueing, begun])
    if (this.#isQueued && this.#isDelivered()) {
      this.#alreadyDelivered = !this.#hadContact
      return outbox.flush()
    }
    const delivery = this.#deliver()
    this.#parts.push(delivery)
    await Promise.all([queueing, delivery])
  }

  #soon(): Promise<void> {
    return new Promise(resolve => this.#endpoint.clock.after(goodbyeMsMax, resolve))
  }

  /** `begin` is called once there is something to deliver. */
  async #queue(begin: () => void): Promise<void> {
    const { store } = this.#endpoint
    const { outbox } = this.#peer.mailbox
    const { peer } = this.#peer.party
    const { path, open, again, lost } = this.#order
    const progress = (job: Job, queued: number) => {
      this.#job = job
      this.#queued = queued
      if (!this.#isDelivered()) begin()
    }
    const stop = this.#stopped.signal
    this.#job = await queueFile({ open }, store, outbox, peer.id, path, {
      again,
      lost,
      progress,
      settled: runs =>
        this.#endpoint.log.event('send/settled', { peer: peer.name, file: path, lines: ranges(runs) }),
      stop,
    })
    this.#isQueued = true
    this.#looked()
    await outbox.flush() // what is already acknowledged is noticed with the next change of the outbox
  }

  async #deliver(): Promise<void> {
    const leave = this.#lane.join(this.#order)
    try {
      const release = await this.#turn()
      if (release === undefined) return
      try {
        await this.#carry()
      } finally {
        release()
      }
    } catch (error) {
      throw this.#explained(error)
    } finally {
      leave()
    }
  }

  /** The turn to carry; nothing if another sending has carried all of this one meanwhile. */
  async #turn(): Promise<(() => void) | undefined> {
    const { clock } = this.#endpoint
    const { outbox } = this.#peer.mailbox
    const patience = new Patience(clock, outbox, Math.max(turnMsMin, this.#order.giveUpMs))
    let cancel: () => void = () => undefined
    let unwatch: () => void = () => undefined
    const over = new Promise<void>((resolve, reject) => {
      this.#looked = () => {
        if (this.#isDone()) resolve()
      }
      unwatch = outbox.watch(this.#looked)
      this.#stopped.signal.addEventListener('abort', this.#looked, { once: true })
      const late = () => {
        if (patience.leftMs > 0) cancel = clock.after(patience.leftMs, late)
        else
          reject(
            new SessionError('channel/NO_ANSWER', 'another sending has had no answer', { trusted: true }),
          )
      }
      late()
      this.#looked()
    })
    try {
      return await this.#lane.turn(over)
    } finally {
      this.#looked = () => undefined
      unwatch()
      cancel()
      patience.dispose()
    }
  }

  async #carry(): Promise<void> {
    const { to, giveUpMs } = this.#order
    const places = this.#lane.places(to)
    const timeoutMs = Math.max(100, Math.min(dialMsMax, giveUpMs))
    const dial = () => {
      const { host, port } = places.next().value
      return connect(host, port, { timeoutMs })
    }
    await deliver(this.#endpoint, this.#peer, {
      dial,
      done: () => this.#isDone(),
      giveUpMs,
      unreached: leftMs => this.#lane.unreached(leftMs),
      stop: this.#stopped.signal,
    })
  }

  #isDone(): boolean {
    if (this.#isSettling) return this.isOver || !this.#peer.mailbox.isUnsettled('client')
    return this.isOver || (this.#isQueued && this.#isDelivered())
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
    const { mailbox, role } = this.#peer
    return turnedBack(error, { peer: peer.name, isAmended: mailbox.isAmended(role) }) ?? error
  }
}

const rangesShown = 5

function describeLines(
  { never, unsure }: LostLines,
  { path, peer }: { readonly path: string; readonly peer: string },
): string | undefined {
  const of = (runs: readonly Run[]) => `${ranges(runs)} of ${path}`
  const isOne = ([run, ...more]: readonly Run[]) => run?.count === 1 && more.length === 0
  const words: string[] = []
  if (never.length > 0) words.push(`${of(never)} never arrive${isOne(never) ? 's' : ''} at ${peer}`)
  if (unsure.length > 0)
    words.push(
      `${of(unsure)} may have arrived, or not: ${peer} has messages of the same numbers from before this home was put back`,
    )
  return words.length === 0 ? undefined : `after an amendment ${words.join('; and ')}`
}

function ranges(runs: readonly Run[]): string {
  const shown = runs.slice(0, rangesShown).map(({ line, count }) => numbers('line', line, line + count - 1))
  const more = runs.length - rangesShown
  return `${shown.join(', ')}${more > 0 ? ` and ${more} such ranges more` : ''}`
}
