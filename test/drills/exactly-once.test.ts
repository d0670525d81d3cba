import assert from 'node:assert/strict'
import { afterEach, beforeEach, suite, test } from 'node:test'
import { Pair, Scene } from '../cli/support.ts'
import { linesOfEveryKind, transfer } from './transfer.ts'

suite('a file through processes that are killed', () => {
  let pair: Pair
  beforeEach(async () => {
    pair = new Pair(new Scene())
    await pair.meet()
  })
  afterEach(() => pair.scene.end())

  test('each side killed six times: the file equals the input byte for byte', async t => {
    const killed = await transfer(pair, {
      seed: 1,
      input: linesOfEveryKind(5_000, 1),
      kills: 6,
    })
    t.diagnostic(JSON.stringify(killed))
    assert.ok(killed.receiver >= 3 && killed.sender >= 2, JSON.stringify(killed))
  })

  test('the same over a network that cuts, delays, duplicates, reorders and truncates', async t => {
    const killed = await transfer(pair, {
      seed: 2,
      input: linesOfEveryKind(3_000, 2),
      kills: 2,
      weather: { cut: 0.008, duplicate: 0.008, reorder: 0.008, truncate: 0.008, delayMsMax: 2 },
    })
    t.diagnostic(JSON.stringify(killed))
    assert.ok(killed.connections >= 3, JSON.stringify(killed))
  })
})
