import { createCipheriv, createDecipheriv, webcrypto } from 'node:crypto'
import { concat } from '../bytes/bytes.ts'
import { sha256 } from './hash.ts'
import { Secret } from './secret.ts'

/** Sealing did not verify: wrong key, nonce, associated data or ciphertext. Says no more than that. */
export class SealError extends Error {
  override readonly name = 'SealError'

  constructor() {
    super('authentication failed')
  }
}

/** An AEAD with 32-byte keys, 12-byte nonces and 16-byte tags behind the ciphertext. */
export type Aead = {
  readonly name: 'AES-256-GCM' | 'ChaCha20-Poly1305'
  readonly tagBytes: 16
  seal(key: Secret, nonce: Uint8Array, associated: Uint8Array, plaintext: Uint8Array): Uint8Array
  /** The same in two parts, the ciphertext and its tag, for who need not have them in one place. */
  sealParts(
    key: Secret,
    nonce: Uint8Array,
    associated: Uint8Array,
    plaintext: Uint8Array,
  ): readonly [Uint8Array, Uint8Array]
  /** @throws SealError */
  open(key: Secret, nonce: Uint8Array, associated: Uint8Array, sealed: Uint8Array): Uint8Array
}

export const aes256gcm: Aead = aead('AES-256-GCM', 'aes-256-gcm')

/**
 * Opens a sealed secret with WebCrypto: `createDecipheriv` was measured to leave half of what it opened in freed
 * memory, `subtle.decrypt` left nothing. Asynchronous, so only for keys, not for traffic.
 * @throws SealError
 */
export async function openSecret(
  key: Secret,
  nonce: Uint8Array,
  associated: Uint8Array,
  sealed: Uint8Array,
): Promise<Secret> {
  const { subtle } = webcrypto
  requireNonce(nonce)
  const raw = exact(key.bytes)
  const handle = await subtle.importKey('raw', raw, 'AES-GCM', false, ['decrypt']).finally(() => raw.fill(0))
  try {
    const parameters = { name: 'AES-GCM', iv: exact(nonce), additionalData: exact(associated) }
    return new Secret(new Uint8Array(await subtle.decrypt(parameters, handle, exact(sealed))))
  } catch {
    throw new SealError()
  }
}

/** What the nonce recorder is told of each sealing: a fingerprint of the key, never the key. */
export type Sealing = { readonly keyFingerprint: Uint8Array; readonly nonce: Uint8Array }

let recorder: ((sealing: Sealing) => void) | undefined

/** Test hook: hears of every sealing in this process. Installed only through the gate in `node/hooks.ts`. */
export function recordSealings(record: ((sealing: Sealing) => void) | undefined): void {
  recorder = record
}

function aead(name: Aead['name'], cipherName: 'aes-256-gcm'): Aead {
  return {
    name,
    tagBytes: 16,
    seal(key, nonce, associated, plaintext) {
      return Buffer.concat(this.sealParts(key, nonce, associated, plaintext))
    },
    sealParts(key, nonce, associated, plaintext) {
      requireNonce(nonce)
      recorder?.({ keyFingerprint: sha256(concat(fingerprintLabel, key.bytes)).subarray(0, 16), nonce })
      const cipher = createCipheriv(cipherName, key.bytes, nonce)
      cipher.setAAD(associated)
      const body = cipher.update(plaintext)
      cipher.final()
      return [body, cipher.getAuthTag()]
    },
    open(key, nonce, associated, sealed) {
      requireNonce(nonce)
      if (sealed.length < 16) throw new SealError()
      const split = sealed.length - 16
      const decipher = createDecipheriv(cipherName, key.bytes, nonce, { authTagLength: 16 })
      decipher.setAAD(associated)
      decipher.setAuthTag(sealed.subarray(split))
      const plaintext = decipher.update(sealed.subarray(0, split))
      try {
        decipher.final()
      } catch {
        plaintext.fill(0)
        throw new SealError()
      }
      return plaintext
    },
  }
}

/** GCM would hash a nonce of any other length into one that could meet another's. */
function requireNonce(nonce: Uint8Array): void {
  if (nonce.length !== 12) throw new TypeError('a nonce is 12 bytes')
}

const fingerprintLabel = new TextEncoder().encode('pawl v1 key fingerprint')

/** WebCrypto's types want a view over a plain ArrayBuffer. */
function exact(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes)
}
