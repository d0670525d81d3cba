import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { hex, utf8 } from '../../src/bytes/bytes.ts'
import { letterLimits } from '../../src/channel/letter/index.ts'
import * as session from '../../src/session/index.ts'
import { letterAmendmentPrefix, openLetterAmendment } from '../../src/session/letter-amendment.ts'
import { letterPrefix } from '../../src/session/letter-paths.ts'
import { sessionRecords } from '../../src/session/own-records.ts'
import { addPeer, findPeer, removePeer } from '../../src/session/peers.ts'
import { StateError } from '../../src/state/error.ts'
import { fsck } from '../../src/state/fsck.ts'
import { recoverHome } from '../../src/state/recovery.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import { graft, remove } from '../simulator/surgery.ts'
import {
  acquainted,
  type End,
  isRefused,
  passes,
  putBack,
  sessionMarksIn,
  shakeHands,
  start,
} from './letter-ends.ts'
import { type AtRest, entropy, home, IdleClock, introduced, noNonceTwice } from './world.ts'

noNonceTwice()

const [siteA, siteB] = await introduced()

const [restA, restB] = await acquainted(siteA, siteB)

async function both(
  sites: readonly [AtRest, AtRest],
  use: (a: End, b: End) => Promise<void>,
): Promise<readonly [AtRest, AtRest]> {
  const a = await start(sites[0], 'client')
  const b = await start(sites[1], 'server')
  await use(a, b)
  return [await a.stop(), await b.stop()]
}

const corrupt = (error: unknown) => error instanceof StateError && error.code === 'EINTEGRITY'

