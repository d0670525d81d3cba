import type { DiskFault } from '../../src/host/disk.ts'
import type { Image } from './image.ts'
import type { AfterFailedSync } from './machine.ts'

/** One call into the disk, as a fault rule sees it. Numbers count from 1 over all processes of the machine. */
export type Call = {
  readonly number: number
  readonly operation:
    | 'open'
    | 'create'
    | 'makeDirectory'
    | 'list'
    | 'rename'
    | 'unlink'
    | 'removeDirectory'
    | 'stat'
    | 'syncDirectory'
    | 'lock'
    | 'unlock'
    | 'read'
    | 'write'
    | 'truncate'
    | 'sync'
    | 'close'
  readonly path: string
  /** For `rename`. */
  readonly to?: string
  /** For `read`, `write` and `truncate`. */
  readonly position?: number
  readonly length?: number
  /** For `write`: it syncs what it wrote. */
  readonly durable?: boolean
}

/** What goes wrong with a call. */
export type Fault = {
  /** The call takes this long, and then does what else is said here. */
  readonly waits?: Promise<unknown>
  /** The call fails with this code. */
  readonly fails?: DiskFault
  /** For a failing write: so many of its bytes are written all the same (default none). */
  readonly applied?: number
  /**
   * For a failing sync, of a file or directory, and for the sync inside a durable write: what becomes of the work
   * it was to cover. `dropped` (default): lost and marked clean, while readers still see it. `reverted`: lost, and
   * readers see it gone. `partial`: a random part landed, the rest is dropped. `kept`: still pending.
   */
  readonly after?: AfterFailedSync
  /** The barrier answers yes and does nothing. */
  readonly lies?: boolean
  /** A write answers yes and is lost, or lands so many bytes further on: what it was meant for keeps its content. */
  readonly lands?: 'nowhere' | number
  /** A read answers what the file was in an older image, or what lies so many bytes further on. */
  readonly answers?: Image | number
}

export type FaultRule = (call: Call) => Fault | undefined

/** The n-th call that matches, first 1, goes wrong; with `onwards`, every later one too. */
export function atNth(
  n: number,
  matches: (call: Call) => boolean,
  fault: Fault,
  options: { readonly onwards?: boolean } = {},
): FaultRule {
  let seen = 0
  return call => {
    if (!matches(call)) return undefined
    seen++
    return seen === n || (options.onwards === true && seen > n) ? fault : undefined
  }
}

/** The first rule that has something to say. */
export function anyOf(...rules: readonly FaultRule[]): FaultRule {
  return call => {
    let fault: Fault | undefined
    for (const rule of rules) fault ??= rule(call)
    return fault
  }
}
