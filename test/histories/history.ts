/** Histories by number: made, run, and when one fails, told with the steps that are enough for it. */
import { recordSealings } from '../../src/crypto/aead.ts'
import { introduced } from '../session/world.ts'
import { Random } from '../simulator/random.ts'
import { cheapIdentity } from './homes.ts'
import { LetterHistory } from './letter.ts'
import { type LetterStep, letterSteps } from './letter-steps.ts'
import { StreamHistory } from './stream.ts'
import { type StreamStep, streamSteps } from './stream-steps.ts'
import { Tally } from './tally.ts'

export type Mode = 'stream' | 'letter'

const sites = await introduced(cheapIdentity)

/** Runs the history of this seed. @throws Error with the steps that lead to the failure, as few as may be if `shrinks` */
export async function runHistory(mode: Mode, seed: number, tally: Tally, shrinks = true): Promise<void> {
  const random = new Random(seed)
  const told =
    mode === 'stream'
      ? await live(streamSteps(random), tally, shrinks, own => new StreamHistory(sites, own))
      : await live(letterSteps(random), tally, shrinks, own => new LetterHistory(sites, own))
  if (told !== undefined) throw new Error(`history of HISTORY_SEED=${seed} in mode ${mode}: ${told}`)
}

type History<Step> = { step(step: Step): Promise<void>; end(): Promise<void> }

/** What is to be told of it if it fails. */
async function live<Step extends StreamStep | LetterStep>(
  steps: readonly Step[],
  tally: Tally,
  shrinks: boolean,
  begin: (tally: Tally) => History<Step>,
): Promise<string | undefined> {
  const failure = await failureOf(steps, tally, begin)
  if (failure === undefined) return undefined
  let shortest = steps
  for (let i = steps.length - 1; shrinks && i >= 0; i--) {
    // Leaves out what it fails without.
    const without = shortest.filter((_, at) => at !== i)
    if ((await failureOf(without, new Tally(), begin)) !== undefined) shortest = without
  }
  return [failure.message, ...shortest.map(step => `  ${JSON.stringify(step)}`), failure.stack].join('\n')
}

async function failureOf<Step>(
  steps: readonly Step[],
  tally: Tally,
  begin: (tally: Tally) => History<Step>,
): Promise<Error | undefined> {
  const pairs = new Set<string>()
  let repeated = false
  recordSealings(({ keyFingerprint, nonce }) => {
    const pair = Buffer.concat([keyFingerprint, nonce]).toString('latin1')
    repeated ||= pairs.has(pair)
    pairs.add(pair)
  })
  const history = begin(tally)
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
