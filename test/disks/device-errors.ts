/**
 * Run by device-errors.slow.ts: device-errors.ts DIRECTORY FS COUNT. The device itself fails under the file system: one
 * write or flush, or all from there on. The writer must stop; the device heals, another process opens what the page
 * cache shows (or the file system, mounted anew, if it had shut itself down) and goes on; then the power is cut, and
 * the image is judged against all that either was told.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { limits } from '../../src/state/limits.ts'
import { Random } from '../simulator/random.ts'
import { withStore } from '../state/support.ts'
import { PowerCuts } from './cuts.ts'
import { Devices } from './nbd.ts'
import { isFileSystem, mountImage, run, unmount } from './place.ts'
import { judge, Lane, laneCount, smallLimits } from './plan.ts'
import { serveVolume } from './volume.ts'

Object.assign(limits, smallLimits)

const [directory = '', kind, count = ''] = process.argv.slice(2)
assert.ok(isFileSystem(kind))
const seed = Number(process.env.SEED ?? 1)
const lanes = Array.from({ length: laneCount }, (_, lane) => new Lane(seed, lane))
const seen = { rounds: 0, failedCalls: 0, poisoned: 0, notOpened: 0, unharmed: 0, mountedAgain: 0, images: 0 }

const devices = new Devices()
const volume = await serveVolume(devices, directory, 0, kind)
const home = join(volume.at, 'home')
// In another process: this one serves the disk, and would wait for itself.
await run(process.execPath, [
  '--input-type=module',
  '-e',
  `const { freshHomeIn } = await import(process.argv[1]); await freshHomeIn(process.argv[2])`,
  new URL('../state/support.ts', import.meta.url).href,
  volume.at,
])

type Ending = 'done' | 'poisoned' | 'not opened'

/** A writer does up to so many acts of each lane; answers how it ended and what it was told. */
async function survivor(acts: number, told: number[]): Promise<Ending> {
  const words = [
    join(import.meta.dirname, 'survivor.ts'),
    home,
    String(seed),
    String(acts),
    told.join(','),
    'none',
  ]
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe'] })
  let [out, errors] = ['', '']
  child.stdout.on('data', chunk => (out += String(chunk)))
  child.stderr.on('data', chunk => (errors += String(chunk)))
  const status = await new Promise(resolve => child.on('close', resolve))
  assert.equal(status, 0, `${out}\n${errors}`)
  assert.ok(!out.includes('then DONE'), out)
  for (const line of out.split('\n')) {
    const [lane, n] = line.split(' ').map(Number)
    if (lane !== undefined && n !== undefined && Number.isInteger(lane) && Number.isInteger(n)) told[lane] = n
  }
  if (out.includes('not opened')) return 'not opened'
  return out.includes('failed EPOISONED') ? 'poisoned' : 'done'
}

/** Failures that a new process may meet because the file system has shut itself down, but not others. */
async function opensAgain(told: number[]): Promise<void> {
  if ((await survivor(4, told)) === 'done') return
  seen.mountedAgain++
  await volume.mountAgain()
  assert.equal(await survivor(4, told), 'done')
}

const told = lanes.map(() => 0)
const ends: { readonly position: number; readonly told: readonly number[] }[] = []
for (let round = 0; round < Number(count); round++) {
  const random = new Random(seed * 1009 + round)
  const [at, kindFailing] = [1 + random.below(60), random.chance(0.5) ? 'write' : 'flush']
  const isLasting = random.chance(0.5)
  let calls = 0
  devices.fault = kind => {
    if (kind === kindFailing) calls++
    if (kind !== kindFailing || calls < at || (calls > at && !isLasting)) return undefined
    seen.failedCalls++
    return 5 // EIO
  }
  const ending = await survivor(10, told)
  devices.fault = () => undefined
  seen.rounds++
  if (ending === 'poisoned') seen.poisoned++
  else if (ending === 'not opened') seen.notOpened++
  else seen.unharmed++
  await opensAgain(told)
  ends.push({ position: devices.log.length, told: [...told] })
}
const log = devices.log.slice()
await volume.stop()
devices.close()

const cuts = new PowerCuts([fs.readFileSync(volume.base)], log)
const image = join(directory, 'image')
const found: string[] = []
for (const { position, told } of ends) {
  cuts.advance(position)
  for (const kept of ['none', 'all'] as const) {
    cuts.write(0, image, kept, new Random(position))
    await mountImage(image, volume.at)
    seen.images++
    await withStore(home, store => judge(store, lanes, told)).catch(error =>
      found.push(`at ${position}, kept ${kept}: ${error}`),
    )
    await unmount(volume.at)
  }
}
console.log(JSON.stringify({ fs: kind, ...seen, acts: told.reduce((a, b) => a + b), found }))