suite('letters', () => {
  test('are public', () => {
    assert.equal(typeof session.openLetters, 'function')
  })

  test('go both ways after two flights, in any order, each once', async () => {
    const a = await start(siteA, 'client')
    const b = await start(siteB, 'server')
    assert.ok(!a.letters.stands)
    await isRefused(a.letters.seal(utf8('too early')), 'channel/CLOSED')
    await shakeHands(a.letters, b.letters)
    const sent = await Promise.all(['one', 'two', 'three'].map(text => a.letters.seal(utf8(text))))
    const [one, two, three] = sent
    assert.ok(one && two && three)
    assert.deepEqual(await b.letters.open(three), utf8('three'))
    assert.equal(hex(a.letters.id), hex(b.letters.id))
    assert.deepEqual(await b.letters.open(one), utf8('one'))
    await isRefused(b.letters.open(three), 'channel/REPLAY')
    const back = await passes(b.letters, a.letters, 'heard')
    await isRefused(a.letters.open(back), 'channel/REPLAY')
    assert.deepEqual(await b.letters.open(two), utf8('two'))
    const later = await passes(a.letters, b.letters, 'four')
    assert.ok(later.length < one.length, 'the proof is not sent once it was answered')
    assert.deepEqual(a.letters.epochs, { send: 2, receive: 1 }, 'an answer ends the epoch')
    await passes(a.letters, b.letters, '')
    await a.stop()
    await b.stop()
  })

  test('each flight may outlive the process that sent it', async () => {
    const [begun, answered] = [await start(siteA, 'client'), await start(siteB, 'server')]
    const hello = await begun.letters.begin()
    const a = await start(begun.kill(), 'client')
    const answer = await answered.letters.answer(hello)
    const b = await start(answered.kill(), 'server')
    await a.letters.finish(answer)
    const again = await start(a.kill(), 'client')
    await passes(again.letters, b.letters, 'first')
    await passes(b.letters, again.letters, 'second')
    again.kill()
    b.kill()
  })

  test('a letter and what it changes are one commit', async () => {
    const [, rest] = await both([restA, restB], async (a, b) => {
      const letter = await a.letters.seal(utf8('ten apples'))
      await b.letters.open(letter, body => [{ put: '/state/orders/1', payload: body }])
    })
    const b = await start(rest, 'server')
    const { payload } = await b.running.endpoint.store.get('/state/orders/1')
    assert.deepEqual(Uint8Array.from(payload), utf8('ten apples'))
    b.kill()
  })

  test('a change that is refused leaves the letter to be opened', async () => {
    await both([restA, restB], async (a, b) => {
      const letter = await a.letters.seal(utf8('ten apples'))
      await assert.rejects(
        b.letters.open(letter, body => [{ put: 'nowhere', payload: body }]),
        StateError,
      )
      assert.deepEqual(await b.letters.open(letter), utf8('ten apples'))
    })
  })

  test('every start of the sender begins an epoch; what was under way still opens', async () => {
    let [a, b] = [await start(restA, 'client'), await start(restB, 'server')]
    const before = a.letters.epochs.send
    const late = await a.letters.seal(utf8('late'))
    const lost = await a.letters.seal(utf8('lost'))
    a = await start(a.kill(), 'client')
    await passes(a.letters, b.letters, 'from the next run')
    assert.deepEqual(await b.letters.open(late), utf8('late'))
    b = await start(b.kill(), 'server')
    await isRefused(b.letters.open(late), 'channel/REPLAY')
    a = await start(a.kill(), 'client')
    await passes(a.letters, b.letters, 'from the one after')
    await isRefused(b.letters.open(lost), 'channel/REPLAY')
    assert.equal(a.letters.epochs.send, before + 3)
    a.kill()
    b.kill()
  })

  test('an epoch that nothing was heard of opens too, as the one before the newest', async () => {
    let a = await start(restA, 'client')
    const b = await start(restB, 'server')
    const sent: Uint8Array[] = []
    for (let i = 0; i < 3; i++) {
      sent.push(await a.letters.seal(utf8(`run ${i}`)))
      a = await start(a.kill(), 'client')
    }
    const [first, second, third] = sent
    assert.ok(first && second && third)
    assert.deepEqual(await b.letters.open(third), utf8('run 2'))
    assert.deepEqual(await b.letters.open(second), utf8('run 1'))
    await isRefused(b.letters.open(first), 'channel/REPLAY')
    a.kill()
    b.kill()
  })

  test('a receiver follows 64 epochs, and refuses the 65th', async () => {
    for (const lost of [letterLimits.followMax - 1, letterLimits.followMax]) {
      const a = await start(restA, 'client')
      const b = await start(restB, 'server')
      let { letters } = a
      for (let i = 0; i < lost; i++) {
        await letters.seal(utf8('lost'))
        await letters.end()
        letters = await session.openLetters(a.running.endpoint, a.running.peer, 'client')
      }
      const letter = await letters.seal(utf8('far on'))
      if (lost < letterLimits.followMax) assert.deepEqual(await b.letters.open(letter), utf8('far on'))
      else await isRefused(b.letters.open(letter), 'channel/REPLAY', /65 ahead: this end was put back, or/)
      a.kill()
      b.kill()
    }
  })

  test('another peer, another session and another end are refused', async () => {
    const [a, b] = [await start(siteA, 'client'), await start(siteB, 'server')]
    await isRefused(a.letters.finish(new Uint8Array(10)), 'channel/CLOSED')
    const hello = await a.letters.begin()
    const answer = await b.letters.answer(hello)
    const other = await b.letters.answer(hello)
    await a.letters.finish(answer)
    // The server waits for the proof that belongs to its newest answer.
    await isRefused(b.letters.open(await a.letters.seal(utf8('x'))), 'channel/PROTOCOL')
    await a.letters.begin()
    await isRefused(a.letters.finish(other), 'channel/TAMPERED')
    await assert.rejects(a.letters.answer(hello), TypeError)
    await isRefused(a.letters.open(new Uint8Array(0)), 'channel/PROTOCOL')
    a.kill()
    b.kill()
  })

  test('a peer that is removed is refused from then on, under whatever name it comes back', async () => {
    const a = await start(restA, 'client')
    const b = await start(restB, 'server')
    const { store, own } = b.running.endpoint
    const letter = await a.letters.seal(utf8('x'))
    await removePeer(store, 'peer')
    await isRefused(b.letters.open(letter), 'channel/UNKNOWN_IDENTITY')
    await isRefused(b.letters.seal(utf8('y')), 'channel/UNKNOWN_IDENTITY')
    await addPeer(store, own.identity.id, 'peer', new Uint8Array(32).fill(5))
    await isRefused(b.letters.open(letter), 'channel/UNKNOWN_IDENTITY')
    await removePeer(store, 'peer')
    await addPeer(store, own.identity.id, 'another', siteA.id)
    await b.letters.end()
    const again = await session.openLetters(b.running.endpoint, await findPeer(store, 'another'), 'server')
    assert.deepEqual(await again.open(letter), utf8('x'))
    a.kill()
    b.kill()
  })

  test('a name that is pinned to another identity proves nothing', async () => {
    const [b, c] = await introduced()
    const a = await start(siteA, 'client')
    const { store, own } = a.running.endpoint
    await addPeer(store, own.identity.id, 'other', b.id)
    const toOther = await session.openLetters(a.running.endpoint, await findPeer(store, 'other'), 'client')
    const server = await start(b, 'server') // its peer is c, not a
    await toOther.finish(await server.letters.answer(await toOther.begin()))
    await isRefused(server.letters.open(await toOther.seal(utf8('hello'))), 'channel/UNKNOWN_IDENTITY')
    assert.ok(!server.letters.stands)
    await removePeer(store, 'other')
    assert.notDeepEqual(c.id, siteA.id)
    a.kill()
    server.kill()
  })
})

