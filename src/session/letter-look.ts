import { decodeSession, secretsIn } from '../channel/letter/index.ts'
import { suites } from '../crypto/suite.ts'
import { DiskError } from '../host/disk.ts'
import { join } from '../keeper/anchor.ts'
import { readMarkFile } from '../keeper/mark-file.ts'
import { sessionMarkPrefix } from '../keeper/session-marks.ts'
import { describeMark, MarkError } from '../mark/mark.ts'
import type { LookAtMarks } from '../state/fsck/look.ts'
import { wipe } from './letter-keeping.ts'
import { judgeSession, markOf } from './letter-mark.ts'
import { letterPrefix } from './letter-paths.ts'

type Sighted = Parameters<LookAtMarks>[0]

/** Holds every letter session against its mark in the anchor, as its next opening does, and changes nothing. */
export const lookAtLetterMarks: LookAtMarks = async seen => {
  const { disk, anchor, records, findings } = seen
  const known = new Set<string>()
  for (const path of records.list(letterPrefix)) {
    const [, role, peer] =
      /^(client|server)\/([A-Za-z0-9_-]{43})\/session$/.exec(path.slice(letterPrefix.length)) ?? []
    if (role === undefined || peer === undefined) continue
    const name = `${sessionMarkPrefix}${role}-${peer}`
    known.add(name)
    await lookAtMark(seen, path, join(anchor, name))
  }
  for (const name of await disk.list(anchor))
    if (name.startsWith(sessionMarkPrefix) && !known.has(name))
      findings.tell('SESSION_MARK_LEFT', { file: join(anchor, name) })
}

async function lookAtMark({ disk, records, findings }: Sighted, path: string, file: string): Promise<void> {
  let kept: ReturnType<typeof decodeSession>
  try {
    using payload = await records.getSecret(path)
    kept = decodeSession(payload.bytes, suites)
  } catch {
    return // the record has a finding of its own
  }
  const { state, confirmed } = kept
  try {
    const mark = await readMarkFile(disk, file, [state.markKey], state.id)
    const verdict = judgeSession(state, mark, confirmed)
    const own = markOf(state)
    const detail = `the mark is at ${describeMark(mark)}, the session at ${describeMark(own)}, confirmed was ${confirmed}`
    if (verdict !== 'go on')
      findings.tell('SESSION_ROLLBACK', { file, path }, { detail: `${verdict}: ${detail}` })
    else if (mark.number < own.number) findings.tell('SESSION_UNMARKED', { file, path }, { detail })
  } catch (error) {
    if (!(error instanceof MarkError || error instanceof DiskError)) throw error
    findings.tell('SESSION_MARK', { file, path }, { detail: error.message })
  } finally {
    wipe(secretsIn(state))
  }
}
