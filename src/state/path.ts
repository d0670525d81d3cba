import { StateError } from './error.ts'
import { limits } from './limits.ts'

/** Records of the product itself; no subject may write there. */
export const ownPrefix = '/pawl/'
/** Where the journal begins (docs/spec/journal.md, "Compaction"). */
export const journalPath = `${ownPrefix}journal`
/** The policy in force (docs/spec/policy.md, section 3). */
export const rotationPath = `${ownPrefix}rotation`
/** Not a record: what the audit trail says of keys is about it. */
export const keysPath = `${ownPrefix}keys`
export const policyPath = `${ownPrefix}policy`
/** The parameters in force (docs/spec/parameters.md, section 3). */
export const parametersPath = `${ownPrefix}parameters`
/** Peers that went on by an amendment, and what was given up with peers for one: the audit trail tells of decisions. */
export const amendedPrefix = `${ownPrefix}amended/`
export const lostPrefix = `${ownPrefix}lost/`
/** Peers with whom a session was refused: the audit trail tells of it. */
export const refusedPrefix = `${ownPrefix}refused/`
/** What applications write. */
export const statePrefix = '/state/'

const shape = /^(?:\/(?!\.{1,2}(?:\/|$))[!-.0-~]+)+$/

export function isPath(path: string): boolean {
  return path.length <= limits.pathBytesMax && shape.test(path)
}

/** D5: 1 to 255 visible ASCII characters, `/name/name...`, no empty, `.` or `..` component. */
export function checkPath(path: string): string {
  if (path.length > limits.pathBytesMax)
    throw new StateError('EINVAL', `path is over ${limits.pathBytesMax} bytes`)
  if (!shape.test(path))
    throw new StateError(
      'EINVAL',
      `not a path: ${JSON.stringify(path)}; use /state/NAME/NAME of visible ASCII`,
    )
  return path
}

export function checkStatePath(path: string): string {
  checkPath(path)
  if (!path.startsWith(statePrefix))
    throw new StateError('EINVAL', `paths begin with ${statePrefix}: ${path}`)
  return path
}
