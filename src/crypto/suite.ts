import { type Aead, aes256gcm } from './aead.ts'
import { hkdfSha512, type Kdf } from './kdf.ts'
import { type Kem, mlkem1024x25519 } from './kem.ts'

/**
 * A suite fixes KEM, KDF and AEAD under one id; there is no negotiation of single parts (C4). Which signatures an
 * identity owes is said by its record, not here.
 */
export type Suite = {
  readonly id: number
  readonly name: string
  readonly kem: Kem
  readonly kdf: Kdf
  readonly aead: Aead
}

/** Every suite this build speaks, best first. */
export const suites = [
  {
    id: 0x0101,
    name: 'ML-KEM-1024 + X25519, HKDF-SHA-512, AES-256-GCM',
    kem: mlkem1024x25519,
    kdf: hkdfSha512,
    aead: aes256gcm,
  },
] as const satisfies readonly Suite[]
