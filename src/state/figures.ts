import type { AuditTrail } from './audit-trail.ts'
import type { Committer } from './committer.ts'
import type { Journal } from './journal.ts'
import type { Records } from './records.ts'

/** What a store takes up, and how it fares. */
export type Figures = {
  readonly generation: number
  readonly records: number
  /** What they would take in a journal that held nothing else; an estimate. */
  readonly liveBytes: number
  readonly journalBytes: number
  readonly segments: number
  /** Batches that wait to be written. */
  readonly waiting: number
  /** Operations over the latency budget since the store was opened. */
  readonly slow: number
  /** Audit entries that were dropped since then. */
  readonly auditDropped: number
}

export function figuresOf(
  parts: {
    readonly audit: AuditTrail
    readonly committer: Committer
    readonly journal: Journal
    readonly records: Records
  },
  slow: number,
): Figures {
  const { audit, committer, journal, records } = parts
  return {
    generation: committer.mark.number,
    records: records.count,
    liveBytes: records.liveBytes,
    journalBytes: journal.bytes,
    segments: journal.segments.length,
    waiting: committer.waiting,
    slow,
    auditDropped: audit.dropped,
  }
}
