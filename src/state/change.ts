import type { AuditEntry } from './audit.ts'
import type { Meta } from './envelope.ts'
import { amendedPrefix, lostPrefix, parametersPath, policyPath, refusedPrefix, statePrefix } from './path.ts'

/** One step of an atomic batch. `scope` names the scope a put belongs to; it must exist. */
export type Change =
  | {
      readonly put: string
      readonly payload: Uint8Array
      readonly meta?: Partial<Meta>
      readonly scope?: string
      /** Made already, and verified against the payload; else it is made of `meta`. */
      readonly envelope?: Uint8Array
    }
  | { readonly delete: string }

export type CommitOptions = {
  /**
   * Runs as the index changes, in commit order: what it sets is never ahead of what is durable and marked.
   */
  readonly committed?: ((generation: number) => void) | undefined
  /** After so many milliseconds the caller is told EDEADLINE. */
  readonly deadlineMs?: number | undefined
  /** Who asked for it and why it was allowed, for the audit trail; else the process that holds the home. */
  readonly by?: { readonly subject: string; readonly reason: (path: string) => string } | undefined
}

/** Files that are adopted, as the audit trail has them. */
const adopted: ReadonlyMap<string, 'policy' | 'parameters'> = new Map([
  [policyPath, 'policy'],
  [parametersPath, 'parameters'],
])

/**
 * What callers do under `/state/` is told, what is adopted, what was lost, and sessions that were refused; other records
 * of the product are its own business.
 */
export function entriesOf(changes: readonly Change[], by: CommitOptions['by']): AuditEntry[] {
  const entries: AuditEntry[] = []
  for (const change of changes) {
    const path = 'put' in change ? change.put : change.delete
    const isLoss = by !== undefined && (path.startsWith(lostPrefix) || path.startsWith(amendedPrefix))
    const isRefusal = 'put' in change && path.startsWith(refusedPrefix)
    const own = isLoss ? 'lost' : isRefusal ? 'session' : adopted.get(path)
    if (own === undefined && !path.startsWith(statePrefix)) continue
    const [subject, reason] = by === undefined ? ['', 'owner'] : [by.subject, by.reason(path)]
    const action = own ?? ('put' in change ? 'put' : 'delete')
    entries.push({ action, decision: isRefusal ? 'deny' : 'allow', path, reason, subject })
  }
  return entries
}
