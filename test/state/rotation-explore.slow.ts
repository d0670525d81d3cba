import { strict as assert } from 'node:assert'
import { after, test } from 'node:test'
import { recordSealings } from '../../src/crypto/aead.ts'
import type { Disk } from '../../src/host/disk.ts'
import { Committer } from '../../src/state/committer.ts'
import { createHome } from '../../src/state/create.ts'
import { openHome, type World } from '../../src/state/home.ts'
import { limits } from '../../src/state/limits.ts'
import type { Rotated } from '../../src/state/rotation.ts'
import { VirtualClock } from '../simulator/clock.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import { SeededEntropy } from '../simulator/entropy.ts'
import { CrashFound, type Explored, explore } from '../simulator/explore.ts'
import { emptyImage, type Image } from '../simulator/image.ts'
import { plantDirectory } from '../simulator/surgery.ts'
import { over, overFile } from './disks.ts'

// The shipped sizes are for real disks; what is explored is the order of writes, not their volume.
Object.assign(limits, { growBytes: 16_384, segmentBytesMax: 16_384 })

const home = '/disk/home'
const entropy = new SeededEntropy(5)
const world = (disk: Disk): World => ({ disk, entropy, clock: new VirtualClock({ startMs: 0, seed: 1 }) })

const sealed = new Set<string>()
let twice = 0
recordSealings(({ keyFingerprint, nonce }) => {
  const pair = `${Buffer.from(keyFingerprint).toString('hex')} ${Buffer.from(nonce).toString('hex')}`
  if (sealed.has(pair)) twice++
  sealed.add(pair)
})

const total = { points: 0, images: 0, distinct: 0, checks: 0, bugs: 0 }
after(() => {
  console.log(
    `# rotation: ${total.points} crash points, ${total.images} crash states, ${total.distinct} distinct, ` +
      `${total.checks} recoveries; ${total.bugs} planted bugs found`,
  )
})

const before = { '/state/a': 'a0', '/state/b': 'b0', '/state/apart': 'kept apart' } as const

async function restingHome(keeper: 'file' | 'none'): Promise<Image> {
  const image = plantDirectory(plantDirectory(emptyImage({ sectorSize: 4096 }), '/disk'), '/anchors', {
    device: 2,
  })
  const disk = new SimulatedDisk(image, { profile: 'posix' })
  const config = { keeper, profile: 'dev' } as const
  await createHome(world(disk), { home, anchorBase: '/anchors', config, slots: 5, first: [] })
  const store = await openHome(world(disk), home)
  await store.makeScope('apart')
  for (const [path, value] of Object.entries(before))
    await store.commit([
      { put: path, payload: Buffer.from(value), scope: path === '/state/apart' ? 'apart' : 'default' },
    ])
  await store.close()
  return disk.killState()
}

const denied = { action: 'get', decision: 'deny', reason: 'r'.repeat(100), subject: 's' } as const

/** What was acknowledged. */
type Acks = { a: number; rotated: boolean }

