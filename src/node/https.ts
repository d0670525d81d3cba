import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { WireError } from '../host/wire.ts'
import { settled } from './file.ts'
import { wireError } from './wire.ts'

/** PEM: who signs the other end's certificate, and nobody else may; and who we are. */
export type Credentials = { readonly ca: Uint8Array; readonly cert?: Uint8Array; readonly key?: Uint8Array }

/** Whoever the authorities that Node knows sign for. */
export const publicAuthorities = 'public authorities'

export type Answer = { readonly status: number; readonly body: Uint8Array }

const answerBytesMax = 64 * 1024

/** @throws DiskError */
export async function readCredentials(files: {
  readonly ca: string
  readonly cert: string | undefined
  readonly key: string | undefined
}): Promise<Credentials> {
  const read = (path: string) => settled<Uint8Array>('read', path, done => fs.readFile(path, done))
  const ca = await read(files.ca)
  if (files.cert === undefined || files.key === undefined) return { ca }
  return { ca, cert: await read(files.cert), key: await read(files.key) }
}

/** Requests over HTTP or, with credentials, HTTPS, on connections that are kept. */
export class HttpClient {
  readonly #agent: http.Agent
  readonly #request: typeof http.request

  constructor(credentials: Credentials | typeof publicAuthorities | undefined) {
    const kept = { keepAlive: true, maxSockets: 4 }
    const { agent, request } =
      credentials === undefined
        ? { agent: new http.Agent(kept), request: http.request }
        : { agent: new https.Agent({ ...kept, ...tls(credentials) }), request: https.request }
    this.#agent = agent
    this.#request = request
  }

  /**
   * Posts a JSON text, or bytes. No redirect is followed, and an answer is at most 64 KiB.
   * @throws WireError `lost`, also when all of it has not come within `ms`: it may have been received and done
   */
  post(url: URL, content: string | Uint8Array, ms: number): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => request.destroy(new WireError('lost', `${url.host}: no answer in ${Math.round(ms)} ms`)),
        ms,
      )
      const fail = (error: Error) => {
        clearTimeout(timer)
        reject(error instanceof WireError ? error : wireError('lost', url.host, error))
      }
      const type = typeof content === 'string' ? 'application/json' : 'application/octet-stream'
      const headers = { 'content-type': type, 'content-length': Buffer.byteLength(content) }
      const options = { method: 'POST', agent: this.#agent, headers }
      const request = this.#request(url, options, response => {
        const parts: Uint8Array[] = []
        let bytes = 0
        response.on('data', (part: Buffer) => {
          bytes += part.length
          if (bytes > answerBytesMax)
            request.destroy(new WireError('lost', `${url.host}: an answer too long`))
          else parts.push(part)
        })
        response.on('error', fail)
        response.on('end', () => {
          clearTimeout(timer)
          if (!response.complete) fail(new WireError('lost', `${url.host}: half an answer`))
          else resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts) })
        })
      })
      request.on('error', fail)
      request.end(content)
    })
  }

  close(): void {
    this.#agent.destroy()
  }
}

function tls(credentials: Credentials | typeof publicAuthorities) {
  return credentials === publicAuthorities ? { minVersion: 'TLSv1.2' as const } : pem(credentials)
}

/** What Node's TLS takes. */
export function pem({ ca, cert, key }: Credentials) {
  const own =
    cert === undefined || key === undefined ? {} : { cert: Buffer.from(cert), key: Buffer.from(key) }
  return { ca: Buffer.from(ca), ...own, minVersion: 'TLSv1.2' as const }
}
