import { BytesError, base64url, equal, hex, isZero } from '../bytes/bytes.ts'
import { asBytes, asText, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { type Positions, readPositions, writePositions } from '../channel/block.ts'
import type { Role } from '../channel/state.ts'
import { sessionPath } from '../session/memory.ts'
import type { Change } from '../state/change.ts'
import { amendedPrefix } from '../state/path.ts'
import { decodeRecovery, recoveryPath } from '../state/recovery-record.ts'
import type { Store } from '../state/store.ts'

/** How far the two ends of one role have come since one of them went on by an amendment. */
const stages = ['allowed', 'met', 'settled'] as const
type Stage = (typeof stages)[number]

const roles = ['client', 'server'] as const
const none = new Uint8Array(32)

/** What a peer that went on by an amendment said, and what our user said to it. */
export type Claim = {
  /** The amendment that it states, and its positions then. */
  readonly claimed: Uint8Array
  readonly theirs: Positions
  /** The amendment that our user allowed; zeros for none. */
  readonly allowed: Uint8Array
  readonly client: Stage
  readonly server: Stage
}

/** In which role the peer has said since that it knows of an own amendment. */
type Known = { readonly id: Uint8Array; readonly client: boolean; readonly server: boolean }

type Records = {
  list(prefix: string): string[]
  get(path: string): Promise<{ readonly payload: Uint8Array }>
}

/** What is made of an amendment that the peer states, or does not. */
export type AmendmentVerdict = 'strict' | 'lenient' | 'not allowed here' | 'not the one that was allowed'

/**
 * Who went on by an amendment (docs/spec/mailbox.md, "After an amendment"): this home, which says so until the peer has
 * been heard; or the peer, which is refused until our user allows that very amendment.
 */
export class Amended {
  readonly #store: Store
  readonly #peer: Uint8Array
  readonly #own: Uint8Array | undefined
  #known: Known
  #claim: Claim | undefined

  private constructor(
    store: Store,
    peer: Uint8Array,
    {
      own,
      known,
      claim,
    }: { own: Uint8Array | undefined; known: Known | undefined; claim: Claim | undefined },
  ) {
    this.#store = store
    this.#peer = peer
    this.#own = own
    const isOfOwn = known !== undefined && own !== undefined && equal(known.id, own)
    this.#known = isOfOwn ? known : { id: own ?? none, client: false, server: false }
    this.#claim = claim
  }

  static async open(store: Store, peer: Uint8Array): Promise<Amended> {
    const own = await ownAmendment(store)
    const path = knownPath(peer)
    const known = store.has(path) ? decodeKnown((await store.get(path)).payload) : undefined
    return new Amended(store, peer, { own, known, claim: await claimOf(store, peer) })
  }

  /** What this end says in a handshake in that role. */
  stated(role: Role): Uint8Array {
    return this.#own === undefined || this.#known[role] ? none : this.#own
  }

  /** Whether something is still to be settled in that role: by our amendment, or by one of the peer that our user allowed. */
  isUnsettled(role: Role): boolean {
    const claim = this.#claim
    return (
      !isZero(this.stated(role)) || (claim !== undefined && isAllowed(claim) && claim[role] !== 'settled')
    )
  }

  judge(role: Role, { amendment, firstKept }: Positions, neverMet: boolean): AmendmentVerdict {
    const claim = this.#claim
    if (isZero(amendment)) {
      const isOwn = !isZero(this.stated(role)) // then nothing of before is known here, and our user said so
      if (!isOwn && claim !== undefined && isAllowed(claim) && claim[role] === 'allowed')
        return 'not the one that was allowed'
      return this.#isOwnOpen(role) ? 'lenient' : 'strict'
    }
    if (neverMet && firstKept === 1) return 'strict' // there is nothing that could be lost
    if (claim === undefined || !equal(claim.allowed, amendment)) return 'not allowed here'
    const isSettled = roles.some(role => claim[role] === 'settled')
    return !isSettled || this.#isOwnOpen(role) ? 'lenient' : 'strict'
  }

  /** Makes durable what a peer states that is refused for it, for `pawl peer allow-lost` to show. */
  async claim(theirs: Positions): Promise<void> {
    const before = this.#claim
    if (before !== undefined && equal(before.claimed, theirs.amendment)) return
    const { allowed = none, client = 'allowed', server = 'allowed' } = before ?? {}
    const claim: Claim = { claimed: theirs.amendment, theirs, allowed, client, server }
    await this.#store.commit([{ put: claimPath(this.#peer), payload: encodeClaim(claim) }])
    this.#claim = claim
  }

  /** Whether a peer that shows no secret may be met: not if it was met by an amendment, and does not state that. */
  allowsNone(role: Role, { amendment }: Positions): boolean {
    const claim = this.#claim
    const wasMet = claim !== undefined && isAllowed(claim) && claim[role] === 'met'
    return !wasMet || !isZero(amendment)
  }

  /** What the peer states is allowed, and our own side of it is decided. */
  isPeers({ amendment }: Positions, role: Role): boolean {
    return !isZero(amendment) && isZero(this.stated(role))
  }

  /** A session is about to be committed in which the peer stated what was allowed, or no longer needs to. */
  async met(role: Role, { amendment }: Positions): Promise<void> {
    const claim = this.#claim
    if (claim === undefined || !isAllowed(claim)) return
    const stage = isZero(amendment) ? 'settled' : equal(claim.allowed, amendment) ? 'met' : undefined
    if (stage !== undefined && stages.indexOf(stage) > stages.indexOf(claim[role]))
      await this.#put({ ...claim, [role]: stage })
  }

  /** The peer says that it has settled, and this end has. */
  async finished(role: Role): Promise<void> {
    const claim = this.#claim
    if (claim !== undefined && isAllowed(claim) && claim[role] === 'met')
      await this.#put({ ...claim, [role]: 'settled' })
    if (this.#own === undefined || this.#known[role]) return
    const known = { ...this.#known, [role]: true }
    await this.#store.commit([{ put: knownPath(this.#peer), payload: encodeCbor({ format: 1, ...known }) }])
    this.#known = known
  }

  /** Positions are open until the peer has settled in one of the roles. */
  #isOwnOpen(role: Role): boolean {
    return !isZero(this.stated(role)) && !roles.some(role => this.#known[role])
  }

  async #put(claim: Claim): Promise<void> {
    await this.#store.commit([{ put: claimPath(this.#peer), payload: encodeClaim(claim) }])
    this.#claim = claim
  }
}

/** The amendment by which this home went on from where it was, if it ever did. */
export async function ownAmendment(records: Records): Promise<Uint8Array | undefined> {
  const isThere = records.list(recoveryPath).includes(recoveryPath)
  return isThere ? decodeRecovery((await records.get(recoveryPath)).payload) : undefined
}

/** What a peer that went on by an amendment said last. */
export async function claimOf(records: Records, peer: Uint8Array): Promise<Claim | undefined> {
  const path = claimPath(peer)
  return records.list(path).includes(path) ? decodeClaim((await records.get(path)).payload) : undefined
}

/** Whether a peer waits for our user's word. */
export function isOpen(claim: Claim): boolean {
  return !equal(claim.claimed, claim.allowed)
}

/**
 * Our user's word: the peer may go on by the amendment that it states. What is remembered of sessions with it goes, so that
 * only who states that amendment is met as if for the first time.
 */
export async function allow(store: Store, peer: Uint8Array, claim: Claim, subject: string): Promise<void> {
  const next: Claim = { ...claim, allowed: claim.claimed, client: 'allowed', server: 'allowed' }
  const changes: Change[] = [{ put: claimPath(peer), payload: encodeClaim(next) }]
  for (const role of roles) {
    const path = sessionPath(role, peer)
    if (store.has(path)) changes.push({ delete: path })
  }
  const reason = () => `amendment ${fingerprint(claim.claimed)} is allowed`
  await store.commit(changes, { by: { subject, reason } })
}

/** What people compare of an amendment: 16 hexadecimal digits. */
export function fingerprint(amendment: Uint8Array): string {
  return hex(amendment.subarray(0, 8))
}

function isAllowed({ allowed }: Claim): boolean {
  return !isZero(allowed)
}

function claimPath(peer: Uint8Array): string {
  return `${amendedPrefix}${base64url(peer)}`
}

function knownPath(peer: Uint8Array): string {
  return `/pawl/recovered/${base64url(peer)}`
}

function encodeClaim({ claimed, theirs, allowed, client, server }: Claim): Uint8Array {
  const writer = new Writer(256)
  writePositions(writer, theirs)
  return encodeCbor({ format: 1, claimed, theirs: writer.done(), allowed, client, server })
}

/** @throws BytesError */
export function decodeClaim(bytes: Uint8Array): Claim {
  const map = decodeCborMap(bytes, ['format', 'claimed', 'theirs', 'allowed', 'client', 'server'])
  if (map.format !== 1) throw new BytesError('claim of an unknown format')
  const reader = new Reader(asBytes(map.theirs))
  const theirs = readPositions(reader)
  reader.end()
  return {
    claimed: asBytes(map.claimed, 32),
    theirs,
    allowed: asBytes(map.allowed, 32),
    client: stageOf(asText(map.client)),
    server: stageOf(asText(map.server)),
  }
}

function stageOf(text: string): Stage {
  const stage = stages.find(known => known === text)
  if (stage === undefined) throw new BytesError('no such stage of an amendment')
  return stage
}

/** @throws BytesError */
export function decodeKnown(bytes: Uint8Array): Known {
  const map = decodeCborMap(bytes, ['format', 'id', 'client', 'server'])
  const { client, server } = map
  if (map.format !== 1 || typeof client !== 'boolean' || typeof server !== 'boolean')
    throw new BytesError('recovered peer of an unknown format')
  return { id: asBytes(map.id, 32), client, server }
}
