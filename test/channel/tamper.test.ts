/** What an attacker on the path can do to frames. Planted bugs at the end show that these claims can fail. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { equal } from '../../src/bytes/bytes.ts'
import { frameTypes, headerBytes } from '../../src/channel/frame.ts'
import { type Suite, suites } from '../../src/crypto/suite.ts'
import {
  type AnyStep,
  alice,
  bob,
  bytesOf,
  connected,
  type Direction,
  type End,
  flipped,
  forged,
  home,
  type Options,
  opened,
  type Pair,
  pair,
  run,
  step,
  watchSealings,
} from './ends.ts'

watchSealings()

/** The five frames of a handshake, by who they go to and their place there. */
const flights: readonly { flight: number; direction: Direction; index: number }[] = [
  { flight: 1, direction: 'to server', index: 0 },
  { flight: 2, direction: 'to client', index: 0 },
  { flight: 3, direction: 'to client', index: 1 },
  { flight: 4, direction: 'to server', index: 1 },
  { flight: 5, direction: 'to client', index: 2 },
]

const sizes = new Map<number, number>()
run(pair(), (direction, index, frame) => {
  const found = flights.find(entry => entry.direction === direction && entry.index === index)
  if (found) sizes.set(found.flight, frame.length)
  return [frame]
})

/** Every byte near an end or of a header or small field, and samples of the long ones. */
function positions(length: number, every: number): number[] {
  return [...Array(length).keys()].filter(at => at < 72 || at >= length - 20 || at % every === 0)
}

/** The end that a direction leads to, after both were told that nothing more comes. */
function settle(made: Pair, direction: Direction): { readonly receiver: End; readonly sender: End } {
  const [receiver, sender] =
    direction === 'to server' ? [made.server, made.client] : [made.client, made.server]
  for (const end of [receiver, sender])
    if (end.state.name !== 'closed' && end.state.name !== 'established')
      end.give({ kind: 'timeout', timer: 'handshake' })
  run(made)
  return { receiver, sender }
}

suite('one bit turned over', () => {
  for (const { flight, direction, index } of flights) {
    test(`anywhere in flight ${flight}: never established, never a hang, a coded end`, () => {
      for (const at of positions(sizes.get(flight) ?? 0, 7)) {
        const bit = at * 8 + (at % 8)
        const made = run(pair(), (way, count, frame) =>
          way === direction && count === index ? [flipped(frame, bit)] : [frame],
        )
        const { receiver, sender } = settle(made, direction)
        const what = `byte ${at}`
        assert.equal(receiver.state.name, 'closed', what)
        assert.equal(receiver.received.length + sender.received.length, 0, what)
        // The server may already stand when SDONE is spoilt; it hears of the refusal.
        if (flight === 5) assert.ok(['closed', 'established'].includes(sender.state.name), what)
        else assert.equal(sender.state.name, 'closed', what)
        const { reason } = receiver.ending ?? {}
        const expected = expectedReasons(flight, at)
        assert.ok(reason !== undefined && expected.includes(reason), `${what}: ${reason}`)
        if (flight === 1) assert.equal(receiver.count('send'), 0, `${what}: silence`)
      }
    })
  }
})

/** The header field by field; then what the content can give. */
function expectedReasons(flight: number, at: number): readonly number[] {
  if (at < 2) return [10, 14, 20, 15]
  if (at < 10) return [10]
  if (at < 14) return [30, 15]
  if (at < 18) return [21, 14, 15]
  // A length that lies: too long for a frame, more than comes (then time runs out), or cut in the middle.
  if (at < headerBytes) return [15, 81, 13, 20, 10, 14]
  if (flight === 1) return [13]
  // A key share that is not the server's gives other keys, which shows at the seal of flight 3.
  if (flight === 2) return [13, 52, 50, 20, 10]
  return [20]
}

