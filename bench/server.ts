import { once } from 'node:events'
import tls from 'node:tls'
import { openCorrespondent } from '../src/mailbox/courier.ts'
import { keepFreedMemory } from '../src/node/memory.ts'
import { listen } from '../src/node/tcp.ts'
import { Connection } from '../src/session/connection.ts'
import { openIdentity } from '../src/session/own-identity.ts'
import { findPeer } from '../src/session/peers.ts'
import { openHome } from '../src/state/home.ts'
import type { Certificate } from './certificate.ts'
import { type Link, ownCpu, socketLink, tlsOptions } from './ends.ts'
import { world } from './homes.ts'

// The server of the channel's benches, a process of its own. A connection begins with eight bytes: how many are to be
// taken, and answered with one byte; with none, everything is sent back.
keepFreedMemory()
const [kind, home = ''] = process.argv.slice(2)
if (kind === 'pawl') await servePawl()
else await serveTls()
process.on('message', () => process.send?.(ownCpu()))
process.on('disconnect', () => process.exit())

async function servePawl(): Promise<void> {
  const store = await openHome(world, home)
  const endpoint = { ...world, store, own: await openIdentity(store), log: { event: () => {} } }
  const { party } = await openCorrespondent(endpoint, await findPeer(store, 'client'), 'server')
  const serve = async (wire: Parameters<typeof Connection.accept>[1]) => {
    const connection = await Connection.accept(endpoint, wire, () => party)
    await answer({
      send: bytes => connection.send(bytes),
      async receive() {
        const plaintext = await connection.receive()
        if (plaintext === undefined) throw new Error('the end')
        return plaintext
      },
      close: () => connection.close(0),
    })
  }
  const listener = await listen('127.0.0.1', 0, wire => void serve(wire).catch(() => {}))
  process.send?.(listener.port)
}

async function serveTls(): Promise<void> {
  const [{ own, peer }] = (await once(process, 'message')) as [{ own: Certificate; peer: Certificate }]
  const options = { ...tlsOptions, ...own, ca: peer.cert, requestCert: true }
  const server = tls.createServer(options, socket => {
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.write('!')
    void answer(socketLink(socket)).catch(() => {})
  })
  server.listen(0, '127.0.0.1', () => {
    const address = server.address()
    if (address !== null && typeof address === 'object') process.send?.(address.port)
  })
}

async function answer(link: Link): Promise<void> {
  const first = Buffer.from(await link.receive())
  let left = Number(first.readBigUInt64BE())
  left -= first.length - 8
  if (left <= 0 && first.readBigUInt64BE() === 0n) for (;;) await link.send(await link.receive())
  while (left > 0) left -= (await link.receive()).length
  await link.send(Uint8Array.of(1))
}
