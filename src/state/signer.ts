import { BytesError, utf8 } from '../bytes/bytes.ts'
import { asBytes, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { sha256 } from '../crypto/hash.ts'
import { Secret } from '../crypto/secret.ts'
import type { Entropy } from '../host/entropy.ts'
import { signAs, verifyFrom } from '../signature/hybrid.ts'
import { IdentityKeys, type IdentityRecord } from '../signature/identity.ts'
import { ownPrefix } from './path.ts'

/**
 * The store's own signing keys, public halves (docs/spec/home.md, "Signer"). The store id is a hash of them, so who
 * knows the id can check what the store signed. 32, 2592 and 32 bytes.
 */
export type Signer = {
  readonly ed25519: Uint8Array
  readonly mldsa87: Uint8Array
  readonly nonce: Uint8Array
}

export const signerPath = `${ownPrefix}signer`
export const signerKeysPath = `${signerPath}/keys`

/** A record of group 1. */
export type FirstRecord = { readonly path: string; readonly payload: Uint8Array; readonly purpose: string }

/** What a new store is named by and signs with. The keys are the caller's to wipe. */
export function newSigner(entropy: Entropy): {
  readonly storeId: Uint8Array
  readonly signer: Signer
  readonly keys: IdentityKeys
  readonly records: readonly FirstRecord[]
} {
  const keys = IdentityKeys.generate('hybrid', () => new Secret(entropy.bytes(32)))
  const [ed25519, mldsa87] = [keys.publicKey('ed25519'), keys.publicKey('mldsa87')]
  const signer = { ed25519, mldsa87, nonce: entropy.bytes(32) }
  const purpose = 'signer'
  return {
    storeId: storeIdOf(signer),
    signer,
    keys,
    records: [
      { path: signerPath, payload: encodeSigner(signer), purpose },
      { path: signerKeysPath, payload: keys.encode().bytes, purpose },
    ],
  }
}

export function storeIdOf({ ed25519, mldsa87, nonce }: Signer): Uint8Array {
  return sha256(utf8('pawl v1 store id'), nonce, ed25519, mldsa87)
}

export function encodeSigner({ ed25519, mldsa87, nonce }: Signer): Uint8Array {
  return encodeCbor({ format: 1, ed25519, mldsa87, nonce })
}

/** @throws BytesError */
export function decodeSigner(bytes: Uint8Array): Signer {
  const map = decodeCborMap(bytes, ['format', 'ed25519', 'mldsa87', 'nonce'])
  if (map.format !== 1) throw new BytesError('signer record of an unknown format')
  return {
    ed25519: asBytes(map.ed25519, 32),
    mldsa87: asBytes(map.mldsa87, 2592),
    nonce: asBytes(map.nonce, 32),
  }
}

type Records = {
  get(path: string): Promise<{ readonly payload: Uint8Array }>
  getSecret(path: string): Promise<Secret>
}

/** The store's signer with its private keys, which the caller wipes. @throws BytesError, SignatureError, StateError */
export async function openSigner(
  records: Records,
): Promise<{ readonly signer: Signer; readonly keys: IdentityKeys }> {
  const signer = decodeSigner((await records.get(signerPath)).payload)
  using blob = await records.getSecret(signerKeysPath)
  return { signer, keys: decodeSignerKeys(blob, signer) }
}

/** The blob stays the caller's to wipe, the keys are. @throws SignatureError (they are not this signer's) */
export function decodeSignerKeys(blob: Secret, signer: Signer): IdentityKeys {
  return IdentityKeys.decode(blob, recordOf(signer))
}

/** Ed25519 (64 bytes), then ML-DSA-87 (4627), as docs/spec/identity.md has it of a hybrid record. */
export const storeSignatureBytes = 64 + 4627

/** Signs for the store, for one purpose: docs/spec/identity.md, "Signature". */
export function signForStore(
  keys: IdentityKeys,
  signer: Signer,
  purpose: string,
  payload: Uint8Array,
): Promise<Uint8Array> {
  return signAs(keys, recordOf(signer), purpose, payload)
}

/** Whether both signatures are the store's. Says no, and never throws, on bad ones. */
export function isSignedByStore(
  signer: Signer,
  purpose: string,
  payload: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  return verifyFrom(recordOf(signer), purpose, payload, signature)
}

function recordOf({ ed25519, mldsa87 }: Signer): IdentityRecord {
  return { format: 1, number: 1, previous: null, owes: 'hybrid', ed25519, mldsa87 }
}
