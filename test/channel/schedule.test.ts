/**
 * The second opinion: this file reads docs/spec/channel.md and nothing of src/channel but the ends it listens to. It
 * derives every key with noble alone and opens a captured session.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { concat, equal, hex } from '../../src/bytes/bytes.ts'
import { exportFrom } from '../../src/channel/index.ts'
import {
  binder,
  confirmation,
  epochKeys,
  handshakeKeys,
  mainSecret,
  secretId,
} from '../../src/channel/schedule.ts'
import { Secret } from '../../src/crypto/secret.ts'
import { type Suite, suites } from '../../src/crypto/suite.ts'
import { alice, bob, bytesOf, connected, type Home, home, run, watchSealings } from './ends.ts'
import { H, L, MAC, messages, none, open, ramp, X, zeros } from './noble-schedule.ts'

watchSealings()

type Capture = { readonly toServer: Uint8Array[]; readonly toClient: Uint8Array[]; shared: Uint8Array }

/** A session whose frames, and the one secret that no wire shows, are written down. */
function capture(homes?: { client: Home; server: Home }): Capture & ReturnType<typeof connected> {
  const captured: Capture = { toServer: [], toClient: [], shared: none }
  const [real] = suites
  const listening: Suite = {
    ...real,
    kem: {
      ...real.kem,
      encapsulate(publicKey) {
        const made = real.kem.encapsulate(publicKey)
        captured.shared = Uint8Array.from(made.shared.bytes)
        return made
      },
    },
  }
  const made = connected({ suite: listening, hold: [] }, homes)
  for (const [end, frames] of [
    [made.client, captured.toServer],
    [made.server, captured.toClient],
  ] as const)
    for (const action of end.log) if (action.kind === 'send') frames.push(concat(...action.parts))
  return Object.assign(captured, made)
}

function follow({ toServer, toClient, shared }: Capture, resOld: Uint8Array = zeros) {
  const [chlo, flight4] = toServer.map(frame => frame.subarray(22))
  const [shlo, flight3, flight5] = toClient.map(frame => frame.subarray(22))
  assert.ok(chlo && shlo && flight3 && flight4 && flight5)
  const frame = (list: Uint8Array[], index: number) => list[index] ?? none
  const early = X(zeros, Uint8Array.of(0x01, 0x01, 1))
  const hs = X(L(early, 'derived', H()), shared)
  const cHs = L(hs, 'c hs', H(chlo, shlo))
  const sHs = L(hs, 's hs', H(chlo, shlo))
  const key = (secret: Uint8Array) => L(secret, 'key', none).subarray(0, 32)
  const proof = open(key(sHs), frame(toClient, 1))
  const answer = open(key(cHs), frame(toServer, 1))
  const done = open(key(sHs), frame(toClient, 2))
  const results = done.subarray(5, 5 + 175)
  const th4 = H(chlo, shlo, proof, answer)
  const main0 = X(L(hs, 'derived', H()), resOld)
  const main = X(L(main0, 'qkd', concat(th4, results)), zeros)
  const th5 = H(chlo, shlo, proof, answer, done)
  return {
    ...{ chlo, shlo, proof, answer, done, results, th4 },
    ...{ cHs, sHs, main, key, exp: L(main, 'exp', th5), res: L(main, 'res', th5) },
    cAp: L(main, 'c ap', th5),
    sAp: L(main, 's ap', th5),
  }
}

test('a captured session opens with noble alone, from the KEM secret and the frames', () => {
  const captured = capture()
  const { client, server } = captured
  client.send(bytesOf('from the client'), bytesOf('and more'))
  server.send(bytesOf('from the server'))
  const [first, second] = client.sent
  const [answer] = server.sent
  const seen = follow(captured)
  assert.equal(Buffer.from(open(seen.key(seen.cAp), first ?? none)).toString(), 'from the client')
  assert.equal(Buffer.from(open(seen.key(seen.cAp), second ?? none)).toString(), 'and more')
  assert.equal(Buffer.from(open(seen.key(seen.sAp), answer ?? none)).toString(), 'from the server')
  assert.ok(client.state.name === 'established')
  using exported = exportFrom(client.state, 'label', bytesOf('context'), 40)
  const expected = L(L(seen.exp, 'label', H()), 'exporter', H(bytesOf('context')), 40)
  assert.equal(hex(exported.bytes), hex(expected))
})

