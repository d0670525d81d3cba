/** Ownership of a shared home (docs/spec/ownership.md): whoever is late changes nothing. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Disk, Stat } from '../../src/host/disk.ts'
import { StateError } from '../../src/state/error.ts'
import { locate, openHome, type World } from '../../src/state/home.ts'
import { limits } from '../../src/state/limits.ts'
import { readHome } from '../../src/state/reader.ts'
import { openSigner } from '../../src/state/signer.ts'
import type { Store } from '../../src/state/store.ts'
import type { Owned } from '../../src/state/takeover.ts'
import { newestWhole, type Term } from '../../src/state/terms.ts'
import { MemoryServer } from '../keeper/memory.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import { CrashFound, type Explored, explore } from '../simulator/explore.ts'
import { over } from './disks.ts'
import { coded, contents } from './support.ts'
import {
  claimIn,
  codeOf,
  filesBelow,
  freshShared,
  Gate,
  own,
  type Planted,
  shared,
  Told,
  worldOf,
} from './turns.ts'

// The shipped sizes are for real disks; what is explored is the order of writes, not their volume.
Object.assign(limits, { growBytes: 16_384, segmentBytesMax: 16_384 })

const slow = process.env.SLOW === '1'
const total = { stops: 0, runs: 0, late: 0 }
const ends = new Map<string, number>()
after(() => {
  const how = [...ends].map(([code, count]) => `${code} ${count}`).join(', ')
  console.log(
    `# takeover: ${total.stops} stops, ${total.runs} runs, ${total.late} late changes; ended by ${how}`,
  )
})

/** The first owner's life: everything that an owner does to files; and what it says at the end. */
async function life(world: World, told: Told): Promise<void> {
  const owned = await own(world, 'a')
  await livesOn(owned, world, told).catch(async error => {
    throw await owned.why(error)
  })
}

async function livesOn({ store, term }: Owned, world: World, told: Told): Promise<void> {
  await told.put(store, '/state/a', 'a1')
  await told.line(store, world.disk, term)
  await store.makeScope('apart')
  await told.put(store, '/state/apart', 'secret', 'apart')
  await told.put(store, '/state/a', 'a2')
  for (let i = 0; i < 3; i++) await told.put(store, `/state/fill${i}`, 'x'.repeat(6_000))
  await told.line(store, world.disk, term)
  await store.shred('apart')
  told.shredded.add('/state/apart')
  await told.put(store, '/state/a', 'a3')
  await store.rotate({})
  await told.put(store, '/state/a', 'a4')
  await store.compact()
  await told.line(store, world.disk, term)
  await told.put(store, '/state/a', 'a5')
  await store.close()
}

async function changesOfALife(): Promise<number> {
  const { disk, server } = await freshShared()
  const gate = new Gate()
  await life(worldOf(disk, server, 2, gate), new Told())
  return gate.passed
}

/** Mistakes that this could make. */
type Plant = {
  readonly first?: (server: MemoryServer) => Planted
  readonly second?: (server: MemoryServer) => Planted
  readonly own?: typeof own
  /** The second one's disk. */
  readonly disk?: (disk: Disk) => Disk
}

type Ended = { readonly code: string }

