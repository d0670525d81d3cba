/** What was lost after an amendment, as who sends files hears of it and makes it good: through real processes (S9, C11). */
import assert from 'node:assert/strict'
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { Ends } from '../drills/lost.ts'
import { assertFails } from './support.ts'

const lost = { exit: 3, code: 'mailbox/LOST' } as const

suite('files of which something was lost', { timeout: 120_000 }, () => {
  test('the receiver put back: of each file its own lines are named, and only those are sent again', async t => {
    const ends = await Ends.met()
    t.after(() => ends.end())
    const { pair, scene } = ends
    writeFileSync(scene.path('other.txt'), 'other 1\nother 2\nother 3\n')
    await ends.exchange(1)
    const putBack = ends.keep('bob', 'both')
    await pair.receive('got.txt')
    await pair.sent('other.txt')
    await pair.stop()
    putBack()
    ends.write(1)
    await ends.refused()
    await ends.goOn('bob')
    await ends.refused()
    await ends.allow('alice')

    // Nothing of it is new: that some of it never arrives is said all the same.
    const receiver = await pair.receive('got.txt')
    await receiver.line(/24 bytes .* before this home was put back/)
    const told = await pair.send('other.txt')
    assertFails(told, { ...lost, error: /lines 1 to 3 of .*other\.txt never arrive/, hint: /--lost/ })
    assert.match(told.stderr, /LOST: messages 2 to 4 to bob never arrive/)
    assert.match(await pair.sent('in.txt'), /all 2 lines/, 'messages of another file were lost')
    assertFails(await pair.send('other.txt'), { ...lost, error: /lines 1 to 3 of/ })
    appendFileSync(scene.path('other.txt'), 'other 4\n')
    assert.match(await pair.sent('other.txt', '--lost'), /all 4 lines .*; 4 new in this run/)
    assert.match(await pair.sent('other.txt', '--lost'), /before; no contact was made/)
    assert.match(await pair.sent('other.txt'), /before; no contact was made/)
    await pair.stop()
    const again = ['other 1', 'other 2', 'other 3', 'other 4']
    assert.deepEqual(ends.got(), [...ends.lines(1, 2), ...again])
    const kept = readdirSync(scene.folder).filter(name => name.startsWith('got.txt.cut-'))
    assert.deepEqual(
      kept.map(name => readFileSync(scene.path(name), 'utf8')),
      ['other 1\nother 2\nother 3\n'],
    )
    const { peer } = await ends.found('alice')
    assert.deepEqual(peer.lost, [{ way: 'sent', first: 2, last: 4 }])
    assert.deepEqual(peer.unknown, [])
    assertFails(await pair.send('in.txt', '--lost', '--again'), { exit: 2, code: 'cli/USAGE' })
  })

  test('the sender put back: what the receiver has is not called lost, and nothing of it is sent by itself', async t => {
    const ends = await Ends.met()
    t.after(() => ends.end())
    const { pair, scene } = ends
    await ends.exchange(1)
    const putBack = ends.keep('alice', 'both')
    await ends.exchange(2)
    putBack()
    writeFileSync(scene.path('other.txt'), 'X\nY\nZ\n')
    await ends.queue('other.txt')
    await ends.refused('other.txt')
    await ends.goOn('alice')
    await ends.refused('other.txt')
    await ends.allow('bob')
    const receiver = await pair.receive('got.txt')
    const told = await pair.send('other.txt')
    assertFails(told, {
      ...lost,
      error: /lines 1 to 2 of .*other\.txt may have arrived, or not/,
      hint: /--lost/,
    })
    assert.match(told.stderr, /bob has messages 2 to 3; this home does not know any more what they are/)
    assert.doesNotMatch(told.stderr, /LOST:|never arrive:/)
    await receiver.line(/messages 2 to 3 from alice are here; alice does not know any more what they are/)
    const settled = await pair.send('other.txt', '--lost')
    assert.match(settled.stdout, /all 3 lines .*before/)
    assert.match(
      settled.stderr,
      /by your word lines 1 to 2 of .*other\.txt are looked after: bob may have them/,
    )
    assert.match(await pair.sent('other.txt'), /before; no contact was made/)
    await pair.stop()
    assert.deepEqual(ends.got(), [...ends.lines(1, 3), 'Z'])
    for (const [end, way] of [
      ['alice', 'sent'],
      ['bob', 'received'],
    ] as const) {
      const { peer } = await ends.found(end)
      assert.deepEqual([peer.lost, peer.unknown], [[], [{ way, first: 2, last: 3 }]])
      assert.match(await scene.ok('doctor', '--home', end), /^warn {2}unknown +.*messages 2 to 3/m)
    }
  })

  test('a word for a peer: asked of whoever holds the home, refused while messages of the peer are under way, given once', async t => {
    const ends = await Ends.met()
    t.after(() => ends.end())
    const { pair, scene } = ends
    await scene.know('alice', 'carol', await scene.home('carol'))
    await ends.exchange(1)
    const putBack = ends.keep('bob', 'both')
    await ends.exchange(1)
    putBack()
    ends.write(1)
    await ends.refused()
    await ends.goOn('bob')
    await ends.refused()
    const allow = (...more: string[]) => scene.run(['peer', 'allow-lost', 'bob', '--home', 'alice', ...more])
    const hold = async (from: string) => {
      const argv = ['--listen', '127.0.0.1:0', '--from', from, '--out', `${from}.txt`, '--home', 'alice']
      const held = scene.start(['receive', ...argv])
      await held.line(/^listening on/m)
      return held
    }
    const busy = await hold('bob')
    assertFails(await allow('--yes'), { exit: 11, code: 'state/ELOCKED', error: /bob/ })
    await busy.kill('SIGTERM')
    const holder = await hold('carol')
    assertFails(await allow(), { exit: 2, code: 'cli/USAGE', error: /message 2 to bob never arrives/ })
    const first = await allow('--yes')
    assert.match(first.stdout, /^bob may go on by amendment [0-9a-f]{16}$/m)
    assert.match((await allow()).stdout, /^nothing waits for your word: bob .* amendment [0-9a-f]{16}/)
    const { waited, lost: ranges } = await ends.json('peer', 'allow-lost', 'bob', '--home', 'alice')
    assert.deepEqual([waited, ranges], [false, []])
    assertFails(await scene.run(['peer', 'allow-lost', 'carol', '--home', 'alice']), {
      exit: 2,
      code: 'cli/USAGE',
      error: /carol has not said/,
    })
    await pair.receive('got.txt')
    assertFails(await pair.send('in.txt'), { ...lost, error: /line 2 of/ })
    await pair.sent('in.txt', '--lost')
    await pair.stop()
    assert.deepEqual(ends.got(), ['line 1', 'line 3', 'line 2'])
    await holder.kill('SIGTERM')
    await hold('bob')
    assert.match(
      (await allow()).stdout,
      /^nothing waits for your word/,
      'nor is anybody in the way of that answer',
    )
  })
})
