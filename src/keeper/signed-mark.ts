import { BytesError, equal, utf8 } from '../bytes/bytes.ts'
import { asBytes, asCount, asText, type CborMap, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import type { Secret } from '../crypto/secret.ts'
import { ed25519 } from '../crypto/signature.ts'
import { type Mark, MarkError } from '../mark/mark.ts'
import { purposeMessage } from '../signature/hybrid.ts'

/** The Ed25519 half of a store's signer: the store id commits to the public key. 32 bytes each. */
export type MarkSigner = { readonly publicKey: Uint8Array; readonly seed: Secret }

/** Who may advance a mark: docs/spec/ownership.md. Each takeover has a greater term than all before it. */
export type Claim = {
  readonly term: number
  /** Names this takeover and no other; 1 to 128 bytes of UTF-8. */
  readonly owner: string
}

export function sameClaim(a: Claim | undefined, b: Claim | undefined): boolean {
  return a?.term === b?.term && a?.owner === b?.owner
}

/** A mark as an outside keeper holds it, which server it was written to, as that names itself, and who may advance it. */
export type SignedMark = {
  readonly mark: Mark
  readonly instance: string
  readonly claim?: Claim | undefined
}

/** Bytes of what a keeper may hold. */
export const signedMarkBytesMax = 512

const purpose = 'pawl v1 kept mark'

/** docs/spec/keepers.md, "Value". The same mark and instance give the same bytes. */
export async function signMark(
  { mark, instance, claim }: SignedMark,
  signer: MarkSigner,
): Promise<Uint8Array> {
  const fields = fieldsOf(mark, instance, claim)
  const signature = await ed25519.sign(signer.seed, messageOf(fields), noContext)
  const value = encodeCbor({ ...fields, signature })
  if (value.length > signedMarkBytesMax) throw new TypeError('the server has a name that is too long')
  return value
}

/** @throws MarkError EINTEGRITY: damaged, of another store, or signed by nobody who may */
export async function openSignedMark(
  value: Uint8Array,
  domain: Uint8Array,
  publicKey: Uint8Array,
): Promise<SignedMark> {
  try {
    const { signature, ...fields } = decode(value)
    const mark = {
      domain: asBytes(fields.domain, 32),
      number: asCount(fields.number),
      head: asBytes(fields.head, 32),
    }
    if (fields.format !== 1) throw new BytesError('of an unknown format')
    if (!equal(mark.domain, domain)) throw new BytesError('of another store')
    if (!(await ed25519.verify(publicKey, messageOf(fields), noContext, asBytes(signature))))
      throw new BytesError('not signed by this store')
    const instance = asText(fields.instance)
    return hasClaim(fields) ? { mark, instance, claim: claimIn(fields) } : { mark, instance }
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    throw new MarkError('EINTEGRITY', `what the keeper holds is ${error.message}`, { cause: error })
  }
}

function decode(value: Uint8Array): CborMap {
  try {
    if (value.length > signedMarkBytesMax) throw new BytesError('too long')
    return decodeCborMap(value, [
      ...['format', 'domain', 'number', 'head', 'instance', 'signature'],
      ...['term?', 'owner?'],
    ])
  } catch (error) {
    throw error instanceof BytesError ? new BytesError(`damaged: ${error.message}`, { cause: error }) : error
  }
}

function fieldsOf({ domain, number, head }: Mark, instance: string, claim: Claim | undefined): CborMap {
  return { format: 1, domain, number, head, instance, ...claim }
}

function hasClaim({ term, owner }: CborMap): boolean {
  return term !== undefined || owner !== undefined
}

function claimIn({ term, owner }: CborMap): Claim {
  const claim = { term: asCount(term), owner: asText(owner) }
  const { length } = utf8(claim.owner)
  if (claim.term < 1 || length < 1 || length > 128) throw new BytesError('claimed by nobody')
  return claim
}

function messageOf(fields: CborMap): Uint8Array {
  return purposeMessage(purpose, encodeCbor(fields))
}

const noContext = new Uint8Array(0)
