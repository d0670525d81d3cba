/** What docs/spec/channel.md says of streams and their ends that no single frame shows. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { concat } from '../../src/bytes/bytes.ts'
import { frameTypes, headerBytes } from '../../src/channel/frame.ts'
import {
  alice,
  bob,
  bytesOf,
  connected,
  flipped,
  forged,
  home,
  opened,
  type Pair,
  pair,
  run,
  watchSealings,
} from './ends.ts'

watchSealings()

suite('how a stream is cut means nothing', () => {
  test('flights 2 and 3 in one write, and SDONE with what follows it', () => {
    const made = pair()
    const { client, server } = made
    server.arrive(concat(...client.sent.splice(0)))
    assert.equal(server.sent.length, 2)
    client.arrive(concat(...server.sent.splice(0)))
    server.arrive(concat(...client.sent.splice(0)))
    assert.equal(server.state.name, 'established')
    server.send(bytesOf('at once'))
    assert.equal(server.sent.length, 2)
    client.arrive(concat(...server.sent.splice(0)))
    assert.equal(client.state.name, 'established')
    assert.equal(Buffer.concat(client.received).toString(), 'at once')
  })

  test('every frame in single bytes', () => {
    const { client, server } = run(pair(), (_direction, _index, frame) =>
      Array.from(frame, byte => Uint8Array.of(byte)),
    )
    assert.deepEqual([client.state.name, server.state.name], ['established', 'established'])
  })

  test('what the stream ends within is not looked at, whatever it begins with', () => {
    const nonsense = new Uint8Array(headerBytes).fill(0xff)
    for (let length = 0; length < headerBytes; length++) {
      const { client, server } = connected()
      for (const end of [client, server]) {
        end.arrive(nonsense.subarray(0, length)).give({ kind: 'wire-ended' })
        assert.deepEqual([end.ending?.reason, end.ending?.code], [23, 'channel/TRUNCATED'], `${length} bytes`)
        assert.equal(end.sent.length, 0, 'nobody is told')
      }
    }
    const { server } = connected()
    server.arrive(nonsense)
    assert.equal(server.ending?.reason, 10, 'a whole header is')
  })

  test('a part of a frame after our CLOSE is an end like any other', () => {
    const { server } = connected()
    server.give({ kind: 'close-requested', reason: 0, text: '' })
    server.arrive(new Uint8Array(headerBytes - 1).fill(0xff)).give({ kind: 'wire-ended' })
    assert.deepEqual([server.ending?.reason, server.ending?.code], [0, undefined])
  })

  test('before anything whole came back, nobody answered', () => {
    const { client } = pair()
    client.arrive(new Uint8Array(headerBytes - 1).fill(0xff)).give({ kind: 'wire-ended' })
    assert.equal(client.ending?.code, 'channel/NO_ANSWER')
  })
})

suite('the last seq received that a CLOSE names', () => {
  /** What the end that is told hears of its own frames. */
  const told = ({ ending }: Pair['client']) => {
    assert.equal(ending?.by, 'peer')
    return [ending.reason, ending.peerReceived]
  }

  test('epoch 0, from a client that refuses SDONE itself: SDONE does not count', () => {
    const made = pair()
    run(made, (direction, index, frame) => {
      if (direction !== 'to client' || index !== 2) return [frame]
      const { state } = made.client
      assert.ok('receive' in state)
      const plaintext = opened(state.receive, frame)
      return [
        forged(state.receive, {
          type: frameTypes.handshake,
          plaintext: flipped(plaintext, 8 * plaintext.length - 1),
        }),
      ]
    })
    assert.deepEqual(told(made.server), [50, 2])
  })

  test('epoch 0, from a client that refuses what follows from SDONE: it counts', () => {
    const positions = pair({}, { client: { ...home(alice), verdict: 'refused' } })
    assert.deepEqual(told(run(positions).server), [70, 3])
    const made = run(pair({ hold: ['commit'] }))
    const { client, server } = made
    for (const action of server.held.splice(0)) server.answer(action)
    run(made)
    assert.equal(client.state.name, 'client-committing')
    client.give({ kind: 'close-requested', reason: 90, text: '' })
    assert.deepEqual(told(run(made).server), [90, 3])
  })

  test('epoch 0, from a server: 1 before flight 4 is accepted, 2 after', () => {
    const spoilt = run(pair(), (direction, index, frame) =>
      direction === 'to server' && index === 1 ? [flipped(frame, 8 * frame.length - 1)] : [frame],
    )
    assert.deepEqual(told(spoilt.client), [20, 1])
    const refused = run(pair({}, { server: { ...home(bob), verdict: 'refused' } }))
    assert.deepEqual(told(refused.client), [70, 2])
  })

  test('a new epoch: 0 if none; a frame that is refused does not count, the CLOSE that is answered does', () => {
    const none = connected()
    none.client.send(bytesOf('x'))
    none.server.arrive(flipped(none.client.sent.shift() ?? new Uint8Array(0), 8 * headerBytes))
    assert.deepEqual(told(run(none).client), [20, 0])
    const some = connected()
    some.client.send(bytesOf('x'), bytesOf('y'))
    some.client.give({ kind: 'close-requested', reason: 0, text: '' })
    assert.deepEqual(told(run(some).server), [0, 0])
    assert.deepEqual(told(some.client), [0, 3])
  })
})
