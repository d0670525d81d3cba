import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { equal } from '../../src/bytes/bytes.ts'
import type { Disk } from '../../src/host/disk.ts'
import { WireError } from '../../src/host/wire.ts'
import type { Post } from '../../src/keeper/witness.ts'
import { decodeAnswer } from '../../src/keeper/witness-wire.ts'
import { sameMark } from '../../src/mark/mark.ts'
import { realDisk } from '../../src/node/disk.ts'
import { Allowance } from '../../src/witness/allowance.ts'
import { decodeHeld, encodeHeld, heldPath } from '../../src/witness/held-mark.ts'
import { markIs } from '../keeper/support.ts'
import { coded } from '../state/support.ts'
import { client, none, openWitness, path, scratch, witnessHome, world } from './support.ts'

test('a witness holds what it said yes to, also for whoever opens its home next', async t => {
  const { home } = await witnessHome(scratch(t))
  const store = client()
  let opened = await openWitness(home)
  const keeper = store.keeper(opened.key, opened.post)
  await keeper.enrol(store.mark(0))
  await keeper.advance(store.mark(0), store.mark(1))
  await keeper.advance(store.mark(1), store.mark(7))
  await keeper.advance(store.mark(1), store.mark(7)) // what an unheard answer makes of it
  assert.ok(sameMark(await keeper.read(), store.mark(7)))
  await opened.close()
  opened = await openWitness(home)
  t.after(() => opened.close())
  const again = store.keeper(opened.key, opened.post)
  assert.ok(sameMark(await again.read(), store.mark(7)))
  await again.enrol(store.mark(7))
  await assert.rejects(again.enrol(store.mark(0)), markIs('EROLLBACK', 'already'))
  await again.advance(store.mark(7), store.mark(8))
})

test('what the rule refuses is refused, and whether store or keeper went back is told', async t => {
  const { home } = await witnessHome(scratch(t))
  const opened = await openWitness(home)
  t.after(() => opened.close())
  const store = client()
  const keeper = store.keeper(opened.key, opened.post)
  await keeper.enrol(store.mark(0))
  await keeper.advance(store.mark(0), store.mark(5))
  const rejects = (from: number, to: number, words: string, heads: { from?: string; to?: string } = {}) =>
    assert.rejects(
      keeper.advance(store.mark(from, heads.from), store.mark(to, heads.to)),
      markIs('EROLLBACK', words),
    )
  await rejects(3, 4, 'the store went back')
  await rejects(3, 6, 'the store went back')
  await rejects(5, 6, 'the store went back', { from: 'another head' })
  await rejects(4, 5, 'the store went back', { to: 'another head' })
  await rejects(5, 5, 'the store went back', { to: 'another head' })
  await rejects(9, 10, 'the keeper went back')
  assert.ok(sameMark(await keeper.read(), store.mark(5)))
})

test('a store that it does not know has no mark there', async t => {
  const { home } = await witnessHome(scratch(t))
  const opened = await openWitness(home)
  t.after(() => opened.close())
  const store = client()
  const keeper = store.keeper(opened.key, opened.post)
  await assert.rejects(keeper.read(), markIs('EINTEGRITY', 'holds no mark'))
  await assert.rejects(keeper.advance(store.mark(0), store.mark(1)), markIs('EINTEGRITY', 'holds no mark'))
})

test('nobody moves or reads the mark of a store but its signer', async t => {
  const { home } = await witnessHome(scratch(t))
  const opened = await openWitness(home)
  t.after(() => opened.close())
  const [store, thief] = [client(), client()]
  const keeper = store.keeper(opened.key, opened.post)
  await keeper.enrol(store.mark(0))
  await keeper.advance(store.mark(0), store.mark(1))
  const asThief = async (request: Promise<Uint8Array>) => (await opened.post(path, await request, 0)).status
  const forged = { ...thief, domain: store.domain }
  const ask = async (question: Parameters<typeof store.request>[1]) => {
    const honest = await store.request(opened.key, question)
    const body = honest.subarray(64)
    const { purposeMessage } = await import('../../src/signature/hybrid.ts')
    const signature = await forged.sign(purposeMessage('pawl v1 witness request', body))
    return asThief(Promise.resolve(Buffer.concat([signature, body])))
  }
  assert.equal(await ask({ ask: 'read' }), 403)
  assert.equal(await ask({ ask: 'advance', expected: store.mark(1), next: store.mark(2) }), 403)
  assert.equal(await ask({ ask: 'enrol', signer: store.signer, first: store.mark(0) }), 403)
  // Its own key under the id of another store: the id is a hash of the key.
  const usurper = { ...store.signer, ed25519: thief.signer.ed25519 }
  assert.equal(await ask({ ask: 'enrol', signer: usurper, first: store.mark(0) }), 403)
  assert.ok(sameMark(await keeper.read(), store.mark(1)))
})

