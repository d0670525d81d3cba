import assert from 'node:assert/strict'
import test from 'node:test'
import type { Disk } from '../../src/host/disk.ts'
import { SimulatedDisk } from './disk.ts'
import { CrashFound, type Explored, explore } from './explore.ts'
import { bytesAt, emptyImage, type Image } from './image.ts'
import type { ProfileName } from './profile.ts'
import { plantFile } from './surgery.ts'

/** What a replace must not leave out, if the reader is to see the old bytes or the new, and the new once promised. */
type Steps = { dataSync?: boolean; directorySync?: boolean }

const old = new Uint8Array(600).fill(0x6f)
const fresh = new Uint8Array(700).fill(0x6e)

async function withOldFile(): Promise<Image> {
  const disk = new SimulatedDisk(emptyImage())
  const file = await disk.open('/f', { access: 'exclusive' })
  await file.write(old, 0)
  return disk.killState()
}

async function replace(disk: Disk, steps: Steps): Promise<void> {
  const file = await disk.open('/f.new', { access: 'exclusive' })
  await file.write(fresh, 0)
  if (steps.dataSync !== false) await file.sync()
  await file.close()
  await disk.rename('/f.new', '/f')
  if (steps.directorySync !== false) await disk.syncDirectory('/')
}

async function exploreReplace(steps: Steps, profiles?: ProfileName[]): Promise<Explored> {
  return explore({
    image: await withOldFile(),
    ...(profiles === undefined ? {} : { profiles }),
    acks: () => ({ promised: false }),
    depth: 2,
    run: async (disk, acks) => {
      await replace(disk, steps)
      acks.promised = true
    },
    check: async (disk, acks) => {
      if ((await disk.stat('/f.new')) !== undefined) {
        await disk.unlink('/f.new')
        await disk.syncDirectory('/')
      }
      const seen = bytesAt(disk.killState(), '/f')
      const wanted = acks.promised ? [fresh] : [old, fresh]
      assert.ok(
        wanted.some(bytes => seen !== undefined && Buffer.from(bytes).equals(seen)),
        'mixed or old bytes',
      )
    },
  })
}

test('a replace with every sync survives every crash, in every profile', async () => {
  const explored = await exploreReplace({})
  assert.ok(explored.complete)
})

test('a replace without the directory sync is caught', async () => {
  await assert.rejects(exploreReplace({ directorySync: false }), CrashFound)
})

test('a replace without the data sync is caught in posix, and allowed in ext4 with the directory sync', async () => {
  await assert.rejects(exploreReplace({ dataSync: false }, ['posix']), CrashFound)
  await assert.rejects(exploreReplace({ dataSync: false }, ['journaled']), CrashFound)
  await exploreReplace({ dataSync: false }, ['ext4'])
})

test('a replace without the data sync is caught even if every name is safe', async () => {
  const steps = { dataSync: false, directorySync: true }
  for (const profile of ['posix', 'journaled', 'writeback', 'no-psow'] as const)
    await assert.rejects(exploreReplace(steps, [profile]), {
      name: 'CrashFound',
      message: /mixed or old bytes/,
    })
})

/** A record of two sectors, overwritten in place: all 1 or all 2, with the fill of both halves as its checksum. */
function exploreRecord(options: {
  checksum: boolean
  slots: 1 | 2
  profile: ProfileName
}): Promise<Explored> {
  const record = (fill: number) => new Uint8Array(1024).fill(fill)
  const read = async (disk: SimulatedDisk): Promise<number> => {
    const file = await disk.open('/r', { access: 'read' })
    let newest = 0
    for (let slot = 0; slot < options.slots; slot++) {
      const bytes = new Uint8Array(1024)
      await file.read(bytes, slot * 1024)
      const isWhole = bytes.every(byte => byte === bytes[0])
      if (!options.checksum || isWhole) newest = Math.max(newest, bytes[0] ?? 0)
      if (!options.checksum) assert.ok(isWhole, 'torn')
    }
    return newest
  }
  return explore({
    image: plantFile(emptyImage(), '/r', new Uint8Array(1024 * options.slots).fill(1)),
    profiles: [options.profile],
    acks: () => ({ value: 1 }),
    run: async (disk, acks) => {
      const file = await disk.open('/r', { access: 'write', durable: true })
      for (const value of [2, 3]) {
        await file.write(record(value), (value % options.slots) * 1024)
        acks.value = value
      }
    },
    check: async (disk, acks) => {
      const value = await read(disk)
      assert.ok(value >= acks.value && value <= acks.value + 1, `${value} after ${acks.value}`)
    },
  })
}

