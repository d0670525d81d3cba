/** After an amendment both ends go on, once both users said so; what is lost is on record at both (S9, C11). */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { suite, test } from 'node:test'
import { assertFails } from '../cli/support.ts'
import { Ends } from './lost.ts'

suite('an end that was put back with its anchor, and both users', { timeout: 120_000 }, () => {
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
    assertFails({ code, stderr, stdout: '' }, { exit: 3, code: 'mailbox/LOST', hint: /--again/ })
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
})
