/** The table of docs/guides/restores.md, made from what is declared; a test keeps the two equal. */
import { keeperKinds } from '../../src/mark/mark.ts'
import { type KeeperKind, outcomeWords, restores } from '../../src/mark/restores.ts'

const columns: readonly (readonly [string, readonly KeeperKind[]])[] = [
  ['`file`', ['file']],
  ['`none`', ['none']],
  ['`etcd`, `postgres`, `witness`', ['etcd', 'postgres', 'witness']],
  ['`tpm`', ['tpm']],
]

export function restoreRows(): string {
  const shown = new Set(columns.flatMap(([, kinds]) => kinds))
  if (shown.size !== Object.keys(keeperKinds).length) throw new Error('a keeper is in no column')
  const rows = Object.values(restores).map(({ what, outcomes }) => {
    const cells = columns.map(([, kinds]) => {
      const said = new Set(kinds.map(kind => outcomeWords[outcomes[kind]]))
      if (said.size > 1) throw new Error('keepers of one column that differ')
      return [...said][0]
    })
    return `| ${what} | ${cells.join(' | ')} |`
  })
  const head = ['put back, or run twice', ...columns.map(([name]) => name)]
  return [`| ${head.join(' | ')} |`, `|${'---|'.repeat(head.length)}`, ...rows, ''].join('\n')
}

if (import.meta.main) process.stdout.write(restoreRows())
