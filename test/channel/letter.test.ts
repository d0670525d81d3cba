import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { fromHex, hex, utf8 } from '../../src/bytes/bytes.ts'
import { frameTypes } from '../../src/channel/frame.ts'
import { sealFrame } from '../../src/channel/letter/frames.ts'
import {
  decodeSession,
  encodeSession,
  enterEpoch,
  type LetterBounds,
  type LetterState,
  letterLimits,
  markHead,
  markNumber,
  moveOn,
  needsEpoch,
  openTrial,
  type Pen,
  parseLetter,
  promisedBy,
  seal,
  sealClose,
  secretsIn,
  tryLetter,
} from '../../src/channel/letter/index.ts'
import {
  chainAfter,
  chainOf,
  commitmentTo,
  firstRoots,
  keyOf,
  proofKey,
  rootAfter,
} from '../../src/channel/letter/ratchet.ts'
import { admit, after, decodeOpened, encodeOpened, newWindow } from '../../src/channel/letter/window.ts'
import { ChannelError } from '../../src/channel/reasons.ts'
import { handshakeKeys, mainSecret, modeLetter } from '../../src/channel/schedule.ts'
import { Secret } from '../../src/crypto/secret.ts'
import { suites } from '../../src/crypto/suite.ts'
import { tableAt } from './spec-tables.ts'

const [suite0x0101] = suites
const { kdf } = suite0x0101
const boundsOf = (lateMax: number): LetterBounds => ({
  lateMax,
  skipMax: letterLimits.skipMax,
  followMax: letterLimits.followMax,
  bodyBytesMax: letterLimits.bodyBytesMax,
})
const lateMax = 64

const bytes = (length: number, from: number) => Uint8Array.from({ length }, (_, i) => (from + i) & 255)

function ends(): { a: LetterState; b: LetterState } {
  const main = new Secret(bytes(64, 1))
  const all = bytes(64, 100)
  const end = (role: 'client' | 'server'): LetterState => {
    const { client, server, markKey } = firstRoots(kdf, main, all)
    const [mine, theirs] = role === 'client' ? [client, server] : [server, client]
    return {
      suite: suite0x0101,
      role,
      id: bytes(32, 7),
      sessionId: bytes(8, 9),
      markKey,
      send: { epoch: 0, ahead: mine },
      receive: { epoch: 0, ahead: theirs, current: undefined, previous: undefined },
      peerHeard: 0,
      sealed: 0,
      proof: undefined,
      turnedBack: undefined,
    }
  }
  return { a: end('client'), b: end('server') }
}

let salts = 0
const salt = () => bytes(32, salts++)

function write(state: LetterState, pen: Pen, text: string) {
  return seal(state, pen, utf8(text))
}

function openIt(state: LetterState, letter: Uint8Array, width = lateMax) {
  return openTrial(state, tryLetter(state, parseLetter(letter).data, boundsOf(width)), boundsOf(width))
}

/** One that is a message. */
function read(state: LetterState, letter: Uint8Array, width = lateMax) {
  const opened = openIt(state, letter, width)
  return opened.kind === 'message' ? opened : assert.fail(opened.kind)
}

const reason = (wanted: number) => (error: unknown) =>
  error instanceof ChannelError && error.reason === wanted

