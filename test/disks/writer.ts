/**
 * The process that a crash ends: writer.ts HOME ANCHORS SEED PLANT FROM,FROM,FROM [KEEPER]. Makes the home if there is
 * none, performs each lane's acts after its first FROM ones, and says `LANE N` on standard output after each, or
 * `failed LANE CODE`. It goes on with a lane when standard input says `LANE`: so whoever counts is never behind by more
 * than one act.
 */
import fs from 'node:fs'
import { createInterface } from 'node:readline'
import type { Disk } from '../../src/host/disk.ts'
import { parseKeeperName } from '../../src/keeper/outside.ts'
import { realDisk } from '../../src/node/disk.ts'
import { createHome } from '../../src/state/create.ts'
import { StateError, stateError } from '../../src/state/error.ts'
import { homeExists, openHome } from '../../src/state/home.ts'
import { limits } from '../../src/state/limits.ts'
import { meddled, world } from '../state/support.ts'
import { actOf, laneCount, perform, scopeOf, smallLimits } from './plan.ts'

Object.assign(limits, smallLimits)

const [home = '', anchors = '', seed = '', plant = '', from = '', keeper = 'file'] = process.argv.slice(2)

const plants: { readonly [name: string]: Disk } = {
  none: realDisk,
  /** Nothing that is written is ever synced; directories are. */
  'data is not synced': unsynced(),
  'directories are not synced': { ...realDisk, syncDirectory: async () => {} },
}

function unsynced(): Disk {
  const silent = meddled(async (call, proceed) => {
    if (call.kind !== 'sync') await proceed()
  })
  return { ...silent, open: (path, options) => silent.open(path, { access: options.access }) }
}

const disk = plants[plant]
if (disk === undefined) throw new TypeError(`no such plant: ${plant}`)
const say = (text: string) => fs.writeSync(1, `${text}\n`)

const go = new Map<number, () => void>()
const told = new Map<number, number>()
createInterface({ input: process.stdin })
  .on('line', line => {
    const lane = Number(line)
    const resume = go.get(lane)
    go.delete(lane)
    if (resume === undefined) told.set(lane, (told.get(lane) ?? 0) + 1)
    else resume()
  })
  .on('close', () => process.exit(0))

async function acknowledged(lane: number, n: number): Promise<void> {
  say(`${lane} ${n}`)
  const early = told.get(lane) ?? 0
  if (early > 0) told.set(lane, early - 1)
  else await new Promise<void>(resolve => go.set(lane, resolve))
}

// A plant is in what goes on with the home, not in what makes it.
if (!(await homeExists(realDisk, home))) {
  const config = { ...parseKeeperName(keeper), profile: 'dev' } as const
  await createHome(world, { home, anchorBase: anchors, config, slots: 8, first: [] })
}
const store = await openHome({ ...world, disk }, home)
for (let lane = 0; lane < laneCount; lane++) await store.makeScope(scopeOf(lane))
say('open')

async function runLane(lane: number, first: number): Promise<void> {
  for (let n = first; ; n++) {
    await perform(store, actOf(Number(seed), lane, n), lane).catch(error => {
      const known = stateError(error)
      say(`failed ${lane} ${known instanceof StateError ? known.code : known}`)
      throw error
    })
    await acknowledged(lane, n)
  }
}

await Promise.all(from.split(',').map((done, lane) => runLane(lane, Number(done) + 1)))
