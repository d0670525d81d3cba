import { base64url } from '../bytes/bytes.ts'
import { type Correspondence, type Correspondent, openCorrespondence, takeRole } from '../mailbox/courier.ts'
import type { Peer } from '../session/peers.ts'
import { StateError } from '../state/error.ts'
import type { Store } from '../state/store.ts'
import { NoPeerError } from './command.ts'
import { Lane } from './lane.ts'

/** One peer, as long as anything in this process is about it. */
export type Held = {
  readonly correspondence: Correspondence
  /** To send with: connects, and carries what goes out. */
  client(): Promise<Correspondent>
  /** To receive with: is connected to, and carries what comes in. */
  server(): Promise<Correspondent>
  readonly lane: Lane
  /** Wipes the secrets of its sessions. */
  dispose(): Promise<void>
}

type Shelf = { users: number; readonly held: Promise<Held> }

/**
 * The peers that this process sends to or receives from. Whatever is about one peer shares what is known of it: two
 * views of one mailbox would each take the other's progress for a rollback.
 */
export class Correspondences {
  readonly #store: Store
  readonly #shelves = new Map<string, Shelf>()
  readonly #alone = new Map<string, Promise<unknown>>()

  constructor(store: Store) {
    this.#store = store
  }

  /** Takes it; `release` gives it back. @throws NoPeerError while the peer is being forgotten */
  async take(peer: Peer): Promise<{ readonly held: Held; readonly release: () => void }> {
    const key = base64url(peer.id)
    await this.#alone.get(key)?.catch(() => undefined)
    const shelf = this.#shelves.get(key) ?? { users: 0, held: open(this.#store, peer) }
    this.#shelves.set(key, shelf)
    shelf.users++
    const release = () => {
      if (--shelf.users > 0) return
      this.#shelves.delete(key)
      shelf.held.then(held => held.dispose()).catch(() => undefined) // there was nothing to wipe
    }
    try {
      const held = await shelf.held
      if (held.correspondence.isForgotten) throw new NoPeerError(peer.name)
      return { held, release }
    } catch (error) {
      release()
      throw error
    }
  }

  /**
   * Does what changes what a peer is met by, and lets nobody take it meanwhile: whoever holds it would go by what was before.
   * @throws StateError ELOCKED while it is held
   */
  async alone<T>(peer: Peer, work: () => Promise<T>): Promise<T> {
    const key = base64url(peer.id)
    if (this.#shelves.has(key))
      throw new StateError(
        'ELOCKED',
        `process ${process.pid} is sending to ${peer.name}, or receiving from it; it has to end first`,
      )
    const working = work()
    this.#alone.set(key, working)
    return working.finally(() => this.#alone.delete(key))
  }

  /** From now on no session is made with it; the answer takes that back. */
  async forget(id: Uint8Array): Promise<() => void> {
    const held = await this.#shelves.get(base64url(id))?.held
    if (held === undefined) return () => undefined
    held.correspondence.isForgotten = true
    return () => {
      held.correspondence.isForgotten = false
    }
  }
}

async function open(store: Store, peer: Peer): Promise<Held> {
  const correspondence = await openCorrespondence(store, peer)
  let client: Promise<Correspondent> | undefined
  let server: Promise<Correspondent> | undefined
  return {
    correspondence,
    client() {
      client ??= takeRole(store, correspondence, 'client', 'out')
      return client
    },
    server() {
      server ??= takeRole(store, correspondence, 'server', 'in')
      return server
    },
    lane: new Lane(),
    async dispose() {
      for (const role of [client, server]) (await role)?.party.memory.dispose()
    },
  }
}
