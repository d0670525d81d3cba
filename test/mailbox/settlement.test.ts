/**
 * Two ends, one of which was put back with its anchor and went on by an amendment (docs/spec/mailbox.md, section 9): over
 * real sessions on simulated disks and a network that may break anywhere.
 */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { utf8 } from '../../src/bytes/bytes.ts'
import { Amended, type AmendmentVerdict, allow, claimOf } from '../../src/mailbox/amended.ts'
import { Losses, listLost } from '../../src/mailbox/lost.ts'
import type { Mailbox } from '../../src/mailbox/mailbox.ts'
import { Outbox } from '../../src/mailbox/outbox.ts'
import { sessionPrefix } from '../../src/session/memory.ts'
import { recoverHome } from '../../src/state/recovery.ts'
import { digest, isRollback, Receiver, Sender, trouble } from '../session/exchange.ts'
import { type AtRest, entropy, home, IdleClock, introduced, noNonceTwice, run } from '../session/world.ts'
import { settled } from '../simulator/clock.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import type { WireOptions } from '../simulator/wire.ts'

noNonceTwice()

/** Where there is time. */
const slow = process.env.SLOW === '1'

const fresh = await introduced()
type Sites = { sender: AtRest; receiver: AtRest }
type End = keyof Sites
const start = (): Sites => ({ sender: fresh[0], receiver: fresh[1] })
const other = { sender: 'receiver', receiver: 'sender' } as const

/** Numbered for each direction, so that what arrives says which message it is. */
function named(name: string, first: number, count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => utf8(`${name} ${first + i}`))
}

/** The client queues `there`, the server `back`; both are delivered, if the network lets them. */
async function exchange(
  sites: Sites,
  there: readonly Uint8Array[],
  back: readonly Uint8Array[] = [],
  { network = {}, isPatient = false }: { network?: WireOptions; isPatient?: boolean } = {},
): Promise<{ readonly sites: Sites; readonly error: unknown; readonly atServer: readonly unknown[] }> {
  const clock = new IdleClock()
  const receiver = await Receiver.start(sites.receiver, clock)
  const sender = await Sender.start(sites.sender, clock)
  void (async () => {
    for await (const batch of sender.to.mailbox.inbox.batches())
      await batch.accept(
        batch.messages.map((message, i) => ({
          put: `/state/got/${String(batch.first + i).padStart(6, '0')}`,
          payload: Buffer.from(digest(message)),
        })),
      )
  })().catch(() => undefined)
  const settling = () =>
    sender.to.mailbox.isUnsettled('client') || receiver.from.mailbox.isUnsettled('server')
  if (isPatient)
    await trouble(
      sender.deliverUntil(
        () => !settling(),
        () => receiver.dial(),
        20_000,
      ),
    )
  if (there.length > 0) await sender.to.mailbox.outbox.put(there)
  if (back.length > 0) await receiver.from.mailbox.outbox.put(back)
  const isDone = (box: Mailbox) =>
    box.outbox.acknowledged.next === box.outbox.sending.next && box.losses.untold.length === 0
  let dials = 0
  const dial = () => receiver.dial(dials++ === 0 ? network : {})
  const done = () => isDone(sender.to.mailbox) && isDone(receiver.from.mailbox) && dials > 0
  const watch = receiver.from.mailbox.outbox.watch(
    () => void sender.to.mailbox.outbox.flush().catch(() => undefined),
  )
  const error = await trouble(sender.deliverUntil(done, dial, 20_000))
  if (error !== undefined) for (let i = 0; i < 50; i++) await settled()
  watch()
  sender.to.mailbox.inbox.close()
  const atServer = [...receiver.errors]
  const ends = { sender: await sender.close(), receiver: await receiver.close() }
  return { sites: ends, error, atServer }
}

async function recovered(site: AtRest): Promise<AtRest> {
  const disk = new SimulatedDisk(site.image)
  const own = { disk, clock: new IdleClock(), entropy }
  await recoverHome(own, home, { by: 'tester', forget: [sessionPrefix] })
  return { ...site, image: disk.killState() }
}

