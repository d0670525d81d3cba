import { UsageError } from './command.ts'

/** HOST:PORT, `[::1]:7100` for an address with colons. */
export type Place = { readonly host: string; readonly port: number }

/** @throws UsageError */
export function parsePlace(text: string, flag: '--listen' | '--to'): Place {
  const parts = /^(?:\[([^\]\s]+)\]|([^:\s[\]]+)):(\d{1,5})$/.exec(text)
  const host = parts?.[1] ?? parts?.[2]
  const port = Number(parts?.[3])
  const lowest = flag === '--listen' ? 0 : 1
  if (host === undefined || port < lowest || port > 65_535)
    throw new UsageError(
      `${flag} takes HOST:PORT, not ${JSON.stringify(text)}`,
      `for example ${flag} ${flag === '--listen' ? '0.0.0.0:7100, or port 0 for any' : 'bob.example:7100, or [::1]:7100'}`,
    )
  return { host, port }
}
