/** The keys of a rekey, by docs/spec/rekey.md and noble alone. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concat, hex } from '../../src/bytes/bytes.ts'
import { epochKeys, mainSecret, rekeyKeys } from '../../src/channel/schedule.ts'
import { Secret } from '../../src/crypto/secret.ts'
import { type Suite, suites } from '../../src/crypto/suite.ts'
import { bytesOf, connected, type End, opened, run, watchSealings } from './ends.ts'
import { H, L, MAC, messages, none, open, ramp, trafficKey, X, zeros } from './noble-schedule.ts'
import { tableAt } from './spec-tables.ts'

watchSealings()

/** Sections 2 of the page: all that comes of R(n), the KEM's secret and what was said. */
function follow(
  chain: Uint8Array,
  shared: Uint8Array,
  said: { ack: Uint8Array; commit: Uint8Array; all: Uint8Array },
) {
  const hs = X(chain, shared)
  const main = X(L(X(L(hs, 'derived', H()), zeros), 'qkd', said.commit), zeros)
  return {
    clientFinished: L(L(hs, 'c rk', said.ack), 'finished', none),
    serverFinished: L(L(hs, 's rk', said.ack), 'finished', none),
    clientKey: trafficKey(L(main, 'c ap', said.all)),
    serverKey: trafficKey(L(main, 's ap', said.all)),
    exp: L(main, 'exp', said.all),
    res: L(main, 'res', said.all),
    chain: L(main, 'rekey', said.all),
  }
}

test('a captured rekey opens with noble alone, from the secrets of the epoch, the KEM secret and the frames', () => {
  const [real] = suites
  const shares: Uint8Array[] = []
  const listening: Suite = {
    ...real,
    kem: {
      ...real.kem,
      encapsulate(publicKey) {
        const made = real.kem.encapsulate(publicKey)
        shares.push(Uint8Array.from(made.shared.bytes))
        return made
      },
    },
  }
  const made = connected({ suite: listening, hold: [] })
  const stateOf = (end: End) => {
    assert.ok('chain' in end.state)
    return end.state
  }
  const { chain, send, receive } = stateOf(made.client)
  const [secret, hash] = [Uint8Array.from(chain.secret.bytes), chain.hash]
  const own = { ...send, key: send.key.copy() }
  const theirs = { ...receive, key: receive.key.copy() }

  const flights: Uint8Array[] = []
  const take = (from: End, to: End, traffic: typeof own) => {
    const frame = from.sent.shift() ?? assert.fail('no frame')
    flights.push(Uint8Array.from(opened(traffic, frame)))
    to.arrive(frame)
  }
  made.server.give({ kind: 'rekey-requested' })
  take(made.server, made.client, theirs)
  take(made.client, made.server, own)
  take(made.server, made.client, { ...theirs, seq: 1 })
  const [init, ack, commit] = flights.map(flight => messages(flight))
  assert.ok(init && ack && commit)
  const part = (flight: typeof init, type: number) =>
    flight.get(type)?.whole ?? assert.fail(`no message ${type}`)
  const T = (...parts: Uint8Array[]) => H(hash, part(init, 16), ...parts)
  const ofAck = [17, 12, 13, 14].map(type => part(ack, type))
  const ofCommit = [18, 6, 7, 8].map(type => part(commit, type))
  const [rkack, ...proof] = ofAck
  const [rkcommit] = ofCommit
  assert.ok(rkack && rkcommit)
  const said = { ack: T(rkack), commit: T(...ofAck, rkcommit), all: T(...ofAck, ...ofCommit) }
  const keys = follow(secret, shares[1] ?? none, said)
  assert.equal(hex(proof.at(-1)?.subarray(5) ?? none), hex(MAC(keys.clientFinished, T(...ofAck.slice(0, 3)))))
  const server = ofCommit.slice(0, 3)
  assert.equal(hex(ofCommit[3]?.subarray(5) ?? none), hex(MAC(keys.serverFinished, T(...ofAck, ...server))))
  const signed = [made.client, made.server].map(end => end.log.findLast(({ kind }) => kind === 'sign'))
  assert.deepEqual(
    signed.map(action => (action?.kind === 'sign' ? hex(action.payload) : '')),
    [hex(T(...ofAck.slice(0, 2))), hex(T(...ofAck, ...ofCommit.slice(0, 2)))],
  )
  run(made)
  made.client.send(bytesOf('from the client'))
  made.server.send(bytesOf('from the server'))
  assert.equal(Buffer.from(open(keys.clientKey, made.client.sent[0] ?? none)).toString(), 'from the client')
  assert.equal(Buffer.from(open(keys.serverKey, made.server.sent[0] ?? none)).toString(), 'from the server')
  const after = stateOf(made.server)
  assert.equal(hex(after.exporter.bytes), hex(keys.exp))
  assert.deepEqual([hex(after.chain.secret.bytes), hex(after.chain.hash)], [hex(keys.chain), hex(said.all)])
  assert.equal(hex(made.server.home.memory.secrets[0]?.res.bytes ?? none), hex(keys.res))
  // Without the fresh share there is no key: who has the secrets of the epoch alone reads no further.
  const without = follow(secret, zeros, said)
  assert.throws(() => open(without.clientKey, made.client.sent[0] ?? none))
  assert.notEqual(hex(concat(without.serverKey)), hex(keys.serverKey))
})

test('the known answers of the page are those of the code, and of noble', () => {
  const [{ kdf }] = suites
  const [chain, shared] = [ramp(0, 64), ramp(64, 64)]
  const said = { ack: ramp(128, 64), commit: ramp(1, 64), all: ramp(2, 64) }
  const keys = follow(chain, shared, said)
  const byNoble = {
    'finished key of c_rk': keys.clientFinished,
    'finished key of s_rk': keys.serverFinished,
    'key of c_ap': keys.clientKey,
    'key of s_ap': keys.serverKey,
    exp: keys.exp,
    res: keys.res,
    'R(n + 1)': keys.chain,
  }
  const proving = rekeyKeys(
    kdf,
    { secret: new Secret(Uint8Array.from(chain)), hash: none },
    new Secret(Uint8Array.from(shared)),
    said.ack,
  )
  using main = mainSecret(kdf, proving.hs, undefined, said.commit)
  const epoch = epochKeys(kdf, main, said.all)
  const byCode = {
    'finished key of c_rk': proving.clientFinished.bytes,
    'finished key of s_rk': proving.serverFinished.bytes,
    'key of c_ap': epoch.clientKey.bytes,
    'key of s_ap': epoch.serverKey.bytes,
    exp: epoch.exporter.bytes,
    res: epoch.res.bytes,
    'R(n + 1)': epoch.chain.secret.bytes,
  }
  const digits = (values: Record<string, Uint8Array>) =>
    Object.fromEntries(Object.entries(values).map(([name, bytes]) => [name, hex(bytes)]))
  assert.deepEqual(digits(byCode), digits(byNoble))
  assert.deepEqual(Object.fromEntries(tableAt('rekey.md', 'what')), digits(byNoble))
})
