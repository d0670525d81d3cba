/** As much of a TPM as the keeper asks of one, whose power can be cut and whose state can be set. */
import { createHash, createHmac } from 'node:crypto'
import type { TpmLink } from '../../src/node/tpm-link.ts'

const written = 0x2000_0000
const mask = 255

export class FakeTpm {
  counter = 0
  resets = 1
  ms = 1_000_000
  #area: Buffer | undefined
  #auth = Buffer.alloc(0)
  #nonce = Buffer.alloc(0)
  /** Called before each command is done, and after. */
  watch: (when: 'before' | 'after', code: number) => void = () => undefined

  link = async (): Promise<TpmLink> => ({
    exchange: async command => {
      const bytes = Buffer.from(command)
      const code = bytes.readUInt32BE(6)
      this.watch('before', code)
      const answer = this.#do(bytes, code)
      this.watch('after', code)
      return new Uint8Array(answer)
    },
    close: async () => undefined,
  })

  /** Without a shutdown: the counter is where it surely was not before. */
  cutPower(): void {
    this.counter |= mask
    this.resets++
  }

  #do(command: Buffer, code: number): Buffer {
    switch (code) {
      case 0x12a: {
        if (this.#area !== undefined) return refusal(0x14c)
        const auth = command.subarray(10 + 4 + 4 + 9)
        const length = auth.readUInt16BE(0)
        this.#auth = Buffer.from(auth.subarray(2, 2 + length))
        this.#area = Buffer.from(auth.subarray(2 + length + 2))
        return response(0x8002, Buffer.alloc(4))
      }
      case 0x169: {
        const area = this.#area
        if (area === undefined) return refusal(0x18b)
        return response(0x8001, sized(area), sized(this.#name(area)))
      }
      case 0x176:
        this.#nonce = Buffer.alloc(32, this.counter + 1)
        return response(0x8001, u32(0x0200_0000), sized(this.#nonce))
      case 0x165:
        return response(0x8001)
      case 0x17a:
        return response(0x8001, Buffer.from([0]), u32(6), u32(1), u32(0x11d), u32(mask))
      case 0x181:
        return response(0x8001, u64(this.ms), u64(this.ms), u32(this.resets), u32(0), Buffer.from([1]))
      case 0x134:
      case 0x14e:
        return this.#authorised(command, code)
      default:
        return refusal(0x143)
    }
  }

  #authorised(command: Buffer, code: number): Buffer {
    const area = this.#area
    if (area === undefined) return refusal(0x18b)
    const session = command.subarray(22, 22 + command.readUInt32BE(18))
    const nonceCaller = session.subarray(6, 38)
    const parameters = command.subarray(22 + session.length)
    const name = this.#name(area)
    const asked = sha256(u32(code), name, name, parameters)
    const good = hmac(this.#auth, asked, nonceCaller, this.#nonce, session.subarray(38, 39))
    if (!good.equals(session.subarray(41))) return refusal(0x98e)
    if (code === 0x134) {
      this.counter++
      area.writeUInt32BE((area.readUInt32BE(6) | written) >>> 0, 6)
    }
    const answer = code === 0x134 ? Buffer.alloc(0) : sized(u64(this.counter))
    const nonce = Buffer.alloc(32, 9)
    const shown = hmac(this.#auth, sha256(u32(0), u32(code), answer), nonce, nonceCaller, Buffer.alloc(1))
    return response(0x8002, u32(answer.length), answer, sized(nonce), Buffer.alloc(1), sized(shown))
  }

  #name(area: Buffer): Buffer {
    return Buffer.concat([Buffer.from([0, 0x0b]), sha256(area)])
  }
}

function response(tag: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const head = Buffer.alloc(10)
  head.writeUInt16BE(tag, 0)
  head.writeUInt32BE(10 + body.length, 2)
  return Buffer.concat([head, body])
}

function refusal(rc: number): Buffer {
  const head = Buffer.from('80010000000a00000000', 'hex')
  head.writeUInt32BE(rc, 6)
  return head
}

function sha256(...parts: Buffer[]): Buffer {
  return createHash('sha256').update(Buffer.concat(parts)).digest()
}

function hmac(key: Buffer, ...parts: Buffer[]): Buffer {
  return createHmac('sha256', key).update(Buffer.concat(parts)).digest()
}

function sized(bytes: Buffer): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(bytes.length)
  return Buffer.concat([length, bytes])
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}
