/** Every parser of the channel against bytes of every kind: a coded refusal or a value, and nothing else. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { concat } from '../../src/bytes/bytes.ts'
import { encodeContinue, encodeResults, parseContinue, parseDone } from '../../src/channel/block.ts'
import { encodeClose, parseClose } from '../../src/channel/close.ts'
import { plainFrame } from '../../src/channel/frame.ts'
import {
  encodeAbort,
  encodeClientHello,
  encodeServerHello,
  isForServer,
  offeredVersions,
  parseAbort,
  parseClientHello,
  parseServerHello,
} from '../../src/channel/hello.ts'
import { ChannelError, FrameReader } from '../../src/channel/index.ts'
import { encodeMessage, parseFlight } from '../../src/channel/message.ts'
import {
  checkSelection,
  checkSignature,
  clientProof,
  encodeClientParameters,
  encodeIdentity,
  encodeServerParameters,
  parseClientParameters,
  parseIdentityMessage,
  parseServerParameters,
  serverProof,
} from '../../src/channel/proof.ts'
import {
  alice,
  bob,
  bytesOf,
  client,
  connected,
  forged,
  home,
  pair,
  run,
  server,
  start,
  watchSealings,
} from './ends.ts'

watchSealings()

const hello = {
  versions: [1, 2],
  suites: [0x0101],
  modes: [1, 2],
  random: new Uint8Array(32),
  publicKey: new Uint8Array(1600),
}
const body = (message: Uint8Array) => message.subarray(5)
const offers = [1, 2].map(fill => ({ id: new Uint8Array(16).fill(fill), binder: new Uint8Array(64) }))
const results = { chosen: new Uint8Array(16).fill(1), positions: start, firstEpoch: 3 }
const flight3 = concat(
  encodeServerParameters(65_536),
  encodeIdentity('SIDENT', bob),
  encodeMessage('SSIG', new Uint8Array(64)),
  encodeMessage('SFIN', new Uint8Array(64)),
)

const parsers: { readonly [name: string]: { parse: (bytes: Uint8Array) => unknown; good: Uint8Array } } = {
  CHLO: { parse: parseClientHello, good: body(encodeClientHello(hello, bob.id)) },
  'CHLO, versions': { parse: offeredVersions, good: encodeClientHello(hello, bob.id) },
  'CHLO, mac1': {
    parse: bytes => isForServer(bytes, bob.id),
    good: encodeClientHello(hello, bob.id),
  },
  SHLO: {
    parse: parseServerHello,
    good: body(
      encodeServerHello({
        version: 1,
        suite: 0x0101,
        mode: 1,
        random: new Uint8Array(32),
        sessionId: bytesOf('session!'),
        ciphertext: new Uint8Array(1600),
      }),
    ),
  },
  ABORT: { parse: parseAbort, good: encodeAbort(11) },
  SPARAMS: { parse: parseServerParameters, good: body(encodeServerParameters(1_024)) },
  CPARAMS: { parse: parseClientParameters, good: body(encodeClientParameters(1_024)) },
  QKDSEL: { parse: checkSelection, good: new Uint8Array(2) },
  SIDENT: { parse: parseIdentityMessage, good: body(encodeIdentity('SIDENT', bob)) },
  SSIG: { parse: checkSignature, good: new Uint8Array(8_192) },
  CONTINUE: {
    parse: bytes => parseContinue(bytes, 64),
    good: body(encodeContinue({ offers, positions: start })),
  },
  SDONE: { parse: bytes => parseDone(bytes, 64), good: concat(encodeResults(results), new Uint8Array(64)) },
  CLOSE: { parse: parseClose, good: encodeClose({ reason: 81, lastReceived: 7, text: 'words' }) },
  'flight 3': { parse: bytes => parseFlight(bytes, serverProof), good: flight3 },
  'flight 4': { parse: bytes => parseFlight(bytes, clientProof), good: flight3 },
}

/** A good message with a few bytes changed, cut, doubled or moved. */
function mutated(good: Uint8Array): fc.Arbitrary<Uint8Array> {
  const at = fc.integer({ min: 0, max: Math.max(0, good.length - 1) })
  const change = fc.oneof(
    fc.record({ kind: fc.constant('set' as const), at, value: fc.integer({ min: 0, max: 255 }) }),
    fc.record({ kind: fc.constant('cut' as const), at, value: at }),
    fc.record({ kind: fc.constant('insert' as const), at, value: fc.integer({ min: 0, max: 300 }) }),
  )
  return fc.array(change, { minLength: 1, maxLength: 4 }).map(changes =>
    changes.reduce((bytes, { kind, at, value }) => {
      const where = Math.min(at, bytes.length)
      if (kind === 'cut') return concat(bytes.subarray(0, where), bytes.subarray(where + (value % 40)))
      if (kind === 'insert')
        return concat(bytes.subarray(0, where), new Uint8Array(value), bytes.subarray(where))
      const copy = Uint8Array.from(bytes)
      if (where < copy.length) copy[where] = value
      return copy
    }, good),
  )
}

function coded(parse: () => unknown): void {
  try {
    parse()
  } catch (error) {
    assert.ok(error instanceof ChannelError, `${error}`)
    assert.ok(error.reason === 13 || error.reason === 50, error.message)
  }
}

