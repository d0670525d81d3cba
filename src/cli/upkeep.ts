import { hex } from '../bytes/bytes.ts'
import { StateError } from '../state/error.ts'
import { checkStatePath } from '../state/path.ts'
import type { Run } from './command.ts'
import { changeHome } from './control.ts'
import { openOwnHome } from './home.ts'
import { answer, answerJson, size } from './output.ts'

export const deleteRecord: Run = async given => {
  const path = checkStatePath(given.word(0))
  const generation = await changeHome(given, async home => {
    if (!(await home.list(path)).includes(path)) throw new StateError('ENOENT', `nothing at ${path}`)
    return home.delete(path)
  })
  if (given.json) await answerJson({ path, generation })
  else await answer(`${path}: deleted, generation ${generation}`)
  return 'done'
}

export const history: Run = async given => {
  const path = checkStatePath(given.word(0))
  const changes = await changeHome(given, home => home.history(path))
  if (changes.length === 0) throw new StateError('ENOENT', `the journal has nothing of ${path}`)
  if (given.json)
    await answerJson({
      path,
      changes: changes.map(({ generation, kind, envelope }) => ({
        generation,
        kind,
        ...(envelope && {
          bytes: envelope.size,
          sha256: hex(envelope.sha256),
          at: new Date(envelope.at).toISOString(),
          subject: envelope.subject,
          purpose: envelope.purpose,
        }),
      })),
    })
  else
    for (const { generation, kind, envelope } of changes) {
      const told = envelope && [size(envelope.size), new Date(envelope.at).toISOString(), envelope.purpose]
      await answer([generation, kind, ...(told ?? [])].join('  ').trimEnd())
    }
  return 'done'
}

export const compact: Run = async given => {
  const store = await openOwnHome(given)
  try {
    const before = store.figures.journalBytes
    await store.compact()
    const after = store.figures.journalBytes
    if (given.json) await answerJson({ before, after })
    else await answer(`journal: ${size(before)} before, ${size(after)} now`)
  } finally {
    await store.close()
  }
  return 'done'
}