suite('after a restore', () => {
  for (const who of ['a', 'b', 'both'] as const)
    test(`${who} put back, the marks of its sessions kept: refused, or gone on with above what was promised`, async () => {
      let ends = { a: await start(restA, 'client'), b: await start(restB, 'server') }
      const sent: Uint8Array[] = []
      for (const text of ['x', 'y']) sent.push(await passes(ends.a.letters, ends.b.letters, text))
      await passes(ends.b.letters, ends.a.letters, 'ping')
      sent.push(await passes(ends.a.letters, ends.b.letters, 'across the epoch'))
      const undelivered = await ends.a.letters.seal(utf8('undelivered'))
      const [nowA, nowB] = [await ends.a.stop(), await ends.b.stop()]
      const [oldA, oldB] = [putBack(nowA, restA), putBack(nowB, restB)]
      if (who !== 'b') await isRefused(start(oldA, 'client'), 'session/ROLLBACK')
      if (who !== 'a') await isRefused(start(oldB, 'server'), 'session/ROLLBACK')
      const options = { restored: 'continue', by: 'the test' } as const
      ends = {
        a: who === 'b' ? await start(nowA, 'client') : await start(oldA, 'client', options),
        b: who === 'a' ? await start(nowB, 'server') : await start(oldB, 'server', options),
      }
      for (const letter of sent) await isRefused(ends.b.letters.open(letter), 'channel/REPLAY')
      // Sealed in an epoch that the receiver had entered: only a receiver that was not restored opens it.
      if (who === 'a') assert.deepEqual(await ends.b.letters.open(undelivered), utf8('undelivered'))
      else await isRefused(ends.b.letters.open(undelivered), 'channel/REPLAY')
      await passes(ends.a.letters, ends.b.letters, 'new')
      await passes(ends.b.letters, ends.a.letters, 'new too')
      await passes(ends.a.letters, ends.b.letters, 'and on')
      const { store, own } = who === 'b' ? ends.b.running.endpoint : ends.a.running.endpoint
      const [path = assert.fail('no amendment')] = store.list(letterAmendmentPrefix)
      const { amendment, isSigned } = await openLetterAmendment((await store.get(path)).payload, own.identity)
      assert.ok(isSigned)
      assert.equal(amendment.by, 'the test')
      assert.ok(amendment.abandoned.number > amendment.adopted.number)
      ends.a.kill()
      ends.b.kill()
    })

  test('a home put back alone that went on by an amendment: its sessions are refused, or go on above what was promised', async () => {
    const a = await start(restA, 'client')
    let b = await start(restB, 'server')
    const letter = await passes(a.letters, b.letters, 'x')
    const again = await passes(a.letters, b.letters, 'in the same epoch')
    const now = await b.stop()
    const site = { ...now, image: graft(now.image, home, restB.image) }
    const world = { disk: new SimulatedDisk(site.image), clock: new IdleClock(), entropy }
    await recoverHome(world, home, { by: 'the test' })
    const back = { ...site, image: world.disk.killState() }
    await isRefused(start(back, 'server'), 'session/ROLLBACK')
    b = await start(back, 'server', { restored: 'continue' })
    for (const old of [letter, again]) await isRefused(b.letters.open(old), 'channel/REPLAY')
    await passes(b.letters, a.letters, 'I was put back')
    await passes(a.letters, b.letters, 'new')
    b = await start(await b.stop(), 'server')
    await passes(a.letters, b.letters, 'and nothing is asked again')
    a.kill()
    b.kill()
  })

  test('a handshake that waited in a home that went on by an amendment is no more', async () => {
    const [a, b] = [await start(siteA, 'client'), await start(siteB, 'server')]
    const answer = await b.letters.answer(await a.letters.begin())
    const waiting = await a.stop()
    const later = await start(waiting, 'client')
    await later.running.endpoint.store.putAtomic('/state/later', utf8('x'))
    const site = { ...waiting, image: graft((await later.stop()).image, home, waiting.image) }
    const world = { disk: new SimulatedDisk(site.image), clock: new IdleClock(), entropy }
    await recoverHome(world, home, { by: 'the test' })
    const back = await start({ ...site, image: world.disk.killState() }, 'client')
    await isRefused(back.letters.finish(answer), 'channel/CLOSED')
    await shakeHands(back.letters, b.letters)
    await passes(back.letters, b.letters, 'anew')
    back.kill()
    b.kill()
  })

  test('a receiver alone that moved on asks for it in its next letter', async () => {
    const a = await start(restA, 'client')
    let b = await start(restB, 'server')
    await passes(a.letters, b.letters, 'x')
    const nowB = await b.stop()
    b = await start(putBack(nowB, restB), 'server', { restored: 'continue' })
    // The sender never stopped: what it seals in the epoch that was promised is refused, until it hears.
    await isRefused(b.letters.open(await a.letters.seal(utf8('y'))), 'channel/REPLAY')
    await passes(b.letters, a.letters, 'I was restored')
    await passes(a.letters, b.letters, 'z')
    a.kill()
    b.kill()
  })

  test('everything put back, marks too, and as many epochs entered as the peer had heard of: declared, nobody is told', async () => {
    const b = await start(restB, 'server')
    let a = await start(restA, 'client')
    await passes(a.letters, b.letters, 'x')
    const told = await b.letters.seal(utf8('heard of one epoch'))
    await a.letters.open(told)
    a.kill()
    a = await start(restA, 'client')
    await isRefused(b.letters.open(await a.letters.seal(utf8('y'))), 'channel/REPLAY')
    assert.deepEqual(await a.letters.open(told), utf8('heard of one epoch'), 'it opens again')
    await passes(a.letters, b.letters, 'above what was heard')
    a.kill()
    b.kill()
  })

  test('everything put back, marks too: the sealing keys are others, and the peer finds it out', async () => {
    const b = await start(restB, 'server')
    let a = await start(restA, 'client')
    await passes(a.letters, b.letters, 'x')
    a.kill()
    a = await start(restA, 'client')
    // The same epoch and numbers again: noNonceTwice watches.
    await isRefused(b.letters.open(await a.letters.seal(utf8('y'))), 'channel/REPLAY')
    await isRefused(b.letters.open(await a.letters.seal(utf8('z'))), 'channel/TAMPERED')
    a = await start(a.kill(), 'client')
    await passes(a.letters, b.letters, 'an epoch on')
    a.kill()
    a = await start(restA, 'client')
    const told = await b.letters.seal(utf8('z'))
    await isRefused(a.letters.open(told), 'session/ROLLBACK')
    // From then on nothing is sealed or opened, in a later process neither, until somebody decides.
    await isRefused(a.letters.seal(utf8('no')), 'session/ROLLBACK')
    await isRefused(a.letters.open(told), 'session/ROLLBACK')
    const site = await a.stop()
    await isRefused(start(site, 'client'), 'session/ROLLBACK')
    const on = await start(site, 'client', { restored: 'continue' })
    await isRefused(on.letters.open(told), 'channel/REPLAY')
    await passes(on.letters, b.letters, 'above what was heard')
    await passes(b.letters, on.letters, 'and back')
    on.kill()
    const anew = await start(site, 'client', { restored: 'discard' })
    assert.ok(!anew.letters.stands)
    anew.kill()
    b.kill()
  })

  test('the proof that is made twice of one answer is sealed under two keys', async () => {
    const [a, b] = [await start(siteA, 'client'), await start(siteB, 'server')]
    const answer = await b.letters.answer(await a.letters.begin())
    const waiting = a.kill()
    const [first, second] = [await start(waiting, 'client'), await start(waiting, 'client')]
    await first.letters.finish(answer)
    await second.letters.finish(answer)
    await passes(first.letters, b.letters, 'the first to be heard')
    await isRefused(b.letters.open(await second.letters.seal(utf8('y'))), 'channel/PROTOCOL')
    for (const end of [first, second, b]) end.kill()
  })

  test("a session's mark that is gone, damaged or put back is found", async () => {
    const a = await start(restA, 'client')
    const b = await start(restB, 'server')
    await passes(a.letters, b.letters, 'x')
    await passes(b.letters, a.letters, 'y')
    const now = await a.stop()
    b.kill()
    const [mark = assert.fail('no mark')] = sessionMarksIn(now.image)
    await assert.rejects(start({ ...now, image: remove(now.image, mark) }, 'client'), corrupt)
    const other = sessionMarksIn((await acquainted(siteA, siteB))[0].image)[0] ?? assert.fail('no mark')
    const foreign = graft(now.image, mark, (await acquainted(siteA, siteB))[0].image, other)
    await assert.rejects(start({ ...now, image: foreign }, 'client'), corrupt)
    const older = { ...now, image: graft(now.image, mark, restA.image) }
    await isRefused(start(older, 'client'), 'session/ROLLBACK')
    await isRefused(start(older, 'client', { restored: 'continue' }), 'session/ROLLBACK')
    const gone = { ...now, image: remove(now.image, mark) }
    await assert.rejects(start(gone, 'client', { restored: 'continue' }), corrupt)
    for (const site of [gone, older, { ...now, image: foreign }]) {
      const anew = await start(site, 'client', { restored: 'discard' })
      assert.ok(!anew.letters.stands)
      const other = await start(siteB, 'server')
      await shakeHands(anew.letters, other.letters)
      await passes(anew.letters, other.letters, 'anew')
      anew.kill()
      other.kill()
    }
  })

  test('under keeper none every start counts as a restore', async () => {
    const a = await start(restA, 'client')
    const asNone = (end: End) => ({ ...end.running.endpoint, store: maybeOlder(end) })
    await a.letters.end()
    await isRefused(session.openLetters(asNone(a), a.running.peer, 'client'), 'session/ROLLBACK')
    const options = { restored: 'continue' } as const
    const letters = await session.openLetters(asNone(a), a.running.peer, 'client', options)
    const b = await start(restB, 'server')
    await passes(letters, b.letters, 'on')
    // A new one may be begun at once.
    await letters.close()
    const fresh = await session.openLetters(asNone(a), a.running.peer, 'client')
    await shakeHands(fresh, b.letters)
    await passes(fresh, b.letters, 'anew')
    a.kill()
    b.kill()
  })
})

