import { Worker } from 'node:worker_threads'
import type { Edit } from '../state/explore-job.ts'
import type { Mode } from './history.ts'
import { Tally } from './tally.ts'

/** So many histories of a mode, by consecutive seeds. */
export type HistoryJob = {
  readonly mode: Mode
  readonly from: number
  readonly count: number
  /** Of one that fails the steps are told that are enough for it. Default true. */
  readonly shrinks?: boolean
}

export type HistoryAnswer =
  | { readonly counts: Readonly<Record<string, number>> }
  | { readonly failure: string }

/** Runs them on so many threads. Rejects with the first failure. */
export async function runHistories(
  job: HistoryJob,
  { threads = 2, jobSize = 50 }: { readonly threads?: number; readonly jobSize?: number } = {},
): Promise<Tally> {
  const { mode, from, count } = job
  const tally = new Tally()
  let next = from
  const serve = async () => {
    const worker = startWorker([])
    try {
      while (next < from + count) {
        const part = { mode, from: next, count: Math.min(jobSize, from + count - next) }
        next += part.count
        const answer = await ask(worker, part)
        if ('failure' in answer) throw new Error(answer.failure)
        tally.merge(answer.counts)
      }
    } catch (error) {
      next = from + count
      throw error
    } finally {
      await worker.terminate()
    }
  }
  await Promise.all(Array.from({ length: Math.min(threads, Math.ceil(count / jobSize)) }, serve))
  return tally
}

/** What the first history of these says that fails while the source is changed as it is loaded; nothing if none does. */
export async function failureWith(edits: readonly Edit[], job: HistoryJob): Promise<string | undefined> {
  const worker = startWorker(edits)
  try {
    const answer = await ask(worker, job)
    return 'failure' in answer ? answer.failure : undefined
  } finally {
    await worker.terminate()
  }
}

function startWorker(edits: readonly Edit[]): Worker {
  return new Worker(new URL('./history-worker.ts', import.meta.url), { workerData: { edits } })
}

function ask(worker: Worker, job: HistoryJob): Promise<HistoryAnswer> {
  return new Promise((resolve, reject) => {
    const end = (act: () => void) => {
      worker.removeAllListeners('message').removeAllListeners('error').removeAllListeners('exit')
      act()
    }
    worker.on('error', error => end(() => reject(error)))
    worker.on('exit', code => end(() => reject(new Error(`a thread of histories ended with ${code}`))))
    worker.on('message', (answer: HistoryAnswer) => end(() => resolve(answer)))
    worker.postMessage(job)
  })
}