test('every MAC and every signed payload is what the page says', () => {
  const captured = capture()
  const { chlo, shlo, proof, answer, done, results, th4, cHs, sHs, main } = follow(captured)
  const macOneKey = sha256(concat(bytesOf('qsp1 mac1'), bob.id))
  const stated = chlo.subarray(0, chlo.length - 16)
  assert.equal(hex(chlo.subarray(-16)), hex(hmac(sha256, macOneKey, stated).subarray(0, 16)))
  const threes = messages(proof)
  const fours = messages(answer)
  assert.deepEqual([...threes.keys()], [5, 6, 7, 8])
  assert.deepEqual([...fours.keys()], [9, 10, 11, 12, 13, 14])
  const before = (flight: Uint8Array, message?: { whole: Uint8Array }) =>
    flight.subarray(0, (message?.whole.byteOffset ?? 0) - flight.byteOffset)
  const sfin = MAC(L(sHs, 'finished', none), H(chlo, shlo, before(proof, threes.get(8))))
  const cfin = MAC(L(cHs, 'finished', none), H(chlo, shlo, proof, before(answer, fours.get(14))))
  assert.equal(hex(threes.get(8)?.body ?? none), hex(sfin))
  assert.equal(hex(fours.get(14)?.body ?? none), hex(cfin))
  const signed = [captured.server, captured.client].map(end => end.log.find(({ kind }) => kind === 'sign'))
  const payloads = signed.map(action => (action?.kind === 'sign' ? hex(action.payload) : ''))
  assert.deepEqual(payloads, [
    hex(H(chlo, shlo, before(proof, threes.get(7)))),
    hex(H(chlo, shlo, proof, before(answer, fours.get(13)))),
  ])
  assert.equal(hex(done.subarray(5 + 175)), hex(MAC(L(main, 's conf', none), th4, results)))
})

test('the next session goes on from the secret of this one: id, binder and main key', () => {
  const homes = { client: home(alice), server: home(bob) }
  const first = capture(homes)
  first.client.send(bytesOf('heard'))
  run(first)
  const { res } = follow(first)
  const second = capture(homes)
  const seen = follow(second, res)
  const id = L(res, 'id', none).subarray(0, 16)
  const block = messages(seen.answer).get(11)
  assert.ok(block)
  assert.equal(block.body[0], 1)
  assert.equal(hex(block.body.subarray(1, 17)), hex(id))
  const said = seen.answer.subarray(0, block.whole.byteOffset - seen.answer.byteOffset)
  const binder = MAC(L(res, 'binder c', none), H(seen.chlo, seen.shlo, seen.proof, said))
  assert.equal(hex(block.body.subarray(17, 81)), hex(binder))
  assert.equal(hex(seen.results.subarray(0, 19)), hex(concat(Uint8Array.of(0, 0, 1), id)))
  assert.equal(hex(seen.results.subarray(171)), '00000002')
  second.client.send(bytesOf('goes on'))
  const opened = open(seen.key(seen.cAp), second.client.sent[0] ?? none)
  assert.equal(Buffer.from(opened).toString(), 'goes on')
  // Without the old secret there is no key.
  const without = follow(second)
  assert.throws(() => open(without.key(without.cAp), second.client.sent[0] ?? none))
})

