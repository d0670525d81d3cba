/** Rekeys (C5, C6; docs/spec/rekey.md): new keys while traffic flows, and what becomes of it when something goes wrong. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { concat } from '../../src/bytes/bytes.ts'
import { nothingRemembered } from '../../src/channel/continuity.ts'
import { frameTypes } from '../../src/channel/frame.ts'
import { type Event, exportFrom, type StateName } from '../../src/channel/index.ts'
import { encodeIdentity } from '../../src/channel/proof.ts'
import { encodeRekey } from '../../src/channel/rekey.ts'
import type { Traffic } from '../../src/channel/traffic.ts'
import {
  alice,
  bob,
  bytesOf,
  carol,
  client,
  connected,
  copied,
  type End,
  forged,
  home,
  opened,
  type Pair,
  pair,
  run,
  server,
  watchSealings,
} from './ends.ts'

watchSealings()

const please: Event = { kind: 'rekey-requested' }
const names = ['client', 'server'] as const

/** Both ends have heard each other, so that what a handshake leaves is gone. */
function talking(
  options: Parameters<typeof connected>[0] = {},
  homes: Parameters<typeof connected>[1] = {},
): Pair {
  const made = connected(options, homes)
  made.client.send(bytesOf('hello'))
  run(made)
  made.server.send(bytesOf('hello'))
  return run(made)
}

function epochs({ client, server }: Pair): number[] {
  return [client, server].flatMap(({ state }) =>
    'send' in state && 'receive' in state ? [state.send.epoch, state.receive.epoch] : [],
  )
}

function trafficOf(end: End, way: 'send' | 'receive'): Traffic {
  const { state } = end
  assert.ok('send' in state && 'receive' in state)
  return state[way]
}

/** Carries one frame; what it is of. */
function carry(from: End, to: End): { readonly type: number; readonly bytes: Uint8Array } {
  const bytes = from.sent.shift()
  assert.ok(bytes, 'nothing to carry')
  to.arrive(bytes)
  return { type: bytes[0] ?? 0, bytes }
}

/** The ends in the middle of a rekey: so many of its flights have been carried. */
function underWay(flights: number, made: Pair = talking()): Pair {
  made.server.give(please)
  for (let i = 0; i < flights; i++) {
    const [from, to] = i % 2 === 0 ? [made.server, made.client] : [made.client, made.server]
    assert.equal(carry(from, to).type, frameTypes.rekey)
  }
  return made
}

suite('a rekey', () => {
  for (const who of names)
    test(`begun by the ${who}: both directions go on to the next epoch, with keys of their own`, () => {
      const made = talking()
      const before = names.map(name => Uint8Array.from(trafficOf(made[name], 'send').key.bytes))
      made[who].give(please)
      run(made)
      assert.deepEqual(epochs(made), [2, 2, 2, 2])
      assert.deepEqual([made.client.count('rekeyed'), made.server.count('rekeyed')], [1, 1])
      const after = names.map(name => trafficOf(made[name], 'send').key.bytes)
      assert.equal(new Set([...before, ...after].map(key => Buffer.from(key).toString('hex'))).size, 4)
      for (const [from, to] of [
        [made.client, made.server],
        [made.server, made.client],
      ] as const) {
        from.send(bytesOf('after'))
        run(made)
        assert.equal(String(to.received.at(-1)), 'after')
      }
    })

  test('is made of a fresh share: the same secrets and the same words lead to other keys', () => {
    const keys = new Set<string>()
    for (let i = 0; i < 3; i++) {
      // Everything that the two ends had at the epoch before, copied; only what they draw now is new.
      const made = underWay(0)
      run(made)
      keys.add(Buffer.from(trafficOf(made.client, 'send').key.bytes).toString('hex'))
    }
    assert.equal(keys.size, 3)
  })

  test('carries traffic both ways at every moment of it, all of it, in order', () => {
    const made = talking()
    const sent: Record<'client' | 'server', string[]> = { client: ['hello'], server: ['hello'] }
    const say = () => {
      for (const name of names) {
        const word = `${name} ${sent[name].length}`
        sent[name].push(word)
        made[name].send(bytesOf(word))
      }
    }
    made.server.give(please)
    for (let i = 0; i < 40; i++) {
      say()
      const [from, to] = i % 2 === 0 ? [made.server, made.client] : [made.client, made.server]
      if (from.sent.length > 0) carry(from, to)
    }
    run(made)
    assert.deepEqual(epochs(made), [2, 2, 2, 2])
    assert.deepEqual(made.server.received.map(String), sent.client)
    assert.deepEqual(made.client.received.map(String), sent.server)
  })

  test('a hundred in a row: epochs go up by one, and nothing is left of those before', () => {
    const made = talking()
    const alive = (end: End) =>
      [...end.secrets].filter(secret => {
        try {
          return secret.length > 0
        } catch {
          return false
        }
      }).length
    for (let i = 1; i <= 100; i++) {
      made[i % 2 === 0 ? 'client' : 'server'].give(please)
      run(made)
      assert.deepEqual(epochs(made), Array(4).fill(1 + i))
      assert.deepEqual([alive(made.client), alive(made.server)], [4, 4])
    }
    assert.deepEqual([made.client.home.memory.highestEpoch, made.server.home.memory.highestEpoch], [101, 101])
  })

  test('replaces what the exporter gives, alike at both ends', () => {
    const made = talking()
    const exported = (end: End) => {
      const { state } = end
      assert.ok('exporter' in state)
      using secret = exportFrom(state, 'test', bytesOf('x'), 32)
      return Buffer.from(secret.bytes).toString('hex')
    }
    const before = exported(made.client)
    made.server.give(please)
    run(made)
    assert.equal(exported(made.client), exported(made.server))
    assert.notEqual(exported(made.client), before)
  })
})

