import { BytesError, base64url, concat, utf8 } from '../bytes/bytes.ts'
import {
  asArray,
  asBytes,
  asCount,
  asText,
  type CborValue,
  decodeCborMap,
  encodeCbor,
} from '../bytes/cbor.ts'
import { sha256 } from '../crypto/hash.ts'
import type { Change } from '../state/change.ts'
import type { Store } from '../state/store.ts'
import { limits } from './limits.ts'
import type { Lost } from './settlement.ts'

/**
 * Lines of a file, from `line` on, that have message numbers from `first` on; 0 where this end's user has settled what
 * became of them. At `offset` in the file a line begins: the first of the run, when it was queued.
 */
export type Run = {
  readonly line: number
  readonly offset: number
  readonly first: number
  readonly count: number
}

/**
 * A job: the lines of one file for one peer (docs/spec/mailbox.md, "Send job"). What is queued of it is committed
 * together with the outbox entries, so the same command continues after a crash, and a finished job sends nothing.
 */
export type Job = {
  readonly path: string
  readonly peer: Uint8Array
  /** How much of the file is queued, and its SHA-256. */
  readonly length: number
  readonly sha256: Uint8Array
  readonly lines: number
  /** The numbers of the first and the last message, 0 before the first. */
  readonly first: number
  readonly last: number
  /** The newest runs; those before are records of their own. Of a line in two of them the later one holds. */
  readonly runs: readonly Run[]
}

/** Lines of a job of which something was lost, in order. */
export type LostLines = {
  /** They never arrive. */
  readonly never: readonly Run[]
  /** The receiver has messages of these numbers that this end does not know: these lines, or others. */
  readonly unsure: readonly Run[]
}

/** The job with these runs behind the others, joined to those that they follow if they may be, and the records that say so. */
export function withRuns(
  store: Store,
  job: Job,
  added: readonly Run[],
  joins: boolean,
): { readonly job: Job; readonly changes: Change[] } {
  const { peer, path, first } = job
  const place = runsOf(peer, path, first)
  const changes: Change[] = []
  const runs = [...job.runs]
  let older = store.list(place).length
  for (const run of added) {
    const last = runs.at(-1)
    if (joins && last !== undefined && follows(last, run))
      runs.splice(-1, 1, { ...last, count: last.count + run.count })
    else if (runs.push(run) > limits.jobRunsMax) {
      const put = `${place}${(++older).toString().padStart(8, '0')}`
      changes.push({ put, payload: encodeRuns(runs.splice(0, limits.jobRunsMax)) })
    }
  }
  const next = { ...job, runs }
  return { job: next, changes: [...changes, { put: jobPath(peer, path), payload: encodeJob(next) }] }
}

/** Takes away, a part at a time, what an earlier job of the same file has left. */
export function outdatedRuns(store: Store, { peer, path, first }: Job): Change[] {
  const own = runsOf(peer, path, first)
  const all = store.list(`${jobPath(peer, path)}/`).filter(each => !each.startsWith(own))
  return all.slice(0, limits.deletesMax).map(each => ({ delete: each }))
}

/** What of a job was given up: its own numbers count, and not those of others that stand between them. */
export async function lostLines(store: Store, job: Job, lost: readonly Lost[]): Promise<LostLines> {
  if (!lost.some(({ way, first, last }) => way === 'sent' && first <= job.last && last >= job.first))
    return { never: [], unsure: [] }
  let rest = (await currentRuns(store, job)).filter(({ first }) => first > 0)
  const taken = (arrived: boolean) => {
    const out: Run[] = []
    for (const { way, first, last, ...range } of lost) {
      if (way !== 'sent' || range.arrived !== arrived) continue
      out.push(...rest.flatMap(run => within(run, 'first', first, last)))
      rest = rest.flatMap(run => [
        ...within(run, 'first', 0, first - 1),
        ...within(run, 'first', last + 1, Number.MAX_SAFE_INTEGER),
      ])
    }
    return joined(out)
  }
  const unsure = taken(true) // first: of a number on record as both, nobody can say that it is not there
  return { never: taken(false), unsure }
}

