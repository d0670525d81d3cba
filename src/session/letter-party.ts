import { base64url } from '../bytes/bytes.ts'
import type { Identity } from '../signature/identity.ts'
import type { Store } from '../state/store.ts'
import type { OwnIdentity } from './own-identity.ts'
import { isPinned, judgeIdentity, type Peer, rememberIdentity } from './peers.ts'

/** Who is at the other end. */
export type LetterParty = {
  /** Names its records and its mark. */
  readonly key: string
  /** Whom a hello is made out to, and as whom it is taken here. */
  readonly calls: Uint8Array
  readonly calledAs: Uint8Array
  /** Whether it is still a peer of ours; without it, it is. */
  isKnown?(): Promise<boolean>
  /** Judges who has shown itself, and remembers what is new of it. */
  meet(identity: Identity): Promise<'known' | 'older' | 'another'>
}

/** A peer of the home, by the name and identity that it is pinned to. */
export function partyOf(
  { store, own }: { readonly store: Store; readonly own: OwnIdentity },
  peer: Peer,
): LetterParty {
  let known = peer
  return {
    key: base64url(peer.id),
    calls: peer.id,
    calledAs: own.identity.id,
    isKnown: () => isPinned(store, peer),
    async meet(identity) {
      const shown = judgeIdentity(known, identity)
      if (shown === 'newer') known = await rememberIdentity(store, known, identity)
      return shown === 'older' || shown === 'another' ? shown : 'known'
    },
  }
}
