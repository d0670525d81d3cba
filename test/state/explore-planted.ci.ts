/** Each planted bug must be found, or the exploration proves nothing; and its finder must find nothing without it. */
import { strict as assert } from 'node:assert'
import { after, test } from 'node:test'
import { runAlone, runJobs } from './explore-pool.ts'
import { bugs } from './planted.ts'

const slow = process.env.SLOW === '1'
/** `npm run planted` shows all of them. */
const planted = slow ? bugs : bugs.filter((_, n) => n % 3 === 0)

let caught = 0
after(() => console.log(`# ${caught} of ${planted.length} planted bugs caught`))

for (const { name, broken, edits = [] } of planted)
  test(`planted: ${broken}`, async t => {
    const { found } = await runAlone({ kind: 'bug', name, isPlanted: true }, edits)
    assert.ok(found !== undefined, `${name} was not found`)
    t.diagnostic(`${found.history}: ${found.at}`)
    caught++
  })

// As long again as finding them.
if (slow)
  test('what finds them finds nothing in the store as it is', async () => {
    const jobs = bugs.map(({ name }) => ({ kind: 'bug', name, isPlanted: false }) as const)
    await runJobs(jobs, {
      onReport: ({ found }, job) => assert.equal(found, undefined, JSON.stringify([job, found])),
    })
  })
