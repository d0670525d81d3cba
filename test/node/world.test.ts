import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { realClock } from '../../src/node/clock.ts'
import { openEntropy } from '../../src/node/entropy.ts'
import { lineLog, silentLog } from '../../src/node/log.ts'
import { ending, faultIs, scratch, start } from './support.ts'

test('a timer fires once, and not at all once it is cancelled', async () => {
  let fired = 0
  realClock.after(5, () => fired++)
  const cancel = realClock.after(5, () => (fired += 10))
  cancel()
  cancel()
  await pause(40)
  assert.equal(fired, 1)
})

test('a timer longer than setTimeout can take waits, and can still be cancelled', async t => {
  const longest = 2 ** 31 - 1
  t.mock.timers.enable({ apis: ['setTimeout'] })
  let fired = 0
  realClock.after(2 * longest + 5, () => fired++)
  const cancel = realClock.after(2 * longest + 5, () => (fired += 10))
  for (const ms of [1, longest - 1, longest, 4]) {
    t.mock.timers.tick(ms)
    assert.equal(fired, 0)
  }
  cancel()
  t.mock.timers.tick(1)
  assert.equal(fired, 1)
})

test('monotonic goes on when the wall clock is set back', async t => {
  const before = realClock.monotonic()
  t.mock.timers.enable({ apis: ['Date'], now: 1000 })
  assert.equal(realClock.now(), 1000)
  assert.ok(realClock.monotonic() >= before)
})

test('entropy has the length asked for and does not repeat', () => {
  const entropy = openEntropy()
  for (const length of [0, 1, 32, 65_536, 70_001]) assert.equal(entropy.bytes(length).length, length)
  const seen = new Set(Array.from({ length: 1000 }, () => Buffer.from(entropy.bytes(16)).toString('hex')))
  assert.equal(seen.size, 1000)
  assert.ok(
    entropy
      .bytes(70_001)
      .subarray(65_536)
      .some(byte => byte !== 0),
  )
})

test('either source alone suffices', t => {
  const real = openEntropy()
  const kernelIsStuck = openEntropy('/dev/zero')
  assert.notDeepEqual(kernelIsStuck.bytes(32), kernelIsStuck.bytes(32))
  t.mock.method(globalThis.crypto, 'getRandomValues', (bytes: Uint8Array) => bytes.fill(0))
  assert.deepEqual(kernelIsStuck.bytes(32), new Uint8Array(32), 'the other one is really masked out here')
  assert.notDeepEqual(real.bytes(32), real.bytes(32))
})

test('one descriptor serves all calls', () => {
  const entropy = openEntropy()
  const count = () => fs.readdirSync('/proc/self/fd').length
  const before = count()
  for (let i = 0; i < 100; i++) entropy.bytes(32)
  assert.equal(count(), before)
})

test('a kernel source that cannot be read is an error, never a fallback', t => {
  const directory = scratch(t)
  const plain = join(directory, 'urandom')
  assert.throws(() => openEntropy(plain), faultIs('missing', plain))
  fs.writeFileSync(plain, new Uint8Array(100))
  assert.throws(() => openEntropy(plain), faultIs('failed', plain, 'not a character device'))
  const empty = openEntropy('/dev/null')
  assert.throws(() => empty.bytes(1), faultIs('failed', '/dev/null'))
})

test('a log line is one JSON object with ts, event and the fields', () => {
  const lines: string[] = []
  const log = lineLog(line => lines.push(line))
  log.event('store/opened', { generation: 7, clean: true, ts: 'mine', event: 'mine', note: 'a\nb' })
  log.event('bare')
  assert.ok(lines.every(line => line.indexOf('\n') === line.length - 1))
  const [first, second] = lines.map(line => JSON.parse(line))
  assert.ok(Math.abs(Date.parse(first.ts) - Date.now()) < 10_000)
  const { ts, ...rest } = first
  assert.deepEqual(rest, { event: 'store/opened', generation: 7, clean: true, note: 'a\nb' })
  assert.match(ts, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
  assert.deepEqual(Object.keys(second), ['ts', 'event'])
  silentLog.event('unheard')
})

test('events go to stderr, not to stdout, and a closed stderr does not stop the work', async () => {
  const source = `import { stderrLog } from 'SRC/log.ts'
    const log = stderrLog()
    for (let i = 0; i < 3; i++) { log.event('tick', { i }); await new Promise(r => setTimeout(r, 5)) }
    console.log('done')`
  const heard = await ending(start(source))
  assert.equal(heard.out, 'done\n')
  assert.equal(heard.err.trim().split('\n').length, 3)
  const child = start(source)
  child.stderr?.destroy()
  const unheard = await ending(child)
  assert.deepEqual([unheard.code, unheard.out], [0, 'done\n'])
})
