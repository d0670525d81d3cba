/**
 * Runs in the guest: guest-round.ts SEED ACKNOWLEDGED KEEPER, where the second is N,N,N. Judges the home that is there,
 * says `reached N,N,N` or `refused CODE`, and goes on as the writer. When a lane of it has failed it says `stopped`, and
 * stays until the others have said theirs, too.
 */

import { StateError } from '../../src/state/error.ts'
import { homeExists } from '../../src/state/home.ts'
import { limits } from '../../src/state/limits.ts'
import { withStore, world } from '../state/support.ts'
import { judge, Lane, laneCount, smallLimits } from './plan.ts'

Object.assign(limits, smallLimits)

const [seed = '', told = '', keeper = ''] = process.argv.slice(2)
const [home, anchors] = ['/home-disk/home', '/anchor-disk']
const lanes = Array.from({ length: laneCount }, (_, lane) => new Lane(Number(seed), lane))

let reached: readonly number[] = lanes.map(() => 0)
try {
  if (await homeExists(world.disk, home))
    reached = await withStore(home, store => judge(store, lanes, told.split(',').map(Number)))
  console.log(`reached ${reached.join(',')}`)
} catch (error) {
  console.log(`refused ${error instanceof StateError ? error.code : error}`)
  process.exit(4)
}
process.argv.splice(2, process.argv.length, home, anchors, seed, 'none', reached.join(','), keeper)
await import('./writer.ts').catch(error => {
  console.error(error)
  console.log('stopped')
})
