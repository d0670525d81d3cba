/**
 * A writer that outlives a failure of its disk: survivor.ts HOME SEED ACTS FROM,FROM,FROM PLANT. Performs acts of each lane,
 * says `LANE N` after each, `failed CODE` at the first failure of one that poisons the store, and then tries
 * everything there is: after that nothing may be done any more. `other CODE` is a failure after which the store goes on.
 */
import fs from 'node:fs'
import { StateError, stateError } from '../../src/state/error.ts'
import { openHome } from '../../src/state/home.ts'
import { limits } from '../../src/state/limits.ts'
import type { Store } from '../../src/state/store.ts'
import { bytesOf, meddled, world } from '../state/support.ts'
import { actOf, laneCount, perform, scopeOf, smallLimits } from './plan.ts'

Object.assign(limits, smallLimits)

const [home = '', seed = '', acts = '', from = '', plant = ''] = process.argv.slice(2)
/** The bug to be found: what the disk says of a failure is not heard. */
const deaf = meddled((_, proceed) => proceed().catch(() => {}))
const disk = plant === 'deaf' ? deaf : world.disk
const say = (text: string) => fs.writeSync(1, `${text}\n`)

function codeOf(error: unknown): string {
  const known = stateError(error)
  return known instanceof StateError ? known.code : `${error}`
}

let isPoisoned = false

async function runLane(store: Store, lane: number, first: number): Promise<void> {
  let failures = 0
  for (let n = first; n < first + Number(acts) && !isPoisoned; ) {
    try {
      await perform(store, actOf(Number(seed), lane, n), lane)
      say(`${lane} ${n}`)
      n++
    } catch (error) {
      const code = codeOf(error)
      if (code === 'EPOISONED') {
        isPoisoned = true
        return
      }
      say(`other ${code}`)
      if (++failures > 3) throw error
    }
  }
}

let store: Store
try {
  store = await openHome({ ...world, disk }, home)
} catch (error) {
  say(`not opened ${codeOf(error)}`)
  process.exit(0)
}
try {
  for (let lane = 0; lane < laneCount; lane++) await store.makeScope(scopeOf(lane))
} catch (error) {
  if (codeOf(error) !== 'EPOISONED') throw error
  isPoisoned = true
}
if (!isPoisoned)
  await Promise.all(from.split(',').map((done, lane) => runLane(store, lane, Number(done) + 1)))
if (isPoisoned) {
  say('failed EPOISONED')
  const tries: readonly (() => Promise<unknown>)[] = [
    () => store.putAtomic('/state/late', bytesOf('late')),
    () => store.delete('/state/0/one'),
    () => store.commit([{ put: '/state/late', payload: bytesOf('late') }, { delete: '/state/0/one' }]),
    () => store.makeScope('late'),
    () => store.shred(scopeOf(0)),
    () => store.compact(),
  ]
  for (const attempt of tries)
    say(
      `then ${await attempt().then(
        () => 'DONE',
        error => codeOf(error),
      )}`,
    )
}
await store.close().catch(error => say(`closing ${codeOf(error)}`))
