/** One thread of the exploration: does the jobs that it is sent, one after another. */
import { registerHooks } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import type { Answer, Edit, Job, Report } from './explore-job.ts'

const edits: readonly Edit[] = workerData.edits
const used = new Set<Edit>()
if (edits.length > 0)
  registerHooks({
    load(url, context, next) {
      const loaded = next(url, context)
      const wanted = edits.filter(({ file }) => url.endsWith(`/${file}`))
      if (wanted.length === 0) return loaded
      let source = String(loaded.source)
      for (const edit of wanted) {
        if (source.split(edit.from).length !== 2)
          throw new Error(`${edit.file} does not have exactly one place: ${edit.from}`)
        source = source.replace(edit.from, () => edit.to)
        used.add(edit)
      }
      return { ...loaded, source }
    },
  })

async function perform(job: Job): Promise<Report> {
  // Not before the hooks are in place.
  const work = await import('./explore-work.ts')
  if (used.size !== edits.length) throw new Error('an edit is of a file that was not loaded')
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
