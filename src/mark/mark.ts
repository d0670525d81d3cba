import { equal, hex } from '../bytes/bytes.ts'
import type { KeeperKind } from './restores.ts'

/** How far a domain has gone: `number` steps, and a hash that commits to every one of them. */
export type Mark = {
  /** Who: a store id, a session id, an identity id ... */
  readonly domain: Uint8Array
  readonly number: number
  /** 32 bytes. For a store, the RFC 6962 root over its first `number` groups. */
  readonly head: Uint8Array
}

/**
 * Holds the mark of one domain and lets it only go forward. `advance` succeeds from the mark it holds to a greater
 * number and says yes again to what it already holds, so that a call with an unknown outcome is safe to repeat.
 */
export interface Keeper {
  readonly kind: KeeperKind
  /** @throws MarkError EKEEPER if it cannot be reached, EINTEGRITY if what it holds is unreadable */
  read(): Promise<Mark>
  /** @throws MarkError EROLLBACK if it holds neither `expected` nor `next`; else as `read` */
  advance(expected: Mark, next: Mark): Promise<void>
}

export { type KeeperKind, keeperKinds } from './restores.ts'

/** What an EROLLBACK found. `the anchor went back`: the files of a keeper that lie in the anchor, and so all of it. */
export type Rollback =
  | 'the keeper went back'
  | 'the store went back'
  | 'the store forked'
  | 'the anchor went back'

export class MarkError extends Error {
  override readonly name = 'MarkError'
  readonly code: 'EROLLBACK' | 'EINTEGRITY' | 'EKEEPER' | 'ELOCKED'
  /** Of an EROLLBACK, where it is known which. */
  readonly rollback: Rollback | undefined

  constructor(
    code: MarkError['code'],
    message: string,
    options?: ErrorOptions & { readonly rollback?: Rollback },
  ) {
    super(message, options)
    this.code = code
    this.rollback = options?.rollback
  }
}

/** The case is said once: in words, and for whoever decides by it. */
export function rollbackError(rollback: Rollback, found: string): MarkError {
  return new MarkError('EROLLBACK', `${rollback}: ${found}`, { rollback })
}

export function sameMark(a: Mark, b: Mark): boolean {
  return a.number === b.number && equal(a.head, b.head) && equal(a.domain, b.domain)
}

/** The one rule. What a keeper answers, given what it holds; every keeper asks here. */
export function judgeAdvance(held: Mark, expected: Mark, next: Mark): 'advance' | 'already' | 'refuse' {
  if (!equal(expected.domain, next.domain) || !equal(held.domain, next.domain)) return 'refuse'
  if (sameMark(held, next)) return 'already'
  return sameMark(held, expected) && next.number > held.number ? 'advance' : 'refuse'
}

/**
 * What a store that is being opened is told. `size` is its last whole, linked, authentic group, `confirmed` the
 * highest number that any of its groups names as confirmed by the keeper, `rootAtMark` the root over its first
 * `mark.number` groups where it has that many. State may be ahead of its mark by what was in flight, never behind.
 */
export function judgeOpen(journal: {
  readonly mark: Mark
  readonly size: number
  readonly confirmed: number
  readonly rootAtMark: Uint8Array | undefined
}): 'go on' | Exclude<Rollback, 'the anchor went back'> {
  const { mark, size, confirmed, rootAtMark } = journal
  // First: a mark of another history says nothing of how far this one has come.
  if (rootAtMark !== undefined && !equal(rootAtMark, mark.head)) return 'the store forked'
  if (mark.number < confirmed) return 'the keeper went back'
  if (size < mark.number || rootAtMark === undefined) return 'the store went back'
  return 'go on'
}

export function describeMark(mark: Mark): string {
  return `${mark.number} (${hex(mark.head).slice(0, 12)})`
}
