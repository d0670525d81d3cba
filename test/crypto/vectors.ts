import { existsSync, readFileSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

/** Where vectors that others made lie beside the project. They are never copied into it. */
const folder = new URL('../../../shared/vectors/', import.meta.url)

/** The parsed file, or undefined after the test was skipped with the reason. */
export function vectors<File>(t: TestContext, name: string): File | undefined {
  const file = new URL(name, folder)
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'))
  t.skip(`VECTORS NOT CHECKED: ${fileURLToPath(file)} is not there`)
  return undefined
}

/** A Wycheproof file with its groups flattened: every case beside what its group says. */
export function wycheproof<Case, Group = object>(
  t: TestContext,
  name: string,
): readonly (Case & Group & Verdict)[] | undefined {
  type File = { readonly numberOfTests: number; readonly testGroups: readonly (Group & { tests: Case[] })[] }
  const file = vectors<File>(t, `wycheproof/${name}.json`)
  if (file === undefined) return undefined
  const cases = file.testGroups.flatMap(({ tests, ...group }) =>
    tests.map(one => ({ ...group, ...one }) as unknown as Case & Group & Verdict),
  )
  if (cases.length !== file.numberOfTests) throw new Error(`${name} has not all its tests`)
  return cases
}

export type Verdict = {
  readonly tcId: number
  readonly result: 'valid' | 'invalid' | 'acceptable'
  readonly flags: readonly string[]
}