async function exploreRotation(
  what: Rotated,
  { depth = 1, keeper = 'file' as 'file' | 'none', plant = (disk: Disk): Disk => disk } = {},
): Promise<Explored> {
  return explore<Acks>({
    image: await restingHome(keeper),
    // writeback allows little beyond the other.
    profiles: ['writeback', 'no-psow'],
    depth,
    ...(depth > 1 && { budget: { ms: 120_000 } }),
    acks: () => ({ a: 0, rotated: false }),
    async run(disk, acks) {
      const store = await openHome(world(plant(disk)), home)
      const writing = (async () => {
        for (let i = 1; i <= 2; i++) {
          await store.putAtomic('/state/a', Buffer.from(`a${i}`))
          acks.a = i
        }
      })()
      const rotating = store.rotate(what)
      // So that the first group under the new store key is of several sectors, and can be torn.
      if (keeper === 'none') for (let i = 0; i < 40; i++) store.note({ ...denied, path: `/state/${i}` })
      await Promise.all([rotating, writing])
      acks.rotated = true
      await store.close()
    },
    async check(disk, acks) {
      const store = await openHome(world(plant(disk)), home)
      const text = async (path: string) => Buffer.from((await store.get(path)).payload).toString()
      const look = async () => {
        assert.ok(Number((await text('/state/a')).slice(1)) >= acks.a, 'an acknowledged put is gone')
        assert.equal(await text('/state/b'), before['/state/b'])
        assert.equal(await text('/state/apart'), before['/state/apart'])
      }
      await look()
      await store.putAtomic('/state/b', Buffer.from(before['/state/b']))
      // What goes on by itself is waited for, or closed in the middle of.
      if (acks.a % 2 === 0) await store.rotate(what).catch(() => {})
      await store.close()
      for (let opens = 2; opens > 0; opens--) {
        const again = await openHome(world(plant(disk)), home)
        assert.equal(
          Buffer.from((await again.get('/state/apart')).payload).toString(),
          before['/state/apart'],
        )
        for (const path of again.list('/state/')) await again.get(path)
        await again.rotate(what).catch(() => {})
        await again.close()
      }
    },
  })
}

async function exploreAll(what: Rotated, options: Parameters<typeof exploreRotation>[1] = {}): Promise<void> {
  const explored = await exploreRotation(what, options)
  assert.ok(explored.complete || (options.depth ?? 1) > 1)
  assert.ok(explored.points > 20 && explored.checks > 20, `${explored.points}, ${explored.checks}`)
  for (const key of ['points', 'images', 'distinct', 'checks'] as const) total[key] += explored[key]
}

test('a crash anywhere in the rotation of everything loses nothing and ends in no refusal', () =>
  exploreAll({}))
test('nor with the keeper none', () => exploreAll({ storeKey: true }, { keeper: 'none' }))
test('nor in that of the store key', () => exploreAll({ storeKey: true }))
test('nor in that of one scope', () => exploreAll({ scopes: ['apart'] }))
test('nor in a rotation that goes on after a crash and is crashed again', () => exploreAll({}, { depth: 2 }))

test('no key and nonce were used twice', () => assert.equal(twice, 0))

// ---- planted bugs: each must be found, or this proves nothing ----

type Plant = {
  readonly disk?: (disk: Disk) => Disk
  readonly spoil?: () => () => void
  readonly keeper?: 'file' | 'none'
}

async function mustFind(plant: Plant, what: Rotated): Promise<void> {
  const { disk = (real: Disk) => real, spoil, keeper = 'file' } = plant
  const restore = spoil?.()
  try {
    await assert.rejects(exploreRotation(what, { plant: disk, keeper }), CrashFound)
  } finally {
    restore?.()
  }
  total.bugs++
}

function withoutSyncsOf(name: string): (disk: Disk) => Disk {
  return real =>
    over(real, {
      async open(path, options) {
        if (!path.endsWith(name)) return real.open(path, options)
        return overFile(await real.open(path, { access: options.access }), { sync: async () => {} })
      },
    })
}

test('planted: the new store key is used before it is durable', () =>
  mustFind({ disk: withoutSyncsOf('/key') }, { storeKey: true }))

test('planted: the slot of a successor is used before it is durable', () =>
  mustFind({ disk: withoutSyncsOf('/slots') }, { scopes: ['apart'] }))

test('planted: the old key goes before the names of what was under it are gone for good', () =>
  mustFind({ disk: real => over(real, { syncDirectory: async () => {} }) }, { storeKey: true }))

test('planted: the mark stays under the old store key', () =>
  mustFind(
    {
      spoil() {
        const { submit } = Committer.prototype
        Committer.prototype.submit = function (batch) {
          const isRekeying = batch.between !== undefined && batch.audit === undefined && batch.use === 'all'
          if (isRekeying && batch.between?.length === 0)
            return submit.call(this, { ...batch, between: async () => {} })
          return submit.call(this, batch)
        }
        return () => {
          Committer.prototype.submit = submit
        }
      },
    },
    { storeKey: true },
  ))
