import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { utf8 } from '../../src/bytes/bytes.ts'
import { dying, eachMoment, passes, start } from './letter-ends.ts'
import { introduced, noNonceTwice } from './world.ts'

noNonceTwice()

const [siteA, siteB] = await introduced()

suite('a session is being made', () => {
  test('the client dies anywhere while it finishes: it has none, or one, and goes on', async () => {
    const begun = await start(siteA, 'client')
    const b = await start(siteB, 'server')
    const answer = await b.letters.answer(await begun.letters.begin())
    const waiting = await begun.stop()
    const answered = await b.stop()
    const moments = await eachMoment(async calls => {
      const rest = await dying(waiting, 'client', calls, letters => letters.finish(answer))
      if (rest === undefined) return 'lived'
      const a = await start(rest, 'client')
      if (!a.letters.stands) await a.letters.finish(answer)
      const server = await start(answered, 'server')
      await passes(a.letters, server.letters, 'first')
      await passes(server.letters, a.letters, 'second')
      a.kill()
      server.kill()
      return 'died'
    })
    assert.ok(moments > 3, `${moments} moments`)
  })

  test('the server dies anywhere while it takes the proof: the letter opens then, or has opened', async () => {
    const a = await start(siteA, 'client')
    const b = await start(siteB, 'server')
    await a.letters.finish(await b.letters.answer(await a.letters.begin()))
    const letter = await a.letters.seal(utf8('first'))
    const answered = await b.stop()
    const moments = await eachMoment(async calls => {
      const rest = await dying(answered, 'server', calls, letters => letters.open(letter))
      if (rest === undefined) return 'lived'
      const server = await start(rest, 'server')
      const body = await server.letters.open(letter).catch((error: { code?: string }) => error.code)
      if (body !== 'channel/REPLAY') assert.deepEqual(body, utf8('first'))
      await passes(a.letters, server.letters, 'second')
      server.kill()
      return 'died'
    })
    assert.ok(moments > 3, `${moments} moments`)
    a.kill()
  })
})
