import { styleText } from 'node:util'
import type { Run } from './command.ts'
import { type Exit, exits } from './exits.ts'
import { type Finding, findings } from './findings.ts'
import { answer, answerJson } from './output.ts'

const colours = { ok: 'green', warn: 'yellow', fail: 'red' } as const

/** Looks at everything, whatever it finds on the way. Warnings are no failure. */
export const doctor: Run = async given => {
  const found: Finding[] = []
  for await (const finding of findings(given)) {
    found.push(finding)
    if (!given.json) await answer(lineOf(finding))
  }
  const exit = exitOf(found)
  if (given.json)
    await answerJson({
      outcome: exit === 'done' ? 'ok' : 'fail',
      checks: found.map(({ failure, ...rest }) => ({ ...rest, ...(failure && { code: failure.code }) })),
      exit: exits[exit].code,
    })
  return exit
}

function lineOf({ outcome, name, text, failure, hint }: Finding): string {
  const word = styleText(colours[outcome], outcome.padEnd(4), { stream: process.stdout })
  const code = failure === undefined ? '' : ` [${failure.code}]`
  const lines = [`${word}  ${name.padEnd(11)}  ${text}${code}`]
  if (hint !== undefined) lines.push(`${' '.repeat(19)}${hint}`)
  return lines.join('\n')
}

/** A refusal says most; then that there is no home; then that its keeper is away; then any other failure. */
function exitOf(found: readonly Finding[]): Exit {
  const failed = found.filter(({ outcome }) => outcome === 'fail').map(({ failure }) => failure?.exit)
  if (failed.length === 0) return 'done'
  if (failed.includes('refused')) return 'refused'
  if (failed.includes('noHome')) return 'noHome'
  return failed.includes('unreachable') ? 'unreachable' : 'failed'
}
