import { strict as assert } from 'node:assert'
import { after, test } from 'node:test'
import { recordSealings } from '../../src/crypto/aead.ts'
import type { Disk, File, Lock } from '../../src/host/disk.ts'
import { FileKeeper } from '../../src/keeper/mark-file.ts'
import type { Change } from '../../src/state/change.ts'
import { type Batch, Committer } from '../../src/state/committer.ts'
import { createHome } from '../../src/state/create.ts'
import { openHome } from '../../src/state/home.ts'
import { Journal } from '../../src/state/journal.ts'
import { journalPath } from '../../src/state/path.ts'
import { Records } from '../../src/state/records.ts'
import { VirtualClock } from '../simulator/clock.ts'
import { SeededEntropy } from '../simulator/entropy.ts'
import { CrashFound, explore } from '../simulator/explore.ts'
import { emptyImage } from '../simulator/image.ts'
import { plantDirectory } from '../simulator/surgery.ts'
import { exploreHistory, histories, type Options, restingHome, type Step, steps } from './explore.ts'

const slow = process.env.SLOW === '1'

const sealed = new Map<string, number>()
recordSealings(({ keyFingerprint, nonce }) => {
  const pair = `${Buffer.from(keyFingerprint).toString('hex')} ${Buffer.from(nonce).toString('hex')}`
  sealed.set(pair, (sealed.get(pair) ?? 0) + 1)
})

const total = { histories: 0, points: 0, images: 0, distinct: 0, checks: 0, bugs: 0 }
after(() => {
  console.log(
    `# explored ${total.histories} histories: ${total.points} crash points, ${total.images} crash states, ` +
      `${total.distinct} distinct, ${total.checks} recoveries; ${total.bugs} planted bugs found; ` +
      `${sealed.size} sealings`,
  )
})

// posix, journaled and ext4 allow no state that these two do not.
const widest = ['writeback', 'no-psow'] as const

async function exploreAll(all: readonly (readonly Step[])[], options: Options): Promise<void> {
  const image = await restingHome(options)
  for (const history of all) {
    const explored = await exploreHistory(history, image, options)
    assert.ok(options.sectorSize === 512 || explored.complete, 'nothing was left out')
    assert.ok(
      explored.points > 10 && explored.checks > 10,
      `${explored.points} points, ${explored.checks} recoveries`,
    )
    total.histories++
    for (const key of ['points', 'images', 'distinct', 'checks'] as const) total[key] += explored[key]
  }
}

test('every crash of every history of one or two steps keeps what was promised and ends in no refusal', async () => {
  const options = { keeper: 'file', depth: 1, sectorSize: 4096, profiles: widest } as const
  await exploreAll([...histories(1), ...histories(2)], options)
})

test('with the keeper none the same holds', async () => {
  await exploreAll(histories(1), { keeper: 'none', depth: 1, sectorSize: 4096, profiles: widest })
})

test('a crash of the recovery from a crash keeps it too', async () => {
  const options = { keeper: 'file', depth: 2, sectorSize: 4096, profiles: ['posix'] } as const
  await exploreAll(slow ? histories(1) : [steps.slice(0, 1), steps.slice(4, 5)], options)
})

test('torn sectors of 512 bytes change nothing', async () => {
  const options = { keeper: 'file', depth: 1, sectorSize: 512, profiles: ['no-psow'] } as const
  await exploreAll(slow ? histories(1) : [steps.slice(0, 1)], options)
})

if (slow)
  test('recoveries of every history of two steps, crashed again', async () => {
    const options = { keeper: 'file', depth: 2, sectorSize: 4096, profiles: widest } as const
    await exploreAll(histories(2), options)
  })

test('a crash while a home is made leaves a home that opens, or none', async () => {
  const entropy = new SeededEntropy(11)
  const world = (disk: Disk) => ({ disk, entropy, clock: new VirtualClock({ startMs: 0, seed: 1 }) })
  const config = { keeper: 'file', profile: 'dev' } as const
  const wanted = { home: '/disk/home', anchorBase: '/anchors', config, slots: 2, first: [] }
  const explored = await explore<{ made: boolean }>({
    image: plantDirectory(plantDirectory(emptyImage({ sectorSize: 4096 }), '/disk'), '/anchors', {
      device: 2,
    }),
    profiles: ['posix', 'writeback'],
    acks: () => ({ made: false }),
    async run(disk, acks) {
      await createHome(world(disk), wanted)
      acks.made = true
    },
    async check(disk, acks) {
      if ((await disk.stat('/disk/home')) === undefined) {
        assert.equal(acks.made, false, 'the home that was made is gone')
        await createHome(world(disk), wanted)
      }
      const store = await openHome(world(disk), '/disk/home')
      assert.equal(store.mark.number, 1)
      await store.close()
    },
  })
  total.points += explored.points
  total.checks += explored.checks
  assert.ok(explored.points > 30)
})

