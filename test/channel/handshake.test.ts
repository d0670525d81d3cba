import assert from 'node:assert/strict'
import { createHash, createHmac } from 'node:crypto'
import { suite, test } from 'node:test'
import { concat, equal, utf8 } from '../../src/bytes/bytes.ts'
import { plainFrame } from '../../src/channel/frame.ts'
import { encodeClientHello } from '../../src/channel/hello.ts'
import { exportFrom } from '../../src/channel/index.ts'
import { encodeMessage } from '../../src/channel/message.ts'
import { suites } from '../../src/crypto/suite.ts'
import { signAs, verifyFrom } from '../../src/signature/hybrid.ts'
import { IdentityKeys, newIdentity, succeed, verifyIdentity } from '../../src/signature/identity.ts'
import {
  alice,
  bob,
  bytesOf,
  carol,
  client,
  connected,
  type End,
  entropy,
  home,
  pair,
  run,
  server,
  watchSealings,
} from './ends.ts'

watchSealings()

suite('a handshake', () => {
  test('both ends are established, know each other and agree on epoch, session and exporter', () => {
    const { client, server } = connected()
    const [a, b] = [client.state, server.state]
    assert.ok(a.name === 'established' && b.name === 'established')
    assert.ok(equal(a.peer.id, bob.id) && equal(b.peer.id, alice.id))
    assert.deepEqual([a.send.epoch, b.send.epoch], [1, 1])
    assert.ok(equal(a.send.sessionId, b.send.sessionId))
    assert.ok(equal(a.send.key.bytes, b.receive.key.bytes) && equal(b.send.key.bytes, a.receive.key.bytes))
    assert.ok(!equal(a.send.key.bytes, a.receive.key.bytes))
    using mine = exportFrom(a, 'test', utf8('context'), 48)
    using theirs = exportFrom(b, 'test', utf8('context'), 48)
    using other = exportFrom(b, 'test', utf8('other'), 48)
    assert.ok(equal(mine.bytes, theirs.bytes) && !equal(mine.bytes, other.bytes))
    assert.ok(equal(a.secretId, b.secretId))
  })

  test('takes two round trips: five flights, a frame each', () => {
    const made = pair()
    const frames: string[] = []
    run(made, (direction, _index, frame) => {
      frames.push(direction)
      return [frame]
    })
    assert.deepEqual(frames.sort(), ['to client', 'to client', 'to client', 'to server', 'to server'])
  })

  test('with real hybrid signatures and a chain of two records', async () => {
    const first = newIdentity('classical')
    const keys = IdentityKeys.generate('hybrid')
    const chained = await succeed(first.identity, first.keys, keys)
    const other = newIdentity('pqc')
    const hold = ['sign', 'verify'] as const
    const made = {
      client: client(home(other.identity), { hold, peerId: chained.id }),
      server: server(home(chained), { hold }),
    }
    for (let turn = 0; turn < 8; turn++) {
      run(made)
      for (const [end, signer] of [
        [made.client, other.keys],
        [made.server, keys],
      ] as const) {
        for (const action of end.held.splice(0)) {
          if (action.kind === 'sign') {
            const record = end.home.identity.current
            const signature = await signAs(signer, record, action.purpose, action.payload)
            end.give({ kind: 'signed', signature })
          } else if (action.kind === 'verify') {
            const { identity, purpose, payload, signature } = action
            const good =
              (await verifyIdentity(identity)) &&
              (await verifyFrom(identity.current, purpose, payload, signature))
            end.give({ kind: 'verified', good })
          }
        }
      }
    }
    run(made)
    assert.equal(made.client.state.name, 'established')
    assert.equal(made.server.state.name, 'established')
    const ours = made.server.state
    assert.ok(ours.name === 'established' && equal(ours.peer.id, other.identity.id))
  })

  test('carries data both ways, in order, from empty to the largest frame', () => {
    const { client, server } = connected()
    const lengths = [0, 1, 15, 16, 17, 1000, 65_535, 65_536]
    const plaintexts = lengths.map(length => entropy.bytes(length))
    client.send(...plaintexts)
    server.send(...plaintexts)
    run({ client, server })
    for (const end of [client, server]) {
      assert.equal(end.received.length, lengths.length)
      end.received.forEach((received, i) => {
        assert.ok(equal(received, plaintexts[i] ?? new Uint8Array(1)))
      })
    }
  })

  test('the server may speak first, and the first frame of the peer is told once', () => {
    const { client, server } = connected()
    server.send(bytesOf('hello'), bytesOf('again'))
    run({ client, server })
    client.send(bytesOf('yes'))
    run({ client, server })
    assert.deepEqual([client.count('peer-heard'), server.count('peer-heard')], [1, 1])
    const order = client.log.map(({ kind }) => kind)
    assert.ok(order.indexOf('peer-heard') < order.indexOf('deliver'))
  })

  test('commits before it says so: the server before SDONE, the client before it is established', () => {
    const made = pair({ hold: ['commit'] })
    run(made)
    assert.equal(made.server.state.name, 'server-committing')
    assert.equal(made.client.state.name, 'client-waits-done')
    assert.equal(made.server.sent.length, 0)
    made.server.give({ kind: 'committed' })
    run(made)
    assert.equal(made.server.state.name, 'established')
    assert.equal(made.client.state.name, 'client-committing')
    assert.equal(made.client.count('established'), 0)
    made.client.give({ kind: 'committed' })
    assert.equal(made.client.count('established'), 1)
  })
})