suite('one byte changed by somebody who has the keys of the handshake', () => {
  for (const { flight, direction, index } of flights.slice(2)) {
    test(`anywhere in the plaintext of flight ${flight}: refused, and its last MAC by 50`, () => {
      const length = (sizes.get(flight) ?? 0) - headerBytes - 16
      for (const at of positions(length, 7)) {
        const made = pair()
        run(made, (way, count, frame) => {
          if (way !== direction || count !== index) return [frame]
          const { state } = way === 'to server' ? made.server : made.client
          assert.ok('receive' in state)
          const plaintext = opened(state.receive, frame)
          plaintext[at] = (plaintext[at] ?? 0) ^ 1
          return [forged(state.receive, { type: frameTypes.handshake, plaintext })]
        })
        const { receiver } = settle(made, direction)
        const reasons = at >= length - 64 ? [50] : [13, 50, 51, 72]
        assert.ok(reasons.includes(receiver.ending?.reason ?? -1), `byte ${at}: ${receiver.ending?.reason}`)
        assert.equal(receiver.ending?.by, 'us', `byte ${at}`)
        assert.equal(receiver.count('established') + receiver.count('commit'), 0)
      }
    })
  }
})

suite('cut off', () => {
  for (const { flight, direction, index } of flights) {
    test(`flight ${flight} anywhere, and the stream with it: truncated, or nobody answered`, () => {
      const length = sizes.get(flight) ?? 0
      for (const at of positions(length, 29).filter(at => at < length)) {
        const made = run(pair(), (way, count, frame) => {
          if (way !== direction || count < index) return [frame]
          return count === index ? [frame.subarray(0, at)] : []
        })
        const receiver = direction === 'to server' ? made.server : made.client
        receiver.give({ kind: 'wire-ended' })
        assert.equal(receiver.ending?.reason, 23)
        const code = flight === 2 ? 'channel/NO_ANSWER' : 'channel/TRUNCATED'
        assert.equal(receiver.ending?.code, code)
        assert.equal(receiver.count('established'), 0)
      }
    })
  }

  test('a session that ends without CLOSE is truncated, whatever had come', () => {
    const { client, server } = connected()
    client.send(bytesOf('all of it'))
    run({ client, server })
    server.give({ kind: 'wire-ended' })
    assert.deepEqual([server.ending?.reason, server.ending?.code], [23, 'channel/TRUNCATED'])
  })
})

/** An established pair with one frame of data under way. */
function underWay(options: Options = {}): Pair & { readonly frame: Uint8Array } {
  const { client, server } = connected(options)
  client.send(bytesOf('transfer 100'))
  const frame = client.sent.shift()
  assert.ok(frame)
  return { client, server, frame }
}

/** The frame was refused with this reason, the other end was told so, and nothing was delivered. */
function refused(made: Pair, reason: number, delivered = 0): void {
  const { client, server } = made
  assert.deepEqual([server.state.name, server.ending?.reason, server.ending?.by], ['closed', reason, 'us'])
  assert.equal(server.received.length, delivered)
  run(made)
  assert.deepEqual([client.ending?.reason, client.ending?.by], [reason, 'peer'])
}