async function allowed(site: AtRest): Promise<AtRest> {
  const { endpoint, peer, close } = await run(site, new IdleClock())
  const claim = await claimOf(endpoint.store, peer.id)
  assert.ok(claim !== undefined, 'the peer has said nothing')
  await allow(endpoint.store, peer.id, claim, 'tester')
  return close()
}

/** What an end accepted, by number, and what it knows to be lost. */
async function seen(site: AtRest) {
  const { endpoint, peer, close } = await run(site, new IdleClock())
  const { store } = endpoint
  const got = new Map<number, string>()
  for (const path of store.list('/state/got/'))
    got.set(Number(path.slice(-6)), Buffer.from((await store.get(path)).payload).toString())
  const lost = (await listLost(store, peer.id)).map(
    ({ way, arrived, first, last }) => `${way} ${first}-${last}${arrived ? ' arrived' : ''}`,
  )
  await close()
  return { got, lost }
}

/** Each message once, every number that is missing is on record as lost, and both records are the same. */
async function assertSound(sites: Sites): Promise<{ sender: string[]; receiver: string[] }> {
  const ends = { sender: await seen(sites.sender), receiver: await seen(sites.receiver) }
  const mirrored = (lost: readonly string[]) =>
    lost.map(range =>
      range.startsWith('sent') ? range.replace('sent', 'received') : range.replace('received', 'sent'),
    )
  assert.deepEqual(
    [...ends.sender.lost].sort(),
    mirrored(ends.receiver.lost).sort(),
    'the two records differ',
  )
  for (const { got, lost } of Object.values(ends)) {
    assert.equal(new Set(got.values()).size, got.size, 'a message was accepted twice')
    const newest = Math.max(0, ...got.keys())
    for (let number = 1; number <= newest; number++) {
      const arrivals = lost.some(range => {
        const [, first = '', last = ''] = /^received (\d+)-(\d+) arrived$/.exec(range) ?? []
        return Number(first) <= number && number <= Number(last)
      })
      if (got.has(number) || arrivals) {
        assert.ok(got.has(number), `message ${number} is said to be here, and is not`)
        continue
      }
      const isKnown = lost.some(range => {
        const [, first = '', last = ''] = /^received (\d+)-(\d+)$/.exec(range) ?? []
        return Number(first) <= number && number <= Number(last)
      })
      assert.ok(isKnown, `message ${number} is missing, and nobody says so`)
    }
  }
  return { sender: ends.sender.lost, receiver: ends.receiver.lost }
}

async function has(site: AtRest, messages: readonly Uint8Array[]): Promise<boolean> {
  const all = new Set((await seen(site)).got.values())
  return messages.every(message => all.has(digest(message)))
}

type Drill = { readonly back: End; readonly lost: number; readonly queued: number }
const drills: readonly Drill[] = (['sender', 'receiver'] as const).flatMap(back => [
  { back, lost: 2, queued: 0 },
  ...(slow ? [{ back, lost: 2, queued: 1 }] : []),
  { back, lost: 1, queued: 3 },
])

/** Up to where both users have decided. */
async function putBack({ back, lost, queued }: Drill): Promise<Sites> {
  let { sites } = await exchange(start(), named('there', 1, 3), named('back', 1, 2))
  const older = sites[back]
  ;({ sites } = await exchange(sites, named('there', 4, lost), named('back', 3, lost)))
  sites = { ...sites, [back]: older }
  if (queued > 0) {
    const { endpoint, peer, close } = await run(sites[back], new IdleClock())
    await (await Outbox.open(endpoint.store, peer.id)).put(named(`${back} since`, 1, queued))
    sites = { ...sites, [back]: await close() }
  }
  const before = await exchange(sites, [])
  assert.ok(isRollback(before.error), `it was not refused: ${before.error}`)
  sites = { ...before.sites, [back]: await recovered(before.sites[back]) }
  for (let i = 0; i < 2; i++) {
    const one = await exchange(sites, [])
    assert.ok(isRollback(one.error), `one user's word was enough: ${one.error}`)
    sites = one.sites
  }
  return sites
}

