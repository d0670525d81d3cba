import { suite, test } from 'node:test'
import { runHistories } from './history-pool.ts'
import { modes, wanted } from './wanted.ts'

suite('10,000 histories', () => {
  for (const mode of modes)
    test(`mode ${mode}`, async t => {
      t.diagnostic(String(await runHistories(wanted(mode, 10_000))))
    })
})
