import { BytesError, fromHex, hex } from '../bytes/bytes.ts'
import { asBytes, asCount, asText, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import type { Mark } from '../mark/mark.ts'
import type { OwnRecord } from '../state/fsck/records.ts'
import { ownPrefix } from '../state/path.ts'

/** docs/spec/witness.md, "Record": the mark of another store, whose key it takes to move it, and who brought it. */
export type HeldMark = { readonly mark: Mark; readonly ed25519: Uint8Array; readonly client: string }

export const heldPrefix = `${ownPrefix}witness/`

export function heldPath(domain: Uint8Array): string {
  return heldPrefix + hex(domain)
}

export function encodeHeld({ mark, ed25519, client }: HeldMark): Uint8Array {
  return encodeCbor({ format: 1, ed25519, number: mark.number, head: mark.head, client })
}

/** @throws BytesError */
export function decodeHeld(path: string, bytes: Uint8Array): HeldMark {
  const map = decodeCborMap(bytes, ['format', 'ed25519', 'number', 'head', 'client'])
  if (map.format !== 1) throw new BytesError('held mark: unknown format')
  const domain = fromHex(path.slice(heldPrefix.length))
  if (!path.startsWith(heldPrefix) || domain.length !== 32) throw new BytesError('held mark: not of a store')
  return {
    mark: { domain, number: asCount(map.number), head: Uint8Array.from(asBytes(map.head, 32)) },
    ed25519: Uint8Array.from(asBytes(map.ed25519, 32)),
    client: asText(map.client),
  }
}

/** What `pawl state fsck` reads of it. */
export const witnessRecords: readonly OwnRecord[] = [{ prefix: heldPrefix, check: decodeHeld }]