async function goOn(drill: Drill): Promise<void> {
  let sites = await putBack(drill)
  const end = other[drill.back]
  sites = { ...sites, [end]: await allowed(sites[end]) }
  const [there, back] = [named('new there', 1, 3), named('new back', 1, 2)]
  const gone = await exchange(sites, there, back, { isPatient: true })
  assert.equal(gone.error, undefined, String(gone.error))
  const lost = await assertSound(gone.sites)
  // What the end that stayed had accepted is not lost; what it had sent and let go of is.
  const range = `sent 4-${3 + drill.lost}${drill.back === 'sender' ? ' arrived' : ''}`
  assert.ok(lost.sender.includes(range), lost.sender.join())
  assert.ok(await has(gone.sites.receiver, there))
  assert.ok(await has(gone.sites.sender, back))
  // From then on it is as if nothing had been: also the strict rules.
  const again = await exchange(gone.sites, named('later', 1, 1), named('later back', 1, 1))
  assert.equal(again.error, undefined, String(again.error))
  assert.deepEqual(await assertSound(again.sites), lost)
  const older = await exchange({ ...again.sites, [drill.back]: sites[drill.back] }, [])
  assert.ok(isRollback(older.error), 'the word that was given is good for one time')
}

/** The sender was put back, and the receiver's user has allowed it to go on; and two clones, older and newer. */
async function cloned() {
  const first = await exchange(start(), named('there', 1, 3), named('back', 1, 2))
  const clone = first.sites.sender
  let { sites } = await exchange(first.sites, named('there', 4, 2))
  const clones = [clone, sites.sender]
  sites = { ...sites, sender: clone }
  sites = { ...(await exchange(sites, [])).sites }
  sites = { ...sites, sender: await recovered(sites.sender) }
  sites = (await exchange(sites, [])).sites
  return { sites: { ...sites, receiver: await allowed(sites.receiver) }, clones, clone }
}

/** A clone that remembers no session and states nothing: what an attacker would make of one. */
async function forgetful(site: AtRest): Promise<AtRest> {
  const { endpoint, close } = await run(site, new IdleClock())
  const { store } = endpoint
  await store.commit(store.list(sessionPrefix).map(path => ({ delete: path })))
  return close()
}

async function refuseClones(): Promise<void> {
  const { sites: before, clones, clone } = await cloned()
  let sites = before
  const tries = [...clones, ...(await Promise.all(clones.map(forgetful)))]
  for (const site of tries) {
    const tried = await exchange({ ...sites, sender: site }, named('clone', 1, 1))
    assert.ok(isRollback(tried.error), `before: ${tried.error}`)
    sites = { ...sites, receiver: tried.sites.receiver }
  }
  const gone = await exchange(sites, named('new', 1, 1), [], { isPatient: true })
  assert.equal(gone.error, undefined, String(gone.error))
  for (const site of tries) {
    const tried = await exchange({ ...gone.sites, sender: site }, named('clone', 2, 1))
    assert.ok(isRollback(tried.error), `after: ${tried.error}`)
  }
  const again = await exchange({ ...gone.sites, sender: await recovered(clone) }, named('second', 1, 1))
  assert.ok(isRollback(again.error), `another amendment is another word: ${again.error}`)
}