suite('asking', () => {
  test('both at once: the client asks while the server begins, and one rekey is made', () => {
    const made = talking()
    for (const name of names) made[name].give(please)
    run(made)
    assert.deepEqual(epochs(made), [2, 2, 2, 2])
  })

  for (let flights = 1; flights <= 4; flights++)
    test(`again, at both ends, ${flights} flights into a rekey: one more is made only after it`, () => {
      const made = underWay(flights)
      for (const name of names) made[name].give(please)
      run(made)
      // Once it has committed, the client is in the next epoch, and asks for the one after.
      assert.deepEqual(epochs(made), Array(4).fill(flights < 3 ? 2 : 3))
    })

  test('RKPLEASE for another epoch is refused with 40, and a REKEY that is none of ours with 14', () => {
    for (const [plaintext, reason] of [
      [encodeRekey('RKPLEASE', 3), 40],
      [encodeRekey('RKPLEASE', 1), 40],
      [concat(encodeRekey('RKPLEASE', 2), Uint8Array.of(0)), 13],
      [encodeRekey('RKSWITCH', 2), 14],
      [encodeRekey('RKINIT', 2, new Uint8Array(1600)), 14],
      [new Uint8Array(0), 14],
      [bytesOf('x'), 14],
    ] as const) {
      const made = talking()
      made.server.arrive(forged(trafficOf(made.client, 'send'), { type: frameTypes.rekey, plaintext }))
      assert.equal(made.server.ending?.reason, reason)
    }
  })
})

