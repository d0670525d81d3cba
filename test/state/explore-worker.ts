/** One thread of the exploration: does the jobs that it is sent, one after another. */
import { parentPort, workerData } from 'node:worker_threads'
import { plantEdits } from './edits.ts'
import type { Answer, Edit, Job, Report } from './explore-job.ts'

const edits: readonly Edit[] = workerData.edits
const assertPlanted = plantEdits(edits)

async function perform(job: Job): Promise<Report> {
  // Not before the hooks are in place.
  const work = await import('./explore-work.ts')
  assertPlanted()
  return work.perform(job)
}

parentPort?.on('message', (job: Job) => {
  perform(job).then(
    report => parentPort?.postMessage({ report } satisfies Answer),
    error => {
      const failure = error instanceof Error ? (error.stack ?? error.message) : String(error)
      parentPort?.postMessage({ failure } satisfies Answer)
    },
  )
})
