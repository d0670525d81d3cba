/**
 * After an amendment both ends go on, once both users said so; what is lost is on record at both (S9, C11). Either end put
 * back with its anchor, a home alone, a backup: each through real processes. test/mailbox/settlement.test.ts has the rest.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { suite, test } from 'node:test'
import { assertFails } from '../cli/support.ts'
import { Ends, rolledBack } from './lost.ts'

suite('an end that was put back, and both users', { timeout: 300_000 }, () => {
  test('the receiver: what it has no record of is lost at both ends, and the rest arrives once', async t => {
    const ends = await Ends.met()
    t.after(() => ends.end())
    await ends.exchange(3)
    const putBack = ends.keep('bob', 'both')
    await ends.exchange(2)
    putBack()
    ends.write(1)
    await ends.refused()
    const done = await ends.goOn('bob')
    assert.equal(done.amendment.reason, 'recovery')
    await ends.refused() // one user's word is not enough
    const { peer } = await ends.found('alice')
    const { amendment } = await ends.found('bob')
    assert.equal(peer.waits, amendment)
    const allowed = await ends.allow('alice')
    assert.equal(allowed.amendment, amendment)
    assert.deepEqual(allowed.lost, [{ way: 'sent', first: 4, last: 5 }])

    await ends.pair.receive('got.txt')
    const { code, stderr } = await ends.pair.send('in.txt')
    assertFails({ code, stderr, stdout: '' }, { exit: 3, code: 'mailbox/LOST', hint: /--lost/ })
    assert.match(stderr, /LOST: messages 4 to 5 to bob/)
    const received = await ends.pair.stop()
    assert.equal(received.code, 0)
    assert.match(received.stderr, /LOST: messages 4 to 5 from alice/)
    // What the lost messages were is kept aside, as what a crash left is.
    assert.deepEqual(ends.got(), [...ends.lines(1, 3), 'line 6'])
    const cut = fs.readdirSync(ends.scene.folder).filter(name => name.startsWith('got.txt.cut-'))
    assert.equal(cut.length, 1)
    for (const [end, way] of [
      ['alice', 'sent'],
      ['bob', 'received'],
    ] as const) {
      assert.deepEqual((await ends.found(end)).peer.lost, [{ way, first: 4, last: 5 }])
      assert.match(await ends.scene.ok('doctor', '--home', end), /^warn {2}lost +messages 4 to 5/m)
      assert.match(await ends.scene.ok('state', 'audit', '--home', end), /"action":"lost"/)
    }
    fs.writeFileSync(ends.scene.path('more.txt'), 'after\n')
    await ends.pair.receive('got.txt')
    await ends.pair.sent('more.txt')
    await ends.pair.stop()
    assert.deepEqual(ends.got(), [...ends.lines(1, 3), 'line 6', 'after'])
    assert.equal((await ends.found('alice')).peer.waits, null)
  })

  test('the sender: nothing that the receiver has is taken again, and what was queued in its place is given up', async t => {
    const ends = await Ends.met()
    t.after(() => ends.end())
    await ends.exchange(3)
    const putBack = ends.keep('alice', 'both')
    await ends.exchange(2)
    putBack()
    fs.writeFileSync(ends.scene.path('other.txt'), 'X\nY\nZ\n')
    await ends.queue('other.txt')
    await ends.refused('other.txt')
    await ends.goOn('alice')
    const newer = ends.keep('alice', 'both')
    await ends.refused('other.txt')
    const { lost } = await ends.allow('bob')
    assert.deepEqual(lost, [], 'only the sender knows what it queued in their place')
    await ends.pair.receive('got.txt')
    const sent = await ends.pair.send('other.txt')
    assertFails({ ...sent, stdout: '' }, { exit: 3, code: 'mailbox/LOST' })
    await ends.pair.stop()
    // X and Y had the numbers of lines 4 and 5; Z has its own, and arrives.
    assert.deepEqual(ends.got(), [...ends.lines(1, 5), 'Z'])
    assert.deepEqual((await ends.found('alice')).peer.unknown, [{ way: 'sent', first: 4, last: 5 }])
    await ends.pair.receive('got.txt')
    await ends.pair.sent('other.txt', '--again')
    await ends.pair.stop()
    assert.deepEqual(ends.got(), [...ends.lines(1, 5), 'Z', 'X', 'Y', 'Z'])

    // The same amendment again, put back once more: the word that was given was for what it was given for.
    newer()
    await ends.pair.receive('got.txt')
    assertFails(await ends.pair.send('other.txt'), rolledBack)
    assertFails(await ends.pair.receiver.ended, rolledBack)
    assert.deepEqual(ends.got(), [...ends.lines(1, 5), 'Z', 'X', 'Y', 'Z'])
  })

  for (const back of ['alice', 'bob'] as const)
    test(`the home of ${back} alone: refused before any network, then as with its anchor`, async t => {
      const ends = await Ends.met()
      t.after(() => ends.end())
      await ends.exchange(3)
      const putBack = ends.keep(back, 'home')
      await ends.exchange(2)
      putBack()
      assertFails(await ends.scene.run(['id', '--home', back]), {
        exit: 3,
        code: 'state/EROLLBACK',
        hint: /pawl recover/,
      })
      const { amendment } = await ends.goOn(back)
      assert.ok(amendment.abandoned.number > amendment.adopted.number)
      const end = back === 'alice' ? 'bob' : 'alice'
      fs.writeFileSync(ends.scene.path('new.txt'), 'new\n')
      await ends.refused('new.txt')
      await ends.allow(end)
      await ends.pair.receive('got.txt')
      await ends.pair.sent('new.txt')
      assert.equal((await ends.pair.stop()).code, 0)
      assert.equal(ends.got().at(-1), 'new')
      const way = { alice: 'sent', bob: 'received' } as const
      const of = back === 'alice' ? 'unknown' : 'lost'
      for (const each of ['alice', 'bob'] as const)
        assert.deepEqual((await ends.found(each)).peer[of], [{ way: way[each], first: 4, last: 5 }])
    })

  for (const back of ['alice', 'bob'] as const)
    test(`a backup of ${back} restored, with messages that waited`, async t => {
      const ends = await Ends.met()
      t.after(() => ends.end())
      const { scene } = ends
      await ends.exchange(2)
      ends.write(2)
      await ends.queue('in.txt')
      await scene.ok('state', 'recovery-key', 'key')
      await scene.ok('state', 'backup', 'backup', '--to', 'key.pub', '--home', back)
      await ends.exchange(1)
      fs.renameSync(scene.path(back), scene.path('moved'))
      const restore = [
        'state',
        'restore',
        'backup',
        '--key',
        'key',
        '--home',
        back,
        '--anchor',
        scene.path('anchors'),
        '--yes',
      ]
      await scene.ok(...restore)
      fs.writeFileSync(scene.path('new.txt'), 'new\n')
      await ends.refused('new.txt')
      await ends.allow(back === 'alice' ? 'bob' : 'alice')
      await ends.pair.receive('got.txt')
      await ends.pair.sent('new.txt')
      assert.equal((await ends.pair.stop()).code, 0)
      assert.equal(ends.got().at(-1), 'new')
      assert.equal(new Set(ends.got()).size, ends.got().length, 'a line came twice')
      const [alice, bob] = [await ends.found('alice'), await ends.found('bob')]
      const of = back === 'alice' ? 'unknown' : 'lost'
      const ranges = (end: typeof alice) =>
        end.peer[of].map(({ first, last }: { first: number; last: number }) => [first, last])
      assert.equal(ranges(alice).length, 1)
      assert.deepEqual(ranges(alice), ranges(bob))
    })

  test('a backup from before the first meeting, with messages that waited: also those take a word', async t => {
    const ends = await Ends.met()
    t.after(() => ends.end())
    const { scene } = ends
    ends.write(2)
    await ends.queue('in.txt')
    await scene.ok('state', 'recovery-key', 'key')
    await scene.ok('state', 'backup', 'backup', '--to', 'key.pub', '--home', 'alice')
    fs.renameSync(scene.path('alice'), scene.path('moved'))
    const where = ['--home', 'alice', '--anchor', scene.path('anchors')]
    await scene.ok('state', 'restore', 'backup', '--key', 'key', ...where, '--yes')
    await ends.refused()
    assert.deepEqual((await ends.allow('bob')).lost, [{ way: 'received', first: 1, last: 2 }])
    await ends.pair.receive('got.txt')
    assertFails({ ...(await ends.pair.send('in.txt')), stdout: '' }, { exit: 3, code: 'mailbox/LOST' })
    await ends.pair.sent('in.txt', '--again')
    await ends.pair.stop()
    assert.deepEqual(ends.got(), ends.lines(1, 2))
  })
})
