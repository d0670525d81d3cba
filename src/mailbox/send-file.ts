import { concat, equal } from '../bytes/bytes.ts'
import { RunningSha256, sha256 } from '../crypto/hash.ts'
import type { Disk, File } from '../host/disk.ts'
import { StateError } from '../state/error.ts'
import type { Store } from '../state/store.ts'
import {
  decodeJob,
  type Job,
  jobPath,
  lineStarts,
  lostLines,
  outdatedRuns,
  type Run,
  withRuns,
} from './job.ts'
import { limits } from './limits.ts'
import { listLost } from './lost.ts'
import type { Outbox } from './outbox.ts'

export type QueueOptions = {
  readonly again: boolean
  /** Queues those lines once more, before what is new, that never arrive; where nobody knows, the user does from now on. */
  readonly lost?: boolean
  /** Told how many lines this call has queued. */
  readonly progress?: (job: Job, queued: number) => void
  /** Told of lines that may have arrived, and are settled by the user's word. */
  readonly settled?: (lines: readonly Run[]) => void
  readonly stop?: AbortSignal
}

type Line = Pick<Run, 'line' | 'offset'> & { readonly bytes: Uint8Array }

const chunkBytes = 256 * 1024
const lineFeed = 10

/**
 * Queues the lines of the file that are not queued yet, each with its own line end, waiting while too much is
 * unacknowledged. `path` is the file's real path. Answers with the job once all of it is queued. One call at a time for
 * a job; several jobs may share the outbox.
 * @throws StateError EINVAL if what was queued of the file has changed since, or a line is over 16 MiB; the reason of
 * `stop`, once what was being queued is
 */
export async function queueFile(
  disk: Pick<Disk, 'open'>,
  store: Store,
  outbox: Outbox,
  peer: Uint8Array,
  path: string,
  options: QueueOptions,
): Promise<Job> {
  const record = jobPath(peer, path)
  const empty = sha256(new Uint8Array(0))
  const fresh: Job = { path, peer, length: 0, sha256: empty, lines: 0, first: 0, last: 0, runs: [] }
  let job = !options.again && store.has(record) ? decodeJob((await store.get(record)).payload) : fresh
  let queued = 0
  const stopped = aborted(options.stop)
  const put = async (lines: readonly Line[], next: Partial<Job>, runs?: readonly Run[], joins = true) => {
    await Promise.race([outbox.until(() => !outbox.isFull), stopped])
    options.stop?.throwIfAborted()
    const messages = lines.map(({ bytes }) => bytes)
    await outbox.put(messages, last => {
      const first = last - lines.length + 1
      const numbered = lines.map(({ line, offset }, i) => ({ line, offset, first: first + i, count: 1 }))
      const counted = { ...job, ...next, ...(lines.length > 0 && { first: job.first || first, last }) }
      const made = withRuns(store, counted, runs ?? numbered, joins)
      job = made.job
      return [...outdatedRuns(store, job), ...made.changes]
    })
    queued += lines.length
    options.progress?.(job, queued)
  }
  const file = await disk.open(path, { access: 'read' })
  try {
    const { kind, size } = await file.stat()
    if (kind !== 'file')
      throw new StateError('EINVAL', `${path} is no regular file: only a file can be resumed`)
    if (size < job.length) throw changed(path)
    const { hash, endsLine } = await hashPrefix(file, job.length, options.stop)
    if (!equal(hash.digest(), job.sha256)) throw changed(path)
    options.progress?.(job, queued)
    if (options.lost === true) {
      const { never, unsure } = await lostLines(store, job, await listLost(store, peer))
      if (never.length > 0)
        for await (const lines of linesAgain(file, job, await lineStarts(store, job), never))
          await put(lines, {})
      if (unsure.length > 0) {
        const settled = unsure.map(run => ({ ...run, first: 0 }))
        await put([], {}, settled)
        options.settled?.(settled)
      }
    }
    let joins = endsLine
    for await (const lines of linesFrom(file, path, { line: job.lines + 1, offset: job.length })) {
      for (const { bytes } of lines) hash.update(bytes)
      const length = job.length + lines.reduce((sum, { bytes }) => sum + bytes.length, 0)
      const next = { length, sha256: hash.digest(), lines: job.lines + lines.length }
      await put(lines, next, undefined, joins)
      joins = true
    }
    return job
  } finally {
    await file.close()
  }
}