suite('after an amendment', () => {
  for (const drill of drills)
    test(`the ${drill.back} put back by ${drill.lost}, with ${drill.queued} queued since: both go on, and both know what is lost`, () =>
      goOn(drill))

  for (const back of ['sender', 'receiver'] as const)
    test(`the ${back} put back: whatever is lost of the handshake and of what follows, both go on`, async () => {
      let sites = await putBack({ back, lost: 2, queued: 2 })
      const end = other[back]
      sites = { ...sites, [end]: await allowed(sites[end]) }
      for (const from of ['left', 'right'] as const)
        for (let passed = 0; passed <= 5; passed += slow ? 1 : 3) {
          let chunks = 0
          const meddle: WireOptions['meddle'] = (chunk, of) =>
            of === from && ++chunks > passed ? [] : [chunk]
          const network = { meddle }
          const gone = await exchange(sites, named('new', 1, 2), named('new back', 1, 2), { network })
          assert.equal(gone.error, undefined, `${from} ${passed}: ${gone.error}`)
          await assertSound(gone.sites)
        }
    })

  for (const back of slow ? (['sender', 'receiver'] as const) : (['receiver'] as const))
    test(`the ${back} put back, and both processes killed anywhere: they go on`, async () => {
      let sites = await putBack({ back, lost: 2, queued: 2 })
      const end = other[back]
      sites = { ...sites, [end]: await allowed(sites[end]) }
      for (let ticks = 1; ticks <= 25; ticks += slow ? 1 : 12) {
        const clock = new IdleClock()
        const receiver = await Receiver.start(sites.receiver, clock)
        const sender = await Sender.start(sites.sender, clock)
        void trouble(
          sender.deliverUntil(
            () => false,
            () => receiver.dial(),
            20_000,
          ),
        )
        for (let i = 0; i < ticks; i++) await settled()
        const killed = { sender: sender.kill(), receiver: receiver.kill() }
        const gone = await exchange(killed, named('new', 1, 2), named('new back', 1, 2), { isPatient: true })
        assert.equal(gone.error, undefined, `${ticks}: ${gone.error}`)
        await assertSound(gone.sites)
        assert.ok(await has(gone.sites.receiver, named('new', 1, 2)))
      }
    })

  test('both put back, both recovered, each allowed by the other: they go on', async () => {
    const first = await exchange(start(), named('there', 1, 3), named('back', 1, 2))
    const more = await exchange(first.sites, named('there', 4, 2), named('back', 3, 2))
    let sites: Sites = { sender: first.sites.sender, receiver: more.sites.receiver }
    sites = { sender: await recovered(sites.sender), receiver: await recovered(sites.receiver) }
    for (let i = 0; i < 3; i++) sites = (await exchange(sites, [])).sites
    sites = { ...sites, receiver: await allowed(sites.receiver) }
    sites = (await exchange(sites, [])).sites
    sites = { ...sites, sender: await allowed(sites.sender) }
    const gone = await exchange(sites, named('new', 1, 2), named('new back', 1, 2), { isPatient: true })
    assert.equal(gone.error, undefined, String(gone.error))
    await assertSound(gone.sites)
    assert.ok(await has(gone.sites.receiver, named('new', 1, 2)))
  })

  test(
    'clones that do not state the amendment are refused, before the one that was allowed comes and after',
    refuseClones,
  )

  test('planted: no word needed, a word for anybody, losses that are not told: each is found', async t => {
    const isFound = async (name: string, plant: () => void, find: () => Promise<void>) => {
      plant()
      try {
        await assert.rejects(find, assert.AssertionError, name)
      } finally {
        t.mock.restoreAll()
      }
    }
    const { judge } = Amended.prototype
    const judging = (change: (verdict: AmendmentVerdict) => AmendmentVerdict) => () => {
      t.mock.method(Amended.prototype, 'judge', function (this: Amended, ...given: Parameters<typeof judge>) {
        return change(judge.apply(this, given))
      })
    }
    const drill = { back: 'sender', lost: 2, queued: 3 } as const
    await isFound(
      'no word',
      judging(verdict => (verdict === 'not allowed here' ? 'lenient' : verdict)),
      () => goOn(drill),
    )
    await isFound(
      'a word for anybody',
      judging(verdict => (verdict === 'not the one that was allowed' ? 'strict' : verdict)),
      refuseClones,
    )
    await isFound(
      'losses not told',
      () => t.mock.getter(Losses.prototype, 'untold', () => []),
      () => goOn(drill),
    )
  })
})
