import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { utf8 } from '../../src/bytes/bytes.ts'
import type { Role } from '../../src/channel/state.ts'
import type { LetterSession } from '../../src/session/letters.ts'
import { openLetters } from '../../src/session/letters.ts'
import { passes, start } from './letter-ends.ts'
import { type AtRest, IdleClock, introduced, noNonceTwice, run } from './world.ts'

noNonceTwice()

const [siteA, siteB] = await introduced()

/** Every moment in the slow suite, every third here. */
const stride = process.env.SLOW === '1' ? 1 : 3

/** Does it in a process that dies before its call number `calls` to the disk; answers with what is left, or `undefined` if it lived. */
async function dying(
  site: AtRest,
  role: Role,
  calls: number,
  act: (letters: LetterSession) => Promise<unknown>,
): Promise<AtRest | undefined> {
  let left = Number.POSITIVE_INFINITY
  let died = () => {}
  const death = new Promise<'died'>(resolve => {
    died = () => resolve('died')
  })
  const faults = () => {
    if (left-- !== 0) return undefined
    died()
    return { waits: new Promise<never>(() => {}) }
  }
  const running = await run(site, new IdleClock(), { faults })
  const letters = await openLetters(running.endpoint, running.peer, role)
  left = calls
  const end = await Promise.race([act(letters).then(() => 'lived' as const), death])
  const rest = running.kill()
  return end === 'died' ? rest : undefined
}

suite('a session is being made', () => {
  test('the client dies anywhere while it finishes: it has none, or one, and goes on', async () => {
    const begun = await start(siteA, 'client')
    const b = await start(siteB, 'server')
    const answer = await b.letters.answer(await begun.letters.begin())
    const waiting = await begun.stop()
    const answered = await b.stop()
    let moments = 0
    for (let calls = 0; ; calls += stride) {
      const rest = await dying(waiting, 'client', calls, letters => letters.finish(answer))
      if (rest === undefined) break
      moments++
      const a = await start(rest, 'client')
      if (!a.letters.stands) await a.letters.finish(answer)
      const server = await start(answered, 'server')
      await passes(a.letters, server.letters, 'first')
      await passes(server.letters, a.letters, 'second')
      a.kill()
      server.kill()
    }
    assert.ok(moments > 10 / stride, `${moments} moments`)
  })

  test('the server dies anywhere while it takes the proof: the letter opens then, or has opened', async () => {
    const a = await start(siteA, 'client')
    const b = await start(siteB, 'server')
    await a.letters.finish(await b.letters.answer(await a.letters.begin()))
    const letter = await a.letters.seal(utf8('first'))
    const answered = await b.stop()
    let moments = 0
    for (let calls = 0; ; calls += stride) {
      const rest = await dying(answered, 'server', calls, letters => letters.open(letter))
      if (rest === undefined) break
      moments++
      const server = await start(rest, 'server')
      const body = await server.letters.open(letter).catch((error: { code?: string }) => error.code)
      if (body !== 'channel/REPLAY') assert.deepEqual(body, utf8('first'))
      await passes(a.letters, server.letters, 'second')
      server.kill()
    }
    assert.ok(moments > 10 / stride, `${moments} moments`)
    a.kill()
  })
})
