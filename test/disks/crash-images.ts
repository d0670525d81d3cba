/**
 * Run by crash-images.slow.ts: crash-images.ts DIRECTORY HOME_FS ANCHOR PLANT ACTS MOMENTS. A writer works on real
 * file systems whose devices are served here; its power is then cut at MOMENTS moments of the log, each in several
 * ways; every image is mounted by the kernel, opened by the shipped code and judged. ANCHOR is `same`, or the file
 * system of a second device. Without a plant it stops at the first broken promise, else at the first one found.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { homeExists } from '../../src/state/home.ts'
import { limits } from '../../src/state/limits.ts'
import { Random } from '../simulator/random.ts'
import { bytesOf, textOf, withStore, world } from '../state/support.ts'
import { type Kept, PowerCuts } from './cuts.ts'
import { Devices } from './nbd.ts'
import { type FileSystem, isFileSystem, mountImage, run, unmount } from './place.ts'
import { judge, Lane, laneCount, smallLimits } from './plan.ts'
import { serveVolume, type Volume } from './volume.ts'

Object.assign(limits, smallLimits)

const [directory = '', homeKind, anchorKind, plant = 'none', acts = '', moments = ''] = process.argv.slice(2)
assert.ok(isFileSystem(homeKind), 'a file system for the home')
const kinds: FileSystem[] = [homeKind]
if (isFileSystem(anchorKind)) kinds.push(anchorKind)
const seed = Number(process.env.SEED ?? 1)

const lanes = Array.from({ length: laneCount }, (_, lane) => new Lane(seed, lane))
const devices = new Devices()
const volumes: Volume[] = []
for (const [i, kind] of kinds.entries()) volumes.push(await serveVolume(devices, directory, i, kind))
const [first, last] = [volumes[0], volumes.at(-1)]
assert.ok(first !== undefined && last !== undefined)
const [home, anchors] = [join(first.at, 'home'), join(last.at, 'anchors')]

type Ack = { readonly lane: number; readonly n: number; readonly position: number }

const acks: Ack[] = []
let opened = Number.POSITIVE_INFINITY

/** The acts of each lane that were acknowledged when the log was so long. */
function acknowledgedAt(position: number): readonly number[] {
  return lanes.map(({ lane }) => {
    const told = acks.filter(ack => ack.lane === lane && ack.position <= position)
    return told.at(-1)?.n ?? 0
  })
}

/** Lets a writer do so many acts, notes what it was told of and how long the log was by then, and kills it. */
async function write(count: number): Promise<void> {
  const script = join(import.meta.dirname, 'writer.ts')
  const from = acknowledgedAt(devices.log.length).join(',')
  const words = [script, home, anchors, String(seed), plant, from]
  const writer: ChildProcess = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = new Promise(resolve => writer.on('close', resolve))
  assert.ok(writer.stdout !== null)
  let left = count
  for await (const line of createInterface({ input: writer.stdout })) {
    if (line === 'open') opened = Math.min(opened, devices.log.length)
    else {
      const [lane = 0, n = 0] = line.split(' ').map(Number)
      acks.push({ lane, n, position: devices.log.length })
      if (--left === 0) break
      writer.stdin?.write(`${lane}\n`)
    }
  }
  writer.kill('SIGKILL')
  await ended
  assert.equal(left, 0, 'the writer ended by itself')
}

// Not synchronously: this process serves the disk, and would wait for itself.
await fs.promises.mkdir(anchors, { mode: 0o700 })
for (const { at } of volumes) await run('sync', ['-f', at])
const begun = devices.log.length
const runs = 4
for (let run = 0; run < runs; run++) await write(Number(acts) / runs)
const log = devices.log.slice()
for (const { stop } of volumes) await stop()
devices.close()

const seen = { moments: 0, images: 0, beforeTheHome: 0, ahead: 0 }
const cuts = new PowerCuts(
  volumes.map(({ base }) => fs.readFileSync(base)),
  log,
)
const flushes = log.flatMap(({ kind }, at) => (kind === 'flush' && at > begun ? [at] : []))
const random = new Random(seed)

/** The image as it is found after the power is back: mounted by the kernel, opened, judged, used, opened again. */
async function examine(position: number): Promise<void> {
  for (const { at } of volumes)
    await mountImage(join(directory, `image-${volumes.findIndex(v => v.at === at)}`), at)
  try {
    const acknowledged = acknowledgedAt(position)
    if (!(await homeExists(world.disk, home))) {
      assert.ok(opened > position, 'the home is gone')
      seen.beforeTheHome++
      return
    }
    const reached = await withStore(home, async store => {
      const reached = await judge(store, lanes, acknowledged)
      await store.commit([{ put: '/state/after', payload: bytesOf('the crash') }])
      await store.compact()
      return reached
    })
    if (reached.some((n, lane) => n > (acknowledged[lane] ?? 0))) seen.ahead++
    await withStore(home, async store => {
      assert.equal(textOf((await store.get('/state/after')).payload), 'the crash')
      assert.deepEqual(await judge(store, lanes, acknowledged), reached)
    })
  } finally {
    for (const { at } of volumes) await unmount(at)
  }
}

const found: string[] = []
const ways: readonly Kept[] = ['all', 'none', 0.5, 0.85]
const count = Math.min(Number(moments), flushes.length)
explore: for (let i = 0; i < count; i++) {
  const at = flushes[Math.floor((i * flushes.length) / count)]
  assert.ok(at !== undefined)
  cuts.advance(at)
  seen.moments++
  for (const kept of ways) {
    if (kept !== 'none' && cuts.openSectors === 0) continue
    for (const [device] of volumes.entries())
      cuts.write(device, join(directory, `image-${device}`), kept, random)
    seen.images++
    try {
      await examine(at)
    } catch (error) {
      found.push(
        `cut at ${at} of ${log.length}, kept ${kept}: ${error instanceof Error ? error.message : error}`,
      )
      break explore
    }
  }
}
const summary = {
  home: homeKind,
  anchor: anchorKind,
  plant,
  acts: acks.length,
  writes: log.length - flushes.length,
  flushes: flushes.length,
  ...seen,
  found,
}
console.log(JSON.stringify(summary))
