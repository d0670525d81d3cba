import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { utf8 } from '../../src/bytes/bytes.ts'
import { ChannelError } from '../../src/channel/reasons.ts'
import { sha256 } from '../../src/crypto/hash.ts'
import type { Clock } from '../../src/host/clock.ts'
import { partyOf } from '../../src/session/letter-party.ts'
import { LetterSession, openLetters } from '../../src/session/letters.ts'
import { ReplaySet } from '../../src/session/replay-set.ts'
import { StateError } from '../../src/state/error.ts'
import { adoptParameters, parametersOf } from '../../src/state/parameters.ts'
import { acquainted, isRefused, passes, shakeHands, start } from './letter-ends.ts'
import { IdleClock, introduced, noNonceTwice, run } from './world.ts'

noNonceTwice()

const day = 86_400_000
const digest = (n: number) => sha256(utf8(`letter ${n}`))
const reason = (wanted: number) => (error: unknown) =>
  error instanceof ChannelError && error.reason === wanted

/** What a replay set needs of a store. */
class Kept {
  readonly records = new Map<string, Uint8Array>()
  now = 1000 * day
  readonly clock: Clock = { now: () => this.now, monotonic: () => 0, after: () => () => undefined }

  load(bounds = { entriesMax: 256, ttlMs: 7 * day }): Promise<ReplaySet> {
    const { records } = this
    const store = {
      list: (prefix: string) => [...records.keys()].filter(path => path.startsWith(prefix)).sort(),
      get: async (path: string) => ({
        payload: records.get(path) ?? assert.fail(path),
        envelope: assert.fail,
        generation: 1,
      }),
    }
    return ReplaySet.load(store as never, { place: '/seen', scope: 's' }, this.clock, bounds)
  }

  add(set: ReplaySet, n: number, epoch: number, oldestOpen: number): void {
    const { changes, apply } = set.add(digest(n), epoch, oldestOpen)
    for (const change of changes)
      if ('put' in change) this.records.set(change.put, Uint8Array.from(change.payload))
      else assert.ok(this.records.delete(change.delete))
    apply()
  }
}

suite('the replay set', () => {
  test('knows what was added, and only what was committed, also when it is loaded again', async () => {
    const kept = new Kept()
    const set = await kept.load()
    for (let n = 0; n < 100; n++) kept.add(set, n, 1, 1)
    set.add(digest(100), 1, 1) // and not committed
    for (const each of [set, await kept.load()]) {
      for (let n = 0; n < 100; n++) assert.throws(() => each.refuseIfKnown(digest(n)), reason(21))
      each.refuseIfKnown(digest(100))
      assert.equal(each.size, 100)
    }
  })

  test('at its bound the next one is refused and nothing goes, however the clock jumps', async () => {
    const kept = new Kept()
    const set = await kept.load()
    for (let n = 0; n < 256; n++) kept.add(set, n, 3, 3)
    const before = new Map(kept.records)
    for (const now of [0, 1000 * day, 9000 * day]) {
      kept.now = now
      assert.throws(() => set.add(digest(256), 3, 3), reason(80))
    }
    assert.deepEqual(kept.records, before)
    for (let n = 0; n < 256; n++) assert.throws(() => set.refuseIfKnown(digest(n)), reason(21))
  })

  test('goes in order of entry, when it is old and its epoch is closed, and not before both', async () => {
    const kept = new Kept()
    const set = await kept.load()
    for (let n = 0; n < 128; n++) kept.add(set, n, 1, 1)
    kept.now += 8 * day
    kept.add(set, 128, 2, 1)
    assert.equal(set.size, 129, 'epoch 1 is still open')
    kept.now -= 8 * day
    for (let n = 129; n < 192; n++) kept.add(set, n, 2, 1)
    assert.equal(set.size, 192, 'a clock that is set back ages nothing, and un-ages nothing')
    kept.add(set, 192, 3, 2)
    assert.equal(set.size, 65, 'the first two chunks are gone')
    set.refuseIfKnown(digest(0))
    assert.throws(() => set.refuseIfKnown(digest(128)), reason(21))
    assert.equal((await kept.load()).size, 65)
  })

  test('however closed its epoch, what is younger than it may be stays: to the millisecond', async () => {
    const kept = new Kept()
    const set = await kept.load()
    for (let n = 0; n < 64; n++) kept.add(set, n, 1, 1)
    kept.now += 7 * day - 1
    kept.add(set, 64, 9, 8)
    assert.equal(set.size, 65)
    kept.now += 1
    kept.add(set, 65, 9, 8)
    assert.equal(set.size, 2)
  })

  test('two runs of the same letters at the same times keep the same', async () => {
    const runs = await Promise.all(
      [1, 2].map(async () => {
        const kept = new Kept()
        let set = await kept.load()
        for (let n = 0; n < 600; n++) {
          kept.now += day / 20
          if (n % 97 === 0) set = await kept.load()
          kept.add(set, n, 1 + Math.floor(n / 50), Math.max(1, Math.floor(n / 50)))
        }
        return kept.records
      }),
    )
    assert.deepEqual(runs[0], runs[1])
    assert.ok((runs[0]?.size ?? 0) < 5, 'what is over is gone')
  })
})

