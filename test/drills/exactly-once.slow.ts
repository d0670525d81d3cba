import assert from 'node:assert/strict'
import { afterEach, beforeEach, suite, test } from 'node:test'
import { Pair, Scene } from '../cli/support.ts'
import { linesOfEveryKind, transfer } from './transfer.ts'

const seeds = (process.env.SEEDS ?? '1,2,3').split(',').map(Number)

suite('50,000 lines through processes that are killed twenty times each', () => {
  let pair: Pair
  beforeEach(async () => {
    pair = new Pair(new Scene())
    await pair.meet()
  })
  afterEach(() => pair.scene.end())

  for (const seed of seeds) {
    test(`seed ${seed}: the file equals the input byte for byte`, async t => {
      const killed = await transfer(pair, {
        seed,
        input: linesOfEveryKind(50_000, seed),
        kills: 20,
      })
      t.diagnostic(JSON.stringify(killed))
      assert.ok(killed.receiver >= 15 && killed.sender >= 15, JSON.stringify(killed))
    })

    test(`seed ${seed}: over a network that cuts, delays, duplicates, reorders and truncates`, async t => {
      const killed = await transfer(pair, {
        seed,
        input: linesOfEveryKind(50_000, seed),
        kills: 20,
        weather: { cut: 0.008, duplicate: 0.008, reorder: 0.008, truncate: 0.008, delayMsMax: 3 },
      })
      t.diagnostic(JSON.stringify(killed))
      assert.ok(killed.receiver >= 15 && killed.sender >= 15, JSON.stringify(killed))
    })
  }
})
