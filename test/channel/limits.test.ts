import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { encodeClose, escaped, parseClose } from '../../src/channel/close.ts'
import {
  channelLimits,
  closeReasons,
  type Established,
  nothingRemembered,
  step,
} from '../../src/channel/index.ts'
import { lowered } from '../../src/channel/limits.ts'
import { isCloseReason } from '../../src/channel/reasons.ts'
import type { Traffic } from '../../src/channel/traffic.ts'
import {
  alice,
  bob,
  bytesOf,
  client,
  connected,
  type End,
  home,
  type Pair,
  pair,
  run,
  start,
  watchSealings,
} from './ends.ts'

watchSealings()

suite('soft limits', () => {
  test('frames: a rekey at the limit, by either direction; the session goes on', () => {
    for (const talker of ['client', 'server'] as const) {
      const made = connected({ limits: { epochFramesMax: 3 } })
      for (let i = 0; i < 5; i++) {
        made[talker].send(bytesOf('x'))
        run(made)
        assert.equal(made.client.count('rekeyed'), i >= 2 ? 1 : 0, `${talker} ${i}`)
        assert.equal(made.server.count('rekeyed'), i >= 2 ? 1 : 0, `${talker} ${i}`)
      }
      const listener = talker === 'client' ? made.server : made.client
      assert.equal(listener.received.length, 5)
    }
  })

  test('blocks: 16 bytes a block and one for the tag', () => {
    const { server } = connected({ limits: { epochBlocksMax: 5 } })
    server.send(new Uint8Array(17))
    assert.equal(server.state.name, 'established')
    server.send(new Uint8Array(16))
    assert.equal(server.state.name, 'server-waits-ack')
  })

  test('age: the timer that established set, and each rekey anew', () => {
    const made = connected({ limits: { epochMsMax: 7 } })
    const ages = () =>
      made.client.log.filter(
        action => action.kind === 'start-timer' && action.timer === 'age' && action.ms === 7,
      )
    assert.equal(ages().length, 1)
    made.client.give({ kind: 'timeout', timer: 'age' })
    run(made)
    assert.deepEqual([made.client.count('rekeyed'), made.server.count('rekeyed')], [1, 1])
    assert.equal(ages().length, 2)
  })

  test('a client asks once in an epoch', () => {
    const { client } = connected({ limits: { epochFramesMax: 2 } })
    client.send(bytesOf('a'), bytesOf('b'), bytesOf('c')).give({ kind: 'timeout', timer: 'age' })
    assert.equal(client.sent.filter(frame => frame[0] === 3).length, 1)
  })
})

