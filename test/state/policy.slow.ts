import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fuzzed } from './policy-fuzz.ts'

const cases = 5_000_000
const batch = 50_000
const secondsMax = Number(process.env.FUZZ_SECONDS ?? 400)

test(`policy files of every structure, ${cases} of them, or as many as ${secondsMax} s allow`, t => {
  const until = performance.now() + secondsMax * 1000
  const total = { taken: 0, refused: 0 }
  for (let seed = 2; total.taken + total.refused < cases && performance.now() < until; seed++) {
    const { taken, refused } = fuzzed(seed, batch)
    total.taken += taken
    total.refused += refused
  }
  t.diagnostic(JSON.stringify(total))
  assert.ok(total.taken > 0 && total.refused > 0)
})
