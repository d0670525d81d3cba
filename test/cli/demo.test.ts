import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { judgeNonces, judgeOrders, judgeSecrecy } from '../../src/cli/demo/audit.ts'
import { liveLine, wrap } from '../../src/cli/demo/layout.ts'
import { writeOrders } from '../../src/cli/demo/orders.ts'
import type { Check, Result, Teller } from '../../src/cli/demo/telling.ts'
import { TooLate, Watch } from '../../src/cli/demo/watch.ts'
import { demo, shortStory, type Variation } from '../../src/cli/demo.ts'
import { startChild } from '../../src/node/child.ts'

const program = fileURLToPath(new URL('../../bin/pawl', import.meta.url))

const claims = [
  'each end was killed in the middle of its work and went on',
  'every replay was refused',
  'every flipped bit was refused',
  'an older home is refused before it says or writes anything',
  'a clone is refused, and both ends say so',
  'of original and clone only one was ever acknowledged again',
  'the sender was told that every order was taken',
  "the bank's file is the branch's file, byte for byte",
  'every order arrived exactly once',
  'every balance is exact',
  'no key ever met the same nonce twice',
  'no word of an order can be read at rest or on the line',
]

suite('the demo', () => {
  test('the whole story ends with every check held and exit 0', async () => {
    const { code, output } = await run(['demo', '--json'])
    const lines = output.map(line => JSON.parse(line))
    const checks = lines.filter(({ type }) => type === 'check')
    assert.equal(code, 0, output.slice(-20).join('\n'))
    assert.deepEqual(
      checks.map(({ claim }) => claim),
      claims,
    )
    assert.ok(checks.every(({ held, found }) => held === true && found !== ''))
    const { seconds, ...result } = lines.at(-1)
    assert.deepEqual(result, { type: 'result', held: true, checks: claims.length, failed: [] })
    assert.ok(seconds < 60, `${seconds} s`)
    const kills = lines.filter(({ event }) => event === 'kill')
    for (const victim of ['bank', 'branch']) {
      const times = kills.filter(({ who }) => who === victim).length
      assert.ok(times >= 3, `${victim} was killed ${times} times`)
    }
    const refused = lines.filter(({ event }) => event === 'refused').map(({ code }) => code)
    for (const code of ['channel/REPLAY', 'channel/PROTOCOL', 'channel/TAMPERED'])
      assert.ok(refused.includes(code), `${code} among ${refused}`)
  })

  if (process.env.SLOW === '1')
    test('without any harm done to it, a short one holds, too', async () => {
      const { exit, result } = await perform({})
      assert.equal(exit, 'done', result?.trouble)
      assert.equal(result?.held, true)
    })

  test('an order that is missing at the end fails it, by name', async () => {
    const { exit, result } = await perform({
      beforeAudit: async ({ out }) => {
        const lines = readFileSync(out, 'utf8').split('\n')
        lines.splice(7, 1)
        writeFileSync(out, lines.join('\n'))
      },
    })
    assert.equal(exit, 'failed')
    assert.equal(result?.held, false)
    assert.deepEqual(result?.failed, [
      "the bank's file is the branch's file, byte for byte",
      'every order arrived exactly once',
      'every balance is exact',
    ])
  })

  test('what cannot go on fails it, with what it waited for', async () => {
    const { exit, result } = await perform({
      acts: [({ watch }) => watch.until('the end of the world', () => undefined, 10)],
    })
    assert.equal(exit, 'failed')
    assert.match(result?.trouble ?? '', /the end of the world did not happen/)
  })
})

suite('the reckoning notices', () => {
  const sent = writeOrders(50, 1)
  const lines = new TextDecoder().decode(sent).split('\n')
  const [first = '', second = ''] = lines

  function failedAfter(change: (lines: string[]) => void): string[] {
    const changed = [...lines]
    change(changed)
    return failed(judgeOrders(sent, new TextEncoder().encode(changed.join('\n'))))
  }

  test('nothing wrong where nothing is', () => assert.deepEqual(failed(judgeOrders(sent, sent)), []))
  test('an order lost', () => assert.equal(failedAfter(lines => lines.splice(20, 1)).length, 3))
  test('an order twice', () => assert.equal(failedAfter(lines => lines.splice(9, 0, first)).length, 3))
  test('an order garbled', () =>
    assert.equal(failedAfter(lines => lines.splice(0, 1, 'transfer 1')).length, 3))
  test('an order out of its turn', () =>
    assert.deepEqual(
      failedAfter(lines => lines.splice(0, 2, second, first)),
      ["the bank's file is the branch's file, byte for byte"],
    ))
  test('no orders at all', () =>
    assert.equal(judgeOrders(new Uint8Array(), new Uint8Array())[0]?.held, false))

  const key = 'a'.repeat(32)
  const nonces = [0, 1, 2].map(number => `${key} ${number.toString().padStart(24, '0')}`)

  test('a key and nonce twice, and no record at all', () => {
    assert.equal(judgeNonces(nonces.join('\n')).held, true)
    assert.equal(judgeNonces([...nonces, nonces[1]].join('\n')).held, false)
    assert.equal(judgeNonces(`${key} 00`).held, false)
    assert.equal(judgeNonces('').held, false)
  })

  test('a word of an order at rest or on the line, and a search of nothing', () => {
    const sealed = [new Uint8Array(100)]
    const open = [sent.subarray(300, 600)]
    assert.equal(judgeSecrecy(sent, { stored: sealed, captured: sealed }).held, true)
    assert.equal(judgeSecrecy(sent, { stored: open, captured: sealed }).held, false)
    assert.equal(judgeSecrecy(sent, { stored: sealed, captured: open }).held, false)
    assert.equal(judgeSecrecy(sent, { stored: [], captured: sealed }).held, false)
    assert.equal(judgeSecrecy(new Uint8Array(9), { stored: sealed, captured: sealed }).held, false)
  })
})