suite('a cut', () => {
  for (let flights = 0; flights <= 4; flights++)
    for (const extra of [false, true])
      test(`${flights} flights into a rekey${extra ? ', with the next one lost' : ''}: the next handshake finds a secret that both hold`, () => {
        const homes = { client: home(alice), server: home(bob) }
        const made = underWay(flights, talking({}, homes))
        if (extra) made.server.sent = []
        for (const name of names) {
          made[name].drop()
          assert.ok(homes[name].memory.secrets.length > 0)
        }
        const next = talking({}, homes)
        const [epoch] = epochs(next)
        assert.ok(epoch !== undefined && epoch >= 2)
        assert.deepEqual(epochs(next), Array(4).fill(epoch))
        next.client.give(please)
        run(next)
        assert.deepEqual(epochs(next), Array(4).fill(epoch + 1))
      })

  test('one end dies before the other: whoever is left closes, and both agree at once', () => {
    for (const name of names)
      for (let flights = 0; flights <= 3; flights++) {
        const homes = { client: home(alice), server: home(bob) }
        const made = underWay(flights, talking({}, homes))
        made[name].drop()
        const other = made[name === 'client' ? 'server' : 'client']
        other.give({ kind: 'wire-ended' })
        assert.equal(other.ending?.reason, 23)
        talking({}, homes)
      }
  })

  test('a client that was put back behind a rekey is refused', () => {
    const homes = { client: home(alice), server: home(bob) }
    const made = talking({}, homes)
    const older = copied(homes.client.memory)
    made.server.give(please)
    run(made)
    for (const name of names) made[name].drop()
    homes.client.memory = older
    const next = run(pair({}, homes))
    assert.deepEqual([next.server.ending?.reason, next.client.ending?.reason], [72, 72])
  })

  test('a server that was put back behind a rekey is refused', () => {
    const homes = { client: home(alice), server: home(bob) }
    const made = talking({}, homes)
    const older = copied(homes.server.memory)
    made.server.give(please)
    run(made)
    for (const name of names) made[name].drop()
    homes.server.memory = older
    const next = run(pair({}, homes))
    assert.equal(next.server.ending?.reason, 72)
  })

  test('of the last frames before RKSWITCH is noticed', () => {
    const made = underWay(2)
    made.client.send(bytesOf('cut away'))
    carry(made.server, made.client)
    const [, ofSwitch] = made.client.sent
    assert.equal(ofSwitch?.[0], frameTypes.rekey)
    made.server.arrive(ofSwitch)
    assert.equal(made.server.ending?.reason, 14)
  })

  test('of RKSWITCH itself is noticed: nothing of the new epoch is taken before it', () => {
    const made = underWay(3)
    made.client.send(bytesOf('early'))
    const [, early] = made.client.sent
    assert.ok(early)
    made.server.arrive(early)
    assert.equal(made.server.ending?.reason, 30)
    assert.equal(made.server.received.length, 1)
  })

  test('of COMMIT is noticed: nothing of the new epoch is taken before it', () => {
    const made = underWay(2)
    made.server.send(bytesOf('early'))
    const [, early] = made.server.sent
    assert.ok(early)
    made.client.arrive(early)
    assert.equal(made.client.ending?.reason, 30)
  })
})

suite('time and bounds', () => {
  for (const [who, flights] of [
    ['server', 0],
    ['server', 2],
    ['client', 1],
  ] as const)
    test(`the ${who} waits so long, after ${flights} flights: 41`, () => {
      const made = underWay(flights, talking({ limits: { rekeyMsMax: 77 } }))
      const end = made[who]
      assert.ok(end.log.some(a => a.kind === 'start-timer' && a.timer === 'rekey' && a.ms === 77))
      end.give({ kind: 'timeout', timer: 'rekey' })
      assert.equal(end.ending?.reason, 41)
      assert.equal(end.ending?.code, 'channel/TIMEOUT')
    })

  test('a client that asks in vain: 41', () => {
    const made = talking()
    made.client.give(please)
    made.client.give({ kind: 'timeout', timer: 'rekey' })
    assert.equal(made.client.ending?.reason, 41)
  })

  test('timers: stopped at the end of it, and the age begins anew', () => {
    const made = talking()
    made.client.give(please)
    run(made)
    for (const name of names) {
      const timers = made[name].log.filter(a => a.kind === 'start-timer' || a.kind === 'stop-timer')
      assert.deepEqual(
        timers.slice(-4).map(a => `${a.kind} ${a.timer}`),
        ['stop-timer age', 'start-timer rekey', 'stop-timer rekey', 'start-timer age'],
      )
    }
  })

  test('frames of the epoch before are taken up to their bound, and one more is refused', () => {
    for (const frames of [3, 4]) {
      const made = underWay(2, talking({ limits: { inFlightFramesMax: 3 } }))
      assert.equal(made.server.state.name, 'server-waits-switch')
      for (let i = 0; i < frames; i++) made.client.send(bytesOf(`late ${i}`))
      for (const frame of made.client.sent.splice(0)) made.server.arrive(frame)
      assert.equal(made.server.ending?.reason, frames > 3 ? 40 : undefined)
      assert.equal(made.server.received.length, 1 + Math.min(frames, 3))
    }
  })

  test('the last epoch there is: 31 instead of a rekey', () => {
    for (const who of names) {
      const last = 2 ** 32 - 2
      const homes = {
        client: { ...home(alice), memory: { ...nothingRemembered, highestEpoch: last - 1 } },
        server: { ...home(bob), memory: { ...nothingRemembered, highestEpoch: last - 1 } },
      }
      const made = talking({}, homes)
      assert.deepEqual(epochs(made), Array(4).fill(last))
      made[who].give(please)
      run(made)
      assert.equal(made[who].ending?.reason, 31)
    }
  })
})

