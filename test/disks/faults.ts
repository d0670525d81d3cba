/**
 * Run by faults.slow.ts: faults.ts DIRECTORY FS COUNT PLANT. One call of a writer fails (the n-th write, sync, sync of a
 * directory, rename or unlink; not done, half done, or done and said to have failed), for COUNT places of each kind. The
 * writer goes on trying; what it leaves is opened without the fault and judged.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { limits } from '../../src/state/limits.ts'
import { freshHomeIn, withStore } from '../state/support.ts'
import { compileShim, isFileSystem, makeFileSystem, mountImage, unmount } from './place.ts'
import { judge, Lane, laneCount, smallLimits } from './plan.ts'

Object.assign(limits, smallLimits)

const [directory = '', kind, count = '', plant = 'none'] = process.argv.slice(2)
assert.ok(isFileSystem(kind))
const seed = Number(process.env.SEED ?? 1)
const acts = 12
const at = join(directory, 'volume')
const shim = join(directory, 'fault-shim.so')
const trace = join(directory, 'trace')

await compileShim(shim)
await makeFileSystem(kind, join(directory, 'image'))
await mountImage(join(directory, 'image'), at)
const { home } = await freshHomeIn(at)
const lanes = Array.from({ length: laneCount }, (_, lane) => new Lane(seed, lane))
let from: readonly number[] = lanes.map(() => 0)
const found: string[] = []
const seen = { faults: 0, poisoned: 0, notOpened: 0, wentOn: 0, refusals: 0, underWay: 0 }

type Fault = {
  readonly kind: 'w' | 's' | 'd' | 'n'
  readonly at: number
  readonly way: 'before' | 'after' | 'half'
}

async function survived(
  fault: Fault,
): Promise<{ readonly lines: readonly string[]; readonly after: readonly string[] }> {
  fs.rmSync(trace, { force: true })
  const environment = {
    ...process.env,
    LD_PRELOAD: shim,
    FAULT_ROOT: at,
    FAULT_KIND: fault.kind,
    FAULT_AT: String(fault.at),
    FAULT_WAY: fault.way,
    FAULT_TRACE: trace,
  }
  const words = [
    join(import.meta.dirname, 'survivor.ts'),
    home,
    String(seed),
    String(acts),
    from.join(','),
    plant,
  ]
  const child = spawn(process.execPath, words, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
  let [out, errors] = ['', '']
  child.stdout.on('data', chunk => (out += String(chunk)))
  child.stderr.on('data', chunk => (errors += String(chunk)))
  const status = await new Promise(resolve => child.on('close', resolve))
  assert.equal(status, 0, `${JSON.stringify(fault)}: ${out}\n${errors}`)
  const linesOf = (text: string) => text.split('\n').filter(line => line !== '')
  return { lines: linesOf(out), after: fs.existsSync(trace) ? linesOf(fs.readFileSync(trace, 'utf8')) : [] }
}

/** Zeros that are written ahead, a segment given up and a slot overwritten as was committed before, and what syncs them. */
function isUnderWay(line: string): boolean {
  const zeros = new RegExp(`^write (${smallLimits.growBytes} .*/\\d{8}\\.seg|\\d+ .*/reserve)$`)
  return (
    line.startsWith('sync ') ||
    zeros.test(line) ||
    /^write 4096 .*\/slots$/.test(line) ||
    /^unlink 0 .*\/\d{8}\.seg$/.test(line)
  )
}

/** A scope that was not made yet is not there to be shredded. */
function isRefusal(line: string): boolean {
  return line === 'then EPOISONED' || line === 'then ENOENT'
}

/** Answers whether there was so late a call. */
async function examine(fault: Fault): Promise<boolean> {
  const { lines, after } = await survived(fault)
  const told = [...from]
  for (const line of lines) {
    const [lane, n] = line.split(' ').map(Number)
    if (lane !== undefined && n !== undefined && Number.isInteger(lane)) told[lane] = n
  }
  const where = `${JSON.stringify(fault)}: ${[...lines.slice(-9), ...after.slice(0, 4)].join('; ')}`
  const hasFired = after.length > 0
  if (lines.includes('failed EPOISONED')) {
    seen.poisoned++
    const refusals = lines.filter(line => line.startsWith('then '))
    assert.ok(refusals.length === 6 && refusals.every(isRefusal), where)
    seen.refusals += refusals.length
    // The first line is the fault. What was under way beside it comes to its end.
    const changes = after.slice(1).filter(line => !isUnderWay(line))
    assert.equal(changes.length, 0, where)
    assert.ok(after.filter(line => line.startsWith('unlink ')).length <= 1, where)
    seen.underWay += after.length - 1
  } else if (lines.some(line => line.startsWith('not opened'))) seen.notOpened++
  else if (hasFired) seen.wentOn++
  if (hasFired) seen.faults++
  from = await withStore(home, store => judge(store, lanes, told)).catch(error => {
    throw new Error(`${where}: ${error}`)
  })
  return hasFired
}

// Every early one, since they are of opening, then further and further apart.
for (const [kind, ways] of [
  ['w', ['before', 'after', 'half']],
  ['s', ['before', 'after']],
  ['d', ['before', 'after']],
  ['n', ['before', 'after']],
] as const)
  for (const way of ways)
    for (let i = 0, place = 0; i < Number(count) && found.length === 0; i++) {
      place += 1 + Math.floor((i * i) / 12)
      const hasFired = await examine({ kind, at: place, way }).catch(error => {
        found.push(error instanceof Error ? error.message : String(error))
        return false
      })
      if (!hasFired) break
    }
await unmount(at)
console.log(JSON.stringify({ fs: kind, plant, acts: from.reduce((a, b) => a + b), ...seen, found }))