suite('the window', () => {
  test('opens each number once, at most so late, whatever the order', () => {
    const orders = fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 120 })
    fc.assert(
      fc.property(orders, fc.constantFrom(0, 1, 5, 64), (order, width) => {
        const opened = new Set<number>()
        let highest = 0
        let window = newWindow
        for (const seq of order) {
          const may = !opened.has(seq) && seq >= highest - width && !(width === 0 && seq < highest)
          if (may) {
            admit(window, seq, boundsOf(width))
            window = after(window, seq, width)
            opened.add(seq)
            highest = Math.max(highest, seq)
          } else assert.throws(() => admit(window, seq, boundsOf(width)), reason(21))
          assert.ok(window.opened < 1n << BigInt(width + 1), 'no wider than it says')
          assert.equal(decodeOpened(encodeOpened(window.opened)), window.opened)
        }
      }),
      { numRuns: 200 },
    )
  })

  test('a number that is far ahead is refused before its key is looked for', () => {
    const most = lateMax + letterLimits.skipMax
    admit(newWindow, 1 + most, boundsOf(lateMax))
    assert.throws(() => admit(newWindow, 2 + most, boundsOf(lateMax)), reason(22))
  })

  test('made narrower it opens no more, made wider nothing again', () => {
    let window = newWindow
    for (const seq of [1, 3, 50]) window = after(window, seq, 64)
    admit(window, 2, boundsOf(0)) // of a wider time
    window = after(window, 51, 0)
    for (const seq of [1, 2, 3, 49, 50, 51])
      assert.throws(() => admit(window, seq, boundsOf(1024)), reason(21))
  })
})

suite('a letter', () => {
  test('is opened once, and every change of a byte and every cut is refused and changes nothing', () => {
    const { a, b } = ends()
    const { state, pen } = enterEpoch(a, salt())
    const { bytes: letter } = write(state, pen, 'hello')
    const before = hex(encodeSession({ state: b, confirmed: 0, amendments: 0 }))
    for (let i = 0; i < letter.length; i++) {
      const changed = Uint8Array.from(letter)
      changed[i] = (changed[i] ?? 0) ^ 1
      assert.throws(() => read(b, changed), ChannelError, `byte ${i}`)
      assert.throws(() => read(b, letter.subarray(0, i)), reason(13))
    }
    assert.throws(() => read(b, Uint8Array.from([...letter, 0])), reason(13))
    assert.equal(hex(encodeSession({ state: b, confirmed: 0, amendments: 0 })), before)
    const opened = read(b, letter)
    assert.deepEqual(opened.body, utf8('hello'))
    assert.throws(() => read(opened.state, letter), reason(21))
  })

  test('a length that is claimed and not there is refused before anything is made for it', () => {
    const huge = fromHex(`0200${'00'.repeat(8)}0000000100000001ffffffff`)
    assert.throws(() => parseLetter(huge), reason(15))
    const proof = fromHex(`0100${'00'.repeat(8)}000000000000000200020001`)
    assert.throws(() => parseLetter(proof), reason(15))
  })

  test('the keys of letters that were opened are gone: the state opens the others only', () => {
    const { a, b } = ends()
    let { state, pen } = enterEpoch(a, salt())
    const letters: Uint8Array[] = []
    for (const text of ['1', '2', '3', '4']) {
      const sealed = write(state, pen, text)
      letters.push(sealed.bytes)
      ;({ state, pen } = sealed)
    }
    const [one, two, three, four] = letters
    assert.ok(one && two && three && four)
    let opened = read(b, one)
    const afterOne = opened.state.receive.current?.chain.bytes
    opened = read(opened.state, three)
    assert.deepEqual(opened.state.receive.current?.chain.bytes, afterOne, 'the second may still come')
    opened = read(opened.state, two)
    using chain = chainAfter(kdf, new Secret(Uint8Array.from(afterOne ?? [])), 2)
    assert.deepEqual(opened.state.receive.current?.chain.bytes, chain.bytes)
    assert.deepEqual(read(opened.state, four).body, utf8('4'))
  })

  test('the record of a session has one length, whatever was opened', () => {
    const { a, b } = ends()
    let { state, pen } = enterEpoch(a, salt())
    const lengths = new Set<number>()
    let at = b
    for (let i = 0; i < 12; i++) {
      const sealed = write(state, pen, 'x')
      ;({ state, pen } = sealed)
      if (i % 2 === 0) at = read(at, sealed.bytes).state
      if (i > 0) lengths.add(encodeSession({ state: at, confirmed: 1, amendments: 0 }).length)
    }
    assert.equal(lengths.size, 1)
  })

  test('a session that was written down and read goes on alike; a record cut or changed is refused or another', () => {
    const { a, b } = ends()
    const { state, pen } = enterEpoch(a, salt())
    const first = write(state, pen, 'x')
    const opened = read(b, first.bytes).state
    const record = encodeSession({ state: opened, confirmed: 3, amendments: 2 })
    const { state: again, confirmed, amendments } = decodeSession(record, suites)
    assert.deepEqual([confirmed, amendments], [3, 2])
    assert.equal(hex(encodeSession({ state: again, confirmed, amendments })), hex(record))
    assert.deepEqual(read(again, write(first.state, first.pen, 'y').bytes).body, utf8('y'))
    for (let i = 0; i < record.length; i++) assert.throws(() => decodeSession(record.subarray(0, i), suites))
  })

  test('a pen writes once: a state used twice would repeat a key', () => {
    const { a } = ends()
    const { state, pen } = enterEpoch(a, salt())
    write(state, pen, 'x')
    assert.throws(() => write(state, pen, 'y'), TypeError)
  })
})

