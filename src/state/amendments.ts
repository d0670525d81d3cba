import { BytesError, equal } from '../bytes/bytes.ts'
import { asBytes, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { type Amendment, decodeAmendment, encodeAmendment } from '../mark/amendment.ts'
import type { IdentityKeys } from '../signature/identity.ts'
import { StateError } from './error.ts'
import { ownPrefix } from './path.ts'
import {
  decodeSigner,
  isSignedByStore,
  type Signer,
  signerPath,
  signForStore,
  storeIdOf,
  storeSignatureBytes,
} from './signer.ts'

/** docs/spec/backup.md, "Amendment": the records in which a store went on although the rule said no. */
export const amendmentPrefix = `${ownPrefix}amendment/`
const purpose = 'pawl v1 amendment'

/** `number` is first 1. */
export function amendmentPath(number: number): string {
  return `${amendmentPrefix}${number}`
}

/** `undefined` for what is no such path. */
export function amendmentNumber(path: string): number | undefined {
  const digits = path.startsWith(amendmentPrefix) ? path.slice(amendmentPrefix.length) : ''
  const number = /^[1-9]\d{0,14}$/.test(digits) ? Number(digits) : 0
  return number > 0 ? number : undefined
}

/** The payload of its record, signed. */
export async function signAmendment(
  amendment: Amendment,
  signer: Signer,
  keys: IdentityKeys,
): Promise<Uint8Array> {
  const bytes = encodeAmendment(amendment)
  const signature = await signForStore(keys, signer, purpose, bytes)
  return encodeCbor({ format: 1, amendment: bytes, signature })
}

/** @throws BytesError, StateError EINTEGRITY if it is of another store, or not signed by this one */
export async function openAmendment(payload: Uint8Array, signer: Signer): Promise<Amendment> {
  const map = decodeCborMap(payload, ['format', 'amendment', 'signature'])
  if (map.format !== 1) throw new BytesError('amendment record of an unknown format')
  const bytes = asBytes(map.amendment)
  const amendment = decodeAmendment(bytes)
  if (!equal(amendment.adopted.domain, storeIdOf(signer)))
    throw new StateError('EINTEGRITY', 'the amendment is of another store')
  if (!(await isSignedByStore(signer, purpose, bytes, asBytes(map.signature, storeSignatureBytes))))
    throw new StateError('EINTEGRITY', 'the amendment is not signed by its store')
  return amendment
}

/** Whether an amendment went on from what that group says: what came after it was given up. */
export async function wentOnFrom(records: Records, generation: number): Promise<boolean> {
  // A change of keeper goes on from the newest state there is.
  const newest = (await amendments(records)).findLast(({ amendment }) => amendment.reason !== 'keeper-change')
  return newest !== undefined && generation <= newest.amendment.adopted.number
}

type Records = {
  list(prefix: string): readonly string[]
  get(path: string): Promise<{ readonly payload: Uint8Array }>
}

/** Every amendment of a store, oldest first. @throws StateError EINTEGRITY, BytesError */
export async function amendments(
  records: Records,
): Promise<{ readonly number: number; readonly amendment: Amendment }[]> {
  const found: { readonly number: number; readonly amendment: Amendment }[] = []
  const paths = records.list(amendmentPrefix)
  if (paths.length === 0) return found
  const signer = decodeSigner((await records.get(signerPath)).payload)
  for (const path of paths) {
    const number = amendmentNumber(path)
    if (number === undefined) throw new StateError('EINTEGRITY', `no place for an amendment: ${path}`)
    found.push({ number, amendment: await openAmendment((await records.get(path)).payload, signer) })
  }
  return found.sort((a, b) => a.number - b.number)
}
