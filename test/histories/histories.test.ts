import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { runHistories } from './history-pool.ts'
import { modes, seenIn, wanted } from './wanted.ts'

suite('histories', () => {
  for (const mode of modes)
    test(`mode ${mode}: whatever befalls two ends, the promises hold`, async t => {
      const tally = await runHistories(wanted(mode, 40), { jobSize: 40 })
      t.diagnostic(String(tally))
      if (process.env.HISTORY_SEED !== undefined) return
      for (const name of seenIn[mode]) assert.ok((tally.counts[name] ?? 0) > 0, `no ${name}`)
    })
})