/** One owner stops before its change `stop`; another takes over, and the first goes on after so many changes of that. */
async function turn(stop: number | RegExp, back: number | RegExp, plant: Plant = {}): Promise<number> {
  const { disk, server } = await freshShared()
  const secret = await slotSecret(disk, 1)
  const told = new Told()
  const gate = new Gate(stop)
  const process = disk.process()
  let isOver = false
  const first: Promise<Ended> = life(worldOf(process, server, 2, gate, plant.first?.(server)), told)
    .then(
      () => ({ code: 'done' }),
      error => ({ code: codeOf(error) }),
    )
    .finally(() => {
      isOver = true
    })
  await Promise.race([gate.reached, first])
  for (let i = 0; i < 20; i++) await new Promise(resolve => setImmediate(resolve)) // what it does beside it stops, too
  const known = structuredClone(told.values)
  const { lines } = told
  const shredded = [...told.shredded]

  if (plant.own !== undefined) process.freeLocks() // the other one is on another machine
  const second = new Gate(back)
  const seen = plant.disk ?? ((disk: Disk) => disk)
  const world = worldOf(seen(disk.process()), server, 3, second, plant.second?.(server))
  const late = second.reached.then(async () => {
    gate.open()
    await first
    second.open()
  })
  const mine = new Told(told) // what it does when it comes back may be copied yet
  for (const [path, value] of known) mine.values.set(path, value)
  for (const path of shredded) mine.shredded.add(path)
  mine.lines = lines
  const { store, term } = await (plant.own ?? own)(world, 'b')
  // The first one was in the middle of it: whether it is there is open, and nobody was told.
  if (!store.has('/state/apart')) mine.shredded.add('/state/apart')
  await mine.check(store, world.disk, term)
  const found = await contents(store)
  const before = Number(
    store.has('/state/lines') ? Buffer.from((await store.get('/state/lines')).payload) : '0',
  )
  mine.lines = before
  await mine.line(store, world.disk, term)
  await mine.put(store, '/state/b', 'b1')
  await mine.put(store, '/state/a', 'b2')
  for (let i = 0; i < 3; i++) await mine.put(store, `/state/fill${i}`, 'y'.repeat(6_000))
  if (store.has('/state/apart')) {
    await store.shred('apart')
    mine.shredded.add('/state/apart')
  }
  await store.compact()
  await mine.line(store, world.disk, term)
  second.open()
  gate.open()
  await late.catch(() => {})
  const { code } = await first
  assert.ok(isOver)
  assert.ok(code === 'ELOCKED' || code === 'done', code)
  // Who stopped between its keeper's yes and its caller's is still told; the second has found that.
  for (const [path, value] of told.values)
    if (known.get(path) !== value) {
      total.late++
      assert.equal(found[path], value, 'the first was told yes to what the second did not find')
    }
  assert.ok(told.lines <= before)
  ends.set(code, (ends.get(code) ?? 0) + 1)
  await mine.put(store, '/state/b', 'b3')
  await mine.line(store, world.disk, term)
  await onlyOneTerm(disk)
  if (known.has('/state/apart')) await isNowhere(disk, secret)
  await finish(store, mine, disk, server)
  return second.passed
}

/** What the scope that is destroyed hangs on: it takes the slot as it lies there. */
async function slotSecret(disk: SimulatedDisk, slot: number): Promise<Buffer> {
  for (const [path, bytes] of await filesBelow(disk.process(), shared))
    if (path.endsWith('/slots')) return bytes.subarray(4096 * (slot + 1), 4096 * (slot + 1) + 32)
  assert.fail('no slots')
}

async function isNowhere(disk: SimulatedDisk, secret: Buffer): Promise<void> {
  for (const [path, bytes] of await filesBelow(disk.process(), shared))
    assert.ok(!bytes.includes(secret), `${path} has the key of what was shredded`)
}

/** Nothing of the first one's keys or files is left beside the owner's. */
async function onlyOneTerm(disk: SimulatedDisk): Promise<void> {
  const files = [...(await filesBelow(disk.process(), shared)).keys()]
  const terms = new Set(files.map(path => path.split('/')[3]))
  assert.deepEqual(terms.size, 1, files.join(' '))
}

/** With the power cut, and with a proper end, a third one finds everything. */
async function finish(
  store: Store,
  mine: Told,
  disk: SimulatedDisk,
  server: Parameters<typeof worldOf>[1],
): Promise<void> {
  const asItWas = server.fork()
  const [image] = disk.crashStates({ bound: 0, samples: 1 })
  assert.ok(image !== undefined)
  const cut = new SimulatedDisk(image, { profile: 'posix' })
  const afterCut = await own(worldOf(cut, asItWas, 4), 'c', { silenceMs: 1_000 })
  await mine.check(afterCut.store, cut, afterCut.term)
  await store.close()
  const rest = disk.process()
  const third = await own(worldOf(rest, server, 5), 'c')
  await mine.check(third.store, rest, third.term)
  await third.store.close()
}

test('an owner that was stopped before any of its changes changes nothing when it comes back late', async () => {
  const changes = await changesOfALife()
  assert.ok(changes > 150, `${changes}`)
  const step = slow ? 1 : 20
  for (let stop = 0; stop < changes; stop += step) {
    total.stops++
    let of = 40
    const backs = slow ? [0, 0.3, 0.6, 0.9] : [((stop * 7) % 20) / 20]
    for (const back of backs) {
      of = await turn(stop, 1 + Math.floor(back * of)) // the first change is the claim
      total.runs++
    }
  }
})

type Acks = { values: readonly (readonly [string, string])[]; keeper: readonly [string, Uint8Array, string] }

function keeperIn(server: MemoryServer): Acks['keeper'] {
  const [name = ''] = server.names
  const held = server.get(name)
  assert.ok(held !== undefined)
  return [name, held.value, held.revision]
}

