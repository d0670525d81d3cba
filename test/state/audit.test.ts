import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { BytesError } from '../../src/bytes/bytes.ts'
import { emptyFrontier, root } from '../../src/bytes/merkle.ts'
import { sha256 } from '../../src/crypto/hash.ts'
import {
  auditPath,
  auditPrefix,
  decodeChunk,
  decodeRetained,
  encodeChunk,
  encodeLines,
  lineOf,
  withLines,
} from '../../src/state/audit.ts'
import { openHome } from '../../src/state/home.ts'
import { limits } from '../../src/state/limits.ts'
import type { Store } from '../../src/state/store.ts'
import { VirtualClock } from '../simulator/clock.ts'
import { bytesOf, coded, freshHome, withStore, world } from './support.ts'

async function linesOf(store: Store): Promise<string[]> {
  const lines: string[] = []
  for await (const line of store.audit()) lines.push(line)
  return lines
}

/** What each line says, without its time. */
async function told(store: Store): Promise<string[]> {
  return (await linesOf(store)).map(line => {
    const entry = JSON.parse(line)
    assert.deepEqual(Object.keys(entry), Object.keys(entry).toSorted(), 'canonical')
    assert.ok(Number.isSafeInteger(entry.at))
    const { action, decision, path, reason, subject, count, generation } = entry
    return [action, decision, path, reason, subject, count, generation].filter(x => x !== undefined).join(' ')
  })
}

function tightened(t: TestContext, changed: Partial<Record<keyof typeof limits, number>>): void {
  const shipped = { ...limits }
  Object.assign(limits, changed)
  t.after(() => Object.assign(limits, shipped))
}

const denied = {
  action: 'put',
  decision: 'deny',
  path: '/state/x',
  reason: 'no rule',
  subject: 'mallory',
} as const

test('every committed change is told in its own group; reads and refusals with the next, or in a second', async t => {
  const { home } = await freshHome(t)
  const clock = new VirtualClock()
  const store = await openHome({ ...world, clock }, home)
  const first = await store.putAtomic('/state/a', bytesOf('secret'))
  store.note(denied)
  const by = { subject: 'bootctl', reason: () => 'rule 1' }
  const second = await store.commit([{ put: '/state/b', payload: bytesOf('b') }, { delete: '/state/a' }], {
    by,
  })
  assert.equal(second, first + 1)
  const expected = [
    `put allow /state/a owner  ${first}`,
    'put deny /state/x no rule mallory',
    `put allow /state/b rule 1 bootctl ${second}`,
    `delete allow /state/a rule 1 bootctl ${second}`,
  ]
  assert.deepEqual(await told(store), expected)
  store.note({ action: 'get', decision: 'allow', path: '/state/b', reason: 'rule 2', subject: 'bootctl' })
  await clock.advance(999)
  assert.equal(store.mark.number, second)
  await clock.advance(1)
  await new Promise(resolve => setTimeout(resolve, 50))
  assert.equal(store.mark.number, second + 1)
  store.note(denied)
  await store.close() // commits what waits
  await withStore(home, async again => {
    const all = await told(again)
    assert.deepEqual(all.slice(0, 4), expected)
    assert.deepEqual(all.slice(4), ['get allow /state/b rule 2 bootctl', 'put deny /state/x no rule mallory'])
    await again.putAtomic('/state/c', bytesOf('c'))
    assert.equal((await told(again)).length, 7)
    assert.ok((await linesOf(again)).every(line => !line.includes('secret')))
  })
})

test('a change that fails is not told as allowed; the product’s own records are not told', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await assert.rejects(store.putAtomic('/state/../x', bytesOf('x')), coded('EINVAL'))
    await store.commit([{ put: '/pawl/own', payload: bytesOf('x') }])
    assert.deepEqual(await told(store), [])
  })
})

