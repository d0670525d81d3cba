/**
 * Run by kills.slow.ts: kills.ts DIRECTORY FS KILLS. Writers are killed one after another, each at a moment of chance,
 * while they open, put, shred or compact; what each leaves is opened at once, judged, and given to the next.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { limits } from '../../src/state/limits.ts'
import { Random } from '../simulator/random.ts'
import { withStore } from '../state/support.ts'
import { isFileSystem, makeFileSystem, mountImage, unmount } from './place.ts'
import { actOf, judge, Lane, laneCount, smallLimits } from './plan.ts'

Object.assign(limits, smallLimits)

const [directory = '', kind, kills = ''] = process.argv.slice(2)
assert.ok(isFileSystem(kind))
const seed = Number(process.env.SEED ?? 1)
const random = new Random(seed)
const lanes = Array.from({ length: laneCount }, (_, lane) => new Lane(seed, lane))
const at = join(directory, 'volume')
const [home, anchors] = [join(at, 'home'), join(at, 'anchors')]
const seen = { kills: 0, beforeItWasOpen: 0, acts: 0, shreds: 0, compactions: 0, ahead: 0 }

/** Answers how many acts of each lane were acknowledged before the kill. */
async function killed(from: readonly number[], isFirst: boolean): Promise<readonly number[]> {
  const script = join(import.meta.dirname, 'writer.ts')
  const words = [script, home, anchors, String(seed), 'none', from.join(',')]
  const writer = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = new Promise<NodeJS.Signals | null>(resolve => writer.on('exit', (_, by) => resolve(by)))
  const told = [...from]
  const lines: string[] = []
  const killIn = (ms: number) => setTimeout(() => writer.kill('SIGKILL'), ms)
  // Now and then while it opens: a recovery is cut short too.
  const isEarly = !isFirst && random.chance(0.15)
  if (isEarly) killIn(80 + random.below(120))
  createInterface({ input: writer.stdout }).on('line', line => {
    lines.push(line)
    if (line === 'open') {
      if (!isEarly) killIn(random.below(80))
      return
    }
    const [lane = 0, n = 0] = line.split(' ').map(Number)
    told[lane] = n
    writer.stdin.write(`${lane}\n`)
  })
  writer.stdin.on('error', () => {}) // it is killed while it is being told to go on
  const closed = new Promise(resolve => writer.stdout.on('close', resolve))
  assert.equal(await ended, 'SIGKILL', 'the writer ended by itself')
  await closed
  if (!lines.includes('open')) seen.beforeItWasOpen++
  return told
}

await makeFileSystem(kind, join(directory, 'image'))
await mountImage(join(directory, 'image'), at)
fs.mkdirSync(anchors, { mode: 0o700 })
let from: readonly number[] = lanes.map(() => 0)
for (let i = 0; i < Number(kills); i++) {
  const told = await killed(from, i === 0)
  seen.kills++
  // At once: with its process the lock is gone.
  const reached = await withStore(home, store => judge(store, lanes, told))
  for (const { lane } of lanes) {
    const [before, after, answered] = [from[lane] ?? 0, reached[lane] ?? 0, told[lane] ?? 0]
    if (after > answered) seen.ahead++
    for (let n = before + 1; n <= after; n++) {
      seen.acts++
      if (actOf(seed, lane, n).kind === 'renew') seen.shreds++
      if (actOf(seed, lane, n).kind === 'compact') seen.compactions++
    }
  }
  from = reached
}
await unmount(at)
console.log(JSON.stringify({ kind, ...seen }))