suite('parsers', () => {
  for (const [name, { parse, good }] of Object.entries(parsers)) {
    test(`${name}: random and mutated bytes give a value or a coded refusal`, () => {
      if (name !== 'flight 4') assert.doesNotThrow(() => parse(good))
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 400 }), bytes => coded(() => parse(bytes))),
        { numRuns: 500 },
      )
      fc.assert(
        fc.property(mutated(good), bytes => coded(() => parse(bytes))),
        { numRuns: 500 },
      )
    })

    test(`${name}: every truncation and one byte more are refused, but where any length is right`, () => {
      const free = ['CHLO, mac1', 'CHLO, versions', 'SSIG', 'CLOSE', 'ABORT', 'flight 4'].includes(name)
      const step = good.length > 600 ? 37 : 1
      for (let length = 0; length < good.length; length += step) {
        coded(() => parse(good.subarray(0, length)))
        if (!free) assert.throws(() => parse(good.subarray(0, length)), { reason: 13 }, `${length}`)
      }
      if (!free || name === 'SSIG') assert.throws(() => parse(concat(good, Uint8Array.of(0))), { reason: 13 })
    })
  }
})

test('QKD fields have their absent values: any other is refused with 13', () => {
  const fields: [string, number, number][] = [
    ['SPARAMS', 4, 8],
    ['QKDSEL', 0, 2],
    ['SDONE', 0, 2],
  ]
  for (const [name, from, to] of fields) {
    const { parse, good } = parsers[name] ?? { parse: () => assert.fail(), good: new Uint8Array(0) }
    for (let at = from; at < to; at++) {
      const bad = Uint8Array.from(good)
      bad[at] = 1
      assert.throws(() => parse(bad), { reason: 13 }, `${name} ${at}`)
    }
  }
})

test('numbers and ids that cannot be are refused with 13', () => {
  const refused = (name: string, at: number, bytes: readonly number[]) => {
    const { parse, good } = parsers[name] ?? { parse: () => assert.fail(), good: new Uint8Array(0) }
    const bad = Uint8Array.from(good)
    bad.set(bytes, at)
    assert.throws(() => parse(bad), { reason: 13 }, `${name} ${at}`)
  }
  // data_bytes_max one below and one above its range.
  refused('CPARAMS', 0, [0, 0, 3, 255])
  refused('SPARAMS', 0, [0, 1, 0, 1])
  // Message number 0, and one above 2^53 - 1, as next to send and as next expected.
  for (const at of [1 + 2 * 80, 1 + 2 * 80 + 40]) {
    refused('CONTINUE', at, [0, 0, 0, 0, 0, 0, 0, 0])
    refused('CONTINUE', at, [0, 32, 0, 0, 0, 0, 0, 0])
  }
  refused('CONTINUE', 0, [3])
  refused('CONTINUE', 1, Array<number>(16).fill(2))
  refused('SDONE', 2, [2])
  refused('SDONE', 2, [0])
  refused('SIDENT', 0, [0])
  refused('SIDENT', 0, [9])
  refused('SIDENT', 1, [0, 0, 0, 0])
  refused('SIDENT', 1, [0, 0, 128, 1])
  refused('SHLO', 37, [0, 0, 0, 0, 0, 0, 0, 0])
  refused('ABORT', 5, [0, 50])
  refused('CLOSE', 0, [0, 60])
  assert.throws(() => checkSignature(new Uint8Array(0)), { reason: 13 })
})

suite('whole ends', () => {
  test('any bytes on the wire: never an exception, never established, never data', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 600 }), { maxLength: 5 }), chunks => {
        for (const end of [server(home(bob)), client(home(alice))]) {
          for (const chunk of chunks) end.arrive(chunk)
          assert.notEqual(end.state.name, 'established')
          assert.equal(end.received.length, 0)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('mutated hellos in good frames: silence, or a hint for whom knows our identity', () => {
    const good = encodeClientHello(hello, bob.id)
    fc.assert(
      fc.property(mutated(good), message => {
        const end = server(home(bob))
        end.arrive(plainFrame(message))
        if (Buffer.compare(message, good) !== 0) assert.equal(end.count('send'), 0)
        assert.equal(end.state.name, 'closed')
      }),
      { numRuns: 300 },
    )
  })

  test('mutated flights under the right keys: a coded CLOSE, never an exception', () => {
    for (const who of ['client', 'server'] as const) {
      fc.assert(
        fc.property(mutated(flight3), plaintext => {
          const made = pair({ hold: ['sign'] })
          run(made)
          if (who === 'server') for (const action of made.server.held.splice(0)) made.server.answer(action)
          const end = made[who]
          const { state } = end
          assert.ok('receive' in state)
          end.arrive(forged(state.receive, { type: 1, plaintext }))
          assert.ok(end.state.name === 'closed' || end.state.name === 'client-waits-proof')
          assert.ok([13, 14, 50].includes(end.ending?.reason ?? 0), `${end.ending?.reason}`)
        }),
        { numRuns: 60 },
      )
    }
  })

  test('random frames at an established end: closed at the first, with a reason, and nothing delivered', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 22, maxLength: 200 }), bytes => {
        const { server } = connected()
        const frame = Uint8Array.from(bytes)
        frame.set([0, 0, 0, frame.length - 22], 18)
        server.arrive(frame)
        assert.equal(server.state.name, 'closed')
        assert.ok(server.ending?.code !== undefined)
        assert.equal(server.received.length, 0)
      }),
      { numRuns: 60 },
    )
  })

  test('a reader given noise holds at most a frame', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2_000 }), bytes => {
        const reader = new FrameReader()
        for (const event of reader.feed(bytes)) assert.ok(event.kind.startsWith('frame-'))
        assert.ok(reader.held <= bytes.length)
      }),
      { numRuns: 300 },
    )
  })
})
