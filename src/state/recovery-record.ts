import { BytesError } from '../bytes/bytes.ts'
import { asBytes, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import type { Entropy } from '../host/entropy.ts'
import { ownPrefix } from './path.ts'

/**
 * That the store went on from where it was, or from a backup, and what this is called: 32 random bytes, new each time, by
 * which peers know it. docs/spec/recovery.md, "What peers are told".
 */
export const recoveryPath = `${ownPrefix}recovery`

export function newRecovery(entropy: Entropy): Uint8Array {
  return encodeCbor({ format: 1, id: entropy.bytes(32) })
}

/** The id. @throws BytesError */
export function decodeRecovery(bytes: Uint8Array): Uint8Array {
  const map = decodeCborMap(bytes, ['format', 'id'])
  if (map.format !== 1) throw new BytesError('recovery of an unknown format')
  return asBytes(map.id, 32)
}
