import { hex } from '../bytes/bytes.ts'
import {
  adoptParameters,
  parameterRows,
  parametersLimits,
  parseParameters,
  storedParameters,
} from '../state/parameters.ts'
import { adoptInHome } from './adopting.ts'
import type { Given, Run } from './command.ts'
import { openHomeToRead } from './home.ts'
import { inputBytes } from './input.ts'
import { answer, answerJson, say } from './output.ts'

export const adopt: Run = async given => {
  const bytes = await parametersBytes(given, given.word(0))
  const { version, digest } = parseParameters(bytes) // what is wrong with the file is told before anything is with the home
  const { generation, isNew } = await adoptInHome(
    given,
    { op: 'adopt-parameters', parameters: bytes },
    store => adoptParameters(store, bytes),
  )
  if (given.json) await answerJson({ version, digest: hex(digest), generation, adopted: isNew })
  else {
    const since = isNew ? 'are in force' : 'were in force already'
    await answer(`parameters version ${version} ${since}, generation ${generation}\nsha256:${hex(digest)}`)
  }
  return 'done'
}

export const show: Run = async given => {
  const home = await openHomeToRead(given)
  const stored = await storedParameters(home).finally(() => home.close())
  const { profile } = home.config
  const rows = parameterRows(profile, stored?.value)
  if (given.json) {
    const [version, digest] = [stored?.value.version ?? null, stored && hex(stored.value.digest)]
    const [generation, at] = [stored?.generation ?? null, stored && new Date(stored.at).toISOString()]
    await answerJson({
      profile,
      version,
      digest: digest ?? null,
      generation,
      at: at ?? null,
      parameters: rows,
    })
    return 'done'
  }
  say(
    stored === undefined
      ? `profile ${profile}; no parameters were adopted`
      : `profile ${profile}; parameters version ${stored.value.version}, sha256:${hex(stored.value.digest)}, adopted ${new Date(stored.at).toISOString()}, generation ${stored.generation}`,
  )
  const width = Math.max(...rows.map(({ name }) => name.length))
  const lines = rows.map(
    ({ name, value, from, range }) =>
      `${name.padEnd(width)}  ${String(value).padEnd(7)}  ${from.padEnd(8)}  ${range}`,
  )
  await answer(lines.join('\n'))
  return 'done'
}

export function parametersBytes(given: Given, name: string): Promise<Uint8Array> {
  const hint = 'a file of parameters is at most that'
  return inputBytes(given, name, { max: parametersLimits.fileBytesMax, hint })
}
