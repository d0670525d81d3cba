import type { Finding, Kind } from './fsck/findings.ts'
import { type LookOptions, lookAt, type Sight } from './fsck/look.ts'
import type { World } from './home.ts'
import { openHome } from './home.ts'

export type Report = {
  /** `repaired`: something was mended, and nothing is left to mend. */
  readonly outcome: 'clean' | 'repaired' | 'unrecoverable'
  /** As it stands now: at most so many are listed. */
  readonly findings: readonly Finding[]
  readonly unlisted: number
  readonly counts: Readonly<Record<Kind, number>>
  /** What the first look found and the second did not. */
  readonly mended: readonly Finding[]
  /** What there is: the numbers of groups, segments and live records. */
  readonly groups: number
  readonly segments: number
  readonly records: number
}

/**
 * Looks a home over (D10). With `repair`, if all that is wrong is a crash's ordinary traces: opens the store for
 * writing, which mends them, takes away what merely takes room, and looks again.
 * @throws StateError what opening throws: ELOCKED, ENOSPC, EPERM
 */
export async function fsck(
  world: World,
  home: string,
  { repair, ...options }: Omit<LookOptions, 'deep'> & { readonly repair: boolean },
): Promise<Report> {
  const look = () => lookAt(world, home, { ...options, deep: true })
  const first = await look()
  const { counts, list } = first.findings
  const leftovers = first.walk?.leftovers ?? []
  const wanted = repair && counts.unrecoverable === 0 && (counts.mendable > 0 || first.use !== 'nobody')
  await first.close()
  if (!wanted) return reportOf(first, counts.unrecoverable > 0 ? 'unrecoverable' : 'clean', [])
  await mend(world, home, options, leftovers)
  const second = await look()
  await second.close()
  const left = second.findings.counts
  const mended = list.filter(({ kind, code }) => kind === 'mendable' && !second.findings.hasCode(code))
  return reportOf(second, left.unrecoverable + left.mendable > 0 ? 'unrecoverable' : 'repaired', mended)
}

/** Opening mends; nothing of the journal needs a leftover, and while the lock is held nobody makes one. */
async function mend(
  world: World,
  home: string,
  { anchorBase, keeper }: Omit<LookOptions, 'deep'>,
  leftovers: readonly string[],
): Promise<void> {
  const { disk } = world
  const store = await openHome(world, home, anchorBase, { keeper })
  try {
    for (const path of leftovers) if ((await disk.stat(path)) !== undefined) await disk.unlink(path)
    await store.rotate({ scopes: [] }) // nothing new: one that was begun is carried on
    const [first] = leftovers
    if (first !== undefined) await disk.syncDirectory(first.slice(0, first.lastIndexOf('/')))
  } finally {
    await store.close()
  }
}

function reportOf(sight: Sight, outcome: Report['outcome'], mended: readonly Finding[]): Report {
  const { findings, walk, records } = sight
  return {
    outcome,
    findings: findings.list,
    unlisted: findings.unlisted,
    counts: findings.counts,
    mended,
    groups: walk?.size ?? 0,
    segments: walk?.segments.length ?? 0,
    records: records?.count ?? 0,
  }
}