test('every bit of a request is signed', async t => {
  const { home } = await witnessHome(scratch(t))
  const opened = await openWitness(home, {
    limits: { strange: { burst: 10_000, perSecond: 1, clientsMax: 9 } },
  })
  t.after(() => opened.close())
  const store = client()
  const keeper = store.keeper(opened.key, opened.post)
  await keeper.enrol(store.mark(0))
  const request = await store.request(opened.key, {
    ask: 'advance',
    expected: store.mark(0),
    next: store.mark(1),
  })
  for (let at = 0; at < request.length; at++) {
    const changed = Uint8Array.from(request)
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
    const { status, body } = await opened.post(path, changed, 0)
    if (status !== 200) continue
    // Of another store: unknown, and nothing else.
    const answer = await decodeAnswer(body, changed, opened.key, store.domain)
    assert.equal(answer.verdict, 'unknown', `byte ${at}`)
  }
  for (const length of [0, 1, 64, 65, request.length - 1])
    assert.equal((await opened.post(path, request.subarray(0, length), 0)).status, 400, `${length} bytes`)
  assert.equal((await opened.post(path, Buffer.concat([request, Buffer.alloc(1)]), 0)).status, 400)
  assert.equal((await opened.post(path, new Uint8Array(5_000), 0)).status, 400)
  assert.ok(sameMark(await keeper.read(), store.mark(0)))
})

test('a request to one witness says nothing to another', async t => {
  const [here, there] = [await witnessHome(scratch(t)), await witnessHome(scratch(t))]
  const [one, other] = [await openWitness(here.home), await openWitness(there.home)]
  t.after(() => Promise.all([one.close(), other.close()]))
  const store = client()
  const request = await store.request(one.key, { ask: 'enrol', signer: store.signer, first: store.mark(0) })
  assert.equal((await other.post(path, request, 0)).status, 421)
  assert.equal((await one.post(path, request, 0)).status, 200)
})

test('an old answer, another’s, or a changed one is taken for none', async t => {
  const [here, there] = [await witnessHome(scratch(t)), await witnessHome(scratch(t))]
  const [one, other] = [await openWitness(here.home), await openWitness(there.home)]
  t.after(() => Promise.all([one.close(), other.close()]))
  const store = client()
  await store.keeper(one.key, one.post).enrol(store.mark(0))
  await store.keeper(other.key, other.post).enrol(store.mark(0))
  let kept: Awaited<ReturnType<Post>> | undefined
  const replaying: Post = async (...asked) => {
    kept ??= await one.post(...asked)
    return kept
  }
  const keeper = store.keeper(one.key, replaying)
  assert.ok(sameMark(await keeper.read(), store.mark(0)))
  await assert.rejects(keeper.read(), markIs('EKEEPER', 'to another request'))
  await assert.rejects(keeper.advance(store.mark(0), store.mark(1)), markIs('EKEEPER', 'to another request'))
  // Pinned to one, answered by the other: it does not even take the request; made to, its key is not the pinned one.
  await assert.rejects(store.keeper(one.key, other.post).read(), markIs('EKEEPER', 'no witness'))
  const asOther: Post = async (at, body) => {
    const question = await store.request(other.key, { ask: 'read' })
    assert.notDeepEqual(question, body)
    return other.post(at, question, 0)
  }
  await assert.rejects(store.keeper(one.key, asOther).read(), markIs('EKEEPER', 'not signed by the witness'))
  const request = await store.request(one.key, { ask: 'read' })
  const answer = (await one.post(path, request, 0)).body
  assert.equal((await decodeAnswer(answer, request, one.key, store.domain)).verdict, 'held')
  for (let at = 0; at < answer.length; at++) {
    const changed = Uint8Array.from(answer)
    changed[at] = (changed[at] ?? 0) ^ 1
    await assert.rejects(decodeAnswer(changed, request, one.key, store.domain), `byte ${at}`)
  }
})

test('what is not answered is asked again; what is never answered is EKEEPER, within the bound', async t => {
  const { home } = await witnessHome(scratch(t))
  const opened = await openWitness(home)
  t.after(() => opened.close())
  const store = client()
  await store.keeper(opened.key, opened.post).enrol(store.mark(0))
  let calls = 0
  /** Done, and nobody hears of it; then refused; then away; then as it should be. */
  const unreliable: Post = async (...asked) => {
    calls++
    if (calls === 1) {
      await opened.post(...asked)
      throw new WireError('lost', 'cut')
    }
    if (calls === 2) return { status: 503, body: none }
    if (calls === 3) throw new WireError('unreachable', 'away')
    return opened.post(...asked)
  }
  const keeper = store.keeper(opened.key, unreliable)
  await keeper.advance(store.mark(0), store.mark(1))
  assert.equal(calls, 4)
  assert.ok(sameMark(await keeper.read(), store.mark(1)))
  const begun = performance.now()
  const gone: Post = () => Promise.reject(new WireError('unreachable', 'away'))
  const away = store.keeper(opened.key, gone, 300)
  await assert.rejects(away.advance(store.mark(1), store.mark(2)), markIs('EKEEPER', 'away'))
  await assert.rejects(away.read(), markIs('EKEEPER', 'away'))
  assert.ok(performance.now() - begun < 2_000)
})