suite('who is there', () => {
  test('a server with another identity stays silent, and the client says that nobody answered', () => {
    const made = run({ client: client(home(alice), { peerId: bob.id }), server: server(home(carol)) })
    assert.equal(made.server.state.name, 'closed')
    assert.equal(made.server.count('send'), 0)
    assert.equal(made.server.count('end-wire'), 1)
    made.client.give({ kind: 'wire-ended' })
    assert.equal(made.client.ending?.code, 'channel/NO_ANSWER')
  })

  test('a server that knows whom we call but proves another identity is refused with 51', () => {
    const caller = client(home(alice), { peerId: bob.id })
    const wrong = server(home(carol))
    const state = wrong.state
    assert.ok(state.name === 'server-waits-hello')
    // An object whose id is bob's when mac1 is checked, and whose records are carol's.
    const twoFaced = { ...carol, id: bob.id }
    wrong.state = { ...state, config: { ...state.config, identity: twoFaced } }
    const made = run({ client: caller, server: wrong })
    assert.equal(made.client.ending?.reason, 51)
    assert.equal(made.client.ending?.code, 'channel/UNKNOWN_IDENTITY')
    assert.equal(made.server.ending?.reason, 51)
    assert.equal(made.server.ending?.trusted, false)
  })

  test('a signature that does not verify is 50, at either end', () => {
    for (const liar of ['client', 'server'] as const) {
      const made = run(pair({ verify: (_identity, purpose) => !purpose.includes(liar) }))
      assert.equal(made.client.ending?.reason, 50, liar)
      assert.equal(made.server.ending?.reason, 50, liar)
      assert.equal(made.client.ending?.code, 'channel/HANDSHAKE_FAILED')
    }
  })

  test('a client that the server does not serve is 51, and knows it from the server itself', () => {
    const made = pair({ hold: ['decide'] })
    run(made)
    made.server.give({ kind: 'close-requested', reason: 51, text: 'not a peer of mine' })
    run(made)
    assert.equal(made.client.ending?.reason, 51)
    assert.equal(made.client.ending?.trusted, true)
    assert.equal(made.client.ending?.text, 'not a peer of mine')
  })

  test('what is signed is for one role: the other role cannot use it', () => {
    const made = pair()
    run(made)
    const purposes = [made.client, made.server].map(end => end.log.find(({ kind }) => kind === 'sign'))
    assert.deepEqual(
      purposes.map(action => (action?.kind === 'sign' ? action.purpose : '')),
      ['QSPv1 client auth', 'QSPv1 server auth'],
    )
  })
})

