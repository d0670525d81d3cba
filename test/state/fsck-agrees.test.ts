/** Homes that were killed anywhere and then damaged at random: fsck and whoever opens them come to the same verdict. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { fsck } from '../../src/state/fsck.ts'
import { openHome } from '../../src/state/home.ts'
import { limits } from '../../src/state/limits.ts'
import { filesIn, freshHome, meddled, type Place, world } from './support.ts'

const slow = process.env.SLOW === '1'
const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)

/** mulberry32 */
function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

type Kept = readonly (readonly [path: string, bytes: Buffer])[]

function filesOf({ home, anchor }: Place): string[] {
  return [home, anchor].flatMap(root => filesIn(root).map(name => join(root, name)))
}

function keep(place: Place): Kept {
  return filesOf(place).map(path => [path, fs.readFileSync(path)])
}

function putBack(place: Place, kept: Kept): void {
  for (const path of filesOf(place)) if (!kept.some(([known]) => known === path)) fs.rmSync(path)
  for (const [path, bytes] of kept)
    if (!fs.existsSync(path) || !fs.readFileSync(path).equals(bytes))
      fs.writeFileSync(path, bytes, { mode: 0o600 })
}

/** Puts, deletes, shreds and compacts, until it is done or the power goes off at some call. */
async function live(home: string, random: (below: number) => number): Promise<void> {
  let left = Number.POSITIVE_INFINITY
  const disk = meddled(async (_, proceed) => {
    if (left-- <= 0) throw new Error('the power is off')
    await proceed()
  })
  const store = await openHome({ ...world, disk }, home)
  left = random(40)
  try {
    for (let i = 0; i < 12; i++) {
      const what = random(8)
      const payload = world.entropy.bytes(random(9000))
      if (what < 4) await store.putAtomic(`/state/${random(6)}`, payload)
      else if (what === 4) await store.makeScope('s')
      else if (what === 5) await store.commit([{ put: '/state/s', payload, scope: 's' }]).catch(() => {})
      else if (what === 6) await store.shred('s').catch(() => {})
      else if (random(2) === 0) await store.compact()
      else await store.delete(`/state/${random(6)}`)
    }
  } catch {
    // The power went off.
  }
  await store.close().catch(() => {})
}

/** Damages one file in one way, and says which. */
function damage(place: Place, older: Kept, random: (below: number) => number): string {
  const files = filesOf(place)
  const path = files[random(files.length)] ?? ''
  const name = basename(path)
  const bytes = fs.readFileSync(path)
  const sector = () => random(Math.max(1, Math.floor(bytes.length / 4096))) * 4096
  const write = (what: string, damaged: Uint8Array) => {
    fs.writeFileSync(path, damaged, { mode: 0o600 })
    return `${name} ${what}`
  }
  const [at, other] = [sector(), sector()]
  switch (random(7)) {
    case 0:
      return write(`cut, ${at}`, bytes.subarray(0, random(bytes.length + 1)))
    case 1:
      return write(`zeros at ${at}`, bytes.fill(0, at, Math.min(bytes.length, at + 4096)))
    case 2:
      bytes.copy(bytes, at, other, Math.min(bytes.length, other + 4096))
      return write(`${other} copied to ${at}`, bytes)
    case 3:
      fs.rmSync(path)
      return `${name} gone`
    case 4:
      return write('put back', older.find(([known]) => known === path)?.[1] ?? bytes)
    case 5:
      return write(
        'longer',
        Buffer.concat([bytes, Buffer.alloc(4096 * random(3) + 100 * random(2), random(3))]),
      )
    default: {
      const place = random(bytes.length)
      if (bytes.length > 0) bytes[place] = (bytes[place] ?? 0) ^ (1 << random(8))
      return write(`flipped at ${place}`, bytes)
    }
  }
}

/** Whether the home opens and every record of it is read. */
async function isWhole(home: string): Promise<boolean> {
  try {
    const store = await openHome(world, home)
    try {
      for (const path of store.list('/')) await store.get(path)
    } finally {
      await store.close()
    }
    return true
  } catch {
    return false
  }
}

test('what fsck calls clean opens and is read, what it calls unrecoverable is not; what is mendable is mended', async t => {
  t.diagnostic(`seed ${seed}`)
  const shipped = { ...limits }
  Object.assign(limits, { segmentBytesMax: 7 * 4096, growBytes: 4096 })
  t.after(() => Object.assign(limits, shipped))
  const random = randomFrom(seed)
  const tally = { clean: 0, unrecoverable: 0, repaired: 0 }
  for (let life = 0; life < (slow ? 60 : 3); life++) {
    const place = await freshHome(t, life % 3 === 2 ? 'none' : 'file')
    const older: Kept[] = []
    for (let run = 0; run < 3; run++) {
      older.push(keep(place))
      await live(place.home, random)
    }
    const kept = keep(place)
    for (let i = 0; i < 24; i++) {
      const damages: string[] = []
      for (let n = i === 0 ? 0 : 1 + random(2); n > 0; n--)
        damages.push(damage(place, older[random(older.length)] ?? [], random))
      const report = await fsck(world, place.home, { repair: false })
      const damaged = keep(place)
      const what = `seed ${seed}: ${damages.join(', ')}: ${report.findings.map(({ code }) => code).join(' ')}`
      assert.notEqual(report.outcome, 'repaired')
      assert.equal(report.outcome === 'clean', await isWhole(place.home), what)
      if (report.outcome === 'clean') {
        putBack(place, damaged)
        const mended = await fsck(world, place.home, { repair: true })
        assert.equal(mended.outcome, report.counts.mendable > 0 ? 'repaired' : 'clean', what)
        if (mended.outcome === 'repaired') tally.repaired++
        tally.clean++
      } else tally.unrecoverable++
      putBack(place, kept)
    }
  }
  t.diagnostic(JSON.stringify(tally))
  assert.ok(tally.clean > 5 && tally.unrecoverable > 20 && tally.repaired > 0)
})
