import type { Log } from '../host/log.ts'
import { stderrLog } from '../node/log.ts'
import type { Given } from './command.ts'
import { describeLost } from './lost-words.ts'
import { answerJson, say } from './output.ts'

/** Events of a long command: on standard error with `--log`, among the answer's lines with `--json`, else nowhere. */
export function logOf(given: Given): Log {
  if (given.has('--log')) return stderrLog()
  if (!given.json) return { event: (event, fields = {}) => sayLost(event, fields) }
  return {
    event: (event, fields = {}) =>
      void answerJson({ type: 'event', event, ...fields }).catch(() => undefined),
  }
}

type Noted = { readonly event: string; readonly [field: string]: string | number }

/** What a person should know now: words on standard error, or an event where standard error is for a program. */
export function notice(given: Given, log: Log, words: string, noted: Noted): void {
  const { event, ...fields } = noted
  if (given.json || given.has('--log')) log.event(event, fields)
  else say(words)
}

/** What nobody is to miss, whether or not events are asked for. */
function sayLost(event: string, fields: { readonly [field: string]: unknown }): void {
  if (event === 'send/settled')
    say(
      `by your word ${fields.lines} of ${fields.file} are looked after: ${fields.peer} may have them, or not`,
    )
  const arrived = event === 'mailbox/unknown'
  if (!arrived && event !== 'mailbox/lost') return
  const { peer, way, first, last } = fields
  const range = { arrived, first: Number(first), last: Number(last) }
  const words = describeLost(String(peer), { ...range, way: way === 'sent' ? way : 'received' })
  say(`${arrived ? '' : 'LOST: '}${words}, after an amendment; pawl doctor lists it`)
}
