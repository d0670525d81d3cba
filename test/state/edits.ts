import { registerHooks } from 'node:module'
import type { Edit } from './explore-job.ts'

/** From now on the source is changed as it is loaded. The answer throws if an edit was of a file that was not loaded. */
export function plantEdits(edits: readonly Edit[]): () => void {
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
  return () => {
    if (used.size !== edits.length) throw new Error('an edit is of a file that was not loaded')
  }
}
