import { strict as assert } from 'node:assert'
import { after, test } from 'node:test'
import { histories, historyOf, namesOf, restingHome } from './explore.ts'
import { exploreShown } from './explore-damage.ts'
import type { Job } from './explore-job.ts'
import { noTotals, runJobs, type Totals } from './explore-pool.ts'

const slow = process.env.SLOW === '1'

const total = noTotals()
after(() => {
  console.log(
    `# ${total.histories} histories: ${total.injected} faults injected and ${total.damaged} damages done, ` +
      `${total.opens} homes opened after them, ${total.refused} refusals with a code`,
  )
})

async function runAll(jobs: readonly Job[]): Promise<Totals> {
  const done = await runJobs(jobs)
  assert.equal(done.incomplete + done.left, 0, 'nothing was left out')
  for (const key of ['histories', 'injected', 'damaged', 'opens', 'refused'] as const) total[key] += done[key]
  return done
}

test('each call of the disk gone wrong in each way loses nothing acknowledged and shows nothing older', async () => {
  const { injected, opens, refused } = await runAll(
    histories(1)
      .filter((_, n) => slow || n % 2 === 0)
      .map((history, n): Job => {
        // All of them open the home alike.
        return { kind: 'faults', history: namesOf(history), lastStepOnly: n > 0, seed: n }
      }),
  )
  assert.ok(injected > 700 && opens > 2000, `${injected} faults, ${opens} opens`)
  assert.ok(refused > 50 && refused < opens / 4, `${refused} refusals`)
})

test('rot, lost, misplaced and older sectors, and files put back, are refused or harmless', async () => {
  const all = [['put a', 'delete a'], ['shred'], ['scope'], ['compact']]
  const names = slow ? all : all.slice(0, 2)
  const { damaged, refused } = await runAll(
    names.map((history, seed): Job => ({ kind: 'damage', history, seed })),
  )
  assert.ok(
    damaged > 750 * names.length && refused > 250 * names.length,
    `${damaged} damages, ${refused} refusals`,
  )
})

test('what readers are shown is under the mark already: an older home is refused from that moment', async () => {
  const { damaged, refused } = await exploreShown(
    historyOf(['put b', 'two at once']),
    await restingHome({ keeper: 'file', sectorSize: 4096 }),
  )
  assert.ok(damaged > 10 && refused > 4, `${damaged} moments, ${refused} refusals`)
  total.damaged += damaged
  total.opens += damaged
  total.refused += refused
})