test('nothing is answered before it is durable in its own home, state and mark', async t => {
  const { home } = await witnessHome(scratch(t))
  let held: Promise<void> | undefined
  let writes = 0
  const disk: Disk = {
    ...realDisk,
    async open(path, options) {
      const file = await realDisk.open(path, options)
      const write = async (bytes: Uint8Array, at: number): Promise<void> => {
        if (held !== undefined) writes++
        await held
        return file.write(bytes, at)
      }
      return {
        read: (into, at) => file.read(into, at),
        write,
        truncate: length => file.truncate(length),
        sync: () => file.sync(),
        stat: () => file.stat(),
        close: () => file.close(),
      }
    },
  }
  const opened = await openWitness(home, { world: { ...world, disk } })
  t.after(() => opened.close())
  const store = client()
  const keeper = store.keeper(opened.key, opened.post, 60_000)
  await keeper.enrol(store.mark(0))
  const gate = Promise.withResolvers<void>()
  held = gate.promise
  let answered = false
  const advancing = keeper.advance(store.mark(0), store.mark(1)).then(() => {
    answered = true
  })
  while (writes === 0) await new Promise(resolve => setTimeout(resolve, 5))
  await new Promise(resolve => setTimeout(resolve, 50))
  assert.ok(!answered, 'its write hangs')
  const asked = keeper.read() // nor is anybody told of it meanwhile
  const copy = store.keeper(opened.key, opened.post)
  const losing = assert.rejects(copy.advance(store.mark(0), store.mark(1, 'copy')), markIs('EROLLBACK'))
  await new Promise(resolve => setTimeout(resolve, 50))
  gate.resolve()
  held = undefined
  await Promise.all([advancing, losing])
  assert.ok(sameMark(await asked, store.mark(1)))
})