/** Whether every message of the job is acknowledged, or was given up. */
export function isDelivered(job: Job, outbox: Outbox): boolean {
  return outbox.acknowledged.next > job.last
}

function aborted(signal: AbortSignal | undefined): Promise<void> {
  return new Promise(resolve => {
    if (signal?.aborted === true) resolve()
    else signal?.addEventListener('abort', () => resolve(), { once: true })
  })
}

function changed(path: string): StateError {
  return new StateError(
    'EINVAL',
    `${path} has changed in the part that was already queued; use --again to send all of it anew`,
  )
}

/** `endsLine`: what follows begins a line of its own. */
async function hashPrefix(
  file: File,
  length: number,
  stop: AbortSignal | undefined,
): Promise<{ readonly hash: RunningSha256; readonly endsLine: boolean }> {
  let endsLine = true
  const hash = new RunningSha256()
  const buffer = new Uint8Array(chunkBytes)
  for (let offset = 0; offset < length; ) {
    const count = await file.read(buffer.subarray(0, Math.min(chunkBytes, length - offset)), offset)
    if (count === 0) break
    stop?.throwIfAborted()
    hash.update(buffer.subarray(0, count))
    offset += count
    endsLine = buffer[count - 1] === lineFeed
  }
  return { hash, endsLine }
}

/** Those lines of the part that is queued, as they were sent, some at a time. */
async function* linesAgain(
  file: File,
  job: Job,
  starts: readonly number[],
  wanted: readonly Run[],
): AsyncGenerator<Line[]> {
  let line = 1
  let [start, next] = [0, 0]
  for await (const found of linesFrom(file, job.path, { line, offset: 0 }, job.length)) {
    const lines: Line[] = []
    const take = (offset: number, bytes: Uint8Array) => {
      for (let run = wanted[next]; run && run.line + run.count <= line; run = wanted[next]) next++
      if ((wanted[next]?.line ?? Number.POSITIVE_INFINITY) <= line) lines.push({ line, offset, bytes })
      line++
    }
    for (const { offset, bytes } of found) {
      let from = offset
      for (let at = starts[start]; at !== undefined && at < offset + bytes.length; at = starts[++start]) {
        if (at <= from) continue
        take(from, bytes.subarray(from - offset, at - offset))
        from = at
      }
      take(from, bytes.subarray(from - offset))
    }
    if (lines.length > 0) yield lines
  }
}

/** Whole lines from there on, some at a time; the last one may lack its line end. */
async function* linesFrom(
  file: File,
  path: string,
  from: Pick<Run, 'line' | 'offset'>,
  to = Number.MAX_SAFE_INTEGER,
): AsyncGenerator<Line[]> {
  let pending: Uint8Array[] = []
  let pendingBytes = 0
  let { line, offset: begin } = from
  const whole = (bytes: Uint8Array): Line => {
    const found = { line: line++, offset: begin, bytes }
    begin += bytes.length
    return found
  }
  const refuseIfLong = (length: number): void => {
    if (length > limits.messageBytesMax)
      throw new StateError('EINVAL', `${path}: line ${line} is over ${limits.messageBytesMax} bytes`)
  }
  for (let offset = from.offset; offset < to; ) {
    const buffer = new Uint8Array(Math.min(chunkBytes, to - offset))
    const count = await file.read(buffer, offset)
    if (count === 0) break
    offset += count
    const chunk = buffer.subarray(0, count)
    const lines: Line[] = []
    let start = 0
    for (let end = chunk.indexOf(lineFeed); end >= 0; end = chunk.indexOf(lineFeed, start)) {
      const bytes = concat(...pending, chunk.subarray(start, end + 1))
      refuseIfLong(bytes.length)
      lines.push(whole(bytes))
      pending = []
      pendingBytes = 0
      start = end + 1
    }
    if (start < chunk.length) {
      pending.push(chunk.subarray(start))
      pendingBytes += chunk.length - start
    }
    refuseIfLong(pendingBytes)
    for (let i = 0; i < lines.length; i += limits.linesMax) yield lines.slice(i, i + limits.linesMax)
  }
  if (pendingBytes > 0) yield [whole(concat(...pending))]
}
