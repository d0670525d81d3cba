import assert from 'node:assert/strict'
import { test } from 'node:test'
import { judgeAdvance, judgeOpen, keeperKinds, type Mark, sameMark } from '../../src/mark/mark.ts'

const [here, elsewhere] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)]

/** `5a`: number 5 with head `a`; `~5a` the same of another domain. */
function mark(name: string): Mark {
  const [, other, number, head] = /^(~?)(\d+)([a-z])$/.exec(name) ?? []
  return {
    domain: other === '~' ? elsewhere : here,
    number: Number(number),
    head: new Uint8Array(32).fill((head ?? '').charCodeAt(0)),
  }
}

test('marks are the same when domain, number and head are', () => {
  assert.ok(sameMark(mark('5a'), mark('5a')))
  for (const other of ['6a', '5b', '~5a']) assert.ok(!sameMark(mark('5a'), mark(other)), other)
})

const advances: readonly (readonly [string, string, string, 'advance' | 'already' | 'refuse', string])[] = [
  ['5a', '5a', '6b', 'advance', 'one on'],
  ['5a', '5a', '9b', 'advance', 'several on'],
  ['0a', '0a', '1b', 'advance', 'the first'],
  ['6b', '5a', '6b', 'already', 'said twice'],
  ['5a', '5a', '5a', 'already', 'nowhere'],
  ['6b', '4c', '6b', 'already', 'what is held is held, whatever was expected'],
  ['5a', '5a', '5b', 'refuse', 'another head at the same number'],
  ['5a', '5a', '4b', 'refuse', 'back'],
  ['5a', '5a', '0a', 'refuse', 'back to nothing'],
  ['5a', '4c', '6b', 'refuse', 'from where it no longer is'],
  ['5a', '6b', '7c', 'refuse', 'from where it is not yet'],
  ['5a', '5b', '6b', 'refuse', 'from a fork'],
  ['6b', '5a', '6c', 'refuse', 'the second of two that set out together'],
  ['7b', '5a', '6b', 'refuse', 'repeated too late'],
  ['~5a', '5a', '6b', 'refuse', 'the keeper is of another domain'],
  ['5a', '~5a', '6b', 'refuse', 'expected in another domain'],
  ['5a', '5a', '~6b', 'refuse', 'to another domain'],
  ['5a', '~5a', '~6b', 'refuse', 'all of another domain'],
  ['~6b', '5a', '6b', 'refuse', 'held by another domain already'],
  ['6b', '~5a', '6b', 'refuse', 'already there, but asked on behalf of another'],
]

for (const [held, expected, next, verdict, what] of advances)
  test(`advance: ${what} (holds ${held}, ${expected} to ${next}): ${verdict}`, () => {
    assert.equal(judgeAdvance(mark(held), mark(expected), mark(next)), verdict)
  })

test('advance never goes back and never sideways, over every case of three numbers and two heads', () => {
  const all = [1, 2, 3].flatMap(number => [`${number}a`, `${number}b`])
  for (const held of all)
    for (const expected of all)
      for (const next of all) {
        const verdict = judgeAdvance(mark(held), mark(expected), mark(next))
        if (verdict === 'already') assert.equal(next, held)
        else if (verdict === 'advance') assert.ok(expected === held && mark(next).number > mark(held).number)
        else assert.ok(next !== held && (expected !== held || mark(next).number <= mark(held).number))
      }
})

const opens: readonly (readonly [number, number, number, 'same' | 'other' | 'none', string])[] = [
  [7, 7, 6, 'same', 'go on'],
  [7, 7, 7, 'same', 'go on'],
  [7, 8, 6, 'same', 'go on'],
  [7, 9, 7, 'same', 'go on'],
  [0, 1, 0, 'same', 'go on'],
  [6, 8, 7, 'same', 'the keeper went back'],
  [0, 8, 7, 'same', 'the keeper went back'],
  [6, 8, 7, 'other', 'the store forked'],
  [6, 5, 7, 'none', 'the keeper went back'],
  [8, 7, 6, 'none', 'the store went back'],
  [8, 7, 8, 'none', 'the store went back'],
  [8, 8, 7, 'none', 'the store went back'],
  [8, 8, 7, 'other', 'the store forked'],
  [8, 9, 8, 'other', 'the store forked'],
]

for (const [number, size, confirmed, root, verdict] of opens)
  test(`open: mark ${number}, journal ${size}, confirmed ${confirmed}, root ${root}: ${verdict}`, () => {
    const held: Mark = { ...mark('0a'), number }
    const roots = { same: held.head, other: mark('0b').head, none: undefined }
    assert.equal(judgeOpen({ mark: held, size, confirmed, rootAtMark: roots[root] }), verdict)
  })

test('each keeper says what it would catch', () => {
  assert.deepEqual(keeperKinds, {
    file: { home: true, homeAndAnchor: false, machine: false, keeper: true },
    none: { home: false, homeAndAnchor: false, machine: false, keeper: false },
    etcd: { home: true, homeAndAnchor: true, machine: true, keeper: true },
    postgres: { home: true, homeAndAnchor: true, machine: true, keeper: true },
    tpm: { home: true, homeAndAnchor: true, machine: false, keeper: true },
    witness: { home: true, homeAndAnchor: true, machine: true, keeper: true },
  })
})
