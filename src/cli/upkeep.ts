import { hex } from '../bytes/bytes.ts'
import { auditLines } from '../state/audit-trail.ts'
import { StateError } from '../state/error.ts'
import { checkStatePath } from '../state/path.ts'
import type { Run } from './command.ts'
import { askHolder, changeHome, inHome } from './control.ts'
import { rotatedBy } from './control-wire.ts'
import { openHomeToRead } from './home.ts'
import { answer, answerJson, size } from './output.ts'

export const deleteRecord: Run = async given => {
  const path = checkStatePath(given.word(0))
  const generation = await changeHome(given, async home => {
    if (!(await home.list(path, '', 1)).includes(path)) throw new StateError('ENOENT', `nothing at ${path}`)
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
  const { before, after } = await changeHome(given, async home => {
    const bytes = async (): Promise<number> => Number((await home.figures()).journalBytes)
    const from = await bytes()
    await home.compact()
    return { before: from, after: await bytes() }
  })
  if (given.json) await answerJson({ before, after })
  else await answer(`journal: ${size(before)} before, ${size(after)} now`)
  return 'done'
}

export const rotate: Run = async given => {
  const scope = given.words[0]
  const storeKey = given.has('--store-key')
  await inHome(
    given,
    store => store.rotate(rotatedBy(scope, storeKey)),
    async holder => {
      await askHolder(holder, { op: 'rotate', storeKey, ...(scope !== undefined && { scope }) }, [])
    },
  )
  const isAll = scope === undefined && !storeKey
  if (given.json) await answerJson({ scope: scope ?? null, storeKey: isAll || storeKey, all: isAll })
  else {
    const what = [
      ...(isAll ? ['every scope and the store'] : []),
      ...(scope === undefined ? [] : [`scope ${scope}`]),
      ...(storeKey ? ['the store'] : []),
    ]
    await answer(`new keys for ${what.join(' and ')}; the old ones are gone`)
  }
  return 'done'
}

export const audit: Run = async given => {
  const home = await openHomeToRead(given)
  try {
    for await (const line of auditLines(home)) await answer(line)
  } finally {
    await home.close()
  }
  return 'done'
}
