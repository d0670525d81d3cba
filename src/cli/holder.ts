import { base64url, equal } from '../bytes/bytes.ts'
import type { File } from '../host/disk.ts'
import type { Log } from '../host/log.ts'
import { realPath } from '../node/path.ts'
import type { Endpoint } from '../session/connection.ts'
import { type OwnIdentity, openIdentity, readIdentity } from '../session/own-identity.ts'
import { addPeer, removePeer } from '../session/peers.ts'
import { StateError } from '../state/error.ts'
import type { World } from '../state/home.ts'
import { parametersIn } from '../state/parameters.ts'
import { type Adopted, adoptPolicy } from '../state/policy-record.ts'
import type { Store } from '../state/store.ts'
import { allowClaim, claimWaiting, type Waiting } from './claim.ts'
import { HolderEndsError, NoPeerError } from './command.ts'
import { Correspondences } from './correspondences.ts'
import type { Exit } from './exits.ts'
import { peerNamed } from './home.ts'
import type { Place } from './place.ts'
import { Sending } from './sending.ts'

/** What is to be sent, by whomever it was asked for. */
export type SendOrder = {
  readonly peer: string
  /** The file's real path. */
  readonly path: string
  readonly to: Place
  readonly giveUpMs: number
  readonly again: boolean
  /** The lines that never arrive are sent once more. */
  readonly lost: boolean
}

/** Who hears how it goes. */
export type Audience = {
  readonly log: Log
  readonly unreached: (leftMs: number) => void
  readonly begun: (sending: Sending) => void
}

export type HolderOptions = {
  /** Whoever is served goes on by itself when this process ends: the home is free then. */
  readonly handsOver?: boolean
  /** Refuses what no sending may read. @throws UsageError */
  readonly refuse: (path: string) => Promise<void>
  /** Opens a file that is to be sent, judged once more: its name may mean another one by then. */
  readonly open: (path: string) => Promise<File>
  readonly adopt?: (file: Uint8Array) => Promise<Adoption>
  readonly forgotten?: (id: Uint8Array) => void
}

export type Adoption = Adopted & { readonly isNew: boolean }

const sendingsMax = 16

/** A sending, before it is made, too: `failure` is what it is not to begin for. */
type Entry = {
  readonly peer: Uint8Array
  sending: Sending | undefined
  failure: Error | undefined
  readonly over: Promise<void>
}

/** What the process that has the home open does with it, for itself and for the other commands of its owner. */
export class Holder {
  readonly store: Store
  readonly peers: Correspondences
  readonly #world: World
  readonly #options: HolderOptions
  readonly #sendings = new Map<string, Entry>()
  #own: Promise<OwnIdentity> | undefined
  #changing: Promise<unknown> = Promise.resolve()
  #isEnding = false

  constructor(store: Store, world: World, options: HolderOptions) {
    this.store = store
    this.peers = new Correspondences(store)
    this.#world = world
    this.#options = options
  }

  get handsOver(): boolean {
    return this.#options.handsOver === true
  }

  /** @throws StateError EINVAL: the parameters of the home are wider than its profile, so nothing starts with them */
  async endpoint(log: Log): Promise<Endpoint> {
    await parametersIn(this.store)
    this.#own ??= openIdentity(this.store)
    return { ...this.#world, store: this.store, own: await this.#own, log }
  }

  /** Until the peer has all of it. @throws NoPeerError, StateError (ELOCKED: it is being sent), as `Sending.run` */
  async send(order: SendOrder, { log, unreached, begun }: Audience): Promise<Exit> {
    const peer = await peerNamed(this.store, order.peer)
    const path = await realPath(order.path)
    await this.#options.refuse(path)
    const { held, release } = await this.peers.take(peer)
    const job = `${base64url(peer.id)} ${path}`
    const { promise: over, resolve: isOver } = Promise.withResolvers<void>()
    const entry: Entry = { peer: peer.id, sending: undefined, failure: undefined, over }
    try {
      for (let before = this.#sendings.get(job); before?.sending?.isOver; before = this.#sendings.get(job))
        await before.over
      if (this.#isEnding) throw new HolderEndsError()
      if (this.#sendings.has(job))
        throw new StateError('ELOCKED', `${path} is being sent to ${peer.name} by process ${process.pid}`)
      if (this.#sendings.size >= sendingsMax)
        throw new StateError('EBUSY', `${sendingsMax} files are being sent; wait for one of them`)
      this.#sendings.set(job, entry)
    } catch (error) {
      release()
      throw error
    }
    try {
      await peerNamed(this.store, order.peer) // it may have been removed before it was taken
      const endpoint = await this.endpoint(log)
      const sending = new Sending(endpoint, await held.client(), held.lane, {
        ...order,
        path,
        unreached,
        open: this.#options.open,
      })
      if (entry.failure !== undefined) throw entry.failure
      entry.sending = sending
      begun(sending)
      return await sending.run()
    } finally {
      // Its last steps may outlast the run; until then the job is not to be begun again.
      void (entry.sending?.settled() ?? Promise.resolve()).then(() => {
        this.#sendings.delete(job)
        release()
        isOver()
      })
    }
  }

  /** @throws StateError EINVAL */
  addPeer(name: string, id: Uint8Array): Promise<void> {
    return this.#oneByOne(async () => addPeer(this.store, (await readIdentity(this.store)).id, name, id))
  }

  /**
   * Once it returns nothing is exchanged with the peer any more: what was being sent to it has ended, and whoever
   * receives from it has been told. Answers with its identity. @throws NoPeerError
   */
  removePeer(name: string): Promise<Uint8Array> {
    return this.#oneByOne(async () => {
      const { id } = await peerNamed(this.store, name)
      const remember = await this.peers.forget(id)
      try {
        await removePeer(this.store, name)
      } catch (error) {
        remember()
        throw error
      }
      this.#options.forgotten?.(id)
      await this.#stop(new NoPeerError(name), peer => equal(peer, id))
      return id
    })
  }

  /** What a peer waits for that went on by an amendment. @throws as `claimWaiting`; StateError ELOCKED */
  claimed(name: string): Promise<Waiting> {
    return this.#oneByOne(async () => {
      const peer = await peerNamed(this.store, name)
      return claimWaiting(this.store, peer, work => this.peers.alone(peer, work))
    })
  }

  /** @throws as `allowClaim`; StateError ELOCKED */
  allow(name: string, amendment: Uint8Array): Promise<void> {
    return this.#oneByOne(async () => {
      const peer = await peerNamed(this.store, name)
      return this.peers.alone(peer, () => allowClaim(this.store, peer, amendment))
    })
  }

  /** As `adoptPolicy`. */
  adopt(file: Uint8Array): Promise<Adoption> {
    return this.#options.adopt?.(file) ?? adoptPolicy(this.store, file)
  }

  /** Ends every sending, and takes no other. */
  async end(): Promise<void> {
    this.#isEnding = true
    await this.#stop(new HolderEndsError(), () => true)
  }

  async #stop(failure: Error, concerns: (peer: Uint8Array) => boolean): Promise<void> {
    const ending: Promise<void>[] = []
    for (const entry of this.#sendings.values()) {
      if (!concerns(entry.peer)) continue
      entry.failure ??= failure
      if (entry.sending === undefined) continue
      entry.sending.stop(failure)
      ending.push(entry.sending.settled())
    }
    await Promise.all(ending)
  }

  #oneByOne<T>(change: () => Promise<T>): Promise<T> {
    const turn = this.#changing.then(change)
    this.#changing = turn.catch(() => undefined)
    return turn
  }
}
