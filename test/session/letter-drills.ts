/** What letters promise, as drills that throw when it does not hold: for a planted mistake, each must. */
import assert from 'node:assert/strict'
import { utf8 } from '../../src/bytes/bytes.ts'
import { recordSealings } from '../../src/crypto/aead.ts'
import { type End, isRefused, passes, putBack, shakeHands, start } from './letter-ends.ts'
import { type AtRest, introduced } from './world.ts'

export type DrillName = keyof typeof drills

export const drills = {
  /** Nothing that was opened before a crash opens after it, and nothing that was not is lost. */
  async killedReader([siteA, siteB]: readonly [AtRest, AtRest]) {
    const { a, b, ends } = await meet(siteA, siteB)
    const letter = await passes(a.letters, b.letters, 'x')
    await isRefused(b.letters.open(letter), 'channel/REPLAY')
    const again = await start(b.kill(), 'server')
    await isRefused(again.letters.open(letter), 'channel/REPLAY')
    await passes(a.letters, again.letters, 'y')
    ends()
  },
  /** The sender is killed after each letter; nothing is sealed twice alike, all of it opens. */
  async killedWriter([siteA, siteB]: readonly [AtRest, AtRest]) {
    const met = await meet(siteA, siteB)
    let { a } = met
    for (let i = 0; i < 3; i++) {
      await passes(a.letters, met.b.letters, `run ${i}`)
      a = await start(a.kill(), 'client')
    }
    met.ends()
  },
  /** Both put back to before an answer, marks kept: what was said since does not open, new letters do. */
  async bothPutBack([siteA, siteB]: readonly [AtRest, AtRest]) {
    const { a, b } = await meet(siteA, siteB)
    const [oldA, oldB] = [await a.stop(), await b.stop()]
    const since = [await start(oldA, 'client'), await start(oldB, 'server')] as const
    const said = [await passes(since[0].letters, since[1].letters, 'x')]
    await passes(since[1].letters, since[0].letters, 'y')
    said.push(await passes(since[0].letters, since[1].letters, 'z'))
    const [nowA, nowB] = [await since[0].stop(), await since[1].stop()]
    await isRefused(start(putBack(nowA, oldA), 'client'), 'session/ROLLBACK')
    const back = { restored: 'continue' } as const
    const ends = [
      await start(putBack(nowA, oldA), 'client', back),
      await start(putBack(nowB, oldB), 'server', back),
    ] as const
    for (const letter of said) await isRefused(ends[1].letters.open(letter), 'channel/REPLAY')
    await passes(ends[0].letters, ends[1].letters, 'new')
    await passes(ends[1].letters, ends[0].letters, 'new too')
  },
  /** Everything put back: the peer's word finds it out, and no key and nonce is there twice. */
  async everythingPutBack([siteA, siteB]: readonly [AtRest, AtRest]) {
    const seen = new Set<string>()
    let repeated = false
    recordSealings(({ keyFingerprint, nonce }) => {
      const pair = Buffer.concat([keyFingerprint, nonce]).toString('hex')
      repeated ||= seen.has(pair)
      seen.add(pair)
    })
    try {
      const { a, b } = await meet(siteA, siteB)
      const old = await a.stop()
      let back = await start(old, 'client')
      await passes(back.letters, b.letters, 'x')
      back.kill()
      back = await start(old, 'client')
      await back.letters.seal(utf8('y'))
      assert.ok(!repeated, 'a (key, nonce) was used twice')
      back.kill()
      back = await start(old, 'client')
      await isRefused(back.letters.open(await b.letters.seal(utf8('z'))), 'session/ROLLBACK')
    } finally {
      recordSealings(undefined)
    }
  },
  /** Letters in any order, once each, and none from below the window. */
  async anyOrder([siteA, siteB]: readonly [AtRest, AtRest]) {
    const { a, b, ends } = await meet(siteA, siteB)
    const letters = await Promise.all(['1', '2', '3', '4'].map(text => a.letters.seal(utf8(text))))
    for (const i of [2, 0, 3, 1]) {
      const letter = letters[i] ?? assert.fail()
      assert.deepEqual(await b.letters.open(letter), utf8(`${i + 1}`))
      await isRefused(b.letters.open(letter), 'channel/REPLAY')
    }
    ends()
  },
  /** A crash at each point while a letter is opened that enters an epoch: it opens, or has opened, and is never refused as a rollback. */
  async crashes([siteA, siteB]: readonly [AtRest, AtRest]) {
    for (const point of ['letter/parsed', 'letter/opened', 'letter/committing', 'letter/marking']) {
      const { a, b, ends } = await meet(siteA, siteB)
      await passes(b.letters, a.letters, 'an answer, so that the next letter enters an epoch')
      const here = await b.stop()
      const letter = await a.letters.seal(utf8('x'))
      let left: AtRest | undefined
      const dying = await start(here, 'server', {
        crashAt: reached => {
          if (reached !== point) return
          left = dying.kill()
          throw new Error('dead')
        },
      })
      await assert.rejects(dying.letters.open(letter))
      const next = await start(left ?? assert.fail(point), 'server')
      if (point === 'letter/marking') await isRefused(next.letters.open(letter), 'channel/REPLAY')
      else assert.deepEqual(await next.letters.open(letter), utf8('x'))
      await passes(a.letters, next.letters, 'y')
      ends()
    }
  },
  /** A reader put back alone: it takes nothing of what it had entered, says so, and is followed. */
  async readerPutBack([siteA, siteB]: readonly [AtRest, AtRest]) {
    const { a, b } = await meet(siteA, siteB)
    const old = await b.stop()
    const since = await start(old, 'server')
    await passes(since.letters, a.letters, 'an answer, so that the next letter enters an epoch')
    await passes(a.letters, since.letters, 'x')
    const now = await since.stop()
    const back = await start(putBack(now, old), 'server', { restored: 'continue' })
    await isRefused(back.letters.open(await a.letters.seal(utf8('y'))), 'channel/REPLAY')
    await passes(back.letters, a.letters, 'I was put back')
    await passes(a.letters, back.letters, 'z')
  },
}

async function meet(siteA: AtRest, siteB: AtRest): Promise<{ a: End; b: End; ends: () => void }> {
  const [a, b] = [await start(siteA, 'client'), await start(siteB, 'server')]
  await shakeHands(a.letters, b.letters)
  await passes(a.letters, b.letters, 'first')
  await passes(b.letters, a.letters, 'second')
  await passes(a.letters, b.letters, 'third')
  return {
    a,
    b,
    ends() {
      a.kill()
      b.kill()
    },
  }
}

export const meetings = introduced
