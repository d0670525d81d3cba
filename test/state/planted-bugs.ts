/** `npm run planted`: shows each planted bug turning the exploration red. Exit 1 if one is not found. */
import { runAlone } from './explore-pool.ts'
import { bugs } from './planted.ts'

const width = Math.max(...bugs.map(({ name }) => name.length))
let missed = 0
for (const { name, broken, edits = [] } of bugs) {
  const begun = performance.now()
  const { found } = await runAlone({ kind: 'bug', name, isPlanted: true }, edits)
  const seconds = ((performance.now() - begun) / 1000).toFixed(1)
  if (found === undefined) missed++
  const where = found === undefined ? 'NOT FOUND' : `found in "${found.history}" at ${found.at}`
  console.log(`${name.padEnd(width)}  ${seconds.padStart(4)} s  ${broken}: ${where}`)
}
console.log(`${bugs.length - missed} of ${bugs.length} planted bugs found`)
process.exitCode = missed === 0 ? 0 : 1
