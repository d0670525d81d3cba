import fs from 'node:fs'
import net from 'node:net'
import { dirname, join } from 'node:path'
import type { Log } from '../host/log.ts'
import { type Wire, WireError } from '../host/wire.ts'
import { errnoOf } from './errno.ts'
import { SocketWire, wireError } from './wire.ts'

/** What the kernel takes for the path of a socket, with the zero behind it. */
export const socketPathBytesMax = 107

const socketMode = 0o600

/** Throws `WireError` `unreachable` when nobody listens there, `denied` when this user may not. */
export function connectUnix(path: string): Promise<Wire> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ path, allowHalfOpen: true })
    const refused = (error: Error): void => {
      const isDenied = errnoOf(error) === 'EACCES' || errnoOf(error) === 'EPERM'
      reject(wireError(isDenied ? 'denied' : 'unreachable', path, error))
    }
    socket.once('error', refused)
    socket.once('connect', () => {
      const wire = new SocketWire(socket)
      socket.off('error', refused)
      resolve(wire)
    })
  })
}

export interface UnixListener {
  readonly path: string
  /** No new connections from now on, and the name is gone. */
  close(): Promise<void>
}

export type UnixOptions = {
  /** Who may connect, beside root; default this process's user. Only root can name another. */
  readonly uid?: number
  /** Where it is bound before it is renamed to its place: nobody else may write there. Default: where it goes. */
  readonly staging?: string
  readonly log?: Log
  /** How many connections at once; one more is dropped as it comes. */
  readonly connectionsMax: number
}

/**
 * Listens on a socket of mode 0600. It is bound in a directory that only this user may enter, given its owner, and
 * then renamed to its place: at no moment can anyone else connect. What was there by that name is replaced: the caller
 * holds the lock that says whose it is. Throws `WireError` `denied`.
 */
export async function listenUnix(
  path: string,
  onWire: (wire: Wire) => void,
  options: UnixOptions,
): Promise<UnixListener> {
  const bare = join(options.staging ?? dirname(path), `.${process.pid}.${bound++}`)
  const hidden = join(bare, 's')
  if (Buffer.byteLength(path) > socketPathBytesMax || Buffer.byteLength(hidden) > socketPathBytesMax)
    throw new WireError('denied', `${path}: the path of a socket is at most ${socketPathBytesMax} bytes`)
  const server = net.createServer({ allowHalfOpen: true }, socket => onWire(new SocketWire(socket)))
  server.maxConnections = options.connectionsMax
  server.on('drop', () => options.log?.event('wire/connection-over-limit', { max: options.connectionsMax }))
  try {
    fs.rmSync(bare, { recursive: true, force: true }) // of a process that had this number before
    fs.mkdirSync(bare, { mode: 0o700 })
    await listening(server, { path: hidden })
    fs.chmodSync(hidden, socketMode)
    if (options.uid !== undefined && options.uid !== process.getuid?.())
      fs.lchownSync(hidden, options.uid, -1)
    fs.renameSync(hidden, path)
  } catch (error) {
    server.close()
    throw error instanceof WireError ? error : wireError('denied', path, error)
  } finally {
    fs.rmSync(bare, { recursive: true, force: true })
  }
  server.on('error', error => options.log?.event('wire/accept-failed', { errno: errnoOf(error) ?? 'failed' }))
  return {
    path,
    async close() {
      try {
        fs.unlinkSync(path)
      } catch (error) {
        // Whoever may write there has put something else there, or taken it away.
        options.log?.event('wire/socket-gone', { path, errno: errnoOf(error) ?? 'failed' })
      }
      await new Promise<void>(resolve => server.close(() => resolve()))
    },
  }
}

/**
 * Listens on a socket that systemd made and passed on as a descriptor. Throws `WireError` `denied` for what is no
 * listening Unix stream: any other that takes connections could be reached by others than its file's mode lets in.
 */
export async function listenDescriptor(
  fd: number,
  name: string,
  onWire: (wire: Wire) => void,
  options: Pick<UnixOptions, 'log' | 'connectionsMax'>,
): Promise<UnixListener> {
  const server = net.createServer({ allowHalfOpen: true }, socket => onWire(new SocketWire(socket)))
  server.maxConnections = options.connectionsMax
  await listening(server, { fd })
  // One of the internet has an address here, one of this machine has none that Node could tell.
  if (typeof server.address() === 'object' && server.address() !== null) {
    server.close()
    throw new WireError('denied', `descriptor ${fd}: not a Unix socket`)
  }
  server.on('error', error => options.log?.event('wire/accept-failed', { errno: errnoOf(error) ?? 'failed' }))
  return { path: name, close: () => new Promise<void>(resolve => server.close(() => resolve())) }
}

/**
 * A directory `name` in `parent` that only `uid` may enter, made if it is not there. Nobody but this user may write in
 * `parent`, or its entries could be changed between two steps of this. Throws `WireError` `denied`.
 */
export function enterableBy(parent: string, name: string, uid: number): string {
  const path = join(parent, name)
  try {
    fs.mkdirSync(parent, { recursive: true, mode: 0o755 }) // others go through it to their own
    const above = fs.statSync(parent)
    if (above.uid !== process.getuid?.() || (above.mode & 0o022) !== 0)
      throw new WireError('denied', `${parent}: others may write there, or own it`)
    const found = fs.lstatSync(path, { throwIfNoEntry: false })
    if (found === undefined) fs.mkdirSync(path, { mode: 0o700 })
    else if (!found.isDirectory()) throw new WireError('denied', `${path}: is no directory`)
    fs.chmodSync(path, 0o700)
    if (found?.uid !== uid) fs.lchownSync(path, uid, -1)
    return path
  } catch (error) {
    throw error instanceof WireError ? error : wireError('denied', path, error)
  }
}

let bound = 0

function listening(
  server: net.Server,
  where: { readonly path: string } | { readonly fd: number },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const place = 'path' in where ? where.path : `descriptor ${where.fd}`
    const denied = (error: Error): void => reject(wireError('denied', place, error))
    server.once('error', denied)
    server.listen(where, () => {
      server.off('error', denied)
      resolve()
    })
  })
}
