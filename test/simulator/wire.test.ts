import assert from 'node:assert/strict'
import test from 'node:test'
import type { Wire } from '../../src/host/wire.ts'
import { settled, VirtualClock } from './clock.ts'
import { type Weather, type WireOptions, wirePair } from './wire.ts'

const numbered = Array.from({ length: 40 }, (_, i) => new Uint8Array(5).fill(i))

async function readAll(wire: Wire): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = []
  for (let next = await wire.read(); next !== undefined; next = await wire.read()) chunks.push(next)
  return chunks
}

/** What arrives of forty chunks of five bytes. */
async function sent(weather: Weather, seed = 1, options: WireOptions = {}): Promise<string[]> {
  const { left, right } = wirePair({ seed, weather, ...options })
  const reading = readAll(right)
  for (const chunk of numbered) await left.write(chunk).catch(() => {})
  left.close()
  return (await reading).map(chunk => Buffer.from(chunk).toString('hex'))
}

const faithful = numbered.map(chunk => Buffer.from(chunk).toString('hex'))

test('without weather every byte arrives in order, in both directions, and then the end', async () => {
  assert.deepEqual(await sent({}), faithful)
  const { left, right } = wirePair()
  await right.write(new Uint8Array([1]))
  right.close()
  right.close()
  assert.deepEqual(await readAll(left), [new Uint8Array([1])])
  await assert.rejects(right.write(new Uint8Array(1)))
})

test('splitting changes chunks and no bytes', async () => {
  const pieces = await sent({ split: 0.5 })
  assert.ok(pieces.length > 45)
  assert.equal(pieces.join(''), faithful.join(''))
})

test('each kind of bad weather does what it says, the same for the same seed', async () => {
  const duplicated = await sent({ duplicate: 0.5 })
  assert.deepEqual([...new Set(duplicated)], faithful)
  assert.ok(duplicated.length > 45)
  const reordered = await sent({ reorder: 0.3 })
  assert.notDeepEqual(reordered, faithful)
  assert.deepEqual([...reordered].sort(), faithful)
  const truncated = await sent({ truncate: 0.3 })
  assert.ok(truncated.join('').length < faithful.join('').length)
  const flipped = await sent({ flip: 0.3 })
  assert.equal(flipped.join('').length, faithful.join('').length)
  assert.notDeepEqual(flipped, faithful)
  const stopped = await sent({ cut: 0.1 })
  assert.ok(stopped.length < 40)
  const all = { split: 0.2, duplicate: 0.2, reorder: 0.2, truncate: 0.2, flip: 0.2 }
  assert.deepEqual(await sent(all, 9), await sent(all, 9))
  assert.notDeepEqual(await sent(all, 9), await sent(all, 10))
})

test('delays keep the order and take virtual time', async () => {
  const clock = new VirtualClock({ auto: true })
  assert.deepEqual(await sent({ delay: 0.5, delayMsMax: 1000 }, 1, { clock }), faithful)
  assert.ok(clock.monotonic() > 1000)
})

test('a writer waits while too much is unread', async () => {
  const { left, right } = wirePair({ windowBytes: 10 })
  let isWritten = false
  await left.write(new Uint8Array(9))
  const writing = left.write(new Uint8Array(9)).then(() => {
    isWritten = true
  })
  await settled()
  assert.equal(isWritten, false)
  await right.read()
  await writing
  assert.equal(isWritten, true)
})

test('a cut ends both directions at once, as an end or as an error', async () => {
  const pair = wirePair()
  await pair.left.write(new Uint8Array(1))
  const waiting = pair.left.read()
  pair.cut()
  assert.equal(await pair.right.read(), undefined)
  assert.equal(await waiting, undefined)
  await assert.rejects(pair.left.write(new Uint8Array(1)))
  const harsh = wirePair({ cutReadsAs: 'error' })
  const failing = assert.rejects(harsh.right.read())
  harsh.left.abort()
  await failing
})

test('someone in the middle sees and replaces chunks', async () => {
  const seen: string[] = []
  const { left, right } = wirePair({
    meddle: (chunk, from) => {
      seen.push(from)
      return from === 'left' ? [] : [chunk, chunk]
    },
  })
  await left.write(new Uint8Array([1]))
  await right.write(new Uint8Array([2]))
  left.close()
  right.close()
  assert.deepEqual(await readAll(right), [])
  assert.equal((await readAll(left)).length, 2)
  assert.deepEqual(seen, ['left', 'right'])
})
