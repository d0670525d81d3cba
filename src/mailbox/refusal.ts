import { BytesError, base64url } from '../bytes/bytes.ts'
import { asText, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { SessionError } from '../session/error.ts'
import type { Change } from '../state/change.ts'
import { refusedPrefix } from '../state/path.ts'
import type { Store } from '../state/store.ts'
import { MailboxError } from './error.ts'

/** What this end knows of why the two do not agree; it is in the audit trail as it stands here. */
export const refusalReasons = [
  'I was turned back',
  'the peer was turned back',
  'the peer went on by an amendment that is not allowed here',
  'the peer does not state the amendment that was allowed here',
  'one of the two was turned back',
] as const
export type RefusalReason = (typeof refusalReasons)[number]

/** A session that either end refused last, at a time in milliseconds since 1970; none once the two have met again. */
export type Refusal = { readonly reason: RefusalReason; readonly at: number }

type Records = {
  list(prefix: string): string[]
  get(path: string): Promise<{ readonly payload: Uint8Array; readonly envelope: { readonly at: number } }>
}

/** Why one of two ends that have proved who they are has refused the other; `undefined` for any other trouble. */
export function refusalOf(error: unknown): RefusalReason | undefined {
  if (error instanceof MailboxError)
    return error.code === 'ROLLBACK' ? 'one of the two was turned back' : undefined
  if (!(error instanceof SessionError && error.code === 'session/ROLLBACK' && error.trusted)) return undefined
  return refusalReasons.find(reason => reason === error.verdict) ?? 'one of the two was turned back'
}

/** @throws BytesError */
export async function refusalBy(records: Records, peer: Uint8Array): Promise<Refusal | undefined> {
  const path = refusalPath(peer)
  if (!records.list(path).includes(path)) return undefined
  const { payload, envelope } = await records.get(path)
  return { reason: decodeRefusal(payload), at: envelope.at }
}

/** Each refusal is told to the audit trail; `name` is whose it is, for people. */
export async function keepRefusal(
  store: Store,
  peer: Uint8Array,
  { reason, name }: { readonly reason: RefusalReason; readonly name: string },
): Promise<void> {
  const put = { put: refusalPath(peer), payload: encodeCbor({ format: 1, reason }) }
  await store.commit([put], { by: { subject: name, reason: () => reason } })
}

/** The two have met again. */
export function forgetRefusal(store: Store, peer: Uint8Array): Change[] {
  const path = refusalPath(peer)
  return store.has(path) ? [{ delete: path }] : []
}

/** @throws BytesError */
export function decodeRefusal(bytes: Uint8Array): RefusalReason {
  const map = decodeCborMap(bytes, ['format', 'reason'])
  const text = asText(map.reason)
  const reason = refusalReasons.find(known => known === text)
  if (map.format !== 1 || reason === undefined) throw new BytesError('refusal of an unknown format')
  return reason
}

function refusalPath(peer: Uint8Array): string {
  return refusedPrefix + base64url(peer)
}
