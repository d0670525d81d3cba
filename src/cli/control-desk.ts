import type { CborMap } from '../bytes/cbor.ts'
import type { Clock } from '../host/clock.ts'
import type { Log } from '../host/log.ts'
import { Changes } from '../session/changes.ts'
import { Desk } from '../state/desk.ts'
import { StateError } from '../state/error.ts'
import { adoptParameters } from '../state/parameters.ts'
import { decodeCall, requestOf, stateOperations } from '../state/protocol.ts'
import type { Asked, Visit } from '../state/server.ts'
import { HolderEndsError } from './command.ts'
import {
  type ControlRequest,
  controlLimits,
  controlOperations,
  decodeControl,
  encodeFailed,
  encodeWaiting,
  encodeWatched,
  type SendingEnd,
  type Watched,
} from './control-wire.ts'
import { explain } from './failure.ts'
import type { Holder, SendOrder } from './holder.ts'
import type { Sending } from './sending.ts'

const operations = { ...stateOperations, ...controlOperations }

/** Of one connection, until it was told what became of them. */
const hostedMax = 64

/** How much the answer to a request of these may become. */
const answerBytesMax = controlLimits.newsMax * controlLimits.newsBytesMax

/** Where the owner of a home is answered: as any subject, and beyond that as docs/spec/control.md says. */
export class ControlDesk {
  readonly #desk: Desk
  readonly #holder: Holder
  readonly #clock: Clock
  readonly #telling = new Set<HostedSending>()

  constructor(holder: Holder, clock: Clock) {
    this.#desk = new Desk(holder.store, '', () => undefined)
    this.#holder = holder
    this.#clock = clock
  }

