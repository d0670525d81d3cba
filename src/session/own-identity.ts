import { asArray, asBytes, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import type { Secret } from '../crypto/secret.ts'
import { type Identity, IdentityKeys, newIdentity, parseIdentity } from '../signature/identity.ts'

/** The identity of a home: its chain of records, and the keys of the newest (docs/spec/session.md). */
export type OwnIdentity = { readonly identity: Identity; readonly keys: IdentityKeys }

export const chainPath = '/pawl/identity/chain'
export const keysPath = '/pawl/identity/keys'

/** What a new home's first group holds of its identity. */
export function firstIdentity(): {
  readonly identity: Identity
  readonly records: readonly {
    readonly path: string
    readonly payload: Uint8Array
    readonly purpose: string
  }[]
} {
  const { identity, keys } = newIdentity('hybrid')
  const chain = encodeCbor({ format: 1, records: identity.records })
  return {
    identity,
    records: [
      { path: chainPath, payload: chain, purpose: 'identity' },
      { path: keysPath, payload: keys.encode().bytes, purpose: 'identity' },
    ],
  }
}

type Records = {
  get(path: string): Promise<{ readonly payload: Uint8Array }>
  getSecret(path: string): Promise<Secret>
}

/** Public half: enough to name this home. @throws BytesError, SignatureError, StateError */
export async function readIdentity(records: Records): Promise<Identity> {
  const map = decodeCborMap((await records.get(chainPath)).payload, ['format', 'records'])
  return parseIdentity(asArray(map.records).map(record => asBytes(record)))
}

export async function openIdentity(records: Records): Promise<OwnIdentity> {
  const identity = await readIdentity(records)
  using blob = await records.getSecret(keysPath)
  return { identity, keys: IdentityKeys.decode(blob, identity.current) }
}
