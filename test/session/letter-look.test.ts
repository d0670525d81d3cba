/** `pawl state fsck` holds each letter session against its mark, as its next opening does (docs/spec/letter.md, section 6). */
import assert from 'node:assert/strict'
import { before, suite, test } from 'node:test'
import { lookAtLetterMarks } from '../../src/session/letter-look.ts'
import { sessionRecords } from '../../src/session/own-records.ts'
import { fsck } from '../../src/state/fsck.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import type { Image } from '../simulator/image.ts'
import { graft, remove } from '../simulator/surgery.ts'
import { passes, sessionMarksIn, shakeHands, start } from './letter-ends.ts'
import { entropy, home, IdleClock, introduced } from './world.ts'

suite('session marks, looked over', () => {
  const images: { atFirst?: Image; now?: Image; behind?: Image; mark?: string } = {}

  before(async () => {
    const [restA, restB] = await introduced()
    const [a, b] = [await start(restA, 'client'), await start(restB, 'server')]
    await shakeHands(a.letters, b.letters)
    await passes(a.letters, b.letters, 'x')
    const [first, other] = [await a.stop(), await b.stop()]
    const [again, there] = [await start(first, 'client'), await start(other, 'server')]
    await passes(there.letters, again.letters, 'y')
    await passes(again.letters, there.letters, 'z')
    there.kill()
    const now = await again.stop()
    const killed = await start(now, 'client', {
      crashAt: point => {
        if (point === 'letter/marking') throw new Error('killed')
      },
    })
    await assert.rejects(killed.letters.seal(Buffer.from('w')), /killed/)
    const [mark] = sessionMarksIn(now.image)
    Object.assign(images, { atFirst: first.image, now: now.image, behind: killed.kill().image, mark })
  })

  async function found(image: Image | undefined) {
    const { outcome, findings } = await fsck(
      { disk: new SimulatedDisk(image ?? assert.fail()), clock: new IdleClock(), entropy },
      home,
      { repair: false, own: sessionRecords, marks: lookAtLetterMarks },
    )
    return { outcome, codes: findings.map(({ code }) => code), details: findings.map(({ detail }) => detail) }
  }

  test('one that fits is no finding', async () => {
    assert.deepEqual(await found(images.now), { outcome: 'clean', codes: [], details: [] })
  })

  test('missing, and of another session: each is named, and the home is not clean', async () => {
    const { now = assert.fail(), mark = assert.fail() } = images
    const gone = await found(remove(now, mark))
    assert.deepEqual([gone.outcome, gone.codes], ['unrecoverable', ['fsck/SESSION_MARK']])
    const foreign = graft(now, mark, now, mark.replace(/letter-.*/, 'mark'))
    const damaged = await found(foreign)
    assert.deepEqual([damaged.outcome, damaged.codes], ['unrecoverable', ['fsck/SESSION_MARK']])
  })

  test('behind what it confirmed: it went back; ahead of the session: that did', async () => {
    const { now = assert.fail(), atFirst = assert.fail(), mark = assert.fail() } = images
    const older = await found(graft(now, mark, atFirst))
    assert.deepEqual([older.outcome, older.codes], ['unrecoverable', ['fsck/SESSION_ROLLBACK']])
    assert.match(older.details[0] ?? '', /^the keeper went back: /)
    const newer = await found(graft(atFirst, mark, now))
    assert.deepEqual([newer.outcome, newer.codes], ['unrecoverable', ['fsck/SESSION_ROLLBACK']])
    assert.match(newer.details[0] ?? '', /^the store (went back|forked): /)
  })

  test('what a crash leaves is harmless: a mark that is behind by it, and one without its session', async () => {
    assert.deepEqual((await found(images.behind)).codes, ['fsck/SESSION_UNMARKED'])
    const { now = assert.fail(), mark = assert.fail() } = images
    const left = await found(graft(now, mark.replace(/.{43}$/, 'A'.repeat(43)), now, mark))
    assert.deepEqual([left.outcome, left.codes], ['clean', ['fsck/SESSION_MARK_LEFT']])
  })
})