/** The same store, as a keeper that cannot tell would have it. */
function maybeOlder({ running }: End) {
  const { store } = running.endpoint
  return new Proxy(store, {
    get(target, name) {
      if (name === 'openedAs') return 'maybe older'
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

suite('the end', () => {
  test('a session that is closed opens nothing, and its records are destroyed with it', async () => {
    const old = restB
    const a = await start(restA, 'client')
    const b = await start(restB, 'server')
    const letter = await a.letters.seal(utf8('late'))
    await b.letters.close()
    assert.ok(!b.letters.stands)
    await isRefused(b.letters.open(letter), 'channel/CLOSED')
    assert.deepEqual(b.running.endpoint.store.list('/pawl/letter/'), [])
    const closed = await b.stop()
    assert.deepEqual(sessionMarksIn(closed.image), [])
    // The slot is overwritten: what lies in the journal of an older home does not open under it.
    const [anchor] = anchorsOf(old)
    const mixed = { ...old, image: graft(old.image, `${anchor}/slots`, closed.image) }
    await assert.rejects(start(mixed, 'server'), corrupt)
    a.kill()
  })

  test('a new session takes the place of the old one when it is heard', async () => {
    const [a, b] = [await start(restA, 'client'), await start(restB, 'server')]
    const before = hex(b.letters.id)
    const old = await a.letters.seal(utf8('old'))
    await shakeHands(a.letters, b.letters)
    assert.equal(hex(b.letters.id), before, 'not before')
    const letter = await a.letters.seal(utf8('new'))
    assert.deepEqual(await b.letters.open(old), utf8('old'))
    assert.deepEqual(await b.letters.open(letter), utf8('new'))
    assert.notEqual(hex(b.letters.id), before)
    await isRefused(b.letters.open(old), 'channel/PROTOCOL')
    await passes(b.letters, a.letters, 'and back')
    a.kill()
    b.kill()
  })
})

test('what is kept of letters is looked over by fsck', async () => {
  const a = await start(restA, 'client', {})
  await a.letters.begin()
  const site = await a.stop()
  const disk = new SimulatedDisk(site.image)
  const report = await fsck({ disk, clock: new IdleClock(), entropy }, home, {
    repair: false,
    own: sessionRecords,
  })
  assert.deepEqual([report.outcome, report.findings], ['clean', []])
  const check = sessionRecords.find(({ prefix }) => prefix === letterPrefix)?.check ?? assert.fail()
  const nobody = { get: assert.fail, getSecret: assert.fail }
  const place = `${letterPrefix}client/${'A'.repeat(43)}`
  for (const kind of ['session', 'hello', 'other'])
    assert.throws(() => check(`${place}/${kind}`, new Uint8Array(3), nobody), kind)
})

function anchorsOf(site: AtRest): string[] {
  return sessionMarksIn(site.image).map(path => path.slice(0, path.lastIndexOf('/')))
}
