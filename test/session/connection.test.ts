import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { deliver } from '../../src/mailbox/courier.ts'
import { firstPosition } from '../../src/mailbox/position.ts'
import { Connection, type Endpoint, type Party } from '../../src/session/connection.ts'
import { type SessionCode, SessionError } from '../../src/session/error.ts'
import { SessionMemory } from '../../src/session/memory.ts'
import { IdentityKeys, succeed } from '../../src/signature/identity.ts'
import { settled } from '../simulator/clock.ts'
import { type WireOptions, wirePair } from '../simulator/wire.ts'
import { assertReceived, Receiver, Sender } from './exchange.ts'
import { type AtRest, IdleClock, introduced, lines, noNonceTwice, type Running, run } from './world.ts'

noNonceTwice()

const clock = new IdleClock()
const [clientSite, serverSite] = await introduced()

const start = {
  nextSend: firstPosition.next,
  headBeforeSend: firstPosition.head,
  nextExpected: firstPosition.next,
  headBeforeExpected: firstPosition.head,
  firstKept: 1,
  headBeforeKept: firstPosition.head,
  amendment: new Uint8Array(32),
}

type End = { readonly running: Running; readonly party: Party }

async function end(
  site: AtRest,
  role: 'client' | 'server',
  options: Parameters<typeof run>[2] = {},
): Promise<End> {
  const running = await run(site, clock, options)
  const memory = await SessionMemory.open(running.endpoint.store, running.peer.id, role)
  const party: Party = { peer: running.peer, memory, positions: () => start, judge: () => 'agreed' }
  return { running, party }
}

const connect = ({ running, party }: End, wire: Parameters<typeof Connection.connect>[1]) =>
  Connection.connect(running.endpoint, wire, party)
const accept = ({ running, party }: End, wire: Parameters<typeof Connection.accept>[1]) =>
  Connection.accept(running.endpoint, wire, () => party)

/** Both ends of a connection, each as it turned out. */
async function meet(client: End, server: End, network: WireOptions = {}) {
  const pair = wirePair({ clock, ...network })
  const [c, s] = await Promise.allSettled([connect(client, pair.left), accept(server, pair.right)])
  return { pair, client: c, server: s }
}

async function met(client: End, server: End, network: WireOptions = {}) {
  const both = await meet(client, server, network)
  assert.ok(both.client.status === 'fulfilled' && both.server.status === 'fulfilled')
  return { pair: both.pair, client: both.client.value, server: both.server.value }
}

function codeOf(result: PromiseSettledResult<unknown>): SessionCode | 'stands' {
  if (result.status === 'fulfilled') return 'stands'
  assert.ok(result.reason instanceof SessionError, String(result.reason))
  return result.reason.code
}

function failsWith(code: SessionCode, ...words: string[]) {
  return (error: unknown) => {
    assert.ok(error instanceof SessionError, String(error))
    assert.equal(error.code, code, error.message)
    for (const word of words) assert.ok(error.message.includes(word), error.message)
    return true
  }
}

const text = (bytes: Uint8Array | undefined) =>
  bytes === undefined ? undefined : Buffer.from(bytes).toString()
const bytes = (words: string) => new Uint8Array(Buffer.from(words))

