import { Worker } from 'node:worker_threads'
import type { Answer, Counts, Edit, Job, Report } from './explore-job.ts'

/**
 * Threads that share the jobs: two, for the two cores that the suite is measured on. They also keep the test runner's
 * tracking of every promise away from code that makes millions of them.
 */
const threads = 2

export type Totals = Counts & {
  jobs: number
  /** Jobs that were left out: the time was up. */
  left: number
  /** Jobs of which something was left out. */
  incomplete: number
}

export function noTotals(): Totals {
  return {
    histories: 0,
    points: 0,
    images: 0,
    distinct: 0,
    opens: 0,
    injected: 0,
    damaged: 0,
    refused: 0,
    jobs: 0,
    left: 0,
    incomplete: 0,
  }
}

/** Does all of them, unless the time is up first. Rejects with the first failure. */
export async function runJobs(
  jobs: readonly Job[],
  options: { readonly budgetMs?: number; readonly onReport?: (report: Report, job: Job) => void } = {},
): Promise<Totals> {
  const totals = noTotals()
  const until = performance.now() + (options.budgetMs ?? Number.POSITIVE_INFINITY)
  const waiting = [...jobs]
  const workers = Array.from({ length: Math.min(threads, jobs.length) }, () => start([]))
  const serve = async (worker: Worker) => {
    for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
      if (performance.now() > until) {
        totals.left++
        continue
      }
      const report = await ask(worker, within(job, until - performance.now()))
      add(totals, report)
      options.onReport?.(report, job)
    }
  }
  try {
    await Promise.all(workers.map(serve))
  } finally {
    waiting.length = 0
    await Promise.all(workers.map(worker => worker.terminate()))
  }
  return totals
}

/** Does one in a thread of its own, the source changed as it is loaded there. */
export async function runAlone(job: Job, edits: readonly Edit[]): Promise<Report> {
  const worker = start(edits)
  try {
    return await ask(worker, job)
  } finally {
    await worker.terminate()
  }
}

/** A job that ends when the time is up. */
function within(job: Job, budgetMs: number): Job {
  if (!Number.isFinite(budgetMs) || job.kind === 'bug') return job
  if (job.kind === 'crashes') return { ...job, options: { ...job.options, budgetMs } }
  return { ...job, budgetMs: Math.min(budgetMs, job.budgetMs ?? Number.POSITIVE_INFINITY) }
}

function start(edits: readonly Edit[]): Worker {
  return new Worker(new URL('./explore-worker.ts', import.meta.url), { workerData: { edits } })
}

function ask(worker: Worker, job: Job): Promise<Report> {
  return new Promise((resolve, reject) => {
    const end = (act: () => void) => {
      worker.removeAllListeners('message').removeAllListeners('error')
      act()
    }
    worker.on('error', error => end(() => reject(error)))
    worker.on('message', (answer: Answer) =>
      end(() => {
        if ('report' in answer) resolve(answer.report)
        else reject(new Error(`${JSON.stringify(job)}: ${answer.failure}`))
      }),
    )
    worker.postMessage(job)
  })
}

function add(totals: Totals, { counts, isComplete }: Report): void {
  totals.jobs++
  if (!isComplete) totals.incomplete++
  for (const key of Object.keys(noTotals()).filter(isCount)) totals[key] += counts[key] ?? 0
}

const countNames = [
  'histories',
  'points',
  'images',
  'distinct',
  'opens',
  'injected',
  'damaged',
  'refused',
] as const

function isCount(name: string): name is keyof Counts {
  return countNames.some(each => each === name)
}
