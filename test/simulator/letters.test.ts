import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { meeting, playLetters } from './letters.ts'

const start = await meeting()
const first = Number(process.env.LETTER_SEED ?? 1)
const seeds = (count: number) => Array.from({ length: count }, (_, i) => first + i)

suite('histories of letters', () => {
  test('with marks that are kept: nothing opens twice or from before, no key and nonce repeats, new letters open', async () => {
    const tally = await playLetters(start, seeds(40), { steps: 60, lies: false })
    console.log(`# letters: ${JSON.stringify(tally)}`)
    for (const count of Object.values(tally)) assert.ok(count > 0)
  })

  test('with marks that go back too, and copies: no key and nonce repeats', async () => {
    const tally = await playLetters(start, seeds(25), { steps: 60, lies: true })
    console.log(`# letters, lies: ${JSON.stringify(tally)}`)
    assert.ok(tally.restores > 0 && tally.opened > 0)
  })
})