  visit(): Visit {
    const hosted = new HostedSendings(order => {
      const sending = new HostedSending(this.#holder, this.#clock, order)
      this.#telling.add(sending)
      void sending.told.then(() => this.#telling.delete(sending))
      return sending
    })
    return {
      greeting: this.#desk.greeting,
      read: frame => {
        const call = decodeCall(frame, operations)
        if (!Object.hasOwn(controlOperations, call.op))
          return this.#desk.take(call.id, requestOf(call), frame.length)
        return this.#take(call.id, decodeControl(call), frame.length, hosted)
      },
      leave: () => hosted.leave(),
    }
  }

  /** Once whoever asked for a sending knows what became of it, or after so long. */
  async told(ms: number): Promise<void> {
    const all = Promise.all([...this.#telling].map(({ told }) => told))
    await Promise.race([all, new Promise<void>(resolve => this.#clock.after(ms, resolve))])
  }

  #take(id: number, request: ControlRequest, bytes: number, hosted: HostedSendings): Asked {
    const answer = async () => {
      try {
        return { control: await this.#answer(request, hosted) }
      } catch (error) {
        return { control: { failed: encodeFailed(explain(error)) } }
      }
    }
    return { id, weight: bytes + answerBytesMax, answer }
  }

  async #answer(request: ControlRequest, hosted: HostedSendings): Promise<CborMap> {
    switch (request.op) {
      case 'peer-add':
        await this.#holder.addPeer(request.name, request.identity)
        return {}
      case 'peer-remove':
        return { identity: await this.#holder.removePeer(request.name) }
      case 'peer-claim':
        return encodeWaiting(await this.#holder.claimed(request.name))
      case 'peer-allow':
        await this.#holder.allow(request.name, request.amendment)
        return {}
      case 'adopt': {
        const { generation, isNew } = await this.#holder.adopt(request.policy)
        return { generation, isNew }
      }
      case 'adopt-parameters': {
        const { generation, isNew } = await adoptParameters(this.#holder.store, request.parameters)
        return { generation, isNew }
      }
      case 'rotate':
        await this.#holder.store.rotate(request.what)
        return {}
      case 'send':
        return { sending: hosted.begin(request.order) }
      case 'watch':
        return encodeWatched(await hosted.find(request.sending).watch(request.waitMs))
      case 'stop':
        hosted.find(request.sending).stop()
        return {}
    }
  }
}

/** The sendings of one connection: they end with it. */
class HostedSendings {
  readonly #make: (order: SendOrder) => HostedSending
  readonly #hosted = new Map<number, HostedSending>()
  #number = 0
  #isOver = false

  constructor(make: (order: SendOrder) => HostedSending) {
    this.#make = make
  }

  begin(order: SendOrder): number {
    if (this.#hosted.size >= hostedMax)
      throw new StateError('EBUSY', `a connection asks for ${hostedMax} sendings at most`)
    const number = ++this.#number
    const hosted = this.#make(order)
    this.#hosted.set(number, hosted)
    void hosted.told.then(() => this.#hosted.delete(number))
    if (this.#isOver) hosted.leave()
    return number
  }

  find(number: number): HostedSending {
    const hosted = this.#hosted.get(number)
    if (hosted === undefined) throw new StateError('ENOENT', `no sending ${number} of this connection`)
    return hosted
  }

  leave(): void {
    this.#isOver = true
    for (const hosted of this.#hosted.values()) hosted.leave()
  }
}

/** One sending that is done for another process, which asks again and again how it stands. */
class HostedSending {
  /** Who asked for it knows its end, or has gone. */
  readonly told: Promise<void>
  readonly #clock: Clock
  readonly #changes = new Changes()
  readonly #news: string[] = []
  #sending: Sending | undefined
  #isStopped = false
  #isLeft = false
  #end: SendingEnd | undefined
  #tell: () => void = () => undefined

  constructor(holder: Holder, clock: Clock, order: SendOrder) {
    this.#clock = clock
    this.told = new Promise(resolve => {
      this.#tell = resolve
    })
    const log: Log = { event: (event, fields = {}) => this.#add({ ...fields, event }) }
    const unreached = (leftMs: number) => this.#add({ unreached: Math.ceil(leftMs) })
    const begun = (sending: Sending) => {
      this.#sending = sending
      if (this.#isStopped) sending.stop()
    }
    const over = (end: SendingEnd) => {
      this.#end = end
      this.#changes.announce()
    }
    holder.send(order, { log, unreached, begun }).then(
      exit => {
        const alreadyDelivered = this.#sending?.alreadyDelivered === true
        over({ kind: 'ended', exit: exit === 'done' ? exit : 'interrupted', alreadyDelivered })
      },
      error => over(endOf(error, holder.handsOver)),
    )
  }

  stop(): void {
    this.#isStopped = true
    this.#sending?.stop()
  }

  /** Nobody asks any more. */
  leave(): void {
    this.stop()
    this.#isLeft = true
    this.#changes.announce()
    this.#tell()
  }

  /** As soon as there is something new, or after so long. */
  async watch(waitMs: number): Promise<Watched> {
    const isNew = () => this.#news.length > 0 || this.#end !== undefined || this.#isLeft
    let cancel: () => void = () => undefined
    let unwatch: () => void = () => undefined
    if (!isNew())
      await new Promise<void>(resolve => {
        cancel = this.#clock.after(waitMs, resolve)
        unwatch = this.#changes.watch(resolve)
      })
    cancel()
    unwatch()
    if (this.#end !== undefined) this.#tell()
    const figures = this.#sending?.figures ?? { queued: 0, acknowledged: 0 }
    const newlyQueued = this.#sending?.queued ?? 0
    return { figures, newlyQueued, news: this.#news.splice(0), end: this.#end }
  }

  #add(news: { readonly [field: string]: unknown }): void {
    const text = JSON.stringify(news)
    if (Buffer.byteLength(text) > controlLimits.newsBytesMax) return
    if (this.#news.length >= controlLimits.newsMax) this.#news.shift()
    this.#news.push(text)
    this.#changes.announce()
  }
}

function endOf(error: unknown, handsOver: boolean): SendingEnd {
  if (error instanceof HolderEndsError && handsOver) return { kind: 'handed over' }
  return { kind: 'failed', failure: explain(error) }
}
