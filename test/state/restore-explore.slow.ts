/**
 * Restores that die at every call they make to the disk, in every state that a power cut may leave, and are run again.
 * After each: the old home opens, or the new one, or neither and the same call completes it; never both.
 */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Disk } from '../../src/host/disk.ts'
import { sameMark } from '../../src/mark/mark.ts'
import { amendments } from '../../src/state/amendments.ts'
import { restoreHome } from '../../src/state/backup/restore.ts'
import { backupHome } from '../../src/state/backup/take.ts'
import { createHome } from '../../src/state/create.ts'
import { StateError } from '../../src/state/error.ts'
import { openHome, type World } from '../../src/state/home.ts'
import { VirtualClock } from '../simulator/clock.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import { SeededEntropy } from '../simulator/entropy.ts'
import { CrashFound, explore } from '../simulator/explore.ts'
import { emptyImage, type Image } from '../simulator/image.ts'
import type { ProfileName } from '../simulator/profile.ts'
import { plantDirectory } from '../simulator/surgery.ts'
import { publicHalf, recovery } from './backup-support.ts'
import { over, overFile } from './disks.ts'
import { bytesOf, coded, textOf } from './support.ts'

const total = { points: 0, images: 0, checks: 0, bugs: 0 }
after(() => {
  console.log(
    `# restores: ${total.points} crash points, ${total.images} crash states, ${total.checks} recoveries; ` +
      `${total.bugs} planted bugs found`,
  )
})

const entropy = new SeededEntropy(23)

function world(disk: Disk): World {
  return { disk, entropy, clock: new VirtualClock({ startMs: 1_700_000_000_000, seed: 1 }) }
}

const [home, old, file, anchorBase, elsewhere] = [
  '/disk/home',
  '/disk/old',
  '/backups/b',
  '/anchors',
  '/other',
]

type Scenario = { readonly anchor: 'stands' | 'lost'; readonly keeper: 'file' | 'none' }

/** A home that went on after its backup and was moved aside; or its anchor alone is lost. */
async function before({ anchor, keeper }: Scenario): Promise<{ image: Image; marked: number }> {
  let image = emptyImage({ sectorSize: 4096 })
  for (const [path, device] of [
    ['/disk', 1],
    ['/anchors', 2],
    ['/backups', 3],
    [elsewhere, 4],
  ] as const)
    image = plantDirectory(image, path, { device })
  const disk = new SimulatedDisk(image, { profile: 'posix' })
  const config = { keeper, profile: 'dev' } as const
  await createHome(world(disk), { home, anchorBase, config, slots: 2, first: [] })
  const store = await openHome(world(disk), home)
  await store.putAtomic('/state/a', bytesOf('kept'))
  await backupHome(world(disk), { home, file, to: publicHalf(recovery) })
  await store.putAtomic('/state/a', bytesOf('given up'))
  const marked = store.mark.number
  await store.close()
  await disk.rename(home, anchor === 'lost' ? '/disk/.gone' : old)
  if (anchor === 'lost') {
    const [name = ''] = await disk.list(anchorBase)
    await disk.rename(`${anchorBase}/${name}`, '/anchors/.gone')
  }
  for (const path of ['/disk', '/anchors', '/backups']) await disk.syncDirectory(path)
  return { image: disk.killState(), marked }
}

function restore(disk: Disk, base: string = anchorBase) {
  const confirm = async () => true
  return restoreHome(world(disk), { file, key: recovery, home, anchorBase: base, by: 'test', confirm })
}

/** What the home there holds, or `undefined` where none opens. */
async function opened(disk: Disk, path: string): Promise<string | undefined> {
  try {
    const store = await openHome(world(disk), path)
    try {
      return textOf((await store.get('/state/a')).payload)
    } finally {
      await store.close()
    }
  } catch (error) {
    if (error instanceof StateError && ['ENOENT', 'EINTEGRITY', 'EROLLBACK'].includes(error.code))
      return undefined
    throw error
  }
}

/** A restore that was killed when all was made and nothing switched yet. */
async function cutShort(image: Image): Promise<Image> {
  const disk = new SimulatedDisk(image, { profile: 'posix' })
  let isDead = false
  const dying = over(disk, {
    async rename(from, to) {
      isDead ||= to.endsWith('.retired')
      if (isDead) throw new Error('killed')
      await disk.rename(from, to)
    },
    unlink: path => (isDead ? Promise.reject(new Error('killed')) : disk.unlink(path)),
  })
  await assert.rejects(restore(dying), /killed/)
  assert.ok((await disk.list(`${home}.restoring/segments`)).length > 0)
  return disk.killState()
}

type Acks = { restored: boolean; carriedOn: number }

type Options = {
  readonly profiles: readonly ProfileName[]
  readonly depth?: number
  readonly budgetMs?: number
  /** What the restore that is explored finds. */
  readonly from?: (image: Image) => Promise<Image>
  readonly plant?: (disk: Disk) => Disk
}

