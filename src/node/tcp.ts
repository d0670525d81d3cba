import net, { type AddressInfo, type Socket } from 'node:net'
import type { Log } from '../host/log.ts'
import { type Wire, WireError } from '../host/wire.ts'
import { errnoOf } from './errno.ts'
import { placeOf, SocketWire, wireError } from './wire.ts'

const connectionsMaxDefault = 1024

/** Throws `WireError` `unreachable`, also when nobody has answered within `timeoutMs`. */
export function connect(host: string, port: number, options: { readonly timeoutMs: number }): Promise<Wire> {
  const place = placeOf(host, port)
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, noDelay: true, allowHalfOpen: true })
    const timer = setTimeout(
      () => socket.destroy(new WireError('unreachable', `${place}: no answer in ${options.timeoutMs} ms`)),
      options.timeoutMs,
    )
    const refused = (error: Error): void => {
      clearTimeout(timer)
      reject(error instanceof WireError ? error : wireError('unreachable', place, error))
    }
    socket.once('error', refused)
    socket.once('connect', () => {
      clearTimeout(timer)
      const wire = new SocketWire(socket)
      socket.off('error', refused)
      resolve(wire)
    })
  })
}

export interface Listener {
  /** As bound: port 0 has become a real one. */
  readonly host: string
  readonly port: number
  /** No new connections from now on; resolves when the last of those accepted has ended. */
  close(): Promise<void>
}

export type ListenOptions = {
  /** One more is dropped as it comes. */
  readonly connectionsMax?: number
  readonly log?: Log
}

/** Throws `WireError` `denied` when the address is taken, not ours, or not allowed. */
export function listen(
  host: string,
  port: number,
  onWire: (wire: Wire) => void,
  options: ListenOptions = {},
): Promise<Listener> {
  const server = net.createServer({ noDelay: true, allowHalfOpen: true }, (socket: Socket) =>
    onWire(new SocketWire(socket)),
  )
  server.maxConnections = options.connectionsMax ?? connectionsMaxDefault
  server.on('drop', () => options.log?.event('wire/connection-over-limit', { max: server.maxConnections }))
  return new Promise((resolve, reject) => {
    const denied = (error: Error): void => reject(wireError('denied', placeOf(host, port), error))
    server.once('error', denied)
    server.listen({ host, port }, () => {
      server.off('error', denied)
      server.on('error', error =>
        options.log?.event('wire/accept-failed', { errno: errnoOf(error) ?? 'failed' }),
      )
      resolve(listenerOf(server))
    })
  })
}

function listenerOf(server: net.Server): Listener {
  const { address, port } = boundTo(server)
  let closed: Promise<void> | undefined
  return {
    host: address,
    port,
    close() {
      closed ??= new Promise(resolve => server.close(() => resolve()))
      return closed
    },
  }
}

function boundTo(server: net.Server): AddressInfo {
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new WireError('denied', 'not a TCP address')
  return bound
}
