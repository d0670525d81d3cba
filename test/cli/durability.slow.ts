import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { utf8 } from '../../src/bytes/bytes.ts'
import { cases, Pair } from './durability.ts'

/** Every case, in both readings, with either end or both put back, to the newest state and to the older one. */
for (const reading of ['continue', 'discard'] as const)
  suite(`durability, every way of putting back: ${reading}`, { concurrency: 1 }, () => {
    const results: { case_id: string; direction: string; ok: boolean }[] = []
    let pair: Pair
    before(() => {
      pair = new Pair(reading)
    })
    after(() => pair.end())
    for (const name of Object.keys(cases))
      for (const who of ['a', 'b', 'both'] as const)
        for (const to of ['newest', 'older'] as const)
          test(`${name}, ${who} to ${to}`, async () => {
            const result = { case_id: name, direction: `A->B, ${who} to ${to}`, ok: false }
            results.push(result)
            await pair.begin(`${name} ${who} ${to}`)
            await cases[name]?.(pair, { who, to }, reading)
            result.ok = true
          })
    after(() => {
      const directory = process.env.DURABILITY_REPORT
      if (directory === undefined) return
      const ok = results.every(result => result.ok)
      const report = { run_id: reading, ok, coverage: { profile: 'durability' }, results }
      writeFileSync(
        join(directory, `D2_durability.${reading}.json`),
        utf8(`${JSON.stringify(report, null, 2)}\n`),
      )
    })
    test('no key and nonce came twice in all of it', () => pair.nothingTwice())
  })