suite('a connection', () => {
  test('carries plaintexts in order both ways, and ends with a word from both', async () => {
    const { client, server } = await met(await end(clientSite, 'client'), await end(serverSite, 'server'))
    for (let i = 0; i < 5; i++) {
      await client.send(bytes(`to the server ${i}`))
      await server.send(bytes(`to the client ${i}`))
    }
    await client.send(new Uint8Array(65_536))
    for (let i = 0; i < 5; i++) {
      assert.equal(text(await server.receive()), `to the server ${i}`)
      assert.equal(text(await client.receive()), `to the client ${i}`)
    }
    assert.equal((await server.receive())?.length, 65_536)
    await Promise.all([client.close(0), server.receive().then(last => assert.equal(last, undefined))])
    assert.equal(await client.receive(), undefined)
    await assert.rejects(client.send(bytes('late')), failsWith('channel/CLOSED'))
    await assert.rejects(server.send(bytes('late')), failsWith('channel/CLOSED'))
    await client.close(0)
  })

  test('takes flights 2 and 3 in one piece, and SDONE with the first data behind it', async () => {
    const [client, server] = [await end(clientSite, 'client'), await end(serverSite, 'server')]
    const held: Uint8Array[] = []
    let count = 0
    const meddle: WireOptions['meddle'] = (chunk, from) => {
      if (from === 'left') return [chunk]
      held.push(chunk)
      return ++count % 2 === 1 ? [] : [Buffer.concat(held.splice(0))]
    }
    const pair = wirePair({ clock, meddle })
    const accepting = accept(server, pair.right).then(async its => {
      await its.send(Buffer.from('at once'))
      return its
    })
    const ours = await connect(client, pair.left)
    assert.equal(String(Buffer.from((await ours.receive()) ?? [])), 'at once')
    assert.equal(count, 4)
    pair.cut()
    await accepting
    await client.running.close()
    await server.running.close()
  })

  test('a plaintext over the limit is refused and the connection is as it was', async () => {
    const { client, server } = await met(await end(clientSite, 'client'), await end(serverSite, 'server'))
    await assert.rejects(client.send(new Uint8Array(65_537)), { code: 'channel/TOO_LARGE' })
    await client.send(bytes('fine'))
    assert.equal(text(await server.receive()), 'fine')
  })

  test('tells each end what the other said of its messages', async () => {
    const [client, server] = [await end(clientSite, 'client'), await end(serverSite, 'server')]
    const said = { ...start, nextSend: 9, headBeforeSend: new Uint8Array(32).fill(3) }
    const ends = await met({ ...client, party: { ...client.party, positions: () => said } }, server)
    assert.equal(ends.server.positions.theirs.nextSend, 9)
    assert.equal(ends.client.positions.mine.nextSend, 9)
    assert.equal(ends.client.positions.theirs.nextSend, 1)
    assert.equal(ends.server.party, server.party)
  })

  test('a refusal of the positions closes with 70 at both ends, and says who was turned back', async () => {
    for (const role of ['client', 'server'] as const) {
      const [client, server] = [await end(clientSite, 'client'), await end(serverSite, 'server')]
      const refusing = (each: End): End => ({
        ...each,
        party: { ...each.party, judge: () => 'the peer was turned back' },
      })
      const ends =
        role === 'client' ? await meet(refusing(client), server) : await meet(client, refusing(server))
      const [mine, its] = role === 'client' ? [ends.client, ends.server] : [ends.server, ends.client]
      assert.equal(codeOf(mine), 'session/ROLLBACK')
      assert.ok(mine.status === 'rejected')
      assert.match(mine.reason.message, /the peer was turned back/)
      if (its.status === 'rejected') assert.equal(codeOf(its), 'session/ROLLBACK')
      else await assert.rejects(its.value.receive(), failsWith('session/ROLLBACK', 'the peer says: ROLLBACK'))
    }
  })

  test('a client that is nobody here is refused with 51, and knows it for certain', async () => {
    const client = await end(clientSite, 'client')
    const server = await run(serverSite, clock)
    const pair = wirePair({ clock })
    const [c, s] = await Promise.allSettled([
      connect(client, pair.left),
      Connection.accept(server.endpoint, pair.right, () => undefined),
    ])
    assert.equal(codeOf(c), 'channel/UNKNOWN_IDENTITY')
    assert.equal(codeOf(s), 'channel/UNKNOWN_IDENTITY')
    assert.ok(c.status === 'rejected' && c.reason.trusted)
  })

  test('a server of another identity does not answer', async () => {
    const client = await end(clientSite, 'client')
    const other: Party = { ...client.party, peer: { ...client.party.peer, id: new Uint8Array(32).fill(1) } }
    const server = await end(serverSite, 'server')
    const pair = wirePair({ clock })
    const [c, s] = await Promise.allSettled([
      Connection.connect(client.running.endpoint, pair.left, other),
      accept(server, pair.right),
    ])
    assert.equal(codeOf(c), 'channel/NO_ANSWER')
    assert.equal(codeOf(s), 'channel/PROTOCOL')
  })

  test('goes on from the secret of the session before, at every start of either end', async () => {
    let [a, b] = [clientSite, serverSite]
    for (let round = 1; round <= 4; round++) {
      const [client, server] = [await end(a, 'client'), await end(b, 'server')]
      const ends = await met(client, server)
      assert.equal(client.party.memory.epoch, round)
      assert.equal(server.party.memory.epoch, round)
      await ends.client.send(bytes('x'))
      assert.equal(text(await ends.server.receive()), 'x')
      ;[a, b] =
        round % 2 === 0
          ? [client.running.kill(), server.running.kill()]
          : [await client.running.close(), await server.running.close()]
    }
  })

  test('an identity that shows an older record than before is refused with 70', async () => {
    const old = await end(clientSite, 'client')
    const next = IdentityKeys.generate('hybrid')
    const { own } = old.running.endpoint
    const identity = await succeed(own.identity, own.keys, next)
    const newer: End = {
      ...old,
      running: { ...old.running, endpoint: { ...old.running.endpoint, own: { identity, keys: next } } },
    }
    const server = await end(serverSite, 'server')
    await met(newer, server)
    assert.equal(server.party.peer.records.length, 2)
    const ends = await meet(old, server)
    assert.equal(codeOf(ends.client), 'session/ROLLBACK')
    assert.equal(codeOf(ends.server), 'session/ROLLBACK')
    // What was seen is remembered by the next process too.
    const again = await end(server.running.kill(), 'server')
    assert.equal(again.party.peer.records.length, 2)
    assert.equal(codeOf((await meet(old, again)).client), 'session/ROLLBACK')
  })
})

