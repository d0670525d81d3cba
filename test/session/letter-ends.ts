/** Two homes that exchange letters, on simulated disks: started, killed, put back. */
import assert from 'node:assert/strict'
import { utf8 } from '../../src/bytes/bytes.ts'
import type { Role } from '../../src/channel/state.ts'
import { SessionError } from '../../src/session/error.ts'
import type { LetterOptions } from '../../src/session/letter-endpoint.ts'
import { type LetterSession, openLetters } from '../../src/session/letters.ts'
import { type Image, nodeAt } from '../simulator/image.ts'
import { graft } from '../simulator/surgery.ts'
import { type AtRest, anchors, IdleClock, type Running, run } from './world.ts'

const clock = new IdleClock()

/** One end, running. */
export type End = {
  readonly running: Running
  readonly letters: LetterSession
  /** As SIGKILL leaves it. */
  kill(): AtRest
  stop(): Promise<AtRest>
}

export async function start(
  site: AtRest,
  role: Role,
  options: LetterOptions & { readonly crashAt?: (point: string) => void } = {},
): Promise<End> {
  const running = await run(site, clock)
  const { crashAt, ...rest } = options
  const endpoint = { ...running.endpoint, ...(crashAt && { crashAt }) }
  const letters = await openLetters(endpoint, running.peer, role, rest)
  return {
    running,
    letters,
    kill: () => running.kill(),
    async stop() {
      await letters.end()
      return running.close()
    },
  }
}

/** Both flights of the handshake; the proof rides on the first letters. */
export async function shakeHands(a: LetterSession, b: LetterSession): Promise<void> {
  await a.finish(await b.answer(await a.begin()))
}

export async function passes(from: LetterSession, to: LetterSession, text: string): Promise<Uint8Array> {
  const letter = await from.seal(utf8(text))
  assert.deepEqual(await to.open(letter), utf8(text))
  return letter
}

export async function isRefused(
  opening: Promise<unknown>,
  code: SessionError['code'],
  words = /^/,
): Promise<void> {
  await assert.rejects(opening, (error: unknown) => {
    assert.ok(error instanceof SessionError, String(error))
    assert.equal(error.code, code, error.message)
    assert.match(error.message, words)
    return true
  })
}

/** Two homes with a session in which a letter went each way, at rest. */
export async function acquainted(siteA: AtRest, siteB: AtRest): Promise<readonly [AtRest, AtRest]> {
  const [a, b] = [await start(siteA, 'client'), await start(siteB, 'server')]
  await shakeHands(a.letters, b.letters)
  await passes(a.letters, b.letters, 'first')
  await passes(b.letters, a.letters, 'second')
  return [await a.stop(), await b.stop()]
}

/** Does it in a process that dies before its call number `calls` to the disk; answers with what is left, or `undefined` if it lived. */
export async function dying(
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
  const running = await run(site, clock, { faults })
  const letters = await openLetters(running.endpoint, running.peer, role)
  left = calls
  const end = await Promise.race([act(letters).then(() => 'lived' as const), death])
  const rest = running.kill()
  return end === 'died' ? rest : undefined
}

/** Every moment in the slow suite, every third without it, until whoever was to die lives; answers with how many. */
export async function eachMoment(dies: (calls: number) => Promise<'died' | 'lived'>): Promise<number> {
  const stride = process.env.SLOW === '1' ? 1 : 3
  for (let calls = 0; ; calls += stride) if ((await dies(calls)) === 'lived') return calls / stride
}

/**
 * The home and all of its anchor but the marks of its sessions put back: what a store goes on from after an amendment,
 * with its sessions' marks as they were.
 */
export function putBack(now: AtRest, old: AtRest): AtRest {
  let { image } = old
  for (const path of sessionMarksIn(now.image)) image = graft(image, path, now.image)
  return { ...old, image }
}

export function sessionMarksIn(image: Image): string[] {
  const [anchor = assert.fail('no anchor')] = namesIn(image, anchors)
  const directory = `${anchors}/${anchor}`
  return namesIn(image, directory).flatMap(name =>
    name.startsWith('letter-') ? [`${directory}/${name}`] : [],
  )
}

function namesIn(image: Image, path: string): string[] {
  const node = nodeAt(image, path)
  return node?.kind === 'directory' ? [...node.entries.keys()] : []
}
