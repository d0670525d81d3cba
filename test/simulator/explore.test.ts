import assert from 'node:assert/strict'
import test from 'node:test'
import type { Disk } from '../../src/host/disk.ts'
import { SimulatedDisk } from './disk.ts'
import { CrashFound, type Explored, explore } from './explore.ts'
import { bytesAt, emptyImage, type Image } from './image.ts'
import type { ProfileName } from './profile.ts'

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
