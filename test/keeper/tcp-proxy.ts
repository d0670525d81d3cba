import type { AddressInfo } from 'node:net'
import net from 'node:net'

/** What befalls the next bytes that a client sends: they are lost, or their answer is; the connection ends with it. */
export type Mishap = 'request lost' | 'answer lost'

/** Shared by proxies in front of one server, or of the members of one cluster. */
export type Weather = { isAway: boolean; readonly mishaps: Mishap[] }

const answerLostAfterMs = 150

/** Between client and server on loopback; `weather` says what goes wrong. */
export async function startProxy(target: number, weather: Weather): Promise<{ port: number; close(): void }> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer(client => {
    if (weather.isAway) {
      client.destroy()
      return
    }
    const upstream = net.connect(target, '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    let isMute = false
    client.on('data', bytes => {
      const mishap = weather.isAway ? 'request lost' : weather.mishaps.shift()
      if (mishap === 'request lost') {
        client.destroy()
        return
      }
      if (mishap === 'answer lost') {
        isMute = true
        setTimeout(() => client.destroy(), answerLostAfterMs)
      }
      upstream.write(bytes)
    })
    upstream.on('data', bytes => {
      if (!isMute) client.write(bytes)
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return {
    port: portOf(server),
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

function portOf(server: net.Server): number {
  const address: AddressInfo | string | null = server.address()
  if (address === null || typeof address === 'string') throw new Error('not listening')
  return address.port
}

/** Ports that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => net.createServer())
  for (const server of servers) await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const ports = servers.map(portOf)
  for (const server of servers) await new Promise(resolve => server.close(resolve))
  return ports
}
