import { BytesError, base64url, concat, utf8 } from '../bytes/bytes.ts'
import { asBytes, asCount, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { refusal } from '../channel/reasons.ts'
import { sha256 } from '../crypto/hash.ts'
import type { Clock } from '../host/clock.ts'
import type { Change } from '../state/change.ts'
import type { LetterStore } from './letter-endpoint.ts'

/** docs/spec/letter.md, "The replay set": digests of what was opened, in chunks, oldest first. */
const chunkEntries = 64
const digestBytes = 32
const evictedAtOnce = 2

type Chunk = {
  readonly first: number
  /** Of its newest entry, in milliseconds since 1970; never before that of the chunk in front of it. */
  readonly at: number
  /** The highest epoch in it. */
  readonly epoch: number
  readonly digests: Uint8Array
}

/** An entry that is to be committed, and what the set is once it is. */
export type Addition = { readonly changes: readonly Change[]; apply(): void }

export type ReplayBounds = { readonly entriesMax: number; readonly ttlMs: number }

/**
 * Digests of opened letters, beside the window that refuses them anyway (S7). Bounded: what is no longer needed goes,
 * in order of entry, and at the bound the next letter is refused and nothing goes. A clock that jumps lets nothing in:
 * an entry goes only after its epoch was closed.
 */
export class ReplaySet {
  readonly #place: string
  readonly #scope: string
  readonly #clock: Clock
  readonly #bounds: ReplayBounds
  #chunks: readonly Chunk[]
  readonly #known = new Set<string>()

  private constructor(
    place: string,
    scope: string,
    clock: Clock,
    bounds: ReplayBounds,
    chunks: readonly Chunk[],
  ) {
    this.#place = place
    this.#scope = scope
    this.#clock = clock
    this.#bounds = bounds
    this.#chunks = chunks
    for (const chunk of chunks) for (const digest of digestsOf(chunk)) this.#known.add(digest)
  }

  static async load(
    store: Pick<LetterStore, 'list' | 'get'>,
    where: { readonly place: string; readonly scope: string },
    clock: Clock,
    bounds: ReplayBounds,
  ): Promise<ReplaySet> {
    const chunks: Chunk[] = []
    for (const path of store.list(`${where.place}/`))
      chunks.push(decodeChunk((await store.get(path)).payload))
    return new ReplaySet(where.place, where.scope, clock, bounds, chunks)
  }

  get size(): number {
    return this.#known.size
  }

  /** @throws ChannelError 21 */
  refuseIfKnown(digest: Uint8Array): void {
    if (this.#known.has(base64url(digest))) throw refusal(21, 'a letter that was opened before')
  }

  /**
   * What adds the digest of a letter of that epoch; below `oldestOpen` no epoch opens any more.
   * @throws ChannelError 80 when the set is full
   */
  add(digest: Uint8Array, epoch: number, oldestOpen: number): Addition {
    const newest = this.#chunks.at(-1)
    const at = Math.max(this.#clock.now(), newest?.at ?? 0)
    const isOver = (chunk: Chunk) =>
      isFull(chunk) && chunk.at + this.#bounds.ttlMs <= at && chunk.epoch < oldestOpen
    let gone = 0
    for (const chunk of this.#chunks.slice(0, evictedAtOnce)) {
      if (!isOver(chunk)) break
      gone++
    }
    const evicted = this.#chunks.slice(0, gone)
    const left = this.#known.size - gone * chunkEntries
    if (left >= this.#bounds.entriesMax)
      throw refusal(80, `${left} letters are remembered, and no more may be: begin a new session`)
    const kept = this.#chunks.slice(gone)
    const last = kept.at(-1)
    const grown: Chunk =
      last === undefined || isFull(last)
        ? {
            first: (newest?.first ?? -chunkEntries) + chunkEntries,
            at,
            epoch,
            digests: Uint8Array.from(digest),
          }
        : { ...last, at, epoch: Math.max(last.epoch, epoch), digests: concat(last.digests, digest) }
    const chunks = [...(grown.first === last?.first ? kept.slice(0, -1) : kept), grown]
    return {
      changes: [
        ...evicted.map(chunk => ({ delete: this.#path(chunk) })),
        { put: this.#path(grown), payload: encodeChunk(grown), scope: this.#scope },
      ],
      apply: () => {
        this.#chunks = chunks
        for (const chunk of evicted) for (const known of digestsOf(chunk)) this.#known.delete(known)
        this.#known.add(base64url(digest))
      },
    }
  }

  #path({ first }: Chunk): string {
    return `${this.#place}/${String(first).padStart(16, '0')}`
  }
}

/** H(session id, letter): of the letter itself, not of a proof in front of it. */
export function letterDigest(session: Uint8Array, letter: Uint8Array): Uint8Array {
  return sha256(utf8('pawl v1 letter digest'), session, letter)
}

function isFull({ digests }: Chunk): boolean {
  return digests.length >= chunkEntries * digestBytes
}

function digestsOf({ digests }: Chunk): string[] {
  return Array.from({ length: digests.length / digestBytes }, (_, i) =>
    base64url(digests.subarray(i * digestBytes, (i + 1) * digestBytes)),
  )
}

function encodeChunk({ first, at, epoch, digests }: Chunk): Uint8Array {
  return encodeCbor({ format: 1, at, digests, epoch, first })
}

/** @throws BytesError */
export function decodeChunk(bytes: Uint8Array): Chunk {
  const map = decodeCborMap(bytes, ['format', 'at', 'digests', 'epoch', 'first'])
  const digests = asBytes(map.digests)
  const entries = digests.length / digestBytes
  if (map.format !== 1 || !Number.isInteger(entries) || entries < 1 || entries > chunkEntries)
    throw new BytesError('a chunk of a replay set of an unknown form')
  return { first: asCount(map.first), at: asCount(map.at), epoch: asCount(map.epoch), digests }
}