suite('what is offered', () => {
  const hello = {
    versions: [1],
    suites: [0x0101],
    modes: [1],
    random: new Uint8Array(32),
    publicKey: suites[0].kem.generate().publicKey,
  }
  const say = (changes: Partial<typeof hello>, to = bob.id) => {
    const end = server(home(bob))
    end.arrive(plainFrame(encodeClientHello({ ...hello, ...changes }, to)))
    return end
  }

  test('no version in common, no suite or no mode: an ABORT that says which', () => {
    const cases: [Partial<typeof hello>, number][] = [
      [{ versions: [2] }, 11],
      [{ suites: [0x0199] }, 12],
      [{ modes: [2] }, 12],
      [{ publicKey: new Uint8Array(1184) }, 12],
    ]
    for (const [changes, reason] of cases) {
      const end = say(changes)
      assert.equal(end.ending?.reason, reason)
      assert.equal(end.sent.length, 1)
    }
  })

  test('a later version keeps version list and mac1, so it gets its hint', () => {
    const body = encodeClientHello({ ...hello, versions: [7] }, bob.id)
    const end = server(home(bob))
    end.arrive(plainFrame(body))
    assert.equal(end.ending?.reason, 11)
  })

  test('an ABORT is a hint that nobody vouches for', () => {
    const end = client(home(alice))
    end.arrive(plainFrame(encodeMessage('ABORT', Uint8Array.of(0, 11))))
    assert.deepEqual(
      [end.ending?.code, end.ending?.trusted, end.ending?.hint],
      ['channel/UNSUPPORTED', false, 11],
    )
    assert.equal(end.count('send'), 1)
  })

  test('an ABORT after the handshake has keys changes nothing for the better: it is a bad frame', () => {
    const made = connected()
    made.client.arrive(plainFrame(encodeMessage('ABORT', Uint8Array.of(0, 11))))
    assert.equal(made.client.ending?.by, 'us')
    assert.equal(made.client.ending?.reason, 10)
  })

  test('wrong mac1, cookie, RETRY, lists with nothing or twice the same, bad shares: silence', () => {
    const right = encodeClientHello(hello, bob.id)
    const cases: [string, Uint8Array][] = [
      ['mac1 for another server', encodeClientHello(hello, carol.id)],
      ['RETRY', encodeMessage('RETRY', new Uint8Array(40))],
      ['SHLO', encodeMessage('SHLO', right.subarray(5))],
      ['two messages', concat(right, right)],
      ['no versions', encodeClientHello({ ...hello, versions: [] }, bob.id)],
      ['a suite twice', encodeClientHello({ ...hello, suites: [0x0101, 0x0101] }, bob.id)],
      ['a bad share', encodeClientHello({ ...hello, publicKey: new Uint8Array(1600).fill(255) }, bob.id)],
      ['a zero point', encodeClientHello({ ...hello, publicKey: withZeroPoint(hello.publicKey) }, bob.id)],
      ['a cookie', withCookie(right)],
      ['empty', new Uint8Array(0)],
    ]
    for (const [name, message] of cases) {
      const end = server(home(bob))
      end.arrive(plainFrame(message))
      assert.equal(end.state.name, 'closed', name)
      assert.equal(end.count('send'), 0, name)
    }
  })

  test('a client takes neither RETRY nor an answer that it did not offer', () => {
    const answer = (change: (bytes: Uint8Array) => void) => {
      const made = pair()
      const frame = made.client.sent[0] ?? new Uint8Array(0)
      made.server.arrive(frame)
      const shlo = Uint8Array.from(made.server.sent[0] ?? new Uint8Array(0))
      change(shlo)
      return made.client.arrive(shlo)
    }
    const at = 22 + 5
    const reason = (change: (bytes: Uint8Array) => void) => answer(change).ending?.reason
    assert.equal(
      reason(bytes => bytes.set([0, 2], at)),
      52,
    )
    assert.equal(
      reason(bytes => bytes.set([1, 2], at + 2)),
      52,
    )
    assert.equal(
      reason(bytes => bytes.set([2], at + 4)),
      52,
    )
    assert.equal(
      reason(bytes => bytes.set([3], 22)),
      13,
    )
    assert.equal(
      reason(bytes => bytes.fill(0, at + 37, at + 45)),
      13,
    )
    assert.equal(
      reason(bytes => bytes.fill(0, bytes.length - 32)),
      50,
    )
    assert.equal(
      reason(() => undefined),
      undefined,
    )
  })
})

suite('secrets are wiped', () => {
  const alive = (end: End): number =>
    [...end.secrets].filter(secret => {
      try {
        return secret.bytes.length > 0
      } catch {
        return false
      }
    }).length

  test('wherever a handshake ends, at both ends, with the answer that comes too late', () => {
    for (const stop of ['sign', 'verify', 'decide', 'judge-positions', 'commit'] as const) {
      const at = { client: home(alice), server: home(bob) }
      const before = connected({}, at)
      before.client.send(bytesOf('heard'))
      run(before)
      const made = run(pair({ hold: [stop] }, at))
      for (const end of [made.client, made.server]) {
        assert.ok(alive(end) > 0 || end.state.name === 'server-waits-hello')
        end.give({ kind: 'wire-ended' })
        assert.equal(end.state.name, 'closed')
        for (const action of end.held) if (action.kind !== 'commit') end.answer(action)
        for (const action of end.log) if (action.kind === 'commit') end.secrets.delete(action.secret.res)
        assert.equal(alive(end), 0, stop)
      }
    }
  })

  test('when a session stands only its own are left, and the key for a refused SDONE until the client is heard', () => {
    const at = { client: home(alice), server: home(bob) }
    for (let session = 0; session < 2; session++) {
      const { client, server } = connected({}, at)
      // Two keys, the exporter and what a rekey begins with; the server has one more.
      assert.deepEqual([alive(client), alive(server)], [4, 5])
      client.send(bytesOf('heard'))
      run({ client, server })
      assert.deepEqual([alive(client), alive(server)], [4, 4])
      client.give({ kind: 'close-requested', reason: 0, text: '' })
      assert.equal(alive(client), 1)
      run({ client, server })
      assert.deepEqual([alive(client), alive(server)], [0, 0])
    }
  })
})

test('a state that is used twice is an assertion, not a repeated nonce', () => {
  const { client } = connected()
  const state = client.state
  client.send(bytesOf('one'))
  client.state = state
  assert.throws(() => client.send(bytesOf('two')), TypeError)
})

function withZeroPoint(publicKey: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(publicKey)
  copy.fill(0, 1568)
  return copy
}

/** The same CHLO with a cookie of one byte, and a mac1 that is right for it. */
function withCookie(message: Uint8Array): Uint8Array {
  const body = message.subarray(5, message.length - 16)
  const longer = concat(body.subarray(0, body.length - 2), Uint8Array.of(0, 1, 7))
  const stated = concat(encodeMessage('CHLO', concat(longer, new Uint8Array(16))).subarray(0, -16))
  const key = createHash('sha256').update('qsp1 mac1').update(bob.id).digest()
  return concat(stated, createHmac('sha256', key).update(stated).digest().subarray(0, 16))
}
