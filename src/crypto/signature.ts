import {
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  randomBytes,
  sign as signWithKey,
  verify as verifyWithKey,
} from 'node:crypto'
import { hex } from '../bytes/bytes.ts'
import { Secret } from './secret.ts'

/** One signature algorithm. Private keys are seeds; verification never throws on bad input, it says no. */
export type SignatureAlgorithm = {
  readonly name: 'Ed25519' | 'ML-DSA-87'
  readonly seedBytes: 32
  readonly publicBytes: number
  readonly signatureBytes: number
  publicKey(seed: Secret): Uint8Array
  sign(seed: Secret, message: Uint8Array, context: Uint8Array): Promise<Uint8Array>
  verify(
    publicKey: Uint8Array,
    message: Uint8Array,
    context: Uint8Array,
    signature: Uint8Array,
  ): Promise<boolean>
}

/** RFC 8032. It has no context of its own: `context` must be empty, the message carries its separation. */
export const ed25519: SignatureAlgorithm = algorithm('Ed25519', 'ed25519', 32, 64)

/** FIPS 204, category 5, pure (not pre-hashed), hedged, with its context string. */
export const mldsa87: SignatureAlgorithm = algorithm('ML-DSA-87', 'ml-dsa-87', 2592, 4627)

/** FIPS 204 section 5.2: a longer context signs nothing and verifies nothing. */
const contextBytesMax = 255

export function newSeed(): Secret {
  return new Secret(randomBytes(32))
}

function algorithm(
  name: SignatureAlgorithm['name'],
  asymmetricKeyType: 'ed25519' | 'ml-dsa-87',
  publicBytes: number,
  signatureBytes: number,
): SignatureAlgorithm {
  const format = asymmetricKeyType === 'ed25519' ? 'raw-private' : 'raw-seed'
  const importSeed = (seed: Secret): KeyObject => {
    if (seed.length !== 32) throw new TypeError(`a seed of ${name} is 32 bytes`)
    const key = Buffer.from(seed.bytes.buffer, seed.bytes.byteOffset, 32)
    return createPrivateKey({ key, format, asymmetricKeyType })
  }
  const options = (key: KeyObject, context: Uint8Array) => {
    if (asymmetricKeyType === 'ml-dsa-87') return { key, context }
    if (context.length !== 0) throw new TypeError('Ed25519 takes no context')
    return { key }
  }
  return {
    name,
    seedBytes: 32,
    publicBytes,
    signatureBytes,
    publicKey: seed => createPublicKey(importSeed(seed)).export({ format: 'raw-public' }),
    // Through the thread pool: an ML-DSA-87 signature takes about a millisecond.
    sign: (seed, message, context) =>
      new Promise((resolve, reject) => {
        signWithKey(null, message, options(importSeed(seed), context), (error, signature) =>
          error ? reject(error) : resolve(signature),
        )
      }),
    verify: (publicKey, message, context, signature) =>
      new Promise((resolve, reject) => {
        if (publicKey.length !== publicBytes || signature.length !== signatureBytes) return resolve(false)
        if (context.length > contextBytesMax) return resolve(false)
        if (asymmetricKeyType === 'ed25519' && hasSmallOrder(publicKey)) return resolve(false)
        let key: KeyObject
        try {
          key = createPublicKey({ key: Buffer.from(publicKey), format: 'raw-public', asymmetricKeyType })
        } catch {
          return resolve(false)
        }
        verifyWithKey(null, message, options(key, context), signature, (error, good) =>
          error ? reject(error) : resolve(good),
        )
      }),
  }
}

/**
 * Public keys of small order, under which one signature fits any message: y of each such point, the sign bit cleared,
 * as written canonically and not (p = 2^255 - 19, so p and p + 1 stand for 0 and 1). Newer OpenSSL refuses them
 * itself, OpenSSL 3.5.5 does not refuse all.
 */
const smallOrderY: readonly string[] = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]

function hasSmallOrder(publicKey: Uint8Array): boolean {
  const y = Uint8Array.from(publicKey)
  y[31] = (y[31] ?? 0) & 0x7f
  return smallOrderY.includes(hex(y))
}
