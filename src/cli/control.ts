import { join } from 'node:path'
import { BytesError } from '../bytes/bytes.ts'
import { asMap, type CborMap } from '../bytes/cbor.ts'
import type { Log } from '../host/log.ts'
import { WireError } from '../host/wire.ts'
import { realClock } from '../node/clock.ts'
import { connectUnix, listenUnix } from '../node/unix.ts'
import { StateClient } from '../state/client.ts'
import { StateError } from '../state/error.ts'
import type { PastChange } from '../state/history.ts'
import { SubjectServer } from '../state/server.ts'
import type { Store } from '../state/store.ts'
import type { Given } from './command.ts'
import { ControlDesk } from './control-desk.ts'
import { decodeFailed } from './control-wire.ts'
import { HolderFailure } from './failure.ts'
import { Holder, type HolderOptions } from './holder.ts'
import { homeNamed, homePlace, openForeign, openOwnHome, realWorld, refuseOwnFiles } from './home.ts'

/** Connections are counted by the server; this only keeps descriptors in hand while it drops those over its bound. */
export const acceptedMax = 128

/** For those for whom something was being sent to hear what became of it. */
const tellMsMax = 1_000

/** How long a process that begins or ends may hold the home and serve nobody. */
const passingMsMax = 1_000
const lookAgainMs = 50

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
export type Control = {
  readonly holder: Holder
  readonly end: () => Promise<void>
  readonly unserved: string | undefined
}

/** Whoever holds a home for long serves it to the other commands of its owner. */
export async function serveControl(
  given: Given,
  store: Store,
  log: Log,
  {
    home,
    ...options
  }: Omit<HolderOptions, 'refuse' | 'open'> & {
    /** The directory that gets the socket, if not the home that is named. */
    readonly home?: string | undefined
  } = {},
): Promise<Control> {
  const refuse = (path: string) => refuseOwnFiles(given, path)
  const open = (path: string) => openForeign(given, path)
  const holder = new Holder(store, realWorld(), { ...options, refuse, open })
  const desk = new ControlDesk(holder, realClock)
  const server = new SubjectServer(desk, realClock)
  const path = join(home ?? (await homeNamed(given)), controlName)
  try {
    const listener = await listenUnix(path, wire => server.accept(wire), { log, connectionsMax: acceptedMax })
    const end = async (): Promise<void> => {
      const closed = listener.close()
      await holder.end()
      await desk.told(tellMsMax)
      await server.drain()
      await closed
    }
    return { holder, end, unserved: undefined }
  } catch (error) {
    if (!(error instanceof WireError)) throw error
    log.event('control/unserved', { message: error.message })
    return { holder, end: () => holder.end(), unserved: error.message }
  }
}

/** The home, open here; or whoever has it open. */
export type Entered = { readonly store: Store } | { readonly client: StateClient }

/**
 * Whoever holds the home and serves nobody has just opened it, or is about to close it: it is tried for a second.
 * @throws as `openOwnHome`; StateError ELOCKED if it stays like that
 */
export async function enterHome(given: Given): Promise<Entered> {
  const until = realClock.monotonic() + passingMsMax
  for (;;) {
    try {
      return await enterOnce(given)
    } catch (error) {
      const isPassing = error instanceof StateError && (error.code === 'ELOCKED' || error.code === 'EDAEMON')
      if (!isPassing || realClock.monotonic() > until) throw error
    }
    await new Promise<void>(resolve => realClock.after(lookAgainMs, resolve))
  }
}

async function enterOnce(given: Given): Promise<Entered> {
  try {
    return { store: await openOwnHome(given) }
  } catch (error) {
    if (!(error instanceof StateError && error.code === 'ELOCKED')) throw error
    return { client: await connectToHolder((await homePlace(given)).home, error) }
  }
}

/** Does it here, or lets the process that holds the home do it. @throws as {@link enterHome} */
export async function inHome<T>(
  given: Given,
  here: (store: Store) => Promise<T>,
  there: (holder: StateClient) => Promise<T>,
): Promise<T> {
  const entered = await enterHome(given)
  if ('store' in entered) return here(entered.store).finally(() => entered.store.close())
  return there(entered.client).finally(() => entered.client.close())
}

/** Changes the home: directly, or through the process that holds it. @throws as {@link enterHome} */
export function changeHome<T>(given: Given, change: (home: Changeable) => Promise<T>): Promise<T> {
  return inHome(given, change, change)
}

/** Asks for something of docs/spec/control.md; the answer has these keys. @throws HolderFailure, StateError EDAEMON */
export async function askHolder(
  holder: StateClient,
  request: CborMap,
  keys: readonly string[],
): Promise<CborMap> {
  const { control } = await holder.ask(request)
  try {
    const { failed, ...rest } = asMap(control, ['failed?', ...keys.map(key => `${key.replace('?', '')}?`)])
    if (failed === undefined) return asMap(rest, keys)
    throw new HolderFailure(decodeFailed(asMap(failed, ['code', 'message', 'hint?', 'exit'])))
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    throw new StateError('EDAEMON', `the process that holds the home: ${error.message}`, { cause: error })
  }
}

async function connectToHolder(home: string, locked: StateError): Promise<StateClient> {
  try {
    return await StateClient.open(await connectUnix(join(home, controlName)), realClock)
  } catch (error) {
    if (error instanceof WireError) throw locked
    throw error
  }
}
