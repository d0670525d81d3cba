import { after, before, suite, test } from 'node:test'
import { cases, Pair, type Reading } from './durability.ts'

/** As the harness has them: both ends restarted, and put back where the case says. The rest is in the slow suite. */
const harness: Readonly<Record<Reading, readonly (keyof typeof cases)[]>> = {
  continue: ['IT-DUR-001', 'IT-DUR-002', 'IT-DUR-003', 'IT-DUR-004', 'IT-DUR-005'],
  discard: ['IT-DUR-003', 'IT-DUR-005'],
}

for (const reading of ['continue', 'discard'] as const)
  suite(`durability, what is put back: ${reading}`, { concurrency: 1 }, () => {
    let pair: Pair
    before(() => {
      pair = new Pair(reading)
    })
    after(() => pair.end())
    for (const name of harness[reading])
      test(name, async () => {
        await pair.begin(name)
        const isConsistent = name === 'IT-DUR-001' || name === 'IT-DUR-002'
        await cases[name]?.(pair, { who: 'both', to: isConsistent ? 'newest' : 'older' }, reading)
      })
    test('no key and nonce came twice in all of it', () => pair.nothingTwice())
  })
