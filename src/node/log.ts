import type { Log } from '../host/log.ts'

/** JSON lines on stderr: `ts` (ISO 8601, UTC), `event`, then the fields. */
export function stderrLog(): Log {
  // Whoever read the log may have gone: that must not stop the work.
  process.stderr.on('error', ignore)
  return lineLog(line => process.stderr.write(line))
}

/** The same lines, given to `write` one at a time. */
export function lineLog(write: (line: string) => void): Log {
  return {
    event(name, fields = {}) {
      const { ts: _ts, event: _event, ...rest } = fields
      write(`${JSON.stringify({ ts: new Date().toISOString(), event: name, ...rest })}\n`)
    },
  }
}

export const silentLog: Log = { event() {} }

function ignore(): void {}