suite('epochs', () => {
  test('both are in the number of the mark, which grows with either', () => {
    const epoch = fc.integer({ min: 0, max: letterLimits.epochMax })
    fc.assert(
      fc.property(epoch, epoch, (send, receive) => {
        const { a } = ends()
        const state = { ...a, send: { ...a.send, epoch: send }, receive: { ...a.receive, epoch: receive } }
        const number = markNumber(state)
        assert.ok(Number.isSafeInteger(number))
        assert.deepEqual(promisedBy(number), { send, receive })
      }),
    )
  })

  test('begin with a run, with an answer, and when one has had its letters', () => {
    const { a } = ends()
    assert.ok(needsEpoch(a, undefined))
    const { state, pen } = enterEpoch(a, salt())
    assert.ok(!needsEpoch(state, pen))
    assert.ok(needsEpoch({ ...state, peerHeard: pen.epoch }, pen))
    assert.ok(!needsEpoch(state, { ...pen, seq: letterLimits.epochLettersMax - 1 }))
    assert.ok(needsEpoch(state, { ...pen, seq: letterLimits.epochLettersMax }))
  })

  test('at their end, and at the end of the numbers, sealing is refused and nothing wraps', () => {
    const { a, b } = ends()
    const last = { ...a, send: { ...a.send, epoch: letterLimits.epochMax - 1 } }
    const entered = enterEpoch(last, salt())
    assert.equal(entered.pen.epoch, letterLimits.epochMax)
    assert.throws(() => enterEpoch(entered.state, salt()), /no epoch is left/)
    const end = { ...entered.pen, seq: letterLimits.seqMax - 1 }
    const sealed = write(entered.state, end, 'last')
    assert.throws(() => write(sealed.state, sealed.pen, 'one more'), /no number is left/)
    // The other end: neither an epoch nor a number beyond its end is looked at.
    const near = { ...b, receive: { ...b.receive, epoch: letterLimits.epochMax } }
    const beyond = Uint8Array.from(sealed.bytes)
    new DataView(beyond.buffer).setUint32(10, letterLimits.epochMax + 1)
    assert.throws(() => read(near, beyond), reason(30))
    new DataView(beyond.buffer).setUint32(10, 1)
    for (const seq of [0, letterLimits.seqMax + 1]) {
      new DataView(beyond.buffer).setUint32(14, seq)
      assert.throws(() => read(b, beyond), reason(31))
    }
  })

  test('after a restore nothing at or below the promise is sealed in or opened, and what is lost is bounded', () => {
    const { a, b } = ends()
    const { state, pen } = enterEpoch(a, salt())
    const letter = write(state, pen, 'x').bytes
    const moved = moveOn(b, { send: 5, receive: 1 })
    assert.throws(() => read(moved, letter), reason(30))
    assert.equal(moved.send.epoch, 5)
    const next = enterEpoch(moveOn(a, { send: 1, receive: 0 }), salt())
    assert.deepEqual(read(moved, write(next.state, next.pen, 'y').bytes).body, utf8('y'))
    assert.throws(() => moveOn(a, { send: letterLimits.moveOnMax + 1, receive: 0 }), /begin a new session/)
  })

  test('a close says so under its seal; a kind that is not known, and a close with a body, are refused', () => {
    const { a, b } = ends()
    const { state, pen } = enterEpoch(a, salt())
    const close = sealClose(state, pen)
    assert.deepEqual(openIt(b, close.bytes), { kind: 'close' })
    assert.throws(() => sealClose(state, pen), TypeError)
    const { epoch, salt: fresh, chain } = enterEpoch(a, salt()).pen
    const { sessionId } = a
    const withContent = (content: string) => {
      using key = keyOf(kdf, chain)
      const frame = { type: frameTypes.data, sessionId, epoch, seq: 1, salt: fresh }
      return sealFrame(suite0x0101.aead, key, frame, fromHex(content))
    }
    assert.deepEqual(read(b, withContent('010000000078')).body, utf8('x'))
    assert.equal(openIt(b, withContent('0200000000')).kind, 'close')
    for (const content of ['0000000000', '0300000000', 'ff0000000078', '020000000078', '01000000', ''])
      assert.throws(() => openIt(b, withContent(content)), reason(13), content)
    // Who closes and has heard more than was ever sealed says that first.
    assert.equal(openIt(b, withContent('0200000001')).kind, 'turned back')
  })

  test('a peer that has heard more than was ever sealed says that this end was turned back', () => {
    const { a, b } = ends()
    const entered = enterEpoch({ ...b, receive: { ...b.receive, epoch: 3 } }, salt())
    const letter = write(entered.state, entered.pen, 'I heard epoch 3').bytes
    const opened = openIt(a, letter)
    assert.ok(opened.kind === 'turned back')
    const { state } = opened
    assert.deepEqual(state.turnedBack, { send: 3, receive: 1 })
    const record = encodeSession({ state, confirmed: 0, amendments: 0 })
    assert.deepEqual(decodeSession(record, suites).state.turnedBack, state.turnedBack)
  })
})