test('what is more than may wait is dropped, counted, and the number told', async t => {
  tightened(t, { auditWaitingMax: 10, auditWaitingBytes: 400 })
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    for (let i = 0; i < 25; i++) store.note(denied)
    await store.putAtomic('/state/a', bytesOf('a'))
    const all = await told(store)
    assert.equal(all[0], 'dropped 15')
    assert.ok(all.length < 10 && all.at(-1)?.startsWith('put allow'), 'a group takes a bounded part of them')
    assert.equal(store.figures().auditDropped, 15)
  })
  await withStore(home, async store => {
    const all = await told(store)
    assert.equal(all.filter(line => line.includes('mallory')).length, 10)
  })
})

test('chunks are merged, so that a store with a long trail has few; nothing is lost or told twice', async t => {
  tightened(t, { auditChunksMax: 64 })
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    for (let i = 0; i < 500; i++) await store.putAtomic(`/state/${i % 7}`, bytesOf(`${i}`))
    await new Promise(resolve => setTimeout(resolve, 100))
    const chunks = store.list(auditPrefix)
    assert.ok(chunks.length < 2 * limits.auditChunksMax, `${chunks.length}`)
    assert.equal((await linesOf(store)).length, 500)
  })
  await withStore(home, async store => {
    await store.putAtomic('/state/last', bytesOf('x'))
    const lines = await linesOf(store)
    assert.deepEqual(
      lines.map(line => JSON.parse(line).generation),
      Array.from({ length: 501 }, (_, i) => JSON.parse(lines[i] ?? '').generation).toSorted((a, b) => a - b),
    )
    assert.equal(lines.length, 501)
    let at = 0
    for (const path of store.list(auditPrefix)) {
      const { first, lines: part } = decodeChunk((await store.get(path)).payload)
      assert.equal(first, at, 'without a gap')
      at += part.length
    }
  })
})

test('the oldest entries go when there are too many, and their tree stays', async t => {
  tightened(t, { auditBytesMax: 20_000, auditChunkBytes: 2000, auditChunksMax: 8 })
  const { home } = await freshHome(t)
  const everything: string[] = []
  await withStore(home, async store => {
    for (let i = 0; i < 600; i++) {
      await store.putAtomic(`/state/${i % 7}`, bytesOf(`${i}`))
      // Of each the newest line: whatever is dropped later was seen once.
      const newest = (await linesOf(store)).at(-1)
      assert.ok(newest !== undefined)
      everything.push(newest)
    }
  })
  await withStore(home, async store => {
    const left = await linesOf(store)
    assert.ok(left.length < 300 && left.length > 20, `${left.length}`)
    assert.deepEqual(left, everything.slice(-left.length))
    const gone = decodeRetained((await store.get(auditPath)).payload)
    assert.equal(gone.size, 600 - left.length)
    const expected = withLines(emptyFrontier, everything)
    assert.deepEqual(root(sha256, withLines(gone, left)), root(sha256, expected))
  })
})

test('a chunk is decoded strictly', () => {
  const good = encodeChunk(3, encodeLines(['a', 'b']))
  assert.deepEqual(decodeChunk(good), { first: 3, lines: ['a', 'b'] })
  for (const bad of [bytesOf(''), bytesOf('a'), bytesOf('a\nb')])
    assert.throws(() => decodeChunk(encodeChunk(0, bad)), BytesError)
  assert.throws(() => decodeChunk(good.subarray(0, 5)), BytesError)
  assert.throws(() => decodeRetained(good))
})

test('a line is canonical JSON, whatever it names', () => {
  for (const odd of ['/state/"x"', '/state/\\', "it's", 'añ水', '\u0001\n', '[]{}~ !', '']) {
    const entry = { ...denied, path: odd, subject: odd, reason: odd }
    const { action, decision, path, reason, subject } = entry
    assert.equal(lineOf(entry, 5), JSON.stringify({ action, at: 5, decision, path, reason, subject }))
    const at = 6
    const generation = 7
    assert.equal(
      lineOf(entry, at, generation),
      JSON.stringify({ action, at, decision, generation, path, reason, subject }),
    )
  }
})
