import type { Role } from '../channel/state.ts'
import { sessionMarkPrefix } from '../keeper/session-marks.ts'

/** Where what is kept of a letter session lies (docs/spec/letter.md, section 6). */
export const letterPrefix = '/pawl/letter/'

export type Paths = ReturnType<typeof pathsOf>

export function pathsOf(key: string, role: Role) {
  const place = `${letterPrefix}${role}/${key}`
  return {
    session: `${place}/session`,
    proof: `${place}/proof`,
    hello: `${place}/hello`,
    seen: `${place}/seen`,
    scope: `letter:${role}:${key}`,
    helloScope: `letter-hello:${role}:${key}`,
    mark: `${sessionMarkPrefix}${role}-${key}`,
  } as const
}
