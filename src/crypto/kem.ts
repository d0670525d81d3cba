import {
  createPrivateKey,
  createPublicKey,
  decapsulate,
  diffieHellman,
  encapsulate,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto'
import { concat } from '../bytes/bytes.ts'
import { Secret } from './secret.ts'

/** The other end's key share is unusable: wrong length, not a valid key, or a low-order point. */
export class KemError extends Error {
  override readonly name = 'KemError'
}

/** A key encapsulation mechanism. The shared secret is `sharedBytes` long and goes through a KDF before use. */
export type Kem = {
  readonly name: string
  readonly publicBytes: number
  readonly ciphertextBytes: number
  readonly sharedBytes: number
  generate(): KemKeyPair
  readonly seedBytes: number
  /** The pair of fresh random bytes, for a key that may outlive its process. They stay the caller's to wipe. */
  fromSeed(seed: Secret): KemKeyPair
  /** @throws KemError */
  encapsulate(publicKey: Uint8Array): { readonly ciphertext: Uint8Array; readonly shared: Secret }
  /**
   * ML-KEM rejects implicitly (FIPS 203 section 6.3): a wrong ciphertext gives another secret, not an error, so
   * success here authenticates nobody.
   * @throws KemError
   */
  decapsulate(pair: KemKeyPair, ciphertext: Uint8Array): Secret
}

/** Opaque: the private halves stay inside OpenSSL and are dropped with this object. */
export type KemKeyPair = { readonly publicKey: Uint8Array; readonly parts: readonly KeyObject[] }

const mlkemPublicBytes = 1568
const mlkemCiphertextBytes = 1568
const mlkemSeedBytes = 64
const x25519Bytes = 32
const publicBytes = mlkemPublicBytes + x25519Bytes
const ciphertextBytes = mlkemCiphertextBytes + x25519Bytes

/**
 * ML-KEM-1024 (FIPS 203) with X25519 (RFC 7748), the ML-KEM part first everywhere, as in X25519MLKEM768:
 * public key ek(1568) || u(32), ciphertext ct(1568) || u(32), shared secret ss(32) || dh(32).
 */
export const mlkem1024x25519: Kem = {
  name: 'ML-KEM-1024 + X25519',
  publicBytes,
  ciphertextBytes,
  sharedBytes: 64,
  generate() {
    const lattice = generateKeyPairSync('ml-kem-1024')
    const curve = generateKeyPairSync('x25519')
    return {
      publicKey: concat(rawPublic(lattice.publicKey), rawPublic(curve.publicKey)),
      parts: [lattice.privateKey, curve.privateKey],
    }
  },
  seedBytes: mlkemSeedBytes + x25519Bytes,
  fromSeed(seed) {
    return mlkem1024x25519FromSeeds(
      seed.bytes.subarray(0, mlkemSeedBytes),
      seed.bytes.subarray(mlkemSeedBytes),
    )
  },
  encapsulate(publicKey) {
    if (publicKey.length !== publicBytes) throw new KemError('key share has the wrong length')
    const lattice = importPublic('ml-kem-1024', publicKey.subarray(0, mlkemPublicBytes))
    const peerCurve = importPublic('x25519', publicKey.subarray(mlkemPublicBytes))
    const curve = generateKeyPairSync('x25519')
    const agreed = agree(curve.privateKey, peerCurve)
    const { sharedKey, ciphertext } = encapsulate(lattice)
    return {
      ciphertext: concat(ciphertext, rawPublic(curve.publicKey)),
      shared: join(sharedKey, agreed),
    }
  },
  decapsulate(pair, ciphertext) {
    const [lattice, curve] = pair.parts
    if (lattice === undefined || curve === undefined) throw new TypeError('key pair of another KEM')
    if (ciphertext.length !== ciphertextBytes) throw new KemError('key share has the wrong length')
    const peerCurve = importPublic('x25519', ciphertext.subarray(mlkemCiphertextBytes))
    // The curve first: it may refuse, and then no other secret is left behind.
    const agreed = agree(curve, peerCurve)
    return join(decapsulate(lattice, ciphertext.subarray(0, mlkemCiphertextBytes)), agreed)
  },
}

/**
 * The pair of an ML-KEM seed (d || z, 64 bytes) and an X25519 scalar (32 bytes), for a key that outlives its process.
 * The seeds stay the caller's to wipe. @throws on any other length
 */
export function mlkem1024x25519FromSeeds(latticeSeed: Uint8Array, scalar: Uint8Array): KemKeyPair {
  const lattice = importPrivate('ml-kem-1024', 'raw-seed', latticeSeed)
  const curve = importPrivate('x25519', 'raw-private', scalar)
  const publicKey = concat(rawPublic(createPublicKey(lattice)), rawPublic(createPublicKey(curve)))
  return { publicKey, parts: [lattice, curve] }
}

function rawPublic(key: KeyObject): Uint8Array {
  return key.export({ format: 'raw-public' })
}

function importPrivate(
  asymmetricKeyType: 'ml-kem-1024' | 'x25519',
  format: 'raw-seed' | 'raw-private',
  bytes: Uint8Array,
): KeyObject {
  const key = Buffer.from(bytes)
  try {
    return createPrivateKey({ key, format, asymmetricKeyType })
  } finally {
    key.fill(0)
  }
}

function importPublic(asymmetricKeyType: 'ml-kem-1024' | 'x25519', bytes: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(bytes), format: 'raw-public', asymmetricKeyType })
  } catch (cause) {
    throw new KemError('key share is not a valid key', { cause })
  }
}

function agree(privateKey: KeyObject, publicKey: KeyObject): Buffer {
  try {
    return diffieHellman({ privateKey, publicKey })
  } catch (cause) {
    // OpenSSL refuses the all-zero result of a low-order point (RFC 7748 section 6.1).
    throw new KemError('key share is a low-order point', { cause })
  }
}

function join(first: Buffer, second: Buffer): Secret {
  const shared = new Secret(concat(first, second))
  first.fill(0)
  second.fill(0)
  return shared
}