suite('a commit', () => {
  test('that fails closes with 90, and nothing is told to the other end', async () => {
    for (const role of ['client', 'server'] as const) {
      let failing = false
      const faults: Parameters<typeof run>[2] = {
        faults: call => (failing && call.operation === 'write' ? { fails: 'failed' } : undefined),
      }
      const client = await end(clientSite, 'client', role === 'client' ? faults : {})
      const server = await end(serverSite, 'server', role === 'server' ? faults : {})
      failing = true
      const ends = await meet(client, server)
      failing = false
      const [mine, its] = role === 'client' ? [ends.client, ends.server] : [ends.server, ends.client]
      assert.equal(codeOf(mine), 'channel/INTERNAL')
      if (its.status === 'rejected') assert.equal(codeOf(its), 'channel/INTERNAL')
      else await assert.rejects(its.value.receive(), failsWith('channel/INTERNAL'))
      // Both can go on: the end that failed remembers what it did before, and the other still knows that.
      const site = (role === 'client' ? client : server).running.kill()
      const [a, b] =
        role === 'client' ? [await end(site, 'client'), server] : [client, await end(site, 'server')]
      await met(a, b)
    }
  })

  test('that waits lets a second handshake of the same honest client wait, not fail', async () => {
    // The client dies while its proof is on the way, comes back, and both proofs arrive at once.
    let isSlow = false
    const slowly = () => new Promise<void>(resolve => clock.after(500, resolve))
    const server = await end(serverSite, 'server', {
      faults: call => (isSlow && call.operation === 'write' ? { waits: slowly() } : undefined),
    })
    const first = await end(clientSite, 'client')
    await met(first, server)
    const site = first.running.kill()
    isSlow = true
    const kept: Uint8Array[] = []
    let isHeld = true
    let flights = 0
    const held = wirePair({
      clock,
      meddle: (chunk, from) => {
        if (from === 'right' || !isHeld || ++flights === 1) return [chunk]
        kept.push(chunk)
        return []
      },
    })
    const dying = await end(site, 'client')
    for (const lost of [connect(dying, held.left), accept(server, held.right)]) lost.catch(() => undefined)
    while (kept.length === 0) await settled()
    isHeld = false
    const client = await end(dying.running.kill(), 'client')
    let later = 0
    const pair = wirePair({
      clock,
      meddle: (chunk, from) => {
        // What was held goes in right before the new proof.
        if (from === 'left' && ++later === 2) for (const proof of kept) void held.left.write(proof)
        return [chunk]
      },
    })
    const [c, s] = await Promise.allSettled([connect(client, pair.left), accept(server, pair.right)])
    assert.equal(codeOf(c), 'stands')
    assert.equal(codeOf(s), 'stands')
  })
})

