import { concat, utf8 } from '../bytes/bytes.ts'
import { SignatureError } from './error.ts'
import type { IdentityKeys } from './keys.ts'
import { algorithms, type IdentityRecord, type KeyName, owed } from './record.ts'

/**
 * Signs `payload` for one purpose with every algorithm that the record owes. The signature is the owed parts one
 * after another, Ed25519 (64 bytes) before ML-DSA-87 (4627), and nothing else: classical 64, hybrid 4691, pqc 4627.
 * Both sign `purposeMessage(purpose, payload)`; ML-DSA-87 has the purpose as its context too (FIPS 204 5.2).
 * @throws SignatureError EKEY when the keys are not those of the record
 */
export async function signAs(
  keys: IdentityKeys,
  record: IdentityRecord,
  purpose: string,
  payload: Uint8Array,
): Promise<Uint8Array> {
  const message = purposeMessage(purpose, payload)
  if (!keys.belongTo(record)) throw new SignatureError('EKEY', 'the private keys are not those of the record')
  const parts = owed[record.owes].map(name =>
    algorithms[name].sign(keys.seed(name), message, context(name, purpose)),
  )
  return concat(...(await Promise.all(parts)))
}

/**
 * Whether every signature that the record owes is there, is for this purpose and payload, and is good: AND, never
 * OR. A blob of any other length is refused before a key is used. Says no, and never throws, on bad signatures.
 */
export async function verifyFrom(
  record: IdentityRecord,
  purpose: string,
  payload: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  const message = purposeMessage(purpose, payload)
  if (signature.length !== signatureBytes(record)) return false
  let offset = 0
  const verdicts = owed[record.owes].map(name => {
    const { signatureBytes, verify } = algorithms[name]
    const part = signature.subarray(offset, offset + signatureBytes)
    offset += signatureBytes
    const publicKey = record[name]
    return publicKey !== undefined && verify(publicKey, message, context(name, purpose), part)
  })
  return (await Promise.all(verdicts)).every(good => good === true)
}

/** The exact length of a signature under this record. */
export function signatureBytes(record: IdentityRecord): number {
  return owed[record.owes].reduce((sum, name) => sum + algorithms[name].signatureBytes, 0)
}

/**
 * What is signed: 64 spaces, the purpose, a zero byte, the payload (the shape of RFC 8446 section 4.4.3). A purpose
 * has no zero byte in it, so no two (purpose, payload) give the same bytes.
 * @throws TypeError on a purpose that is not 1 to 255 printable ASCII characters: a mistake of the caller's
 */
export function purposeMessage(purpose: string, payload: Uint8Array): Uint8Array {
  if (!/^[\x20-\x7e]{1,255}$/.test(purpose)) throw new TypeError('a purpose is 1 to 255 printable characters')
  return concat(padding, utf8(purpose), Uint8Array.of(0), payload)
}

const padding = new Uint8Array(64).fill(0x20)
const none = new Uint8Array(0)

function context(name: KeyName, purpose: string): Uint8Array {
  return name === 'mldsa87' ? utf8(purpose) : none
}
