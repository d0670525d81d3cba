import { join } from 'node:path'
import type { Log } from '../host/log.ts'
import { WireError } from '../host/wire.ts'
import { realClock } from '../node/clock.ts'
import { connectUnix, listenUnix } from '../node/unix.ts'
import { StateClient } from '../state/client.ts'
import { Desk } from '../state/desk.ts'
import { StateError } from '../state/error.ts'
import type { PastChange } from '../state/history.ts'
import { SubjectServer } from '../state/server.ts'
import type { Store } from '../state/store.ts'
import type { Given } from './command.ts'
import { homeNamed, openOwnHome } from './home.ts'

/** Connections are counted by the server; this only keeps descriptors in hand while it drops those over its bound. */
export const acceptedMax = 128

const controlName = 'control.sock'

/** What a command may ask of a home, whether it has it open or somebody else has. */
export type Changeable = {
  putAtomic(path: string, payload: Uint8Array): Promise<number>
  delete(path: string): Promise<number>
  list(prefix: string, after?: string, max?: number): string[] | Promise<string[]>
  history(path: string): Promise<PastChange[]>
  compact(): Promise<void>
  figures(): { readonly journalBytes: number } | Promise<{ readonly [name: string]: number }>
}

/** `unserved` is why nobody is: the home is on a read-only mount, or its path is too long for a socket. */
export type Control = { readonly end: () => Promise<void>; readonly unserved: string | undefined }

/** Whoever holds a home for long serves it to the other commands of its owner. */
export async function serveControl(home: string, store: Store, log: Log): Promise<Control> {
  const server = new SubjectServer(new Desk(store, '', () => undefined), realClock)
  const path = join(home, controlName)
  try {
    const listener = await listenUnix(path, wire => server.accept(wire), { log, connectionsMax: acceptedMax })
    const end = async (): Promise<void> => {
      const closed = listener.close()
      await server.drain()
      await closed
    }
    return { end, unserved: undefined }
  } catch (error) {
    if (!(error instanceof WireError)) throw error
    log.event('control/unserved', { message: error.message })
    return { end: async () => {}, unserved: error.message }
  }
}

/** Changes the home: directly, or through the process that holds it. @throws StateError ELOCKED if that serves nobody */
export async function changeHome<T>(given: Given, change: (home: Changeable) => Promise<T>): Promise<T> {
  let store: Store
  try {
    store = await openOwnHome(given)
  } catch (error) {
    if (!(error instanceof StateError && error.code === 'ELOCKED')) throw error
    return changeThroughHolder(await homeNamed(given), error, change)
  }
  try {
    return await change(store)
  } finally {
    await store.close()
  }
}

async function changeThroughHolder<T>(
  home: string,
  locked: StateError,
  change: (home: Changeable) => Promise<T>,
): Promise<T> {
  let client: StateClient
  try {
    client = await StateClient.open(await connectUnix(join(home, controlName)), realClock)
  } catch (error) {
    if (error instanceof WireError) throw locked
    throw error
  }
  try {
    return await change(client)
  } finally {
    client.close()
  }
}