suite('superseding', () => {
  test('a newer connection that proves the newest state ends the one that still looks alive', async () => {
    const server = await end(serverSite, 'server')
    const first = await end(clientSite, 'client')
    const old = await met(first, server)
    assert.equal(server.party.live, old.server)
    const client = await end(first.running.kill(), 'client')
    const ends = await met(client, server)
    assert.equal(server.party.live, ends.server)
    assert.equal(await old.server.receive(), undefined)
    await ends.client.send(bytes('still here'))
    assert.equal(text(await ends.server.receive()), 'still here')
  })

  test('a frame of the superseded connection is not delivered once the newer one was heard', async () => {
    const server = await end(serverSite, 'server')
    const first = await end(clientSite, 'client')
    const old = await met(first, server)
    const copy = await end({ ...clientSite, image: first.running.disk.killState() }, 'client')
    const ends = await met(copy, server)
    await ends.client.send(bytes('new'))
    assert.equal(text(await ends.server.receive()), 'new')
    await old.client.send(bytes('old')).catch(() => undefined)
    assert.equal(await old.server.receive(), undefined)
    // And its client is refused from now on: it is the one that was copied, or the copy.
    const back = await meet(first, server)
    assert.equal(codeOf(back.client), 'session/ROLLBACK')
    assert.equal(codeOf(back.server), 'session/ROLLBACK')
  })
})

