/** The table of docs/guides/fsck.md, made from the findings; a test keeps the two equal. */
import { findingTable } from '../../src/state/fsck/findings.ts'

export function findingRows(): string {
  const rows = Object.entries(findingTable).map(
    ([name, { kind, means, next }]) => `| \`fsck/${name}\` | ${kind} | ${means} | ${next} |`,
  )
  return ['| code | kind | what it means | what to do next |', '|---|---|---|---|', ...rows, ''].join('\n')
}

if (import.meta.main) process.stdout.write(findingRows())
