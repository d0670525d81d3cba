/**
 * Two ends that refuse each other, through real processes: each says what it can know and what to do next, has it on record
 * and in its audit trail until they meet again, and goes on by an amendment only where a peer contradicts it.
 */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { assertFails } from '../cli/support.ts'
import { Ends, rolledBack } from './lost.ts'

suite('a refused session', { timeout: 120_000 }, () => {
  test('hints, record and audit, from the refusal to the next meeting', async t => {
    const ends = await Ends.met()
    t.after(() => ends.end())
    const { scene, pair } = ends
    const goOn = (end: string) => scene.run(['recover', '--go-on', '--yes', '--home', end])
    const nothing = { exit: 2, code: 'cli/USAGE', error: /nothing to recover/ } as const
    const meet = async (hints: { readonly alice: RegExp; readonly bob: RegExp }) => {
      await pair.receive('got.txt')
      assertFails(await pair.send('in.txt', '--give-up', '5'), { ...rolledBack, hint: hints.alice })
      assertFails(await pair.receiver.ended, { ...rolledBack, hint: hints.bob })
    }
    await ends.exchange(3)
    const putBack = ends.keep('bob', 'both')
    await ends.exchange(2)
    putBack()
    ends.write(1)
    assertFails(await goOn('bob'), nothing)

    await meet({
      alice: /pawl recover, here and at bob|there is less at bob/,
      bob: /^alice has seen more of this home than there is here: .*pawl recover --go-on here/,
    })
    const found = await ends.found('bob')
    assert.equal(found.peer.refused.reason, 'I was turned back')
    assert.deepEqual(
      found.ways.map(({ way }: { way: string }) => way),
      ['put back', 'go on'],
    )
    for (const [end, peer] of [
      ['alice', 'bob'],
      ['bob', 'alice'],
    ] as const) {
      const audit = (await scene.ok('state', 'audit', '--home', end)).split('\n')
      const denied = audit.filter(line => line.includes('"action":"session"'))
      assert.equal(denied.length, 1)
      assert.match(denied[0] ?? '', new RegExp(`"decision":"deny".*turned back","subject":"${peer}"}$`))
      assert.match(await scene.ok('doctor', '--home', end), /^warn {2}refused +/m)
    }

    await ends.goOn('bob')
    assert.equal((await ends.found('bob')).peer.refused, null, 'that was of before')
    assertFails(await goOn('bob'), nothing)
    await meet({
      alice: /^bob was put back, or restored, and went on: .*pawl peer allow-lost bob here/,
      bob: /^this home went on by an amendment.*pawl peer allow-lost there/,
    })
    assert.equal(
      (await ends.found('alice')).peer.refused.reason,
      'the peer went on by an amendment that is not allowed here',
    )
    assertFails(await goOn('alice'), nothing)

    await ends.allow('alice')
    await pair.receive('got.txt')
    const { code, stderr } = await pair.send('in.txt')
    assertFails(
      { code, stderr, stdout: '' },
      { exit: 3, code: 'mailbox/LOST', hint: /--lost sends again what never arrives/ },
    )
    assert.equal((await pair.stop()).code, 0)
    for (const end of ['alice', 'bob'] as const) {
      const { peer, ways } = await ends.found(end)
      assert.equal(peer.refused, null)
      assert.deepEqual(ways, [])
      assert.doesNotMatch(await scene.ok('doctor', '--home', end), /^warn {2}refused/m)
    }
  })
})
