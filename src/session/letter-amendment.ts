import { BytesError } from '../bytes/bytes.ts'
import { asBytes, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { type Amendment, decodeAmendment, encodeAmendment } from '../mark/amendment.ts'
import { signAs, verifyFrom } from '../signature/hybrid.ts'
import type { Identity } from '../signature/identity.ts'
import type { OwnIdentity } from './own-identity.ts'

/** Amendments of letter sessions (docs/spec/letter.md, section 6), signed by the home whose session it is. */
export const letterAmendmentPrefix = '/pawl/letter-amendment/'
const purpose = 'pawl v1 letter amendment'

export async function signLetterAmendment(amendment: Amendment, own: OwnIdentity): Promise<Uint8Array> {
  const bytes = encodeAmendment(amendment)
  const signature = await signAs(own.keys, own.identity.current, purpose, bytes)
  return encodeCbor({ format: 1, amendment: bytes, signature })
}

/** The amendment, and whether that identity signed it. @throws BytesError */
export async function openLetterAmendment(
  payload: Uint8Array,
  identity: Identity,
): Promise<{ readonly amendment: Amendment; readonly isSigned: boolean }> {
  const map = decodeCborMap(payload, ['format', 'amendment', 'signature'])
  if (map.format !== 1) throw new BytesError('amendment record of an unknown format')
  const bytes = asBytes(map.amendment)
  const isSigned = await verifyFrom(identity.current, purpose, bytes, asBytes(map.signature))
  return { amendment: decodeAmendment(bytes), isSigned }
}
