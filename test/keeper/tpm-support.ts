import { expandLabel, hkdfSha256 } from '../../src/crypto/kdf.ts'
import { Secret } from '../../src/crypto/secret.ts'
import { ed25519 } from '../../src/crypto/signature.ts'
import type { Clock } from '../../src/host/clock.ts'
import { WireError } from '../../src/host/wire.ts'
import { TpmKeeper } from '../../src/keeper/tpm.ts'
import { realClock } from '../../src/node/clock.ts'
import { realDisk } from '../../src/node/disk.ts'
import { connectTpm, type TpmLink } from '../../src/node/tpm-link.ts'
import { entropy, storeId } from './support.ts'

/** What befalls the next increment. */
export type Mishap = 'answer lost' | 'request lost'

export type TpmOptions = {
  readonly boundMs?: number
  readonly mishaps?: Mishap[]
  readonly clock?: Clock
  readonly seed?: number
  readonly domain?: Uint8Array
  readonly link?: (ms: number) => Promise<TpmLink>
}

export const incrementCode = 0x134

export function codeOf(command: Uint8Array): number {
  return Buffer.from(command).readUInt32BE(6)
}

export async function tpmKeeper(anchor: string, port: number, options: TpmOptions = {}): Promise<TpmKeeper> {
  const { boundMs = 5_000, mishaps = [], clock = realClock, domain = storeId } = options
  const seed = new Secret(new Uint8Array(32).fill(options.seed ?? 7))
  const link = options.link ?? ((ms: number) => connectTpm('127.0.0.1', port, ms))
  const unreliable = async (ms: number): Promise<TpmLink> => {
    const { exchange, close } = await link(ms)
    return {
      async exchange(command, ms) {
        const mishap = codeOf(command) === incrementCode ? mishaps.shift() : undefined
        if (mishap === 'request lost') throw new WireError('lost', 'cut')
        const response = await exchange(command, ms)
        if (mishap === 'answer lost') throw new WireError('lost', 'cut')
        return response
      },
      close,
    }
  }
  return new TpmKeeper(
    {
      place: `127.0.0.1:${port}`,
      domain,
      signer: { publicKey: ed25519.publicKey(seed), seed },
      idParts: { mldsa87: new Uint8Array(2592), nonce: new Uint8Array(32) },
      clock,
      entropy,
      disk: realDisk,
      anchor,
      boundMs,
    },
    unreliable,
  )
}

/** What is in the newest slot, read by other means. */
export function pinIn(file: Uint8Array): {
  readonly index: number
  readonly pin: number
  readonly tight: boolean
} {
  const slots = [0, 4096].map(offset => {
    const slot = Buffer.from(file).subarray(offset, offset + 4096)
    return { index: slot.readUInt32BE(80), pin: slot.readUIntBE(86, 6), tight: slot[104] === 1 }
  })
  const [first, second] = slots
  if (first === undefined || second === undefined) throw new Error('two slots')
  return second.pin >= first.pin ? second : first
}

/** As the store's counter is asked for, by hand. */
export function counterOf(index: number, name: Uint8Array, seedByte = 7) {
  using seed = new Secret(new Uint8Array(32).fill(seedByte))
  const auth = Uint8Array.from(expandLabel(hkdfSha256, seed, 'tpm counter', new Uint8Array(0), 32).bytes)
  return { index, name, auth, nonce: () => entropy.bytes(32) }
}
