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
const acceptedMax = 128

const controlName = 'control.sock'

/** What a command may ask of a home, whether it has it open or somebody else has. */
export type Changeable = {
  putAtomic(path: string, payload: Uint8Array): Promise<number>
  delete(path: string): Promise<number>
  list(prefix: string): string[] | Promise<string[]>
  history(path: string): Promise<PastChange[]>
  compact(): Promise<void>
}

/** Whoever holds a home for long serves it to the other commands of its owner. Answers what ends that. */
export async function serveControl(home: string, store: Store, log: Log): Promise<() => Promise<void>> {
  const server = new SubjectServer(new Desk(store, '', () => undefined), realClock)
  const path = join(home, controlName)
  try {
    const options = { log, connectionsMax: acceptedMax }
    const listener = await listenUnix(path, wire => server.accept(wire), options)
    return async () => {
      const closed = listener.close()
      await server.drain()
      await closed
    }
  } catch (error) {
    // A home on a read-only mount, or with too long a name, still does its work; other commands find it locked.
    if (!(error instanceof WireError)) throw error
    log.event('control/unserved', { message: error.message })
    return async () => {}
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