test('the lanes are separate: another KEM secret, another transcript or another suite id gives other keys', () => {
  const [{ kdf }] = suites
  const derive = (id: number, shared: number, hellos: number) => {
    const secret = new Secret(new Uint8Array(64).fill(shared))
    return handshakeKeys(kdf, id, secret, new Uint8Array(64).fill(hellos))
  }
  const all = [derive(0x0101, 1, 1), derive(0x0102, 1, 1), derive(0x0101, 2, 1), derive(0x0101, 1, 2)]
  const keys = all.flatMap(({ clientKey, serverKey, clientFinished, serverFinished }) =>
    [clientKey, serverKey, clientFinished, serverFinished].map(({ bytes }) => hex(bytes)),
  )
  assert.equal(new Set(keys).size, keys.length)
  const early = X(zeros, Uint8Array.of(0x01, 0x01, 1))
  const hs = X(L(early, 'derived', H()), new Uint8Array(64).fill(1))
  const cHs = L(hs, 'c hs', new Uint8Array(64).fill(1))
  assert.ok(all[0] && equal(all[0].clientKey.bytes, L(cHs, 'key', none).subarray(0, 32)))
})

test('the known answers of the page are those of the code, and of noble', () => {
  const [{ kdf }] = suites
  const [shared, hellos, resOld] = [ramp(0, 64), ramp(64, 64), ramp(128, 64)]
  const [th4, results, th5, before] = [ramp(1, 64), ramp(2, 175), ramp(3, 64), ramp(4, 64)]

  const hs = X(L(X(zeros, Uint8Array.of(1, 1, 1)), 'derived', H()), shared)
  const [cHs, sHs] = [L(hs, 'c hs', hellos), L(hs, 's hs', hellos)]
  const main = X(L(X(L(hs, 'derived', H()), resOld), 'qkd', concat(th4, results)), zeros)
  const key = (secret: Uint8Array) => L(secret, 'key', none).subarray(0, 32)
  const res = L(main, 'res', th5)
  const byNoble = {
    'key of c_hs': key(cHs),
    'key of s_hs': key(sHs),
    'finished key of c_hs': L(cHs, 'finished', none),
    SCONF: MAC(L(main, 's conf', none), th4, results),
    'key of c_ap': key(L(main, 'c ap', th5)),
    'key of s_ap': key(L(main, 's ap', th5)),
    exp: L(main, 'exp', th5),
    res,
    'id of res': L(res, 'id', none).subarray(0, 16),
    'binder of res': MAC(L(res, 'binder c', none), before),
  }

  const handshake = handshakeKeys(kdf, 0x0101, new Secret(Uint8Array.from(shared)), hellos)
  using old = new Secret(Uint8Array.from(resOld))
  using secret = mainSecret(kdf, handshake.hs, old, th4, results)
  const epoch = epochKeys(kdf, secret, th5)
  const byCode = {
    'key of c_hs': handshake.clientKey.bytes,
    'key of s_hs': handshake.serverKey.bytes,
    'finished key of c_hs': handshake.clientFinished.bytes,
    SCONF: confirmation(kdf, secret, th4, results),
    'key of c_ap': epoch.clientKey.bytes,
    'key of s_ap': epoch.serverKey.bytes,
    exp: epoch.exporter.bytes,
    res: epoch.res.bytes,
    'id of res': secretId(kdf, epoch.res),
    'binder of res': binder(kdf, epoch.res, before),
  }

  const page = readFileSync(new URL('../../docs/spec/channel.md', import.meta.url), 'utf8')
  const section = page.slice(page.indexOf('## 8.'))
  const rows = [...section.matchAll(/^\| ([^|]+) \| `([0-9a-f]+)` \|$/gm)]
  const onPage = Object.fromEntries(rows.map(([, name, digits]) => [name, digits]))
  const digits = (values: Record<string, Uint8Array>) =>
    Object.fromEntries(Object.entries(values).map(([name, bytes]) => [name, hex(bytes)]))
  assert.deepEqual(digits(byCode), digits(byNoble))
  assert.deepEqual(onPage, digits(byNoble))
})
