import type { Secret } from '../crypto/secret.ts'
import { openRecord, type ScopeTag } from './block.ts'
import { type Envelope, verify } from './envelope.ts'
import { stateError } from './error.ts'
import type { Journal } from './journal.ts'
import { type Location, type SegmentFiles, segmentHeaderBytes } from './segment.ts'
import { groupAt, ReadAhead, type WalkedGroup } from './walk.ts'

/** What was done to a path once, as far as the journal still has it. */
export type PastChange = {
  readonly generation: number
  /** `destroyed`: a put into a scope that was shredded. Its content is gone for good. */
  readonly kind: 'put' | 'delete' | 'destroyed'
  /** Of a put: who, what for, when, how much, and its SHA-256. */
  readonly envelope?: Envelope
}

/**
 * Everything the journal still has of a path, oldest first. Compaction takes away what is overwritten and deleted.
 * @throws StateError EINTEGRITY
 */
export async function historyOf(path: string, parts: HistoryParts): Promise<PastChange[]> {
  for (let left = triesMax; ; left--) {
    const oldest = parts.journal.segments[0]?.number
    try {
      return await walk(path, parts)
    } catch (error) {
      // What was given up while it was being read is not damaged: it is read where it is now.
      await parts.journal.settled()
      if (left === 1 || parts.journal.segments[0]?.number === oldest) throw error
    }
  }
}

const triesMax = 10

export type HistoryParts = {
  readonly journal: Journal
  readonly source: SegmentFiles
  /** `undefined` for a scope that is gone. */
  readonly scopeKey: (scope: ScopeTag) => Promise<Secret | undefined>
  /** The last group that may be shown. */
  readonly upTo: () => number
}

async function walk(path: string, parts: HistoryParts): Promise<PastChange[]> {
  const found = new Map<number, PastChange>()
  const upTo = parts.upTo()
  const source = new ReadAhead(parts.source)
  for (const segment of parts.journal.segments) {
    let at: Location = { segment: segment.number, offset: segmentHeaderBytes }
    const last = Math.min(segment.after, upTo)
    for (let generation = segment.before + 1; generation <= last; generation++) {
      const group = await groupAt(source, at, generation)
      for (const change of await changesIn(group, path, parts.scopeKey)) found.set(change.generation, change)
      at = group.next
    }
  }
  return [...found.values()].sort((a, b) => a.generation - b.generation)
}

async function changesIn(
  { header, bytes, placed }: WalkedGroup,
  path: string,
  scopeKey: (scope: ScopeTag) => Promise<Secret | undefined>,
): Promise<PastChange[]> {
  const changes: PastChange[] = []
  for (const record of placed) {
    if (record.path !== path) continue
    if (record.kind === 'delete') {
      changes.push({ generation: header.generation, kind: 'delete' })
      continue
    }
    const { block, index } = record
    const generation = record.generation ?? header.generation
    const key = await scopeKey(block.scope)
    if (key === undefined) changes.push({ generation, kind: 'destroyed' })
    else
      try {
        const sealed = bytes.subarray(block.offset, block.offset + block.length)
        const { envelope, payload } = openRecord(key, block, sealed, index)
        changes.push({ generation, kind: 'put', envelope: verify(envelope, payload) })
      } catch (error) {
        // Destroyed in the meantime: its key was wiped.
        if ((await scopeKey(block.scope)) !== undefined) throw stateError(error)
        changes.push({ generation, kind: 'destroyed' })
      }
  }
  return changes
}
