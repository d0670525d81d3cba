import { BytesError, equal } from '../bytes/bytes.ts'
import { asBytes, asText, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { sha256 } from '../crypto/hash.ts'
import { StateError } from './error.ts'

/** docs/spec/home.md: what a home says of itself outside its journal, where to look for everything else. */
export type HomeFile = { readonly storeId: Uint8Array; readonly anchor: string }

export const homeFileName = 'home.cbor'

export function encodeHomeFile(file: HomeFile): Uint8Array {
  const map = { format: 1, store: file.storeId, anchor: file.anchor }
  return encodeCbor({ ...map, check: sha256(encodeCbor(map)) })
}

/** @throws StateError EINTEGRITY */
export function decodeHomeFile(bytes: Uint8Array): HomeFile {
  try {
    return decode(bytes)
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    throw new StateError('EINTEGRITY', `${homeFileName} is damaged: ${error.message}`, { cause: error })
  }
}

function decode(bytes: Uint8Array): HomeFile {
  const { check, ...map } = decodeCborMap(bytes, ['format', 'store', 'anchor', 'check'])
  if (!equal(asBytes(check, 32), sha256(encodeCbor(map))))
    throw new StateError('EINTEGRITY', `${homeFileName} is damaged`)
  if (map.format !== 1) throw new StateError('EINTEGRITY', `${homeFileName} is of an unknown format`)
  return { storeId: asBytes(map.store, 32), anchor: asText(map.anchor) }
}
