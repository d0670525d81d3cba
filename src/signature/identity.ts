import { base64url, equal, fromBase64url } from '../bytes/bytes.ts'
import { sha256 } from '../crypto/hash.ts'
import { SignatureError } from './error.ts'
import { signAs, signatureBytes, verifyFrom } from './hybrid.ts'
import { IdentityKeys } from './keys.ts'
import {
  type Entry,
  encodeEntry,
  encodeRecord,
  type IdentityRecord,
  identityLimits,
  type KeyName,
  type Owes,
  parseEntry,
  parseRecord,
} from './record.ts'

export { IdentityKeys, type IdentityRecord, identityLimits, type Owes }

/** A chain of records whose structure and links hold. Whether its signatures do, `verifyIdentity` says. */
export type Identity = {
  /** SHA-256 of the first record: what peers pin, and what `pawl1:` prints. */
  readonly id: Uint8Array
  /** Every record as it travels, first to newest. */
  readonly records: readonly Uint8Array[]
  readonly current: IdentityRecord
  readonly number: number
}

/** The purpose under which a record signs its successor (docs/spec/identity.md). */
export const successionPurpose = 'pawl v1 identity succession'

/**
 * Parses what a peer sent: every record from the first to the newest. Checks form, hash links, numbers, and that
 * `owes` only goes forward; not the signatures.
 * @throws SignatureError EINVAL, E2BIG
 */
export function parseIdentity(records: readonly Uint8Array[]): Identity {
  const chain = parseChain(records)
  const [first] = chain
  const newest = chain.at(-1)
  if (first === undefined || newest === undefined)
    throw new SignatureError('EINVAL', 'an identity has a record')
  return {
    id: sha256(first.entry.record),
    records: records.map(record => Uint8Array.from(record)),
    current: newest.record,
    number: newest.record.number,
  }
}

/**
 * Whether each later record is signed by the one before it, with all that the earlier one owes. The entries are
 * parsed again, so that the answer is about the bytes and nothing else.
 * @throws SignatureError when the entries are no identity, or not this one
 */
export async function verifyIdentity(identity: Identity): Promise<boolean> {
  const chain = parseChain(identity.records)
  if (!describes(identity, chain))
    throw new SignatureError('EINVAL', 'an identity that its records contradict')
  const verdicts = chain.slice(1).map(({ entry }, i) => {
    const signer = chain[i]?.record
    return signer && entry.signature && verifyFrom(signer, successionPurpose, entry.record, entry.signature)
  })
  return (await Promise.all(verdicts)).every(good => good === true)
}

/** A new identity with its first record, and the private keys of that record. */
export function newIdentity(owes: Owes): { readonly identity: Identity; readonly keys: IdentityKeys } {
  const keys = IdentityKeys.generate(owes)
  const record = encodeRecord(recordOf(keys, 1, null))
  return { identity: parseIdentity([encodeEntry({ record, signature: null })]), keys }
}

/**
 * The identity with one more record: new keys, or more modern ones, signed by the keys of its newest record.
 * @throws SignatureError EINVAL when `owes` would go back, E2BIG past the last record, EKEY on others' keys
 */
export async function succeed(identity: Identity, keys: IdentityKeys, next: IdentityKeys): Promise<Identity> {
  const newest = parseChain(identity.records).at(-1)
  if (newest === undefined) throw new SignatureError('EINVAL', 'an identity has a record')
  if (newest.record.number >= identityLimits.recordsMax)
    throw new SignatureError('E2BIG', `an identity has at most ${identityLimits.recordsMax} records`)
  if (!isForward(newest.record.owes, next.owes))
    throw new SignatureError(
      'EINVAL',
      `an identity that owes ${newest.record.owes} cannot go back to ${next.owes}`,
    )
  const record = encodeRecord(recordOf(next, newest.record.number + 1, sha256(newest.entry.record)))
  const signature = await signAs(keys, newest.record, successionPurpose, record)
  return parseIdentity([...identity.records, encodeEntry({ record, signature })])
}

/**
 * The hash of record `number`: the head of a mark on this identity. A peer that remembers (number, head) accepts
 * only identities where this still is that head.
 */
export function recordHead(identity: Identity, number: number = identity.number): Uint8Array | undefined {
  const entry = identity.records[number - 1]
  return entry && sha256(parseEntry(entry).record)
}

/** `pawl1:` and the 43 characters of base64url. */
export function identityText(id: Uint8Array): string {
  if (id.length !== 32) throw new TypeError('an identity is 32 bytes')
  return `pawl1:${base64url(id)}`
}

/**
 * The one spelling only: no white space, no padding, no other case.
 * @throws SignatureError EINVAL
 */
export function parseIdentityText(text: string): Uint8Array {
  if (!/^pawl1:[A-Za-z0-9_-]{43}$/.test(text) || text.length !== 49)
    throw new SignatureError('EINVAL', 'not an identity: pawl1: and 43 characters of base64url are expected')
  try {
    return fromBase64url(text.slice(6))
  } catch (cause) {
    throw new SignatureError('EINVAL', 'not an identity: its last character is not canonical', { cause })
  }
}

type Link = { readonly entry: Entry; readonly record: IdentityRecord }

function parseChain(records: readonly Uint8Array[]): readonly Link[] {
  if (records.length > identityLimits.recordsMax)
    throw new SignatureError('E2BIG', `an identity has at most ${identityLimits.recordsMax} records`)
  const chain: Link[] = []
  for (const bytes of records) {
    const entry = parseEntry(bytes)
    const link = { entry, record: parseRecord(entry.record) }
    checkLink(chain.at(-1), link)
    chain.push(link)
  }
  return chain
}

function checkLink(before: Link | undefined, { entry, record }: Link): void {
  if (record.number !== (before?.record.number ?? 0) + 1) throw broken(record, 'its number is not the next')
  if (before === undefined) {
    if (entry.signature !== null) throw broken(record, 'the first record carries no signature')
    return
  }
  if (record.previous === null || !equal(record.previous, sha256(before.entry.record)))
    throw broken(record, 'it does not name the record before it')
  if (!isForward(before.record.owes, record.owes)) throw broken(record, 'what it owes goes back')
  if (entry.signature?.length !== signatureBytes(before.record))
    throw broken(record, 'its signature does not have the length that the record before owes')
}

function broken(record: IdentityRecord, reason: string): SignatureError {
  return new SignatureError('EINVAL', `identity record ${record.number}: ${reason}`)
}

function isForward(before: Owes, after: Owes): boolean {
  return order.indexOf(after) >= order.indexOf(before)
}

const order: readonly Owes[] = ['classical', 'hybrid', 'pqc']

function describes(identity: Identity, chain: readonly Link[]): boolean {
  const [first] = chain
  const newest = chain.at(-1)
  return (
    first !== undefined &&
    newest !== undefined &&
    equal(identity.id, sha256(first.entry.record)) &&
    identity.number === newest.record.number &&
    equal(encodeRecord(identity.current), newest.entry.record)
  )
}

function recordOf(keys: IdentityKeys, number: number, previous: Uint8Array | null): IdentityRecord {
  const base = { format: 1, number, previous } as const
  const key = (name: KeyName) => keys.publicKey(name)
  switch (keys.owes) {
    case 'classical':
      return { ...base, owes: 'classical', ed25519: key('ed25519') }
    case 'hybrid':
      return { ...base, owes: 'hybrid', ed25519: key('ed25519'), mldsa87: key('mldsa87') }
    case 'pqc':
      return { ...base, owes: 'pqc', mldsa87: key('mldsa87') }
  }
}