test('a torn record is caught without a checksum, and lost with one and nothing to fall back on', async () => {
  for (const profile of ['posix', 'no-psow'] as const) {
    await assert.rejects(exploreRecord({ checksum: false, slots: 1, profile }), /torn/)
    await assert.rejects(exploreRecord({ checksum: true, slots: 1, profile }), /0 after 1/)
  }
})

test('two records written in turn with checksums survive tearing', async () => {
  for (const profile of ['posix', 'no-psow'] as const)
    assert.ok((await exploreRecord({ checksum: true, slots: 2, profile })).complete)
})

/** A log of bytes. Appends are promised after a sync; recovery cuts what is not whole, and promises what it shows. */
function exploreLog(steps: { recoverySync: boolean; profiles?: readonly ProfileName[] }): Promise<Explored> {
  return explore({
    image: plantFile(emptyImage(), '/log', new Uint8Array(0)),
    ...(steps.profiles === undefined ? {} : { profiles: steps.profiles }),
    depth: 3,
    acks: () => ({ entries: 0 }),
    run: async (disk, acks) => {
      const file = await disk.open('/log', { access: 'write' })
      for (let entry = 1; entry <= 3; entry++) {
        await file.write(new Uint8Array(512).fill(entry), (entry - 1) * 512)
        if (entry === 2) continue
        await file.sync()
        acks.entries = entry
      }
    },
    check: async (disk, acks) => {
      const file = await disk.open('/log', { access: 'write' })
      const bytes = new Uint8Array(1536)
      const length = await file.read(bytes, 0)
      let entries = 0
      while (entries * 512 < length && bytes[entries * 512] === entries + 1) entries++
      assert.ok(entries >= acks.entries, `${entries} after ${acks.entries}`)
      if (steps.recoverySync) {
        await file.truncate(entries * 512)
        await file.write(bytes.subarray(0, entries * 512), 0)
        await file.sync()
      }
      acks.entries = entries
    },
  })
}

test('a recovery that writes again what it found survives crashes of itself', async () => {
  const explored = await exploreLog({
    recoverySync: true,
    profiles: ['posix', 'journaled', 'ext4', 'writeback'],
  })
  assert.ok(explored.complete)
  assert.ok(explored.checks > 100)
})

test('a recovery that shows what a dead process never synced is caught', async () => {
  await assert.rejects(exploreLog({ recoverySync: false, profiles: ['posix'] }), /kill.*recovery.*0 after 1/s)
})

test('a recovery that overwrites in place is caught where a sector in flight is in danger', async () => {
  await assert.rejects(exploreLog({ recoverySync: true, profiles: ['no-psow'] }), CrashFound)
})

test('a state met first in a recovery is explored to its full depth when the program itself meets it', async () => {
  const write = async (disk: Disk, value: number) => {
    const file = await disk.open('/v', { access: 'write', durable: true })
    await file.write(new Uint8Array([value]), 0)
  }
  const exploring = explore({
    image: plantFile(emptyImage(), '/v', new Uint8Array([0])),
    profiles: ['posix'],
    depth: 2,
    kills: false,
    acks: () => ({}),
    run: disk => write(disk, 1),
    // From 0 the recovery makes 1; from 1 it passes through 5, which no recovery survives.
    check: async disk => {
      const value = bytesAt(disk.killState(), '/v')?.[0]
      assert.notEqual(value, 5)
      if (value === 1) await write(disk, 5)
      await write(disk, 1)
    },
  })
  await assert.rejects(exploring, CrashFound)
})

