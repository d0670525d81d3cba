import { suite, test } from 'node:test'
import { meeting, playLetters } from './letters.ts'

/** Many more histories, and longer ones; `LETTER_SEED` names the first. */
const start = await meeting()
const first = Number(process.env.LETTER_SEED ?? 1_000_000)
const count = Number(process.env.LETTER_HISTORIES ?? 2_000)

suite('histories of letters, many', () => {
  for (const lies of [false, true])
    test(lies ? 'with marks that go back too, and copies' : 'with marks that are kept', async () => {
      const seeds = Array.from({ length: count }, (_, i) => first + i)
      const tally = await playLetters(start, seeds, { steps: 90, lies })
      console.log(`# letters, ${count} histories from seed ${first}, lies ${lies}: ${JSON.stringify(tally)}`)
    })
})