suite('hard stops', () => {
  test('the frame past the last allowed is not sent: 22 to the other end, at once', () => {
    for (const limits of [{ hardFramesMax: 2 }, { hardBlocksMax: 4 }]) {
      const { client, server } = connected({ limits })
      client.send(bytesOf('a'), bytesOf('b'))
      assert.equal(client.state.name, 'established')
      client.send(bytesOf('c'))
      assert.deepEqual([client.ending?.reason, client.ending?.code], [22, 'channel/EXHAUSTED'])
      run({ client, server })
      assert.equal(server.received.length, 2)
      assert.deepEqual([server.ending?.reason, server.ending?.by], [22, 'peer'])
    }
  })

  test('the frame past the last allowed is not opened either', () => {
    const made: Pair = {
      client: client(home(alice)),
      server: pair({ limits: { hardFramesMax: 2 } }).server,
    }
    run(made)
    made.client.send(bytesOf('a'), bytesOf('b'), bytesOf('c'))
    run(made)
    assert.equal(made.server.received.length, 2)
    assert.deepEqual([made.server.ending?.reason, made.client.ending?.reason], [22, 22])
  })

  test('seq at its end: one frame at 2^32 - 2, then 31, and CLOSE takes the last seq', () => {
    const made = connected()
    moveTo(made, channelLimits.seqMax - 1, 2 ** 33)
    const { client, server } = made
    client.send(bytesOf('last'))
    for (const frame of client.sent.splice(0)) server.arrive(frame)
    assert.equal(server.received.length, 1)
    // The server begins a rekey, which comes too late.
    assert.equal(server.state.name, 'server-waits-ack')
    client.send(bytesOf('one too many'))
    assert.equal(client.ending?.reason, 31)
    const [close] = client.sent
    assert.equal(close && new DataView(close.buffer, close.byteOffset).getUint32(14), 2 ** 32 - 1)
    run(made)
    assert.deepEqual([server.ending?.reason, server.ending?.by], [31, 'peer'])
    assert.equal(server.received.length, 1)
  })

  test('seq at its end: a peer that goes on is refused with 31', () => {
    const made = connected()
    moveTo(made, channelLimits.seqMax - 1, 2 ** 33)
    const { client, server } = made
    client.send(bytesOf('last'))
    const state = client.state
    assert.ok(state.name === 'established')
    run(made)
    // A peer without the check: its count is put back while its seq stays.
    client.state = { ...state, send: { ...state.send, seq: channelLimits.seqMax } }
    const next = step(server.state, {
      kind: 'frame-arrived',
      frame: {
        type: 2,
        sessionId: state.send.sessionId,
        epoch: 1,
        seq: 2 ** 32 - 1,
        header: new Uint8Array(22),
        payload: new Uint8Array(16),
      },
    })
    assert.ok(next.state.name === 'closed')
    assert.equal(next.state.ending.reason, 31)
  })

  test('the last epoch: 31, before anything is committed', () => {
    const server = home(bob)
    server.memory = { ...nothingRemembered, highestEpoch: channelLimits.epochMax }
    const made = run(pair({}, { server }))
    assert.deepEqual([made.server.ending?.reason, made.client.ending?.reason], [31, 31])
    assert.equal(made.server.count('commit'), 0)
    server.memory = { ...nothingRemembered, highestEpoch: channelLimits.epochMax - 1 }
    const last = connected({}, { server })
    assert.ok(last.client.state.name === 'established')
    assert.equal(last.client.state.send.epoch, channelLimits.epochMax)
  })

  /** As if so many frames had passed between client and server. The frame limit is lifted: seq is what is tried. */
  function moveTo({ client, server }: Pair, seq: number, hardFramesMax: number): void {
    const at = (traffic: Traffic) => ({ ...traffic, seq })
    const [a, b] = [established(client), established(server)]
    const lift = (state: Established) => ({
      ...state.config,
      limits: { ...state.config.limits, hardFramesMax },
    })
    client.state = { ...a, config: lift(a), send: at(a.send) }
    server.state = { ...b, config: lift(b), receive: at(b.receive) }
  }

  function established(end: End): Established {
    assert.ok(end.state.name === 'established')
    return end.state
  }
})

test("what one end takes binds the other: larger is the caller's mistake, or refused with 15", () => {
  const small = pair({ limits: { dataBytesMax: 1_024 } })
  const made = run({ client: small.client, server: pair().server })
  made.server.send(new Uint8Array(1_024))
  assert.throws(() => made.server.send(new Uint8Array(1_025)), { code: 'channel/TOO_LARGE' })
  assert.equal(made.server.state.name, 'established')
  run(made)
  assert.equal(made.client.received.length, 1)
  // A server that forgets what the client said.
  const { state } = made.server
  assert.ok(state.name === 'established')
  made.server.state = { ...state, peerDataBytesMax: 65_536 }
  made.server.send(new Uint8Array(1_025))
  run(made)
  assert.equal(made.client.ending?.reason, 15)
  assert.equal(made.client.received.length, 1)
})

test('limits may only be lowered', () => {
  assert.throws(() => lowered({ epochFramesMax: 2 ** 20 + 1 }), TypeError)
  assert.throws(() => lowered({ epochFramesMax: 0 }), TypeError)
  assert.throws(() => lowered({ dataBytesMax: 1_023 }), TypeError)
  assert.throws(() => lowered({ handshakeMsMax: 1.5 }), TypeError)
  assert.equal(lowered({ hardFramesMax: 5 }).hardFramesMax, 5)
  assert.equal(lowered().handshakeMsMax, 10_000)
})

