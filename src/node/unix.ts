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
  const bare = join(dirname(path), `.${process.pid}.${bound++}`)
  const hidden = join(bare, 's')
  if (Buffer.byteLength(path) > socketPathBytesMax || Buffer.byteLength(hidden) > socketPathBytesMax)
    throw new WireError('denied', `${path}: the path of a socket is at most ${socketPathBytesMax} bytes`)
  const server = net.createServer({ allowHalfOpen: true }, socket => onWire(new SocketWire(socket)))
  server.maxConnections = options.connectionsMax
  server.on('drop', () => options.log?.event('wire/connection-over-limit', { max: options.connectionsMax }))
  try {
    fs.mkdirSync(bare, { mode: 0o700 })
    await listening(server, { path: hidden })
    fs.chmodSync(hidden, socketMode)
    if (options.uid !== undefined && options.uid !== process.getuid?.()) fs.chownSync(hidden, options.uid, -1)
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
      fs.rmSync(path, { force: true })
      await new Promise<void>(resolve => server.close(() => resolve()))
    },
  }
}

/** Listens on a socket that systemd made and passed on as a descriptor. */
export async function listenDescriptor(
  fd: number,
  name: string,
  onWire: (wire: Wire) => void,
  options: Pick<UnixOptions, 'log' | 'connectionsMax'>,
): Promise<UnixListener> {
  const server = net.createServer({ allowHalfOpen: true }, socket => onWire(new SocketWire(socket)))
  server.maxConnections = options.connectionsMax
  await listening(server, { fd })
  server.on('error', error => options.log?.event('wire/accept-failed', { errno: errnoOf(error) ?? 'failed' }))
  return { path: name, close: () => new Promise<void>(resolve => server.close(() => resolve())) }
}

/** A directory that only `uid` may enter, made if it is not there. Throws `WireError` `denied`. */
export function enterableBy(path: string, uid: number): void {
  try {
    // Others go through the directory above it to their own.
    fs.mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
    fs.mkdirSync(path, { recursive: true, mode: 0o700 })
    const { uid: owner } = fs.statSync(path)
    if (owner !== uid) fs.chownSync(path, uid, -1)
    fs.chmodSync(path, 0o700)
  } catch (error) {
    throw wireError('denied', path, error)
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
