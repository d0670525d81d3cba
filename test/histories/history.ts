/** Histories by number: made, run, and when one fails, told with the steps that are enough for it. */
import { recordSealings } from '../../src/crypto/aead.ts'
import { introduced } from '../session/world.ts'
import { Random } from '../simulator/random.ts'
import { cheapIdentity } from './homes.ts'
import { StreamHistory } from './stream.ts'
import { type StreamStep, streamSteps } from './stream-steps.ts'
import { Tally } from './tally.ts'

export type Mode = 'stream'

const sites = await introduced(cheapIdentity)

/** Runs the history of this seed. @throws Error with the steps that lead to the failure, as few as may be if `shrinks` */
export async function runHistory(mode: Mode, seed: number, tally: Tally, shrinks = true): Promise<void> {
  const steps = streamSteps(new Random(seed))
  const failure = await failureOf(steps, tally)
  if (failure === undefined) return
  const shortest = shrinks ? await shrunk(steps) : steps
  const told = shortest.map(step => `  ${JSON.stringify(step)}`).join('\n')
  throw new Error(
    `history of HISTORY_SEED=${seed} in mode ${mode}: ${failure.message}\n${told}\n${failure.stack ?? ''}`,
  )
}

async function failureOf(steps: readonly StreamStep[], tally: Tally): Promise<Error | undefined> {
  const pairs = new Set<string>()
  let repeated = false
  recordSealings(({ keyFingerprint, nonce }) => {
    const pair = Buffer.concat([keyFingerprint, nonce]).toString('latin1')
    repeated ||= pairs.has(pair)
    pairs.add(pair)
  })
  const history = new StreamHistory(sites, tally)
  try {
    for (const step of steps) await history.step(step)
    await history.end()
    if (repeated) throw new Error('a (key, nonce) was used twice')
    tally.add('histories')
    tally.add('sealings', pairs.size)
    return undefined
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  } finally {
    recordSealings(undefined)
  }
}

/** Leaves out what it fails without. */
async function shrunk(steps: readonly StreamStep[]): Promise<readonly StreamStep[]> {
  let shortest = steps
  for (let i = steps.length - 1; i >= 0; i--) {
    const without = shortest.filter((_, at) => at !== i)
    if ((await failureOf(without, new Tally())) !== undefined) shortest = without
  }
  return shortest
}
