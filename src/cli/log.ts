import type { Log } from '../host/log.ts'
import { silentLog, stderrLog } from '../node/log.ts'
import type { Given } from './command.ts'
import { answerJson } from './output.ts'

/** Events of a long command: on standard error with `--log`, among the answer's lines with `--json`, else nowhere. */
export function logOf(given: Given): Log {
  if (given.has('--log')) return stderrLog()
  if (!given.json) return silentLog
  return {
    event: (event, fields = {}) =>
      void answerJson({ type: 'event', event, ...fields }).catch(() => undefined),
  }
}