async function exploreRestore(
  scenario: Scenario,
  { profiles, depth = 1, budgetMs, from = async image => image, plant = disk => disk }: Options,
) {
  const { image, marked } = await before(scenario)
  const isKnown = scenario.anchor === 'stands' && scenario.keeper === 'file'
  const explored = await explore<Acks>({
    image: await from(image),
    profiles,
    depth,
    ...(budgetMs === undefined ? {} : { budget: { ms: budgetMs } }),
    acks: () => ({ restored: false, carriedOn: 0 }),
    async run(disk, acks) {
      await restore(plant(disk))
      acks.restored = true
    },
    async check(disk, acks) {
      const unnamed = await opened(disk, `${home}.restoring`)
      const [first, second] = [await opened(disk, old), await opened(disk, home)]
      assert.ok(first === undefined || (second ?? unnamed) === undefined, 'two homes open')
      if (acks.restored) assert.equal(second, 'kept', 'the home that was restored is gone')
      if (scenario.anchor === 'stands')
        await assert.rejects(restore(disk, elsewhere), coded('EINVAL'), 'a second one is made elsewhere')
      if (second === undefined) {
        const again = await restore(plant(disk))
        assert.ok(again !== undefined)
        acks.restored = true
      }
      assert.equal(await opened(disk, home), 'kept')
      assert.equal(await opened(disk, old), undefined, 'the old home opens beside the new one')
      assert.equal(
        (await disk.list(anchorBase)).filter(name => !name.startsWith('.')).length,
        1,
        'something is left beside the anchor',
      )
      const store = await openHome(world(disk), home)
      const [only, ...more] = await amendments(store)
      await store.close()
      assert.ok(only !== undefined && more.length === 0)
      const { abandoned, adopted, reason } = only.amendment
      // Also of a restore that was cut short: what was given up is not forgotten.
      assert.equal(reason, isKnown ? 'recovery' : 'keeper-lost')
      if (isKnown) assert.equal(abandoned.number, marked)
      else assert.ok(sameMark(abandoned, adopted))
    },
  })
  for (const key of ['points', 'images', 'checks'] as const) total[key] += explored[key]
  return explored
}

const scenarios: readonly Scenario[] = [
  { anchor: 'stands', keeper: 'file' },
  { anchor: 'lost', keeper: 'none' },
  { anchor: 'stands', keeper: 'none' },
  { anchor: 'lost', keeper: 'file' },
]

// posix, journaled and ext4 allow no state that these two do not.
for (const scenario of scenarios)
  test(`a crash of a restore, its anchor ${scenario.anchor}, keeper ${scenario.keeper}: one home opens, or the next try completes it`, async () => {
    const explored = await exploreRestore(scenario, { profiles: ['writeback', 'no-psow'] })
    assert.ok(explored.points > 30 && explored.complete, `${explored.points} points`)
  })

test('a crash of the restore that takes away what one before it left', async () => {
  const explored = await exploreRestore(
    { anchor: 'stands', keeper: 'file' },
    { profiles: ['posix'], from: cutShort, budgetMs: 60_000 },
  )
  assert.ok(explored.points > 40 && explored.checks > 100, `${explored.points} points`)
})

test('a crash of the restore that carries on from a crash', async () => {
  // There are more states than time for them: as many as two minutes allow.
  const explored = await exploreRestore(
    { anchor: 'stands', keeper: 'file' },
    { profiles: ['posix'], depth: 2, budgetMs: 120_000 },
  )
  assert.ok(explored.checks > 300, `${explored.checks} recoveries`)
})

// ---- planted bugs: each must be found, or the suite proves nothing ----

async function mustFind(
  name: string,
  plant: (disk: Disk) => Disk,
  from?: (image: Image) => Promise<Image>,
): Promise<void> {
  const options =
    from === undefined ? { profiles: ['writeback'] as const } : { profiles: ['posix'] as const, from }
  const explored = exploreRestore({ anchor: 'stands', keeper: 'file' }, { ...options, plant })
  await assert.rejects(explored, CrashFound, `${name} was not found`)
  total.bugs++
}

const nothing = async () => undefined

test('planted: the directory of the anchors is not synced', () =>
  mustFind('missing directory sync', disk =>
    over(disk, { syncDirectory: path => (path === anchorBase ? nothing() : disk.syncDirectory(path)) }),
  ))

test('planted: the new store key is not synced', () =>
  mustFind('missing sync', disk =>
    over(disk, {
      async open(path, options) {
        const file = await disk.open(path, options)
        return /\.restoring\.\w+\/key$/.test(path) ? overFile(file, { sync: nothing }) : file
      },
    }),
  ))

test('planted: what says that a home is unfinished is not synced', () =>
  mustFind('missing sync', disk =>
    over(disk, {
      async open(path, options) {
        const file = await disk.open(path, options)
        return path.endsWith('/restoring.cbor') ? overFile(file, { sync: nothing }) : file
      },
    }),
  ))

test('planted: what says that a home is unfinished goes away before the rest of it has', () =>
  mustFind(
    'missing directory sync',
    disk => {
      let isFirst = true
      return over(disk, {
        async syncDirectory(path) {
          const isPlanted = isFirst && path === `${home}.restoring`
          if (isPlanted) isFirst = false
          else await disk.syncDirectory(path)
        },
      })
    },
    cutShort,
  ))

test('planted: an anchor that was being retired is not looked for', () =>
  mustFind('a forgotten anchor', disk =>
    over(disk, { stat: async path => (path.endsWith('.retired') ? undefined : disk.stat(path)) }),
  ))

test('planted: a home that only lacks its name is not looked for', () =>
  mustFind('a forgotten home', disk =>
    over(disk, {
      list: async path => (path === `${home}.restoring/segments` ? [] : disk.list(path)),
    }),
  ))
