/**
 * Block devices served over the NBD protocol (fixed newstyle, simple replies), on Unix sockets. What is written to
 * them goes into one log in the order in which it came, with the flushes: from the log every image can be made that
 * a power cut may leave. Two devices of one log lose their power at the same moment.
 */
import fs from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'

export const sectorBytes = 512

export type Entry =
  | { readonly kind: 'write'; readonly device: number; readonly offset: number; readonly bytes: Buffer }
  | { readonly kind: 'flush'; readonly device: number }

/** What a device is asked: an errno that it answers with instead of doing it, or nothing. */
export type Fault = (kind: Entry['kind'], device: number) => number | undefined

export class Devices {
  readonly log: Entry[] = []
  readonly #live: Buffer[] = []
  readonly #servers: Server[] = []
  readonly #sockets = new Set<Socket>()
  fault: Fault = () => undefined

  /** Serves what the file holds, from memory. Answers with the number of the device. */
  async serve(image: string, socket: string): Promise<number> {
    const device = this.#live.length
    this.#live.push(fs.readFileSync(image))
    const server = createServer(peer => {
      this.#sockets.add(peer)
      peer.on('error', () => peer.destroy())
      peer.on('close', () => this.#sockets.delete(peer))
      this.#speak(peer, device).catch(error => {
        if (!(error instanceof Ended)) throw error
        peer.destroy()
      })
    })
    this.#servers.push(server)
    await new Promise<void>((resolve, reject) => {
      server.on('error', reject)
      server.listen(socket, resolve)
    })
    return device
  }

  close(): void {
    for (const server of this.#servers) server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  async #speak(peer: Socket, device: number): Promise<void> {
    const inlet = new Inlet(peer)
    const greeting = Buffer.alloc(18)
    greeting.write('NBDMAGICIHAVEOPT', 'latin1')
    greeting.writeUInt16BE(3, 16) // fixed newstyle, no zeroes
    peer.write(greeting)
    await inlet.bytes(4)
    if (!(await this.#agree(peer, inlet, device))) return
    await this.#transmit(peer, inlet, device)
  }

  /** Options until the client is served; false if it only asked. */
  async #agree(peer: Socket, inlet: Inlet, device: number): Promise<boolean> {
    const size = this.#live[device]?.length ?? 0
    const flags = 1 | 4 // flushes are understood; nothing else is offered, so that all is seen as writes and flushes
    for (;;) {
      const head = await inlet.bytes(16)
      const option = head.readUInt32BE(8)
      await inlet.bytes(head.readUInt32BE(12))
      if (option === 1) {
        const answer = Buffer.alloc(10)
        answer.writeBigUInt64BE(BigInt(size), 0)
        answer.writeUInt16BE(flags, 8)
        peer.write(answer)
        return true
      }
      if (option === 6 || option === 7) {
        const info = Buffer.alloc(12)
        info.writeBigUInt64BE(BigInt(size), 2)
        info.writeUInt16BE(flags, 10)
        peer.write(optionReply(option, 3, info))
        peer.write(optionReply(option, 1))
        if (option === 7) return true
      } else if (option === 2) {
        peer.end(optionReply(option, 1))
        return false
      } else peer.write(optionReply(option, 0x8000_0001))
    }
  }

  async #transmit(peer: Socket, inlet: Inlet, device: number): Promise<void> {
    const live = this.#live[device]
    if (live === undefined) throw new TypeError('no such device')
    for (;;) {
      const head = await inlet.bytes(28)
      const kind = head.readUInt16BE(6)
      const offset = Number(head.readBigUInt64BE(16))
      const length = head.readUInt32BE(24)
      const reply = Buffer.alloc(16)
      reply.writeUInt32BE(0x6744_6698, 0)
      head.copy(reply, 8, 8, 16)
      if (kind === 0) {
        peer.write(reply)
        peer.write(Buffer.from(live.subarray(offset, offset + length)))
      } else if (kind === 1) {
        const bytes = await inlet.bytes(length)
        const failure = this.fault('write', device)
        if (failure === undefined) {
          bytes.copy(live, offset)
          this.log.push({ kind: 'write', device, offset, bytes })
        } else reply.writeUInt32BE(failure, 4)
        peer.write(reply)
      } else if (kind === 3) {
        const failure = this.fault('flush', device)
        if (failure === undefined) this.log.push({ kind: 'flush', device })
        else reply.writeUInt32BE(failure, 4)
        peer.write(reply)
      } else if (kind === 2) {
        peer.end()
        return
      } else {
        reply.writeUInt32BE(22, 4) // EINVAL
        peer.write(reply)
      }
    }
  }
}

function optionReply(option: number, kind: number, body: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(20)
  head.writeBigUInt64BE(0x3_e889_0455_65a9n, 0)
  head.writeUInt32BE(option, 8)
  head.writeUInt32BE(kind, 12)
  head.writeUInt32BE(body.length, 16)
  return Buffer.concat([head, body])
}

class Ended extends Error {}

/** A socket read by lengths. */
class Inlet {
  #held: Buffer = Buffer.alloc(0)
  readonly #chunks: AsyncIterator<Buffer>

  constructor(socket: Socket) {
    this.#chunks = socket[Symbol.asyncIterator]()
  }

  async bytes(length: number): Promise<Buffer> {
    const parts = [this.#held]
    let have = this.#held.length
    while (have < length) {
      const next = await this.#chunks.next().catch(() => ({ done: true, value: undefined }))
      if (next.done || next.value === undefined) throw new Ended('the client is gone')
      parts.push(next.value)
      have += next.value.length
    }
    const all = Buffer.concat(parts)
    this.#held = all.subarray(length)
    return all.subarray(0, length)
  }
}
