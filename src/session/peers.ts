import { BytesError, base64url, equal } from '../bytes/bytes.ts'
import { asArray, asBytes, asText, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import type { Identity } from '../signature/identity.ts'
import { StateError } from '../state/error.ts'
import type { Store } from '../state/store.ts'

/**
 * A peer as this home knows it: a name of our own, the identity it is pinned to, and the newest chain of records it
 * has shown. The chain only goes forward: it is the mark of an identity, kept in our store.
 */
export type Peer = { readonly name: string; readonly id: Uint8Array; readonly records: readonly Uint8Array[] }

export const peerPrefix = '/pawl/peer/'
/** What a peer whose name was removed had shown: nobody is new who was here before. */
export const formerPrefix = '/pawl/former/'
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

type Records = {
  list(prefix: string): string[]
  get(path: string): Promise<{ readonly payload: Uint8Array }>
}

export async function listPeers(records: Records): Promise<Peer[]> {
  return Promise.all(
    records.list(peerPrefix).map(async path => decodePeer((await records.get(path)).payload)),
  )
}

/** @throws StateError ENOENT, naming the command that adds one */
export async function findPeer(records: Records, name: string): Promise<Peer> {
  for (const peer of await listPeers(records)) if (peer.name === name) return peer
  throw new StateError('ENOENT', `no peer ${name}; add it with: pawl peer add ${name} IDENTITY`)
}

/** Whether the name is still pinned to that identity. */
export async function isPinned(records: Pick<Store, 'has' | 'get'>, { name, id }: Peer): Promise<boolean> {
  const path = peerPrefix + name
  return records.has(path) && equal(decodePeer((await records.get(path)).payload).id, id)
}

/** @throws StateError EINVAL on a bad or taken name, or an identity that is another peer's or our own */
export async function addPeer(store: Store, ownId: Uint8Array, name: string, id: Uint8Array): Promise<void> {
  if (!namePattern.test(name))
    throw new StateError(
      'EINVAL',
      `a peer's name is 1 to 64 of A-Z a-z 0-9 . _ -, not ${JSON.stringify(name)}`,
    )
  if (equal(ownId, id)) throw new StateError('EINVAL', 'this is the identity of this home itself')
  for (const peer of await listPeers(store)) {
    if (peer.name === name && equal(peer.id, id)) return
    if (peer.name === name)
      throw new StateError('EINVAL', `${name} is pinned to another identity; remove it first`)
    if (equal(peer.id, id)) throw new StateError('EINVAL', `this identity is already known as ${peer.name}`)
  }
  const former = formerPath(id)
  const put = (records: readonly Uint8Array[]) => ({
    put: peerPrefix + name,
    payload: encodePeer({ name, id, records }),
  })
  if (!store.has(former)) await store.commit([put([])])
  else await store.commit([put(decodeFormer((await store.get(former)).payload)), { delete: former }])
}

/**
 * Forgets the name. What was exchanged with the identity is kept, and so is the newest chain it has shown: added again
 * it goes on where it was.
 */
export async function removePeer(store: Store, name: string): Promise<void> {
  const { id, records } = await findPeer(store, name)
  const payload = encodeCbor({ format: 1, records })
  await store.commit([
    { delete: peerPrefix + name },
    ...(records.length > 0 ? [{ put: formerPath(id), payload }] : []),
  ])
}

function formerPath(id: Uint8Array): string {
  return formerPrefix + base64url(id)
}

/** @throws BytesError */
export function decodeFormer(bytes: Uint8Array): readonly Uint8Array[] {
  const map = decodeCborMap(bytes, ['format', 'records'])
  if (map.format !== 1) throw new BytesError('former peer of an unknown format')
  return asArray(map.records).map(record => asBytes(record))
}

/**
 * Holds what a peer shows now against what it has shown before.
 * 'older' covers a shorter chain and one that differs where both have records: it was turned back, or forked.
 */
export function judgeIdentity(peer: Peer, shown: Identity): 'same' | 'newer' | 'older' | 'another' {
  if (!equal(peer.id, shown.id)) return 'another'
  const agrees = peer.records.every((record, i) => {
    const other = shown.records[i]
    return other !== undefined && equal(record, other)
  })
  if (!agrees) return 'older'
  return shown.records.length > peer.records.length ? 'newer' : 'same'
}

export async function rememberIdentity(
  store: Pick<Store, 'commit'>,
  peer: Peer,
  shown: Identity,
): Promise<Peer> {
  const next = { ...peer, records: shown.records }
  await store.commit([{ put: peerPrefix + peer.name, payload: encodePeer(next) }])
  return next
}

function encodePeer(peer: Peer): Uint8Array {
  return encodeCbor({ format: 1, ...peer })
}

/** @throws BytesError */
export function decodePeer(bytes: Uint8Array): Peer {
  const map = decodeCborMap(bytes, ['format', 'name', 'id', 'records'])
  if (map.format !== 1) throw new BytesError('peer record of an unknown format')
  return {
    name: asText(map.name),
    id: asBytes(map.id, 32),
    records: asArray(map.records).map(record => asBytes(record)),
  }
}