suite('frames of a session', () => {
  test('one bit turned over in any byte of a data frame: its own reason, sealed, and nothing delivered', () => {
    for (let at = 0; at < headerBytes + 28; at++) {
      for (const bit of [0, 7]) {
        const { client, server, frame } = underWay()
        server.arrive(flipped(frame, at * 8 + bit))
        // A length that grew: the reader waits for the rest, and time or the stream ends it.
        if (server.state.name === 'established') {
          assert.ok(at >= 18 && at < headerBytes)
          server.give({ kind: 'wire-ended' })
          assert.equal(server.ending?.reason, 23)
          continue
        }
        // A type that is another one is sealed under another header.
        const expected =
          at < 1 ? [10, 14, 20] : at < 10 ? [10] : at < 14 ? [30] : at < 18 ? [21, 14] : [15, 20]
        assert.ok(expected.includes(server.ending?.reason ?? -1), `byte ${at}: ${server.ending?.reason}`)
        refused({ client, server }, server.ending?.reason ?? -1)
      }
    }
  })

  test('again: 21', () => {
    const made = underWay()
    made.server.arrive(made.frame).arrive(made.frame)
    refused(made, 21, 1)
  })

  test('out of order: 14', () => {
    const { client, server } = underWay()
    client.send(bytesOf('second'))
    server.arrive(client.sent.shift() ?? new Uint8Array(0))
    refused({ client, server }, 14)
  })

  test('left out: 14', () => {
    const { client, server } = underWay()
    client.send(bytesOf('second'), bytesOf('third'))
    server.arrive(client.sent[1] ?? new Uint8Array(0))
    client.sent = []
    refused({ client, server }, 14)
  })

  test('its own frame, sent back: 20, since each direction has its key', () => {
    const { client, server, frame } = underWay()
    server.arrive(frame)
    client.arrive(frame)
    assert.equal(client.ending?.reason, 20)
    assert.equal(client.received.length, 0)
    run({ client, server })
    assert.equal(server.ending?.reason, 20)
  })

  test('from another session of the same two: 10, and 20 with its session id put right', () => {
    const [one, other] = [underWay(), underWay()]
    one.server.arrive(other.frame)
    refused(one, 10)
    const [two, third] = [underWay(), underWay()]
    const moved = Uint8Array.from(third.frame)
    moved.set(two.frame.subarray(2, 10), 2)
    two.server.arrive(moved)
    refused(two, 20)
  })

  test('from an earlier epoch of the same two: 10, then 30, then 20, as far as it is made to look right', () => {
    for (const [fields, reason] of [
      [[], 10],
      [[[2, 10]], 30],
      [
        [
          [2, 10],
          [10, 14],
        ],
        20,
      ],
    ] as const) {
      const homes = { client: home(alice), server: home(bob) }
      const before = connected({}, homes)
      before.client.send(bytesOf('old'))
      const old = Uint8Array.from(before.client.sent[0] ?? new Uint8Array(0))
      run(before)
      const now = connected({}, homes)
      now.client.send(bytesOf('new'))
      const fresh = now.client.sent.shift() ?? new Uint8Array(0)
      for (const [from, to] of fields) old.set(fresh.subarray(from, to), from)
      now.server.arrive(old)
      refused(now, reason)
    }
  })

  test('of the handshake, again or moved: 30', () => {
    const seen: Uint8Array[] = []
    const made = run(pair(), (direction, _index, frame) => {
      if (direction === 'to server') seen.push(frame)
      return [frame]
    })
    made.server.arrive(seen[1] ?? new Uint8Array(0))
    refused(made, 30)
  })

  test('data, dressed as CLOSE: 20', () => dataCannotBecomeClose({}))

  test('a frame shorter than its tag is 13; a CLOSE that says nothing known is 13', () => {
    for (const plaintext of [new Uint8Array(5), Uint8Array.of(0, 99, 0, 0, 0, 0), bytesWith(0xff)]) {
      const made = connected()
      const { state } = made.server
      assert.ok(state.name === 'established')
      made.server.arrive(forged(state.receive, { type: frameTypes.close, plaintext }))
      refused(made, 13)
    }
    const { client, server, frame } = underWay()
    const short = Uint8Array.from(frame.subarray(0, headerBytes + 15))
    short.set([0, 0, 0, 15], 18)
    server.arrive(short)
    refused({ client, server }, 13)
  })

  test('nothing is processed after a refusal, however good', () => {
    const { client, server, frame } = underWay()
    client.send(bytesOf('second'))
    const second = client.sent.shift() ?? new Uint8Array(0)
    const chunk = new Uint8Array(2 * frame.length + second.length)
    chunk.set(frame)
    chunk.set(frame, frame.length)
    chunk.set(second, 2 * frame.length)
    server.arrive(chunk)
    server.arrive(second)
    refused({ client, server }, 21, 1)
    assert.equal(server.count('send'), 4)
  })
})

