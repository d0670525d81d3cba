/** Runs drills in a thread of its own, with mistakes planted in the source as it is loaded. */
import { registerHooks } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import type { Edit } from '../state/explore-job.ts'

const { edits, names }: { readonly edits: readonly Edit[]; readonly names: readonly string[] } = workerData
const used = new Set<Edit>()
registerHooks({
  load(url, context, next) {
    const loaded = next(url, context)
    let source = String(loaded.source)
    for (const edit of edits) {
      if (!url.endsWith(`/${edit.file}`)) continue
      if (source.split(edit.from).length !== 2)
        throw new Error(`${edit.file} does not have exactly one place: ${edit.from}`)
      source = source.replace(edit.from, () => edit.to)
      used.add(edit)
    }
    return edits.length === 0 ? loaded : { ...loaded, source }
  },
})

// Not before the hooks are in place.
const { drills, meetings } = await import('./letter-drills.ts')
const found: Record<string, string | null> = {}
if (used.size !== edits.length) throw new Error('an edit is of a file that was not loaded')
const sites = await meetings()
for (const name of names)
  found[name] = await drills[name as keyof typeof drills](sites).then(
    () => null,
    error => String(error),
  )
parentPort?.postMessage(found)
