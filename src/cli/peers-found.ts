import { base64url } from '../bytes/bytes.ts'
import { claimOf, fingerprint, isOpen, ownAmendment } from '../mailbox/amended.ts'
import { decodePosition as decodeReceived } from '../mailbox/inbox.ts'
import { type LostThen, listLost } from '../mailbox/lost.ts'
import { decodePosition as decodeSent } from '../mailbox/outbox.ts'
import { type Refusal, refusalBy } from '../mailbox/refusal.ts'
import { listPeers } from '../session/peers.ts'
import { describeLost } from './lost-words.ts'

/** Where a home stands with one peer, by what it has. */
export type PeerFound = {
  readonly name: string
  /** How many messages were numbered for it, how many of these it acknowledged, and how many of its own are accepted. */
  readonly sent: number
  readonly acknowledged: number
  readonly received: number
  readonly lost: readonly LostThen[]
  /** The amendment by which it went on, while it waits for a word of this end's user. */
  readonly waits: string | undefined
  /** The two did not agree when they met last. */
  readonly refused: Refusal | undefined
}

type Records = Parameters<typeof listLost>[0] & Parameters<typeof listPeers>[0]

/** @throws StateError, BytesError: a record that does not open, or decode */
export async function peersFound(records: Records): Promise<PeerFound[]> {
  return Promise.all(
    (await listPeers(records)).map(async ({ name, id }) => {
      const at = async (what: 'in' | 'out') => {
        const path = `/pawl/mailbox/${base64url(id)}/${what}`
        return records.list(path).includes(path) ? (await records.get(path)).payload : undefined
      }
      const [out, into] = [await at('out'), await at('in')]
      const sent = out && decodeSent(out)
      const claim = await claimOf(records, id)
      return {
        name,
        sent: (sent?.sending.next ?? 1) - 1,
        acknowledged: (sent?.acknowledged.next ?? 1) - 1,
        received: (into === undefined ? 1 : decodeReceived(into).next) - 1,
        lost: await listLost(records, id),
        waits: claim !== undefined && isOpen(claim) ? fingerprint(claim.claimed) : undefined,
        refused: await refusalBy(records, id),
      }
    }),
  )
}

/** By which this home went on, as its peers see it. */
export async function amendmentShown(records: Records): Promise<string | undefined> {
  const own = await ownAmendment(records)
  return own && fingerprint(own)
}

/** Of a home that opens: a peer has seen more of it than it has, or may have, and only an amendment goes on from there. */
export function contradicts({ refused }: PeerFound): boolean {
  return refused?.reason === 'I was turned back' || refused?.reason === 'one of the two was turned back'
}

export function describeRefused({ name, refused }: PeerFound): string | undefined {
  if (refused === undefined) return undefined
  const reason = refused.reason.replace('I was', 'this home was').replace('the peer', name)
  return `it and this home refused each other, ${new Date(refused.at).toISOString()}: ${reason}`
}

export function describeLostThen(name: string, lost: LostThen): string {
  return `${describeLost(name, lost)}; on record since ${new Date(lost.at).toISOString()}`
}
