import { utf8 } from '../bytes/bytes.ts'
import { Writer } from '../bytes/writer.ts'
import { hmacSha256, hmacSha512, sha256, sha512 } from './hash.ts'
import { Secret } from './secret.ts'

/** HKDF (RFC 5869) over one hash, and the labelled form every key of the channel is derived with. */
export type Kdf = {
  readonly name: 'HKDF-SHA-512' | 'HKDF-SHA-256'
  /** Length of the hash, of every extracted key and of every MAC. */
  readonly hashBytes: number
  hash(bytes: Uint8Array): Uint8Array
  mac(key: Secret, ...parts: readonly Uint8Array[]): Uint8Array
  extract(salt: Uint8Array, inputKey: Uint8Array): Secret
  expand(key: Secret, info: Uint8Array, length: number): Secret
}

export const hkdfSha512: Kdf = kdf('HKDF-SHA-512', 64, sha512, hmacSha512)
export const hkdfSha256: Kdf = kdf('HKDF-SHA-256', 32, sha256, hmacSha256)

/**
 * HKDF-Expand with the info layout of TLS 1.3 (RFC 8446 section 7.1) and a prefix of our own:
 * u16 length, u8 label length, "qsp1 " label, u8 context length, context.
 */
export function expandLabel(
  kdf: Kdf,
  key: Secret,
  label: string,
  context: Uint8Array,
  length: number = kdf.hashBytes,
): Secret {
  const name = utf8(`qsp1 ${label}`)
  const info = new Writer(128).u16(length).u8(name.length).bytes(name).u8(context.length).bytes(context)
  return kdf.expand(key, info.done(), length)
}

function kdf(
  name: Kdf['name'],
  hashBytes: number,
  hash: (bytes: Uint8Array) => Uint8Array,
  hmac: (key: Uint8Array, ...parts: readonly Uint8Array[]) => Uint8Array,
): Kdf {
  return {
    name,
    hashBytes,
    hash,
    mac: (key, ...parts) => hmac(key.bytes, ...parts),
    extract: (salt, inputKey) => new Secret(hmac(salt, inputKey)),
    expand(key, info, length) {
      if (length < 1 || length > 255 * hashBytes) throw new RangeError('HKDF output length')
      const out = new Uint8Array(length)
      let block: Uint8Array = new Uint8Array(0)
      for (let offset = 0, counter = 1; offset < length; offset += hashBytes, counter++) {
        const before = block
        block = hmac(key.bytes, before, info, Uint8Array.of(counter))
        before.fill(0)
        out.set(block.subarray(0, Math.min(hashBytes, length - offset)), offset)
      }
      block.fill(0)
      return new Secret(out)
    },
  }
}