// ---- planted bugs: each must be found, or the suite proves nothing ----

const planting = { keeper: 'file', depth: 1, sectorSize: 4096, profiles: ['posix'] } as const

async function mustFind(name: string, options: Options, history: readonly Step[]): Promise<void> {
  const image = await restingHome({ ...options, keeper: 'file' })
  await assert.rejects(exploreHistory(history, image, options), CrashFound, `${name} was not found`)
  total.bugs++
}

test('planted: directories are not synced', async () => {
  const disk = (real: Disk) => over(real, { syncDirectory: async () => undefined })
  // Only a new segment's name hangs on it: two steps that fill the first one.
  const filling: Step = { name: 'fill', commits: Array.from({ length: 3 }, (_, i) => [big(`/state/${i}`)]) }
  await mustFind('no directory sync', { ...planting, plant: { name: 'no directory sync', disk } }, [
    filling,
    filling,
  ])
})

test('planted: data is not synced', async () => {
  const disk = (real: Disk) =>
    over(real, {
      open: async (path, options) =>
        overFile(await real.open(path, { access: options.access }), { sync: async () => {} }),
    })
  await mustFind('no data sync', { ...planting, plant: { name: 'no data sync', disk } }, steps.slice(0, 1))
})

test('planted: the mark is advanced before the state is written', async () => {
  await mustFind(
    'mark before state',
    { ...planting, plant: { name: 'mark first', disk: markFirst } },
    steps.slice(0, 1),
  )
})

test('planted: the answer is given before the write has returned', async () => {
  const disk = (real: Disk) =>
    over(real, {
      open: async (path, options) => {
        const file = await real.open(path, options)
        const early = async (bytes: Uint8Array, at: number) => void file.write(bytes, at)
        return options.durable === true && path.endsWith('.seg') ? overFile(file, { write: early }) : file
      },
    })
  await mustFind('early answer', { ...planting, plant: { name: 'early answer', disk } }, steps.slice(0, 1))
})

test('planted: groups that no sync vouches for are not written again', async t => {
  const resume = Journal.resume
  t.mock.method(Journal, 'resume', (...[disk, path, keys, replayed, , reads]: Parameters<typeof resume>) =>
    resume.call(Journal, disk, path, keys, { ...replayed, end: { ...replayed.end, clean: true } }, [], reads),
  )
  await mustFind('doubtful groups trusted', { ...planting, depth: 2 }, steps.slice(0, 1))
})

test('planted: a mark read from the page cache is trusted', async t => {
  const advance = FileKeeper.prototype.advance
  assert.equal(typeof advance, 'function')
  const disk = (real: Disk) =>
    over(real, {
      open: async (path, options) => {
        const file = await real.open(path, options)
        let writes = 0
        // The first write after an open is the one that makes the mark durable again.
        const skipFirst = async (bytes: Uint8Array, at: number) =>
          writes++ === 0 ? undefined : file.write(bytes, at)
        return path.endsWith('/mark') && options.access === 'write'
          ? overFile(file, { write: skipFirst, sync: async () => {} })
          : file
      },
    })
  t.diagnostic('found through a kill, a recovery that only reads, and a power cut')
  await mustFind(
    'mark not written again',
    { ...planting, depth: 2, plant: { name: 'cached mark', disk } },
    steps.slice(0, 1),
  )
})

const compacting: Step = { name: 'compact', compact: true }
const beside: Step = {
  name: 'compact beside puts',
  compact: true,
  beside: [[smallPut('/state/a', 'new')], [{ delete: '/state/a' }], [smallPut('/state/b', 'newer')]],
}

test('a compaction beside changes keeps the promises', async () => {
  const options = { keeper: 'file', depth: 1, sectorSize: 4096, profiles: widest } as const
  await exploreAll([[beside], [beside, beside]], options)
})