/** A second one takes over from one that was killed, and crashes anywhere in that; a third finds everything. */
async function exploreTakeover(): Promise<Explored> {
  const { disk, server } = await freshShared()
  const told = new Told()
  const { store } = await own(worldOf(disk, server, 2), 'a')
  await told.put(store, '/state/a', 'a1')
  await told.put(store, '/state/b', 'b1')
  disk.kill()
  const begun = keeperIn(server)
  return explore<Acks>({
    ...(slow ? { budget: { ms: 120_000 } } : { bound: 1, samples: 1 }),
    image: disk.killState(),
    profiles: slow ? ['writeback', 'no-psow'] : ['no-psow'],
    kills: slow,
    acks: () => ({ values: [...told.values], keeper: begun }),
    async run(disk, acks) {
      const [name, value] = acks.keeper
      const server = new MemoryServer()
      server.put(name, value)
      server.changed = () => {
        acks.keeper = keeperIn(server)
      }
      const { store } = await own(worldOf(disk, server, 3), 'b')
      await told.put(store, '/state/a', 'a2')
      acks.values = [
        ['/state/a', 'a2'],
        ['/state/b', 'b1'],
      ]
      await store.close()
    },
    async check(disk, acks) {
      const [name, value] = acks.keeper
      const server = new MemoryServer()
      server.put(name, value)
      const { store, term } = await own(worldOf(disk, server, 4), 'c')
      for (const [path, value] of acks.values) {
        const found = Buffer.from((await store.get(path)).payload).toString()
        if (found !== 'a2') assert.equal(found, value)
      }
      await store.putAtomic('/state/c', Buffer.from('c'))
      await onlyOneTerm(disk)
      assert.ok((await disk.stat(term.whole)) !== undefined)
      await store.close()
    },
  })
}

test('a crash anywhere in a takeover loses nothing, and the next one goes on', async () => {
  const explored = await exploreTakeover()
  assert.ok(explored.points > 40 && explored.checks > 40, `${explored.points}, ${explored.checks}`)
  console.log(`# takeover: ${explored.points} crash points, ${explored.checks} recoveries`)
})

/** The first is about to make its term whole, and does and erases the one before it when the second copies from that. */
const erasing = (plant: Plant = {}) => turn(/00000001\/whole$/, /00000002\/anchor\/.*slots$/, plant)

test('what is erased by a late taker while it is copied is copied from there instead', async () => {
  await erasing()
})

test('a shared home that is put back to an older copy is refused, and so is its keeper', async () => {
  const { disk, server } = await freshShared()
  const told = new Told()
  const begun = await own(worldOf(disk, server, 2), 'a')
  await told.put(begun.store, '/state/a', 'a1')
  const older = new SimulatedDisk(disk.killState(), { profile: 'posix' })
  const olderServer = server.fork()
  for (const value of ['a2', 'a3', 'a4']) await told.put(begun.store, '/state/a', value)
  await begun.store.close()
  for (let twice = 0; twice < 2; twice++)
    await assert.rejects(own(worldOf(older, server.fork(), 3), 'b'), coded('EROLLBACK', 'older copy'))
  await assert.rejects(
    own(worldOf(disk.process(), olderServer, 4), 'b'),
    coded('EROLLBACK', 'keeper went back'),
  )
  const { store, term } = await own(worldOf(disk.process(), server, 5), 'c')
  await told.check(store, disk, term)
  await store.close()
})