test('two copies of one store: the first to commit wins, the other is refused at its first group', async t => {
  const { home } = await witnessHome(scratch(t))
  const opened = await openWitness(home)
  t.after(() => opened.close())
  const store = client()
  const [one, other] = [store.keeper(opened.key, opened.post), store.keeper(opened.key, opened.post)]
  await one.enrol(store.mark(0))
  const moves = await Promise.allSettled([
    one.advance(store.mark(0), store.mark(1, 'one')),
    other.advance(store.mark(0), store.mark(1, 'other')),
  ])
  assert.deepEqual(moves.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
})

test('marks are bounded, of one client and in all, also when a crowd comes at once; known stores are served', async t => {
  const { home } = await witnessHome(scratch(t))
  const opened = await openWitness(home, { limits: { marksMax: 3, marksEachMax: 2 } })
  t.after(() => opened.close())
  const from =
    (address: string): Post =>
    (at, body) =>
      opened.witness.answer({ path: at, body, client: address })
  const stores = Array.from({ length: 5 }, client)
  const enrolled = await Promise.allSettled(
    stores.map(store => store.keeper(opened.key, from('192.0.2.1')).enrol(store.mark(0))),
  )
  assert.equal(enrolled.filter(({ status }) => status === 'fulfilled').length, 2)
  const [late, later] = [client(), client()]
  await late.keeper(opened.key, from('192.0.2.2')).enrol(late.mark(0))
  await assert.rejects(
    later.keeper(opened.key, from('192.0.2.3')).enrol(later.mark(0)),
    markIs('EKEEPER', 'as many marks as it may'),
  )
  assert.equal(opened.witness.marks, 3)
  await late.keeper(opened.key, from('192.0.2.9')).advance(late.mark(0), late.mark(1))
})

test('one that enrols nobody serves those it knows', async t => {
  const { home } = await witnessHome(scratch(t))
  const store = client()
  let opened = await openWitness(home)
  await store.keeper(opened.key, opened.post).enrol(store.mark(0))
  await opened.close()
  opened = await openWitness(home, { enrols: false })
  t.after(() => opened.close())
  await store.keeper(opened.key, opened.post).advance(store.mark(0), store.mark(1))
  const stranger = client()
  await assert.rejects(
    stranger.keeper(opened.key, opened.post).enrol(stranger.mark(0)),
    markIs('EKEEPER', 'takes no new stores'),
  )
})

test('a flood from one client is turned away, and nobody else notices', async t => {
  const { home } = await witnessHome(scratch(t))
  const strange = { burst: 5, perSecond: 0.001, clientsMax: 16 }
  const asked = { burst: 50, perSecond: 0.001, clientsMax: 16 }
  const opened = await openWitness(home, { limits: { strange, asked } })
  t.after(() => opened.close())
  const [store, flooder] = [client(), client()]
  const honest: Post = (at, body) => opened.witness.answer({ path: at, body, client: '192.0.2.1' })
  const flood: Post = (at, body) => opened.witness.answer({ path: at, body, client: '198.51.100.1' })
  await store.keeper(opened.key, honest).enrol(store.mark(0))
  const request = await flooder.request(opened.key, { ask: 'read' })
  const seen: number[] = []
  for (let i = 0; i < 60; i++) seen.push((await flood(path, request, 0)).status)
  assert.deepEqual(
    seen.map(status => (status === 200 ? 'served' : status)).join(' '),
    [...Array(5).fill('served'), ...Array(55).fill(429)].join(' '),
  )
  await store.keeper(opened.key, honest).advance(store.mark(0), store.mark(1))
  // A known store is asked for by the flooder's address: its own allowance is another one, but not without end.
  const shared = store.keeper(opened.key, flood, 50)
  await assert.rejects(shared.read(), markIs('EKEEPER', '429'))
})

test('an allowance refills with time, and remembers a bounded number of clients', () => {
  let now = 0
  const clock = { now: () => 0, monotonic: () => now, after: () => () => {} }
  const allowance = new Allowance({ burst: 2, perSecond: 10, clientsMax: 3 }, clock)
  const take = (client: string) => allowance.take(client)
  assert.deepEqual([take('a'), take('a'), take('a')], [true, true, false])
  now += 100
  assert.deepEqual([take('a'), take('a')], [true, false])
  now += 60_000
  assert.deepEqual([take('a'), take('a'), take('a')], [true, true, false])
  for (const client of ['b', 'c', 'd', 'e']) take(client)
  assert.equal(allowance.clients, 3)
})

test('a witness whose own home was put back refuses to open; with its anchor, the store finds it', async t => {
  const root = scratch(t)
  const { home, anchor } = await witnessHome(root)
  const store = client()
  let opened = await openWitness(home)
  const keeper = () => store.keeper(opened.key, opened.post)
  await keeper().enrol(store.mark(0))
  await keeper().advance(store.mark(0), store.mark(1))
  await opened.close()
  const copies = [join(root, 'copy'), join(root, 'anchor copy')] as const
  fs.cpSync(home, copies[0], { recursive: true })
  fs.cpSync(anchor, copies[1], { recursive: true })
  opened = await openWitness(home)
  for (let number = 1; number < 6; number++)
    await keeper().advance(store.mark(number), store.mark(number + 1))
  await opened.close()
  fs.rmSync(home, { recursive: true })
  fs.cpSync(copies[0], home, { recursive: true })
  await assert.rejects(openWitness(home), coded('EROLLBACK'))
  fs.rmSync(anchor, { recursive: true })
  fs.cpSync(copies[1], anchor, { recursive: true })
  opened = await openWitness(home)
  t.after(() => opened.close())
  assert.ok(sameMark(await keeper().read(), store.mark(1)), 'which is below what the store was told')
  await assert.rejects(
    keeper().advance(store.mark(6), store.mark(7)),
    markIs('EROLLBACK', 'the keeper went back'),
  )
})

test('after a write of its own failed a witness answers nothing more, and says so to whoever runs it', async t => {
  const { home } = await witnessHome(scratch(t))
  const store = client()
  const opened = await openWitness(home)
  const keeper = store.keeper(opened.key, opened.post, 200)
  await keeper.enrol(store.mark(0))
  await opened.close() // its store takes nothing more
  await assert.rejects(keeper.advance(store.mark(0), store.mark(1)), markIs('EKEEPER', '503'))
  await assert.rejects(keeper.read(), markIs('EKEEPER', '503'))
  assert.equal(opened.failures.length, 1)
})

test('a held mark is read back as written, and of its own path alone', () => {
  const store = client()
  const held = { mark: store.mark(9), ed25519: store.signer.ed25519, client: '2001:db8:0:1::/64' }
  const place = heldPath(store.domain)
  const read = decodeHeld(place, encodeHeld(held))
  assert.ok(sameMark(read.mark, held.mark) && equal(read.ed25519, held.ed25519))
  assert.equal(read.client, held.client)
  assert.throws(() => decodeHeld('/pawl/witness/00', encodeHeld(held)))
  assert.throws(() => decodeHeld(place, encodeHeld(held).subarray(1)))
})