test('planted: what is live is not carried', async t => {
  t.mock.method(Records.prototype, 'isLive', () => false)
  t.mock.method(Records.prototype, 'liveIn', () => 0)
  await mustFind('live records left behind', planting, [compacting])
})

test('planted: what was overwritten meanwhile is carried over it', async t => {
  const submit = Committer.prototype.submit
  t.mock.method(Committer.prototype, 'submit', function (this: Committer, batch: Batch) {
    const { isWanted, ...rest } = batch
    return submit.call(this, isWanted === undefined ? batch : rest)
  })
  // The put has to come while the record is being opened: somewhere among the first few.
  const image = await restingHome(planting)
  let found = 0
  for (let before = 0; before < 8; before++) {
    const others = Array.from({ length: before }, (_, i) => [smallPut('/state/b', `${i}`)])
    const step: Step = { ...beside, beside: [...others, [smallPut('/state/a', 'new')]] }
    await exploreHistory([step], image, planting).catch(error => {
      if (!(error instanceof CrashFound)) throw error
      found++
    })
  }
  assert.ok(found > 0, 'the older over the newer was not found')
  total.bugs++
})

test('planted: a segment is given up before the journal says where it begins', async t => {
  const submit = Committer.prototype.submit
  t.mock.method(Committer.prototype, 'submit', function (this: Committer, batch: Batch) {
    const operations = batch.operations.filter(({ path }) => path !== journalPath)
    return submit.call(this, { ...batch, operations })
  })
  await mustFind('segments missing', planting, [compacting])
})

test('planted: segments are unlinked without a sync between them', async () => {
  let unlinked = false
  const disk = (real: Disk) =>
    over(real, {
      unlink: async path => {
        unlinked = path.endsWith('.seg')
        await real.unlink(path)
      },
      syncDirectory: async path => {
        if (!unlinked) await real.syncDirectory(path)
        unlinked = false
      },
    })
  const filling: Step = { name: 'fill', commits: Array.from({ length: 3 }, (_, i) => [big(`/state/${i}`)]) }
  await mustFind('a gap', { ...planting, plant: { name: 'no sync between', disk } }, [filling, compacting])
})

test('no key and nonce were used twice in all of these worlds', () => {
  const repeated = [...sealed].filter(([, times]) => times > 1)
  assert.ok(sealed.size > 1000)
  assert.deepEqual(repeated.slice(0, 3), [])
})

function smallPut(path: string, value: string): Change {
  return { put: path, payload: Buffer.from(value) }
}

function big(path: string): Change {
  return { put: path, payload: new Uint8Array(14_000) }
}

function over(real: Disk, changed: Partial<Disk>): Disk {
  return {
    open: (path, options) => real.open(path, options),
    makeDirectory: path => real.makeDirectory(path),
    list: path => real.list(path),
    rename: (from, to) => real.rename(from, to),
    unlink: path => real.unlink(path),
    stat: path => real.stat(path),
    removeDirectory: path => real.removeDirectory(path),
    syncDirectory: path => real.syncDirectory(path),
    lock: (path): Promise<Lock> => real.lock(path),
    ...changed,
  }
}

function overFile(real: File, changed: Partial<File>): File {
  return {
    read: (into, at) => real.read(into, at),
    write: (bytes, at) => real.write(bytes, at),
    truncate: length => real.truncate(length),
    sync: () => real.sync(),
    stat: () => real.stat(),
    close: () => real.close(),
    ...changed,
  }
}

/** Holds every journal write back until a mark has been written over it. */
function markFirst(real: Disk): Disk {
  let held: (() => Promise<void>) | undefined
  return over(real, {
    open: async (path, options) => {
      const file = await real.open(path, options)
      if (path.endsWith('.seg') && options.durable === true)
        return overFile(file, {
          write: async (bytes, at) => {
            held = () => file.write(bytes, at)
          },
          truncate: async length => {
            await held?.()
            held = undefined
            await file.truncate(length)
          },
        })
      if (!path.endsWith('/mark') || options.access !== 'write') return file
      return overFile(file, {
        write: async (bytes, at) => {
          await file.write(bytes, at)
          await held?.()
          held = undefined
        },
      })
    },
  })
}
