import assert from 'node:assert/strict'
import { StateError } from '../../src/state/error.ts'
import { judge, type Policy } from '../../src/state/policy.ts'
import { parsePolicy } from '../../src/state/policy-file.ts'
import { Random } from '../simulator/random.ts'
import { naiveJudge, naiveParse, operations, policyTree, textOfTree } from './policy-cases.ts'
import { bytesOf } from './support.ts'

/** How many were policies; throws at the first that is not what the reference says. */
export function fuzzed(seed: number, cases: number): { readonly taken: number; readonly refused: number } {
  const random = new Random(seed)
  let taken = 0
  for (let i = 0; i < cases; i++) {
    const tree = policyTree(random)
    const source = textOfTree(tree, random)
    const expected = naiveParse(tree)
    const found = parsed(source)
    assert.equal(found !== undefined, expected !== undefined, `seed ${seed}, case ${i}: ${source}`)
    if (found === undefined || expected === undefined) continue
    taken++
    const subject = ['bootctl', 'a', 'b.c', 'nobody'][random.below(4)] ?? ''
    const operation = operations[random.below(5)] ?? 'get'
    const path =
      ['/state/a', '/state/a/b', '/state/ab', '/state/a/b/c', '/state/', '/pawl/a'][random.below(6)] ?? ''
    const answer = judge(found, subject, operation, path)
    const said = answer.allowed ? answer.rule : answer.reason
    assert.equal(said, naiveJudge(expected, subject, operation, path), `seed ${seed}, case ${i}: ${source}`)
  }
  return { taken, refused: cases - taken }
}

function parsed(source: string): Policy | undefined {
  try {
    return parsePolicy(bytesOf(source))
  } catch (error) {
    assert.ok(error instanceof StateError && error.code === 'EINVAL', String(error))
    assert.match(
      error.message,
      /^(the policy file is no strict JSON: |policy (file|format|version|subjects|rules))/,
    )
    return undefined
  }
}
