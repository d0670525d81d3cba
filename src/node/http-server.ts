import http from 'node:http'
import https from 'node:https'
import { isIP, type Socket } from 'node:net'
import type { Log } from '../host/log.ts'
import { WireError } from '../host/wire.ts'
import { errnoOf } from './errno.ts'
import type { Listener } from './tcp.ts'
import { placeOf, wireError } from './wire.ts'

export type Reply = { readonly status: number; readonly body: Uint8Array }

/** Names a connection's other end for counting: an IPv4 address, or the /64 of an IPv6 one. */
export type Client = string

export type HttpOptions = {
  /** PEM; without it the address must be a loopback one. */
  readonly tls?: { readonly cert: Uint8Array; readonly key: Uint8Array }
  readonly bodyBytesMax: number
  readonly connectionsMax: number
  /** Of one client. */
  readonly connectionsEachMax: number
  readonly answer: (request: {
    readonly path: string
    readonly body: Uint8Array
    readonly client: Client
  }) => Promise<Reply>
  readonly log?: Log
  /** Of whoever says nothing: before its request is whole. */
  readonly headMsMax?: number
  readonly requestMsMax?: number
}

const headMsMaxDefault = 5_000
const requestMsMaxDefault = 10_000
const idleMsMax = 60_000
const headBytesMax = 8192
const drainMs = 5_000

/**
 * Answers POST requests; anything else is refused before its body is read.
 * @throws WireError `denied`: the address is taken, not ours, not allowed, or not a loopback one without TLS
 */
export function listenHttp(host: string, port: number, options: HttpOptions): Promise<Listener> {
  const { tls, headMsMax = headMsMaxDefault, requestMsMax = requestMsMaxDefault } = options
  if (tls === undefined && !isLoopback(host))
    throw new WireError('denied', `${placeOf(host, port)}: plain HTTP is for loopback addresses alone`)
  const bounds = {
    maxHeaderSize: headBytesMax,
    headersTimeout: headMsMax,
    requestTimeout: requestMsMax,
    keepAliveTimeout: idleMsMax,
    connectionsCheckingInterval: Math.min(1_000, headMsMax),
    noDelay: true,
  }
  const server =
    tls === undefined
      ? http.createServer(bounds)
      : https.createServer({
          ...bounds,
          cert: Buffer.from(tls.cert),
          key: Buffer.from(tls.key),
          minVersion: 'TLSv1.3',
          handshakeTimeout: headMsMax,
        })
  server.maxConnections = options.connectionsMax
  boundEach(server, options)
  server.on('request', (request, response) => void serve(request, response, options))
  return new Promise((resolve, reject) => {
    const denied = (error: Error): void => reject(wireError('denied', placeOf(host, port), error))
    server.once('error', denied)
    server.listen({ host, port }, () => {
      server.off('error', denied)
      server.on('error', error => options.log?.event('http/failed', { errno: errnoOf(error) ?? 'failed' }))
      const bound = server.address()
      if (bound === null || typeof bound === 'string')
        return reject(new WireError('denied', 'not a TCP address'))
      resolve({ host: bound.address, port: bound.port, close: () => close(server) })
    })
  })
}

/** 127.0.0.0/8 and ::1, as addresses: a name may mean another machine tomorrow. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[(.*)\]$/, '$1')
  return bare === '::1' || (isIP(bare) === 4 && bare.startsWith('127.'))
}

/** One client cannot take the connections of all others. */
function boundEach(server: http.Server, { connectionsEachMax, log }: HttpOptions): void {
  const each = new Map<Client, number>()
  server.on('connection', (socket: Socket) => {
    const client = clientOf(socket)
    const count = (each.get(client) ?? 0) + 1
    if (count > connectionsEachMax) {
      log?.event('http/connection-over-limit', { max: connectionsEachMax })
      socket.destroy()
      return
    }
    each.set(client, count)
    socket.once('close', () => {
      const left = (each.get(client) ?? 1) - 1
      if (left === 0) each.delete(client)
      else each.set(client, left)
    })
  })
}

async function serve(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  { bodyBytesMax, answer, log }: HttpOptions,
): Promise<void> {
  const reply = (status: number, body = new Uint8Array(0), close = false): void => {
    response.writeHead(status, {
      'content-type': 'application/octet-stream',
      'content-length': body.length,
      'cache-control': 'no-store',
      ...(close && { connection: 'close' }),
    })
    response.end(body)
  }
  request.on('error', () => undefined) // whoever leaves in the middle is simply gone
  response.on('error', () => undefined)
  try {
    if (request.method !== 'POST') return reply(405, undefined, true)
    const declared = Number(request.headers['content-length'] ?? Number.NaN)
    if (!(declared >= 0 && declared <= bodyBytesMax)) return reply(413, undefined, true)
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(Buffer.from(chunk))
    const body = new Uint8Array(Buffer.concat(chunks))
    const { status, body: answered } = await answer({
      path: request.url ?? '',
      body,
      client: clientOf(request.socket),
    })
    reply(status, new Uint8Array(answered))
  } catch (error) {
    if (!request.destroyed) log?.event('http/failed', { message: errnoOf(error) ?? 'failed' })
    if (response.headersSent) response.destroy()
    else reply(500, undefined, true)
  }
}

function clientOf(socket: Socket): Client {
  const address = (socket.remoteAddress ?? 'unknown').replace(/^::ffff:(?=\d+\.)/, '')
  if (isIP(address) !== 6) return address
  const [head = '', tail] = address.split('%')[0]?.split('::') ?? []
  const front = head === '' ? [] : head.split(':')
  const back = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - front.length - back.length
  const groups = [...front, ...Array<string>(Math.max(0, zeros)).fill('0'), ...back]
  return `${groups
    .slice(0, 4)
    .map(group => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`
}

/** What was begun is answered, then it ends: whoever is slow is cut off. */
function close(server: http.Server): Promise<void> {
  return new Promise(resolve => {
    const giveUp = setTimeout(() => server.closeAllConnections(), drainMs)
    server.close(() => {
      clearTimeout(giveUp)
      resolve()
    })
    server.closeIdleConnections()
  })
}