suite('a peer that stalls', () => {
  const [handshakeMs, closeMs] = [10_000, 2_000]

  for (const from of ['left', 'right'] as const)
    for (let passed = 0; passed < 3; passed++)
      test(`after ${passed} chunks from the ${from === 'left' ? 'client' : 'server'}: both ends end in time`, async () => {
        let chunks = 0
        const network: WireOptions = {
          meddle: (chunk, side) => (side === from && chunks++ >= passed ? [] : [chunk]),
        }
        const began = clock.monotonic()
        const ends = await meet(await end(clientSite, 'client'), await end(serverSite, 'server'), network)
        const took = clock.monotonic() - began
        assert.ok(took <= handshakeMs + closeMs, `${took} ms`)
        const codes = [codeOf(ends.client), codeOf(ends.server)]
        const good = ['channel/TIMEOUT', 'channel/NO_ANSWER', 'channel/TRUNCATED', 'stands']
        for (const code of codes) assert.ok(good.includes(code), code)
        assert.ok(codes.some(code => code !== 'stands') || (from === 'left' && passed === 2))
      })

  test('before it says anything: the server gives up after the time of a handshake', async () => {
    const began = clock.monotonic()
    const pair = wirePair({ clock })
    await assert.rejects(accept(await end(serverSite, 'server'), pair.right), failsWith('channel/TIMEOUT'))
    assert.equal(clock.monotonic() - began, handshakeMs)
  })

  test('while saying goodbye: the end that is done waits 2 s', async () => {
    const { client } = await met(await end(clientSite, 'client'), await end(serverSite, 'server'), {
      meddle: (chunk, from) => (from === 'left' && chunk.length < 60 ? [] : [chunk]),
    })
    const began = clock.monotonic()
    await client.close(0)
    assert.equal(clock.monotonic() - began, closeMs)
  })

  test('while it should take what is sent: the sender waits, and ends when it is told to', async () => {
    const pair = wirePair({ clock, windowBytes: 1 << 20 })
    const client = await end(clientSite, 'client')
    const server = await end(serverSite, 'server')
    let isReading = true
    const right = {
      ...pair.right,
      read: () => (isReading ? pair.right.read() : new Promise<undefined>(() => {})),
    }
    const [c] = await Promise.all([connect(client, pair.left), accept(server, right)])
    isReading = false
    let sent = 0
    const flood = (async () => {
      for (;;) {
        await c.send(new Uint8Array(65_536))
        sent++
      }
    })()
    flood.catch(() => undefined)
    for (let i = 0; i < 200; i++) await settled()
    assert.ok(sent < 40, `${sent} frames without one taken`)
    const began = clock.monotonic()
    await c.close(0)
    assert.equal(clock.monotonic() - began, closeMs)
    await assert.rejects(flood, failsWith('channel/CLOSED'))
  })

  test('a peer that floods is read no faster than it is taken', async () => {
    const { client, server } = await met(await end(clientSite, 'client'), await end(serverSite, 'server'))
    let sent = 0
    const flood = (async () => {
      for (let i = 0; i < 2000; i++) {
        await client.send(new Uint8Array(65_536).fill(i))
        sent++
      }
    })()
    for (let i = 0; i < 500; i++) await settled()
    assert.ok(sent < 120, `${sent} frames are held`)
    for (let i = 0; i < 2000; i++) assert.equal((await server.receive())?.[0], i & 255)
    await flood
  })
})

suite('rekey', () => {
  test('at each soft limit, while messages flow: one connection, and everything arrives', async () => {
    const limits: Endpoint['limits'] = { epochFramesMax: 6 }
    const messages = lines(80).map(
      (line, i) => new Uint8Array(Buffer.concat([line, Buffer.alloc(30_000, i)])),
    )
    const receiver = await Receiver.start(serverSite, clock, { limits })
    const sender = await Sender.start(clientSite, clock, { limits })
    const { memory } = sender.to.party
    const { outbox } = sender.to.mailbox
    let dialled = 0
    const sending = sender.deliverUntil(
      () => outbox.acknowledged.next > messages.length,
      () => {
        dialled++
        return receiver.dial()
      },
    )
    for (let i = 0; i < messages.length; i += 20) {
      const { epoch } = memory
      await outbox.put(messages.slice(i, i + 20))
      // Signatures are made by other threads, and this world has no time that passes by itself.
      while (i < 60 && memory.epoch === epoch) await new Promise(resolve => setImmediate(resolve))
    }
    await sending
    assert.equal(dialled, 1)
    assert.ok(memory.epoch >= 3, `${memory.epoch} epochs`)
    await sender.close()
    await assertReceived(await receiver.close(), clock, messages)
  })

  test('every ten minutes on a connection where nothing happens', async () => {
    const receiver = await Receiver.start(serverSite, clock)
    const sender = await Sender.start(clientSite, clock)
    const messages = lines(2)
    const { outbox } = sender.to.mailbox
    await outbox.put(messages.slice(0, 1))
    const began = clock.monotonic()
    const sending = deliver(sender.running.endpoint, sender.to, {
      dial: async () => receiver.dial(),
      done: () => outbox.acknowledged.next > 2,
      giveUpMs: 60_000,
    })
    await new Promise<void>(resolve => clock.after(1_500_000, () => resolve()))
    assert.equal(sender.to.party.memory.epoch, 3)
    await outbox.put(messages.slice(1))
    await sending
    assert.ok(clock.monotonic() - began < 1_510_000)
    await sender.close()
    await assertReceived(await receiver.close(), clock, messages)
  })
})
