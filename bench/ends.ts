import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import tls from 'node:tls'
import type { Wire } from '../src/host/wire.ts'
import { openCorrespondent } from '../src/mailbox/courier.ts'
import { connect } from '../src/node/tcp.ts'
import { Connection } from '../src/session/connection.ts'
import { openIdentity, readIdentity } from '../src/session/own-identity.ts'
import { addPeer, findPeer } from '../src/session/peers.ts'
import { openHome } from '../src/state/home.ts'
import { type Certificate, makeCertificate } from './certificate.ts'
import { makeHome, withStore, world } from './homes.ts'

/**
 * The two ends of the channel's benches, a process each: this one, and `server.ts`. Pawl between two homes, or TLS 1.3
 * with the nearest that it has: X25519MLKEM768, AES-256-GCM, an ML-DSA-87 leaf at either end, no tickets.
 */
export type Link = {
  send(bytes: Uint8Array): Promise<void>
  /** What arrives next, however it was cut. */
  receive(): Promise<Uint8Array>
  close(): Promise<void>
}

export type Side = {
  /** A full mutual handshake. */
  connect(): Promise<Link>
  /** Processor seconds of both processes so far. */
  cpu(): Promise<number>
  stop(): Promise<void>
}

export const tlsOptions = {
  minVersion: 'TLSv1.3',
  ecdhCurve: 'X25519MLKEM768',
  ciphers: 'TLS_AES_256_GCM_SHA384',
  rejectUnauthorized: true,
} as const

export async function pawlSide(directory: string): Promise<Side & { wire(): Promise<Wire> }> {
  const tag = Math.random().toString(36).slice(2)
  const [mine, theirs] = [await makeHome(directory, `c-${tag}`), await makeHome(directory, `s-${tag}`)]
  const ids = await Promise.all(
    [mine, theirs].map(home => withStore(home, async store => (await readIdentity(store)).id)),
  )
  const [myId, theirId] = ids
  if (myId === undefined || theirId === undefined) throw new TypeError('two homes')
  await withStore(mine, store => addPeer(store, myId, 'server', theirId))
  await withStore(theirs, store => addPeer(store, theirId, 'client', myId))
  const server = await startServer(['pawl', theirs])
  const store = await openHome(world, mine)
  const endpoint = { ...world, store, own: await openIdentity(store), log: { event: () => {} } }
  const { party } = await openCorrespondent(endpoint, await findPeer(store, 'server'), 'client')
  const wire = () => connect('127.0.0.1', server.port, { timeoutMs: 2000 })
  return {
    wire,
    async connect() {
      const connection = await Connection.connect(endpoint, await wire(), party)
      return {
        send: bytes => connection.send(bytes),
        receive: async () => (await connection.receive()) ?? ended(),
        close: () => connection.close(0),
      }
    },
    cpu: server.cpu,
    async stop() {
      server.stop()
      await store.close()
    },
  }
}

export async function tlsSide(): Promise<Side> {
  const [mine, theirs] = [makeCertificate(), makeCertificate()]
  const server = await startServer(['tls'], { own: theirs, peer: mine })
  return {
    async connect() {
      const socket = tls.connect({
        ...{ ...tlsOptions, ...mine, ca: theirs.cert, host: '127.0.0.1', port: server.port },
        checkServerIdentity: () => undefined,
      })
      socket.setNoDelay(true)
      await once(socket, 'secureConnect')
      // The server has refused nobody once it is heard: in TLS 1.3 only then does a client know that it was accepted.
      const link = socketLink(socket)
      await link.receive()
      return link
    },
    cpu: server.cpu,
    stop: async () => server.stop(),
  }
}

export function socketLink(socket: tls.TLSSocket): Link {
  return {
    send: bytes =>
      new Promise((resolve, reject) => {
        socket.write(bytes, error => (error ? reject(error) : resolve()))
      }),
    async receive() {
      for (;;) {
        const chunk: Buffer | null = socket.read()
        if (chunk !== null) return chunk
        await once(socket, 'readable')
      }
    },
    async close() {
      const closed = once(socket, 'close')
      socket.on('error', () => {})
      socket.end()
      socket.resume()
      await closed
    },
  }
}

function ended(): never {
  throw new Error('the connection ended')
}

async function startServer(
  parameters: readonly string[],
  certificates?: { readonly own: Certificate; readonly peer: Certificate },
) {
  const child: ChildProcess = fork(new URL('./server.ts', import.meta.url), parameters)
  if (certificates !== undefined) child.send(certificates)
  const [port] = (await once(child, 'message')) as [number]
  return {
    port,
    async cpu() {
      child.send('cpu')
      const [theirs] = (await once(child, 'message')) as [number]
      return theirs + ownCpu()
    },
    stop: () => child.disconnect(),
  }
}

/** Processor seconds of this process. */
export function ownCpu(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}