suite('an attacker', () => {
  /** Every flight of a rekey that somebody who holds the epoch's keys changes on its way. */
  const flights = [
    { name: 'INIT', carried: 0, messages: ['RKINIT'] },
    { name: 'ACK', carried: 1, messages: ['RKACK', 'CIDENT', 'CSIG', 'CFIN'] },
    { name: 'COMMIT', carried: 2, messages: ['RKCOMMIT', 'SIDENT', 'SSIG', 'SFIN'] },
    { name: 'switch', carried: 3, messages: ['RKSWITCH'] },
  ] as const

  for (const { name, carried, messages } of flights) {
    test(`with the keys of the epoch, who changes any message of ${name}, gets no rekey`, () => {
      for (let at = 0; at < messages.length; at++)
        for (const place of [0, 0.5, 1]) {
          const made = underWay(carried)
          const [from, to] = carried % 2 === 0 ? [made.server, made.client] : [made.client, made.server]
          const traffic = { ...trafficOf(to, 'receive') }
          const plaintext = Uint8Array.from(opened(traffic, from.sent.shift() ?? assert.fail('no flight')))
          const body = bodyOf(plaintext, at)
          const offset = body.start + Math.floor(place * (body.length - 1))
          plaintext[offset] = (plaintext[offset] ?? 0) ^ 0x40
          to.arrive(forged(traffic, { type: frameTypes.rekey, plaintext }))
          run(made)
          const ends = names.map(name => made[name])
          assert.ok(
            ends.some(end => end.ending !== undefined),
            `${messages[at]} changed at ${offset}: ${ends.map(end => end.state.name).join()}`,
          )
          assert.ok(ends.every(end => end.count('rekeyed') === 0 || name === 'switch'))
          const codes = ends.flatMap(end => end.ending?.reason ?? [])
          assert.ok(
            codes.every(code => [13, 14, 20, 40, 42, 50].includes(code)),
            codes.join(),
          )
        }
    })

    test(`who leaves out, repeats or adds a message of ${name} is refused`, () => {
      const changes: ((parts: Uint8Array[]) => Uint8Array[])[] = [
        parts => parts.slice(1),
        parts => parts.slice(0, -1),
        parts => [...parts, ...parts.slice(-1)],
        parts => parts.toReversed(),
        parts => [...parts, Uint8Array.of(0)],
      ]
      for (const change of changes) {
        const made = underWay(carried)
        const [from, to] = carried % 2 === 0 ? [made.server, made.client] : [made.client, made.server]
        const traffic = { ...trafficOf(to, 'receive') }
        const plaintext = opened(traffic, from.sent.shift() ?? assert.fail('no flight'))
        const parts = messages.map((_, at) => {
          const { start, length } = bodyOf(plaintext, at)
          return plaintext.subarray(start - 5, start + length)
        })
        const changed = concat(...change([...parts]))
        if (Buffer.compare(changed, plaintext) === 0) continue
        to.arrive(forged(traffic, { type: frameTypes.rekey, plaintext: changed }))
        assert.ok([13, 14].includes(to.ending?.reason ?? -1), `${to.ending?.reason}`)
      }
    })

    test(`who sends ${name} twice, or back to where it came from, is refused`, () => {
      const made = underWay(carried)
      const [from, to] = carried % 2 === 0 ? [made.server, made.client] : [made.client, made.server]
      const { bytes } = carry(from, to)
      to.arrive(bytes)
      assert.ok([21, 30].includes(to.ending?.reason ?? -1), `${to.ending?.reason}`)
      from.arrive(bytes)
      assert.ok([14, 20, 21, 30].includes(from.ending?.reason ?? -1), `${from.ending?.reason}`)
    })
  }

  test('a share that cannot be used: 40', () => {
    for (const share of [new Uint8Array(1600), new Uint8Array(1599).fill(1), new Uint8Array(0)]) {
      const made = talking()
      const traffic = trafficOf(made.server, 'send')
      const plaintext = encodeRekey('RKINIT', 2, share)
      made.client.arrive(forged(traffic, { type: frameTypes.rekey, plaintext }))
      assert.equal(made.client.ending?.reason, 40)
    }
  })

  test('with the keys of the epoch but no key of the identity: 50, whichever end it plays', () => {
    const refusing = { verify: (_: unknown, purpose: string) => !purpose.includes('rekey') }
    for (const [who, options] of [
      ['server', { client: {}, server: refusing }],
      ['client', { client: refusing, server: {} }],
    ] as const) {
      const made = run({
        client: client(home(alice), options.client),
        server: server(home(bob), options.server),
      })
      made.server.give(please)
      run(made)
      assert.equal(made[who].ending?.reason, 50)
      assert.deepEqual([made.client.count('rekeyed'), made.server.count('rekeyed')], [0, 0])
    }
  })

  test('another identity with good signatures: 50', () => {
    const made = underWay(1)
    const traffic = { ...trafficOf(made.server, 'receive') }
    const plaintext = opened(traffic, made.client.sent.shift() ?? assert.fail('no flight'))
    const parts = [0, 1, 2, 3].map(at => {
      const { start, length } = bodyOf(plaintext, at)
      return plaintext.subarray(start - 5, start + length)
    })
    const [ack, , signed, mac] = parts
    assert.ok(ack && signed && mac)
    const changed = concat(ack, encodeIdentity('CIDENT', carol), signed, mac)
    made.server.arrive(forged(traffic, { type: frameTypes.rekey, plaintext: changed }))
    // The MAC is of what was said, so it is the first to notice.
    assert.equal(made.server.ending?.reason, 42)
  })
})

