/** One thread of histories: runs those that it is sent, one after another. */
import { parentPort, workerData } from 'node:worker_threads'
import { plantEdits } from '../state/edits.ts'
import type { HistoryAnswer, HistoryJob } from './history-pool.ts'

const assertPlanted = plantEdits(workerData.edits)

async function perform({ mode, from, count, shrinks }: HistoryJob): Promise<HistoryAnswer> {
  // Not before the edits are in place.
  const { runHistory } = await import('./history.ts')
  const { Tally } = await import('./tally.ts')
  assertPlanted()
  const tally = new Tally()
  try {
    for (let seed = from; seed < from + count; seed++) await runHistory(mode, seed, tally, shrinks)
    return { counts: tally.counts }
  } catch (error) {
    return { failure: error instanceof Error ? error.message : String(error) }
  }
}

parentPort?.on('message', (job: HistoryJob) => {
  perform(job).then(
    answer => parentPort?.postMessage(answer),
    error => parentPort?.postMessage({ failure: String(error) } satisfies HistoryAnswer),
  )
})
