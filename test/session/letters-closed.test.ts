import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { utf8 } from '../../src/bytes/bytes.ts'
import { partyOf } from '../../src/session/letter-party.ts'
import { letterPrefix } from '../../src/session/letter-paths.ts'
import { LetterSession } from '../../src/session/letters.ts'
import { parametersOf } from '../../src/state/parameters.ts'
import {
  acquainted,
  dying,
  eachMoment,
  isRefused,
  passes,
  sessionMarksIn,
  shakeHands,
  start,
} from './letter-ends.ts'
import { IdleClock, introduced, noNonceTwice, run } from './world.ts'

noNonceTwice()

const [siteA, siteB] = await introduced()

const [restA, restB] = await acquainted(siteA, siteB)
const outbox = '/state/outbox'
const kept = (letter: Uint8Array | undefined) =>
  letter === undefined ? [] : [{ put: outbox, payload: letter }]

suite('a close', () => {
  for (const [closer, reader] of [
    ['client', 'server'],
    ['server', 'client'],
  ] as const)
    test(`of the ${closer}, opened by the ${reader}, ends the session there too: what is under way opens no more`, async () => {
      const sites = { client: restA, server: restB }
      const [from, to] = [await start(sites[closer], closer), await start(sites[reader], reader)]
      const underWay = await from.letters.seal(utf8('late'))
      const back = await to.letters.seal(utf8('and back'))
      const close = (await from.letters.close()) ?? assert.fail('no letter')
      assert.equal(await to.letters.open(close), undefined)
      for (const { letters, running } of [from, to]) {
        assert.ok(!letters.stands)
        assert.deepEqual(running.endpoint.store.list(letterPrefix), [])
      }
      for (const letter of [close, underWay]) await isRefused(to.letters.open(letter), 'channel/CLOSED')
      await isRefused(from.letters.open(back), 'channel/CLOSED')
      await isRefused(to.letters.seal(utf8('x')), 'channel/CLOSED')
      from.kill()
      to.kill()
    })

  test('replayed into the next session it changes nothing, and neither does one of a session before', async () => {
    const [a, b] = [await start(restA, 'client'), await start(restB, 'server')]
    // Taken from a disk that was copied: the other end never heard of it.
    const copy = await start(restA, 'client')
    const unheard = (await copy.letters.close()) ?? assert.fail('no letter')
    copy.kill()
    await shakeHands(a.letters, b.letters)
    await passes(a.letters, b.letters, 'of the new session')
    await isRefused(b.letters.open(unheard), 'channel/PROTOCOL')
    const close = (await a.letters.close()) ?? assert.fail('no letter')
    assert.equal(await b.letters.open(close), undefined)
    await shakeHands(a.letters, b.letters)
    // A handshake waits, and no session stands.
    await isRefused(b.letters.open(close), 'channel/PROTOCOL')
    await passes(a.letters, b.letters, 'of the third')
    await isRefused(b.letters.open(close), 'channel/PROTOCOL')
    await passes(b.letters, a.letters, 'which stands')
    a.kill()
    b.kill()
  })

  test('that comes while the next handshake waits ends the old session alone', async () => {
    const [a, b] = [await start(restA, 'client'), await start(restB, 'server')]
    const close = (await a.letters.close()) ?? assert.fail('no letter')
    const answer = await b.letters.answer(await a.letters.begin())
    assert.equal(await b.letters.open(close), undefined)
    assert.ok(!b.letters.stands)
    const again = await start(await b.stop(), 'server')
    await a.letters.finish(answer)
    await passes(a.letters, again.letters, 'in the new one')
    a.kill()
    again.kill()
  })

  test('can be the first letter there is, and the proof rides in front of it', async () => {
    const [a, b] = [await start(siteA, 'client'), await start(siteB, 'server')]
    await shakeHands(a.letters, b.letters)
    const close = (await a.letters.close()) ?? assert.fail('no letter')
    assert.equal(await b.letters.open(close), undefined)
    await isRefused(b.letters.open(close), 'channel/PROTOCOL')
    assert.ok(!b.letters.stands)
    a.kill()
    b.kill()
  })

  test('opens where no digest has room any more', async () => {
    const a = await start(restA, 'client')
    const { endpoint, peer, kill } = await run(restB, new IdleClock())
    const prod = parametersOf('prod')
    const count = (name: Parameters<typeof prod.count>[0]) =>
      name === 'dur.replay_cache_max_entries' ? 1 : prod.count(name)
    const parameters = { ...prod, count, holds: () => true }
    const b = await LetterSession.open({ ...endpoint, parameters }, partyOf(endpoint, peer), 'server')
    await passes(a.letters, b, 'one')
    await isRefused(b.open(await a.letters.seal(utf8('two'))), 'channel/OVERLOADED')
    assert.equal(await b.open((await a.letters.close()) ?? assert.fail()), undefined)
    a.kill()
    kill()
  })

  test('without a session, and at an end that was turned back, there is none to give', async () => {
    const [a, b] = [await start(siteA, 'client'), await start(restB, 'server')]
    await a.letters.begin()
    assert.equal(await a.letters.close(), undefined)
    assert.deepEqual(a.running.endpoint.store.list(letterPrefix), [])
    let back = await start(restA, 'client')
    await passes(back.letters, b.letters, 'x')
    back.kill()
    back = await start(restA, 'client')
    await isRefused(back.letters.open(await b.letters.seal(utf8('y'))), 'session/ROLLBACK')
    assert.equal(await back.letters.close(), undefined)
    assert.ok(!back.letters.stands)
    for (const end of [a, b, back]) end.kill()
  })

  test('who dies anywhere while it closes is open as before, or closed and has the letter', async () => {
    let [open, closed] = [0, 0]
    await eachMoment(async calls => {
      const rest = await dying(restA, 'client', calls, letters => letters.close(kept))
      if (rest === undefined) return 'lived'
      const [a, b] = [await start(rest, 'client'), await start(restB, 'server')]
      const { store } = a.running.endpoint
      assert.notEqual(a.letters.stands, store.has(outbox))
      if (a.letters.stands) {
        open++
        await passes(a.letters, b.letters, 'goes on')
        await passes(b.letters, a.letters, 'both ways')
      } else {
        closed++
        assert.deepEqual(store.list(letterPrefix), [])
        assert.equal(await b.letters.open((await store.get(outbox)).payload), undefined)
        const site = await a.stop()
        assert.deepEqual(sessionMarksIn(site.image), [])
        const next = await start(site, 'client')
        await shakeHands(next.letters, b.letters)
        await passes(next.letters, b.letters, 'anew')
        next.kill()
      }
      a.kill()
      b.kill()
      return 'died'
    })
    assert.ok(open > 0 && closed > 1, `${open} open, ${closed} closed`)
  })

  test('who dies anywhere while it is told is open and can be told again, or closed', async () => {
    const a = await start(restA, 'client')
    const before = await a.letters.seal(utf8('before'))
    const close = (await a.letters.close()) ?? assert.fail('no letter')
    a.kill()
    let [open, closed] = [0, 0]
    await eachMoment(async calls => {
      const rest = await dying(restB, 'server', calls, letters => letters.open(close))
      if (rest === undefined) return 'lived'
      const b = await start(rest, 'server')
      if (b.letters.stands) {
        open++
        assert.deepEqual(await b.letters.open(before), utf8('before'))
        assert.equal(await b.letters.open(close), undefined)
      } else closed++
      await isRefused(b.letters.open(close), 'channel/CLOSED')
      assert.deepEqual(b.running.endpoint.store.list(letterPrefix), [])
      assert.deepEqual(sessionMarksIn((await b.stop()).image), [])
      return 'died'
    })
    assert.ok(open > 0 && closed > 1, `${open} open, ${closed} closed`)
  })
})