test('a state explored in one profile is explored again in the next', async () => {
  const exploring = explore({
    image: plantFile(emptyImage(), '/v', new Uint8Array(512).fill(1)),
    profiles: ['posix', 'no-psow'],
    depth: 2,
    kills: false,
    acks: () => ({}),
    run: async () => {},
    check: async disk => {
      const bytes = bytesAt(disk.killState(), '/v')
      assert.ok(bytes?.every(byte => byte === bytes[0]))
      const file = await disk.open('/v', { access: 'write' })
      await file.write(new Uint8Array(512).fill(2), 0)
    },
  })
  await assert.rejects(exploring, /no-psow/)
})

test('a crash found carries the image and the promises that replay it', async () => {
  const found = await exploreReplace({ directorySync: false }, ['posix']).then(
    () => undefined,
    error => error,
  )
  assert.ok(found instanceof CrashFound)
  assert.deepEqual(found.acks, { promised: true })
  assert.deepEqual(bytesAt(found.image, '/f'), old)
  assert.match(found.message, /posix, run, crash at call \d+/)
})

test('the same exploration twice counts the same', async () => {
  const { ms: _, ...first } = await exploreReplace({})
  const { ms: __, ...second } = await exploreReplace({})
  assert.deepEqual(first, second)
})

test('a budget or a bound that cuts an exploration short is reported', async () => {
  const overwrite = (limits: { budget?: { checks: number }; bound?: number }) =>
    explore({
      image: plantFile(emptyImage(), '/f', new Uint8Array(512 * 8)),
      profiles: ['posix'],
      ...limits,
      acks: () => ({}),
      run: async disk => {
        const file = await disk.open('/f', { access: 'write' })
        await file.write(new Uint8Array(512 * 8).fill(1), 0)
      },
      check: async () => {},
    })
  const whole = await overwrite({})
  assert.deepEqual(
    { ...whole, ms: 0 },
    { points: 2, images: 257, distinct: 256, checks: 256, complete: true, ms: 0 },
  )
  const short = await overwrite({ budget: { checks: 10 } })
  assert.deepEqual([short.checks, short.complete], [10, false])
  const sampled = await overwrite({ bound: 255 })
  assert.equal(sampled.complete, false)
  assert.ok(sampled.checks < 256 && sampled.checks > 24)
})

test('crashes count from the moment the exploration is armed, and those before do not', async () => {
  const explored = async (isArmed?: (acks: { written: number }) => boolean) =>
    explore({
      ...(isArmed === undefined ? {} : { isArmed }),
      profiles: ['posix'],
      acks: () => ({ written: 0 }),
      run: async (disk, acks) => {
        for (const name of ['/a', '/b']) {
          acks.written++
          await disk.open(name, { access: 'exclusive' })
        }
      },
      check: async () => {},
    })
  const all = await explored()
  const late = await explored(acks => acks.written > 1)
  assert.equal(all.points, 3)
  assert.equal(late.points, 2)
})

test('states that differ in acks and not in what is promised are one', async () => {
  const explored = async (promise?: (acks: { told: number }) => unknown) =>
    explore({
      ...(promise === undefined ? {} : { promise }),
      profiles: ['posix'],
      acks: () => ({ told: 0 }),
      run: async (disk, acks) => {
        const file = await disk.open('/a', { access: 'exclusive' })
        for (const byte of [1, 1, 1]) {
          acks.told++
          await file.write(Uint8Array.of(byte), 0)
        }
      },
      check: async () => {},
    })
  const apart = await explored()
  const together = await explored(() => 'nothing')
  assert.ok(together.checks < apart.checks, `${together.checks} of ${apart.checks}`)
})