suite('secrets', () => {
  const states: readonly StateName[] = [
    'server-waits-ack',
    'server-verifying-ack',
    'server-signing-commit',
    'server-committing-rekey',
    'server-waits-switch',
    'client-waits-init',
    'client-signing-ack',
    'client-waits-commit',
    'client-verifying-commit',
    'client-committing-rekey',
  ]
  for (const name of states)
    for (const how of ['dropped', 'ended', 'closed'] as const)
      test(`${how} in ${name}: all are wiped`, () => {
        const end = reach(name)
        const commits = end.held.flatMap(action =>
          action.kind === 'commit-rekey' ? [action.secret.res] : [],
        )
        if (how === 'dropped') end.drop()
        else if (how === 'ended') end.give({ kind: 'wire-ended' })
        else
          end.give({ kind: 'close-requested', reason: 0, text: '' }).give({ kind: 'timeout', timer: 'close' })
        for (const secret of end.secrets)
          if (!commits.includes(secret)) assert.throws(() => secret.bytes, TypeError)
      })

  function reach(name: StateName): End {
    const kinds = { verifying: 'verify', signing: 'sign', committing: 'commit-rekey' } as const
    const [who, doing] = name.split('-') as ['client' | 'server', string]
    const hold: string[] = []
    const options = { hold: hold as never }
    const made = talking(options)
    const kind = doing in kinds ? kinds[doing as keyof typeof kinds] : undefined
    if (name === 'client-waits-init') return made.client.give(please)
    made.server.give(please)
    if (kind === undefined) {
      for (let i = 0; made[who].state.name !== name; i++) {
        const [from, to] = i % 2 === 0 ? [made.server, made.client] : [made.client, made.server]
        carry(from, to)
      }
      return made[who]
    }
    // Only this end waits for that answer.
    const other = made[who === 'client' ? 'server' : 'client']
    for (let i = 0; made[who].state.name !== name; i++) {
      const [from, to] = i % 2 === 0 ? [made.server, made.client] : [made.client, made.server]
      if (to === other) hold.length = 0
      else hold.push(kind)
      carry(from, to)
      hold.length = 0
    }
    return made[who]
  }
})

/** Where the body of the nth message of a flight lies. */
function bodyOf(plaintext: Uint8Array, nth: number): { readonly start: number; readonly length: number } {
  const view = new DataView(plaintext.buffer, plaintext.byteOffset)
  let offset = 0
  for (let i = 0; i < nth; i++) offset += 5 + view.getUint32(offset + 1)
  return { start: offset + 5, length: view.getUint32(offset + 1) }
}