test('CLOSE of a handshake that the server believes over is heard once, and nothing else of that epoch', () => {
  const made = run(pair({ hold: ['judge-positions'] }))
  assert.equal(made.server.state.name, 'established')
  made.client.give({ kind: 'positions-judged', verdict: 'refused' })
  run(made)
  assert.deepEqual([made.server.ending?.reason, made.server.ending?.by], [70, 'peer'])
  assert.equal(made.server.ending?.trusted, true)

  const late = run(pair({ hold: ['judge-positions'] }))
  late.client.give({ kind: 'positions-judged', verdict: 'refused' })
  const close = late.client.sent.shift() ?? new Uint8Array(0)
  late.server.arrive(flipped(close, (headerBytes + 3) * 8))
  assert.equal(late.server.ending?.reason, 20)
})

// ---- planted bugs: each claim, with what it rests on taken away, must fail ----

function dataCannotBecomeClose(options: Options): void {
  const { client, server } = connected(options)
  client.send(new Uint8Array(6))
  const frame = Uint8Array.from(client.sent.shift() ?? new Uint8Array(0))
  frame[0] = frameTypes.close
  server.arrive(frame)
  refused({ client, server }, 20)
}

function replayIsRefused(options: Options): void {
  const made = underWay(options)
  made.server.arrive(made.frame).arrive(made.frame)
  refused(made, 21, 1)
}

function reflectionIsRefused(options: Options): void {
  const { client, frame } = underWay(options)
  client.arrive(frame)
  assert.equal(client.received.length, 0)
  assert.equal(client.ending?.reason, 20)
}

function strangersAreRefused(options: Options): void {
  const made = run(pair({ ...options }), (direction, index, frame) =>
    direction === 'to server' && index === 1 ? [flipped(frame, frame.length * 8 - 1)] : [frame],
  )
  assert.notEqual(made.server.state.name, 'established')
}

suite('planted bugs are found', () => {
  const [real] = suites

  test('the header is not authenticated', () => {
    const none = new Uint8Array(0)
    const bug: Suite = {
      ...real,
      aead: {
        ...real.aead,
        seal: (key, nonce, _header, plaintext) => real.aead.seal(key, nonce, none, plaintext),
        open: (key, nonce, _header, sealed) => real.aead.open(key, nonce, none, sealed),
      },
    }
    dataCannotBecomeClose({ suite: real })
    assert.throws(() => dataCannotBecomeClose({ suite: bug }), assert.AssertionError)
  })

  test('seq is not checked', () => {
    const bug: AnyStep = (state, event) =>
      state.name === 'established' && event.kind === 'frame-arrived'
        ? step({ ...state, receive: { ...state.receive, seq: event.frame.seq - 1 } }, event)
        : step(state, event)
    replayIsRefused({})
    assert.throws(() => replayIsRefused({ step: bug }), assert.AssertionError)
  })

  test('one key serves both directions', () => {
    const bug: Suite = {
      ...real,
      kdf: {
        ...real.kdf,
        expand(key, info, length) {
          const copy = Uint8Array.from(info)
          // The label "qsp1 s ap" becomes "qsp1 c ap".
          if (equal(copy.subarray(3, 12), bytesOf('qsp1 s ap'))) copy[8] = 'c'.charCodeAt(0)
          return real.kdf.expand(key, copy, length)
        },
      },
    }
    reflectionIsRefused({ suite: real })
    assert.throws(() => reflectionIsRefused({ suite: bug }), assert.AssertionError)
  })

  test('the seal of what arrives is not checked', () => {
    const opened = new Map<string, Uint8Array>()
    const bug: Suite = {
      ...real,
      aead: {
        ...real.aead,
        sealParts(key, nonce, header, plaintext) {
          opened.set(Buffer.from(header).toString('hex'), Uint8Array.from(plaintext))
          return real.aead.sealParts(key, nonce, header, plaintext)
        },
        open: (_key, _nonce, header) => opened.get(Buffer.from(header).toString('hex')) ?? new Uint8Array(0),
      },
    }
    strangersAreRefused({ suite: real })
    assert.throws(() => strangersAreRefused({ suite: bug }), assert.AssertionError)
  })
})

function bytesWith(last: number): Uint8Array {
  return Uint8Array.of(0, 0, 0, 0, 0, 0, last)
}
