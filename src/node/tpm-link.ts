import fs from 'node:fs'
import type { Wire } from '../host/wire.ts'
import { WireError } from '../host/wire.ts'
import { settled } from './file.ts'
import { connect } from './tcp.ts'
import { wireError } from './wire.ts'

/** A TPM within reach: one command, then its response. */
export type TpmLink = {
  /** @throws WireError `lost`: it may have been done; also when it took longer than `ms` */
  exchange(command: Uint8Array, ms: number): Promise<Uint8Array>
  close(): Promise<void>
}

const responseBytesMax = 4096
const headerBytes = 10

/** A software TPM, as `swtpm socket --server type=tcp` is one. It serves one connection at a time. @throws WireError */
export async function connectTpm(host: string, port: number, ms: number): Promise<TpmLink> {
  const wire = await connect(host, port, { timeoutMs: ms })
  return {
    async exchange(command, timeoutMs) {
      const timer = setTimeout(() => wire.abort(), timeoutMs)
      try {
        await wire.write(command)
        return await whole(wire.remote, () => wire.read())
      } finally {
        clearTimeout(timer)
      }
    },
    async close() {
      wire.close()
      await ended(wire).catch(() => undefined)
    },
  }
}

/** Nothing more is to come; until the other end has hung up too, it serves nobody else. */
async function ended(wire: Wire): Promise<void> {
  while ((await wire.read()) !== undefined);
}

/** A device of the kernel: `/dev/tpmrm0`, which others may use beside it. @throws WireError */
export async function openTpmDevice(path: string): Promise<TpmLink> {
  const { O_RDWR, O_NOCTTY, O_NOFOLLOW } = fs.constants
  const opening = settled<number>('open', path, done => fs.open(path, O_RDWR | O_NOCTTY | O_NOFOLLOW, done))
  const fd = await opening.catch(error => {
    throw wireError('unreachable', path, error)
  })
  const isDevice = fs.fstatSync(fd).isCharacterDevice()
  if (!isDevice) {
    fs.closeSync(fd)
    throw new WireError('unreachable', `${path} is no device`)
  }
  let working: Promise<unknown> = Promise.resolve()
  return {
    async exchange(command, timeoutMs) {
      const work = exchangeWith(fd, path, command)
      working = work.catch(() => undefined)
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(
          () => reject(new WireError('lost', `${path}: no answer in ${timeoutMs} ms`)),
          timeoutMs,
        )
      })
      return await Promise.race([work, late]).finally(() => clearTimeout(timer))
    },
    async close() {
      // The kernel may still be at it: the descriptor is given back when it is done, and nobody waits for that.
      void working.then(() => fs.close(fd, () => undefined))
    },
  }
}

async function exchangeWith(fd: number, path: string, command: Uint8Array): Promise<Uint8Array> {
  try {
    const written = await settled<number>('write', path, done => fs.write(fd, command, done))
    if (written !== command.length) throw new WireError('lost', `${path}: took half a command`)
    return await whole(path, async () => {
      const bytes = new Uint8Array(responseBytesMax)
      const length = await settled<number>('read', path, done =>
        fs.read(fd, bytes, 0, bytes.length, null, done),
      )
      return length === 0 ? undefined : bytes.subarray(0, length)
    })
  } catch (error) {
    throw error instanceof WireError ? error : wireError('lost', path, error)
  }
}

/** As many bytes as the header says; a device gives all at once, a socket as they come. */
async function whole(place: string, read: () => Promise<Uint8Array | undefined>): Promise<Uint8Array> {
  let response = new Uint8Array(0)
  for (;;) {
    if (response.length >= headerBytes) {
      const size = new DataView(response.buffer, response.byteOffset).getUint32(2)
      if (size > responseBytesMax || size < headerBytes || response.length > size)
        throw new WireError('lost', `${place}: what came is no response of a TPM`)
      if (response.length === size) return response
    }
    const more = await read()
    if (more === undefined) throw new WireError('lost', `${place}: the response ended early`)
    response = new Uint8Array(Buffer.concat([response, more]))
  }
}