test('an owner that gives a sign of life is not taken over, and of two that stand by one owns', async () => {
  const { disk, server } = await freshShared()
  const first = await own(worldOf(disk.process(), server, 2), 'a')
  const watching = worldOf(disk.process(), server, 3)
  const { clock } = watching
  const whileItBeats = {
    ...clock,
    after: (ms: number, then: () => void) => clock.after(ms, () => void beat(disk, first.term).then(then)),
  }
  await assert.rejects(
    own({ ...watching, clock: whileItBeats }, 'b'),
    coded('ELOCKED', 'has an owner, in term 1'),
  )
  const both = ['b', 'c'].map((node, i) => own(worldOf(disk.process(), server, 4 + i), node))
  const ends = await Promise.allSettled(both)
  assert.deepEqual(ends.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  await assert.rejects(
    first.store.putAtomic('/state/a', Buffer.from('late')),
    coded('ELOCKED', 'is owned by'),
  )
})

test('the sign of life ends with the owner, in order or not', async () => {
  const { disk, server } = await freshShared()
  const { store, term } = await own(worldOf(disk.process(), server, 2), 'a')
  await store.close()
  const pulse = (await filesBelow(disk, shared)).get(term.pulse)
  assert.equal(pulse?.toString().trim(), 'ended')
  const { promise: lost, resolve } = Promise.withResolvers<StateError>()
  const second = await own(worldOf(disk.process(), server, 3), 'b', { lost: resolve })
  server.isAway = true
  await assert.rejects(second.store.putAtomic('/state/a', Buffer.from('x')), coded('EKEEPER'))
  assert.equal((await lost).code, 'EKEEPER', 'who can write nothing any more says so, and ends')
  server.isAway = false
  await second.store.close()
  await (await own(worldOf(disk.process(), server, 4), 'c')).store.close()
})

let beats = 0
async function beat(disk: SimulatedDisk, { pulse }: Term): Promise<void> {
  const file = await disk.process().open(pulse, { access: 'write' })
  await file.write(Buffer.from(String(beats++).padEnd(16)), 0)
  await file.close()
}

// ---- planted bugs: each must be found, or this proves nothing ----

/** What was acknowledged is gone, or what is there is refused, or the owner is locked out. */
async function mustFind(plant: Plant): Promise<void> {
  const changes = await changesOfALife()
  for (let stop = 53; stop < changes; stop += 5)
    try {
      await turn(stop, 12, plant)
    } catch (error) {
      const isRefused =
        error instanceof StateError && ['EINTEGRITY', 'EROLLBACK', 'ELOCKED'].includes(error.code)
      if (isRefused || error instanceof assert.AssertionError) return
    }
  assert.fail('it was not found')
}

/** Whoever is asked as whom it claims to be says that it is whoever is there. */
const asWhoeverIsThere = (server: MemoryServer): Planted => ({
  claim: () => ({
    get term() {
      return claimIn(server)?.term ?? 0
    },
    get owner() {
      return claimIn(server)?.owner ?? ''
    },
  }),
})

test('planted: the compare-and-swap looks at the mark and not at the term', () =>
  mustFind({ first: asWhoeverIsThere }))

test('planted: a keeper that swaps without comparing', () =>
  mustFind({
    first: () => ({
      register: real => ({
        ...real,
        async swap(_, value, ms) {
          const { held } = await real.read(ms)
          return held && real.swap(held, value, ms)
        },
      }),
    }),
  }))

test('planted: silence is trusted as a lock, and nothing is claimed', () =>
  mustFind({
    first: asWhoeverIsThere,
    second: server => ({
      ...asWhoeverIsThere(server),
      keeper: real => Object.assign(real, { claim: async () => {} }),
    }),
  }))

/** As a takeover, but for the directory: it goes on in the one of the owner before, whose lock is another machine's. */
const inPlace: typeof own = async (world, node) => {
  const term = await newestWhole(world.disk, shared)
  assert.ok(term !== undefined && world.openKeeper !== undefined)
  const reader = await readHome(world, term.home, term.anchorBase)
  const { signer, keys } = await openSigner(reader)
  const { storeId: domain, anchorPath: anchor } = await locate(world.disk, term.home, term.anchorBase)
  const keeper = await world.openKeeper('etcd', {
    ...{ place: '', domain, anchor, ...world },
    signer: { publicKey: signer.ed25519, seed: keys.seed('ed25519') },
    idParts: signer,
  })
  const claim = { term: 9, owner: node }
  await keeper.claim?.(await keeper.owner?.(), claim)
  await reader.close()
  const ownership = { claim, judged: async () => {}, released: async () => {} }
  const store = await openHome(world, term.home, term.anchorBase, { ownership })
  return { term, store, why: async error => error }
}

test('planted: it goes on in the directory of the owner before', () => mustFind({ own: inPlace }))

/** What it saw first is what it goes by. */
function seenOnce(disk: Disk): Disk {
  const whole = new Map<string, Stat | undefined>()
  return over(disk, {
    async stat(path) {
      if (!path.endsWith('/whole')) return disk.stat(path)
      if (!whole.has(path)) whole.set(path, await disk.stat(path))
      return whole.get(path)
    },
  })
}

test('planted: it does not look again whether another term has become whole', () =>
  assert.rejects(erasing({ disk: seenOnce })))

if (slow)
  test('planted: a term counts as whole before what it holds is durable', async () => {
    const { syncDirectory } = SimulatedDisk.prototype
    SimulatedDisk.prototype.syncDirectory = async function (path) {
      if (!/terms\/[0-9]+\//.test(path)) return syncDirectory.call(this, path)
    }
    try {
      await assert.rejects(exploreTakeover(), CrashFound)
    } finally {
      SimulatedDisk.prototype.syncDirectory = syncDirectory
    }
  })
