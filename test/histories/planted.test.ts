import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { failureWith } from './history-pool.ts'
import { bugs } from './planted.ts'

const slow = process.env.SLOW === '1'

/** One mistake at a time is planted in the source, in a thread of its own; a history must turn red of it. */
suite('planted mistakes are noticed', () => {
  for (const { broken, mode, edits, seed, found } of bugs.filter(({ isSlow }) => slow || isSlow !== true))
    test(`mode ${mode}: ${broken}`, async () => {
      const job = { mode, from: seed, count: 30, shrinks: false }
      const failure = await failureWith(edits, job)
      assert.ok(failure?.includes(found), failure ?? 'the history was green')
    })

  for (const mode of slow ? new Set(bugs.map(bug => bug.mode)) : [])
    test(`mode ${mode}: none planted, and the same histories are green`, async () => {
      for (const { seed } of bugs.filter(bug => bug.mode === mode))
        assert.equal(await failureWith([], { mode, from: seed, count: 1 }), undefined)
    })
})
