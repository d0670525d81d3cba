/** Sessions that outlive their process, and whom they are with (docs/guides/library.md). */
export { Connection, type Endpoint, type Party } from './connection.ts'
export { type SessionCode, SessionError } from './error.ts'
export type { LetterEndpoint, LetterOptions, LetterPoint } from './letter-endpoint.ts'
export { type LetterSession, openLetters } from './letters.ts'
export { firstIdentity, type OwnIdentity, openIdentity, readIdentity } from './own-identity.ts'
export { addPeer, findPeer, listPeers, type Peer, removePeer } from './peers.ts'