suite('close', () => {
  for (const reason of Object.keys(closeReasons).map(Number).filter(isCloseReason)) {
    test(`${reason} reaches the other end, with its words and its code`, () => {
      const { client, server } = connected()
      server.send(bytesOf('one'), bytesOf('two'))
      run({ client, server })
      client.give({ kind: 'close-requested', reason, text: 'because' })
      run({ client, server })
      const { ending } = server
      assert.deepEqual(
        [ending?.reason, ending?.by, ending?.text, ending?.trusted, ending?.code],
        [reason, 'peer', 'because', true, closeReasons[reason].code],
      )
      assert.equal(ending?.peerReceived, 2)
      assert.deepEqual([client.state.name, client.ending?.reason], ['closed', reason])
    })
  }

  test('a normal end is answered, and both know what arrived', () => {
    const { client, server } = connected()
    client.send(bytesOf('x'))
    client.give({ kind: 'close-requested', reason: 0, text: '' })
    assert.equal(client.state.name, 'closing')
    run({ client, server })
    assert.deepEqual([client.ending?.by, client.ending?.peerReceived], ['peer', 2])
    assert.equal(server.received.length, 1)
    for (const end of [client, server]) assert.equal(end.count('end-wire'), 1)
  })

  test('both may close at once; data in flight is dropped, not delivered', () => {
    const { client, server } = connected()
    server.send(bytesOf('in flight'))
    client.give({ kind: 'close-requested', reason: 0, text: '' })
    server.give({ kind: 'close-requested', reason: 0, text: '' })
    run({ client, server })
    assert.deepEqual([client.state.name, server.state.name], ['closed', 'closed'])
    assert.equal(client.received.length, 0)
    assert.equal(client.count('peer-heard'), 1)
  })

  test('a CLOSE that nobody answers ends by its timer', () => {
    const { client } = connected({ limits: { closeMsMax: 5 } })
    client.give({ kind: 'close-requested', reason: 0, text: '' })
    assert.ok(
      client.log.some(action => action.kind === 'start-timer' && action.timer === 'close' && action.ms === 5),
    )
    client.give({ kind: 'timeout', timer: 'close' })
    assert.deepEqual([client.ending?.reason, client.ending?.by], [0, 'us'])
  })

  test('every state of a handshake can be closed with a reason, and says it where it has keys', () => {
    for (const hold of ['verify', 'sign', 'decide', 'judge-positions', 'commit'] as const) {
      for (const who of ['client', 'server'] as const) {
        const held = run(pair({ hold: [hold] }))
        const end = held[who]
        if (end.held.length === 0) continue
        end.give({ kind: 'close-requested', reason: 80, text: 'full' })
        run(held)
        const other = who === 'client' ? held.server : held.client
        assert.deepEqual([other.ending?.reason, other.ending?.by], [80, 'peer'], `${hold} ${who}`)
        // The answer comes all the same.
        for (const action of end.held) end.answer(action)
        assert.equal(end.state.name, 'closed')
      }
    }
  })

  test('text is cut to 256 bytes between characters, and never carries control or direction characters', () => {
    const long = parseClose(encodeClose({ reason: 0, lastReceived: 0, text: 'é'.repeat(200) }))
    assert.equal(long.text, 'é'.repeat(128))
    const odd = parseClose(encodeClose({ reason: 0, lastReceived: 0, text: `${'x'.repeat(255)}é` }))
    assert.equal(odd.text, 'x'.repeat(255))
    assert.equal(escaped('a\nb\u001b[31m\u202ec\u2028'), 'a\\u{a}b\\u{1b}[31m\\u{202e}c\\u{2028}')
    const raw = Uint8Array.of(0, 0, 0, 0, 0, 0, 0x1b, 0x0a)
    assert.equal(parseClose(raw).text, '\\u{1b}\\u{a}')
    assert.throws(() => parseClose(new Uint8Array(6 + 257)), { reason: 13 })
  })
})

test('the reasons and codes of the page are those of the code', () => {
  const page = readFileSync(new URL('../../docs/spec/channel.md', import.meta.url), 'utf8')
  const section = page.slice(page.indexOf('## 6.'), page.indexOf('## 7.'))
  const rows = [...section.matchAll(/^\| (\d+) \| ([A-Z_]+) \|(.*)\|$/gm)]
  const said = Object.fromEntries(
    rows.map(([, reason, name, code]) => [reason, { name, code: code?.trim() || undefined }]),
  )
  assert.deepEqual(said, closeReasons)
})

test('time runs out everywhere in a handshake, and before any answer that is NO_ANSWER', () => {
  const alone = client(home(alice))
  assert.ok(alone.log.some(action => action.kind === 'start-timer' && action.ms === 10_000))
  alone.give({ kind: 'timeout', timer: 'handshake' })
  assert.deepEqual([alone.ending?.reason, alone.ending?.code], [81, 'channel/NO_ANSWER'])
  const made = run(pair({ hold: ['decide'] }))
  made.client.give({ kind: 'timeout', timer: 'handshake' })
  assert.equal(made.client.ending?.code, 'channel/TIMEOUT')
  run(made)
  assert.deepEqual([made.server.ending?.reason, made.server.ending?.by], [81, 'peer'])
  assert.equal(start.nextSend, 1)
})