/** Where in the file lines begin, in order: among them each that does not follow a line end, for that before it was sent without. */
export async function lineStarts(store: Store, job: Job): Promise<readonly number[]> {
  return (await allRuns(store, job)).map(({ offset }) => offset).sort((a, b) => a - b)
}

export function jobPath(peer: Uint8Array, path: string): string {
  return `/pawl/job/${base64url(sha256(concat(peer, utf8(path))))}`
}

async function allRuns(store: Store, { peer, path, first, runs }: Job): Promise<Run[]> {
  const older = await Promise.all(
    store.list(runsOf(peer, path, first)).map(async each => decodeRuns((await store.get(each)).payload)),
  )
  return [...older.flat(), ...runs]
}

/** Each line once, in order, with the number that it has now. */
async function currentRuns(store: Store, job: Job): Promise<Run[]> {
  let current: Run[] = []
  for (const run of await allRuns(store, job)) {
    const newest = current.at(-1)
    const isBehind = newest === undefined || newest.line + newest.count <= run.line
    if (!isBehind)
      current = current.flatMap(before => [
        ...within(before, 'line', 0, run.line - 1),
        ...within(before, 'line', run.line + run.count, Number.MAX_SAFE_INTEGER),
      ])
    current.push(run)
    if (!isBehind) current.sort((a, b) => a.line - b.line)
  }
  return current
}

/** What of a run lies there, by lines or by numbers. */
function within(run: Run, by: 'line' | 'first', from: number, to: number): Run[] {
  const skipped = Math.max(0, from - run[by])
  const count = Math.min(run.count, to - run[by] + 1) - skipped
  return count > 0
    ? [{ ...run, line: run.line + skipped, first: run.first && run.first + skipped, count }]
    : []
}

function joined(runs: readonly Run[]): Run[] {
  const out: Run[] = []
  for (const run of runs.toSorted((a, b) => a.line - b.line)) {
    const last = out.at(-1)
    if (last !== undefined && last.line + last.count === run.line)
      out.splice(-1, 1, { ...last, count: last.count + run.count })
    else out.push(run)
  }
  return out
}

function follows(last: Run, { line, first }: Run): boolean {
  if (last.line + last.count !== line) return false
  return last.first === 0 ? first === 0 : last.first + last.count === first
}

/** The number of the first message names them: what an earlier job of the file left is another one's. */
function runsOf(peer: Uint8Array, path: string, first: number): string {
  return `${jobPath(peer, path)}/${first.toString().padStart(16, '0')}/`
}

function encodeJob({ runs, ...job }: Job): Uint8Array {
  return encodeCbor({ format: 1, ...job, runs: runs.map(asNumbers) })
}

/** @throws BytesError */
export function decodeJob(bytes: Uint8Array): Job {
  const keys = ['format', 'path', 'peer', 'length', 'sha256', 'lines', 'first', 'last', 'runs']
  const map = decodeCborMap(bytes, keys)
  if (map.format !== 1) throw new BytesError('send job of an unknown format')
  return {
    path: asText(map.path),
    peer: asBytes(map.peer, 32),
    length: asCount(map.length),
    sha256: asBytes(map.sha256, 32),
    lines: asCount(map.lines),
    first: asCount(map.first),
    last: asCount(map.last),
    runs: asRuns(map.runs),
  }
}

function encodeRuns(runs: readonly Run[]): Uint8Array {
  return encodeCbor({ format: 1, runs: runs.map(asNumbers) })
}

/** @throws BytesError */
export function decodeRuns(bytes: Uint8Array): Run[] {
  const map = decodeCborMap(bytes, ['format', 'runs'])
  if (map.format !== 1) throw new BytesError('lines of a send job of an unknown format')
  return asRuns(map.runs)
}

function asNumbers({ line, offset, first, count }: Run): number[] {
  return [line, offset, first, count]
}

function asRuns(value: CborValue | undefined): Run[] {
  return asArray(value, limits.jobRunsMax).map(each => {
    const [line = 0, offset = 0, first = 0, count = 0, ...more] = asArray(each, 4).map(number =>
      asCount(number),
    )
    if (line < 1 || count < 1 || more.length > 0) throw new BytesError('not lines of a send job')
    return { line, offset, first, count }
  })
}