test('the derivations are those of docs/spec/letter.md, section 7', () => {
  const shared = new Secret(bytes(64, 0))
  const keys = handshakeKeys(kdf, suite0x0101.id, shared, bytes(64, 0x40), modeLetter)
  using main = mainSecret(kdf, keys.hs, undefined, bytes(64, 1), new Uint8Array(0))
  const roots = firstRoots(kdf, main, bytes(64, 1))
  using second = rootAfter(kdf, roots.client, 1)
  using chain = chainOf(kdf, roots.client, bytes(32, 2))
  using third = chainAfter(kdf, chain, 2)
  const fresh = { ...ends().a, sessionId: bytes(8, 3), send: { epoch: 0, ahead: roots.client } }
  const { state, pen } = enterEpoch(fresh, bytes(32, 2))
  const message = seal(state, pen, utf8('x'))
  const found = new Map<string, Uint8Array>([
    ['key of c_hs', keys.clientKey.bytes],
    ['key of the proof', proofKey(kdf, keys.clientKey, bytes(32, 2)).bytes],
    ['root of epoch 1, client', roots.client.bytes],
    ['root of epoch 1, server', roots.server.bytes],
    ['mark key', roots.markKey.bytes],
    ['root of epoch 2, client', second.bytes],
    ['key of letter 1', keyOf(kdf, chain).bytes],
    ['key of letter 3', keyOf(kdf, third).bytes],
    ['head of the mark', commitmentTo(kdf, roots.client, roots.server)],
    ['letter 1, a message', message.bytes],
    ['letter 2, a close', sealClose(message.state, message.pen).bytes],
  ])
  const table = tableAt('letter.md', 'what')
  assert.deepEqual([...table.keys()], [...found.keys()])
  for (const [what, value] of found) assert.equal(hex(value), table.get(what), what)
  assert.equal(
    markHead({
      ...ends().a,
      send: { epoch: 0, ahead: roots.client },
      receive: { epoch: 0, ahead: roots.server, current: undefined, previous: undefined },
    }).length,
    32,
  )
  assert.equal(secretsIn(ends().a).length, 3)
})
