import { strict as assert } from 'node:assert'
import type { Socket } from 'node:net'
import { type Wire, WireError, type WireFault } from '../host/wire.ts'
import { errnoOf } from './errno.ts'

/** Received and not yet read; beyond it the peer has to wait. Two reads of the socket, 64 KiB each, may go over it. */
export const unreadBytesMax = 256 * 1024

/** After `close`, how long a peer may neither take nor send anything before the connection is dropped. */
export const closingMsMax = 5_000

const probeAfterMs = 30_000

// As long as the kernel takes all at once, writes never wait; then timers and other wires must still get their turn.
const burstBytesMax = 1024 * 1024
const writeCostBytes = 4096

export function wireError(code: WireFault, doing: string, cause: unknown): WireError {
  const why = errnoOf(cause) ?? (cause instanceof Error ? cause.message : 'failed')
  return new WireError(code, `${doing}: ${why}`, { cause })
}

type Reader = {
  readonly resolve: (bytes: Uint8Array | undefined) => void
  readonly reject: (error: Error) => void
}

/**
 * A connected socket (made with `allowHalfOpen`) as a `Wire`. A write resolves once the kernel has the bytes; until
 * then they are on loan. What arrived before the end, or before a break, is read first. After `close` the other
 * direction still reads to its end. An end proves nothing: anyone on the way can send one, and libuv before 1.52
 * takes a reset that meets a paused reader for one.
 */
export class SocketWire implements Wire {
  readonly remote: string
  readonly #socket: Socket
  readonly #closingMs: number
  readonly #unread: Uint8Array[] = []
  readonly #isTcp: boolean
  #unreadBytes = 0
  #burstBytes = 0
  #reader: Reader | undefined
  #ended = false
  #fault: WireError | undefined

  constructor(socket: Socket, closingMs = closingMsMax) {
    this.#socket = socket
    this.#closingMs = closingMs
    this.#isTcp = socket.remoteAddress !== undefined
    this.remote = this.#isTcp
      ? placeOf(socket.remoteAddress ?? 'unknown', socket.remotePort ?? 0)
      : 'its socket'
    socket.setNoDelay(true)
    socket.setKeepAlive(true, probeAfterMs) // a peer that lost its power says nothing
    socket.on('data', chunk => this.#arrived(chunk))
    socket.on('end', () => this.#finished())
    socket.on('error', error => this.#broken(wireError('lost', this.remote, error)))
    socket.on('close', () => this.#broken(new WireError('lost', `${this.remote}: connection dropped`)))
  }

  write(...parts: readonly Uint8Array[]): Promise<void> {
    if (this.#socket.writableEnded) return Promise.reject(new WireError('lost', `${this.remote}: closed`))
    const last = parts.at(-1)
    if (last === undefined) return Promise.resolve()
    return new Promise((resolve, reject) => {
      // One call of the system for all of them.
      this.#socket.cork()
      for (const part of parts.slice(0, -1)) this.#socket.write(part)
      this.#socket.write(last, error => {
        if (error) reject(this.#fault ?? wireError('lost', this.remote, error))
        else if (this.#mayGoOn(bytesOf(parts))) resolve()
        else setImmediate(resolve)
      })
      this.#socket.uncork()
    })
  }

  read(): Promise<Uint8Array | undefined> {
    assert(this.#reader === undefined, 'one reader at a time')
    const next = this.#unread.shift()
    if (next !== undefined) {
      this.#unreadBytes -= next.length
      if (this.#unreadBytes < unreadBytesMax && this.#socket.isPaused()) this.#socket.resume()
      return Promise.resolve(next)
    }
    if (this.#ended) return Promise.resolve(undefined)
    if (this.#fault !== undefined) return Promise.reject(this.#fault)
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject }
    })
  }

  close(): void {
    if (this.#socket.writableEnded) return
    this.#socket.setTimeout(this.#closingMs, () => this.abort())
    this.#socket.end()
  }

  abort(): void {
    const { writableEnded, writableFinished, writableLength } = this.#socket
    const isShuttingDown = writableEnded && !writableFinished && writableLength === 0
    // A reset, since the peer must not take a part for the whole. While the end itself is being sent nothing is
    // missing, and Node cannot reset: it would lose the handle, which then spins. A Unix socket knows no reset.
    if (isShuttingDown || !this.#isTcp) this.#socket.destroy()
    else this.#socket.resetAndDestroy()
  }

  #mayGoOn(written: number): boolean {
    this.#burstBytes += written + writeCostBytes
    if (this.#burstBytes < burstBytesMax) return true
    this.#burstBytes = 0
    return false
  }

  #arrived(chunk: Uint8Array): void {
    // Not the Buffer itself: its `slice` shares memory where that of a Uint8Array copies.
    const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length)
    const reader = this.#reader
    if (reader !== undefined) {
      this.#reader = undefined
      reader.resolve(bytes)
      return
    }
    this.#unread.push(bytes)
    this.#unreadBytes += bytes.length
    if (this.#unreadBytes >= unreadBytesMax) this.#socket.pause()
  }

  #finished(): void {
    this.#ended = true
    this.#reader?.resolve(undefined)
    this.#reader = undefined
  }

  #broken(fault: WireError): void {
    this.#fault ??= fault
    if (this.#ended) return
    this.#reader?.reject(this.#fault)
    this.#reader = undefined
  }
}

function bytesOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0)
}

/** `127.0.0.1:9000`, `[::1]:9000`. */
export function placeOf(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