suite('letters with digests', async () => {
  const [siteA, siteB] = await introduced()
  const strict = utf8(
    '{"format":"pawl-parameters-1","version":1,"values":{"letter.replay_digests":true,"dur.replay_cache_max_entries":1024,"dur.max_out_of_order_messages":2,"qsp.max_body_ct_len":2048}}',
  )

  test('a home that adopted it remembers each, after a restart too, and holds to the other parameters', async () => {
    let b = await start(siteB, 'server')
    await adoptParameters(b.running.endpoint.store, strict)
    b = await start(await b.stop(), 'server')
    const a = await start(siteA, 'client')
    await shakeHands(a.letters, b.letters)
    const letters = []
    for (let i = 0; i < 5; i++) letters.push(await a.letters.seal(utf8(`letter ${i}`)))
    const [zero, one, two, , four] = letters
    assert.ok(zero && one && two && four)
    await b.letters.open(four)
    await isRefused(b.letters.open(one), 'channel/REPLAY') // three behind
    await b.letters.open(two)
    b = await start(b.kill(), 'server')
    await assert.rejects(b.letters.open(two), /opened before/)
    await isRefused(b.letters.open(await a.letters.seal(new Uint8Array(2049))), 'channel/TOO_LARGE')
    await isRefused(b.letters.seal(new Uint8Array(2049)), 'channel/TOO_LARGE')
    assert.equal(
      b.running.endpoint.store.list('/pawl/letter/server/').filter(path => path.includes('/seen/')).length,
      1,
    )
    await passes(a.letters, b.letters, 'x'.repeat(2048))
    a.kill()
    b.kill()
  })

  test('what is remembered no more is refused by its epoch, wherever the clock jumps to', async () => {
    let now = 1000 * day
    const clock: Clock = { now: () => now, monotonic: () => 0, after: () => () => undefined }
    const [restA, restB] = await acquainted(siteA, siteB)
    let a = await start(restA, 'client')
    const { endpoint, peer, kill } = await run(restB, new IdleClock())
    const home = { ...endpoint, clock, parameters: parametersOf('high_security') }
    const b = await LetterSession.open(home, partyOf(endpoint, peer), 'server')
    const chunks = () => endpoint.store.list('/pawl/letter/server/').filter(path => path.includes('/seen/'))
    const old: Uint8Array[] = []
    for (let i = 0; i < 64; i++) old.push(await passes(a.letters, b, `letter ${i}`))
    now += 8 * day
    // Each run of the writer is an epoch, and the one before the newest is open.
    for (const left of [2, 1]) {
      a = await start(a.kill(), 'client')
      await passes(a.letters, b, `a run, and ${left} left`)
      assert.equal(chunks().length, left)
    }
    for (const jump of [0, 8 * day, 1000 * day, 9000 * day]) {
      now = jump
      for (const letter of old) await isRefused(b.open(letter), 'channel/REPLAY')
      await passes(a.letters, b, `at ${jump}`)
    }
    a.kill()
    kill()
  })

  test('nothing is opened in a home whose parameters are wider than its profile', async () => {
    const a = await start(siteA, 'client')
    const { endpoint, peer } = a.running
    const { store } = endpoint
    await adoptParameters(store, strict)
    const config = { keeper: 'file', profile: 'high_security' } as const
    await adoptParameters(
      store,
      utf8('{"format":"pawl-parameters-1","version":2,"values":{"dur.max_out_of_order_messages":64}}'),
    )
    const stricter = new Proxy(store, {
      get(target, name) {
        if (name === 'config') return config
        const value: unknown = Reflect.get(target, name, target)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    await assert.rejects(openLetters({ ...endpoint, store: stricter }, peer, 'client'), (error: unknown) => {
      assert.ok(error instanceof StateError)
      assert.equal(error.code, 'EINVAL')
      assert.match(error.message, /dur\.max_out_of_order_messages/)
      return true
    })
    a.kill()
  })
})