suite('waiting', () => {
  test('ends with what was waited for, late, or as it is told', async () => {
    const watch = new Watch()
    let value: number | undefined
    const found = watch.until('a value', () => value)
    value = 7
    watch.changed()
    assert.equal(await found, 7)
    await assert.rejects(
      watch.until('never', () => undefined, 5),
      TooLate,
    )
    const waiting = watch.until('never', () => undefined)
    watch.stop(new Error('enough'))
    await assert.rejects(waiting, /enough/)
    await assert.rejects(watch.pause(1), /enough/)
  })
})

suite('the window', () => {
  const progress = { delivered: 4_000, orders: 8_000, kills: 10 }

  test('the live line is never as wide as it, and the bar gives way before the words', () => {
    for (let columns = 1; columns < 200; columns++) {
      const { bar, text } = liveLine(progress, columns)
      assert.ok(bar.length + text.length < columns, `${columns}`)
    }
    const { bar, text } = liveLine(progress, 80)
    assert.match(bar, /^ {7}█{10}░{10}$/)
    assert.equal(text, ' 4,000 of 8,000 orders acknowledged, 10 kills so far')
    assert.match(liveLine(progress, 200).bar, /^ {7}█{12}░{12}$/)
    assert.equal(liveLine(progress, 60).bar, '')
  })

  test('words are wrapped to it, and never broken', () => {
    assert.deepEqual(wrap('one two three', 7), ['one two', 'three'])
    assert.deepEqual(wrap('incomprehensibilities of it', 7), ['incomprehensibilities', 'of it'])
    assert.deepEqual(wrap('one two three', Number.POSITIVE_INFINITY), ['one two three'])
  })
})

suite('a child process', () => {
  const environment = { PATH: process.env.PATH ?? '' }

  test('is heard to its end, line by line, and tells how it ended', async () => {
    const heard: string[] = []
    const onLine = (line: string, stream: string) => heard.push(`${stream} ${line}`)
    const words = ['-c', 'echo one; echo two >&2; printf three; exit 4']
    const { ended } = startChild('/bin/sh', words, { environment, onLine })
    assert.deepEqual(await ended, { code: 4, signal: undefined, failure: undefined })
    assert.deepEqual(heard.sort(), ['stderr two', 'stdout one', 'stdout three'])
  })

  test('that is killed says by what; one that cannot be started says why', async () => {
    const killed = startChild('/bin/sh', ['-c', 'exec sleep 60'], { environment, onLine: () => undefined })
    killed.kill('SIGKILL')
    assert.equal((await killed.ended).signal, 'SIGKILL')
    const absent = startChild('/nowhere/at/all', [], { environment, onLine: () => undefined })
    assert.match((await absent.ended).failure ?? '', /ENOENT/)
  })
})

/** The demo in this process, small, and what it told. */
async function perform(variation: Variation) {
  let result: Result | undefined
  const teller: Teller = {
    step: async () => undefined,
    event: async () => undefined,
    table: async () => undefined,
    check: async () => undefined,
    result: async given => {
      result = given
    },
    follow: () => undefined,
    end: () => undefined,
  }
  const script = { orders: 300, paceMs: 0, restMs: 0 }
  const exit = await demo({ json: true, keep: false }, { acts: shortStory, script, teller, ...variation })
  return { exit, result }
}

function failed(checks: readonly Check[]): string[] {
  return checks.filter(({ held }) => !held).map(({ claim }) => claim)
}

function run(words: readonly string[]): Promise<{ readonly code: number; readonly output: string[] }> {
  return new Promise(resolve => {
    const child = execFile(program, words, { timeout: 115_000 }, (_error, stdout) =>
      resolve({ code: child.exitCode ?? -1, output: stdout.trimEnd().split('\n') }),
    )
  })
}
