import { BytesError, base64url, concat, equal, utf8 } from '../bytes/bytes.ts'
import { asBytes, asCount, asText, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { RunningSha256, sha256 } from '../crypto/hash.ts'
import type { Disk, File } from '../host/disk.ts'
import { StateError } from '../state/error.ts'
import type { Store } from '../state/store.ts'
import { limits } from './limits.ts'
import type { Outbox } from './outbox.ts'
import type { Lost } from './settlement.ts'

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
}

export type QueueOptions = {
  readonly again: boolean
  readonly progress?: (job: Job) => void
  readonly stop?: AbortSignal
}

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
  const fresh = { path, peer, length: 0, sha256: sha256(new Uint8Array(0)), lines: 0, first: 0, last: 0 }
  let job: Job = !options.again && store.has(record) ? decodeJob((await store.get(record)).payload) : fresh
  const file = await disk.open(path, { access: 'read' })
  try {
    const { kind, size } = await file.stat()
    if (kind !== 'file')
      throw new StateError('EINVAL', `${path} is no regular file: only a file can be resumed`)
    if (size < job.length) throw changed(path)
    const hash = await hashPrefix(file, job.length, options.stop)
    if (!equal(hash.digest(), job.sha256)) throw changed(path)
    options.progress?.(job)
    const stopped = aborted(options.stop)
    for await (const lines of linesFrom(file, path, job)) {
      for (const line of lines) hash.update(line)
      const length = job.length + lines.reduce((sum, line) => sum + line.length, 0)
      const next: Job = { ...job, length, sha256: hash.digest(), lines: job.lines + lines.length }
      await Promise.race([outbox.until(() => !outbox.isFull), stopped])
      options.stop?.throwIfAborted()
      await outbox.put(lines, last => {
        job = { ...next, first: job.first || last - lines.length + 1, last }
        return [{ put: record, payload: encode(job) }]
      })
      options.progress?.(job)
    }
    return job
  } finally {
    await file.close()
  }
}

/** What of a job was given up: messages of others may stand between its own. */
export function lostOf(job: Job, lost: readonly Lost[]): Lost[] {
  return lost.filter(({ way, first, last }) => way === 'sent' && first <= job.last && last >= job.first)
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

async function hashPrefix(file: File, length: number, stop: AbortSignal | undefined): Promise<RunningSha256> {
  const hash = new RunningSha256()
  const buffer = new Uint8Array(chunkBytes)
  for (let offset = 0; offset < length; ) {
    const count = await file.read(buffer.subarray(0, Math.min(chunkBytes, length - offset)), offset)
    if (count === 0) break
    stop?.throwIfAborted()
    hash.update(buffer.subarray(0, count))
    offset += count
  }
  return hash
}

/** Runs of whole lines from where the job stands; the last one may lack its line end. */
async function* linesFrom(file: File, path: string, job: Job): AsyncGenerator<Uint8Array[]> {
  let pending: Uint8Array[] = []
  let pendingBytes = 0
  let lineNumber = job.lines + 1
  const refuseIfLong = (length: number): void => {
    if (length > limits.messageBytesMax)
      throw new StateError('EINVAL', `${path}: line ${lineNumber} is over ${limits.messageBytesMax} bytes`)
  }
  for (let offset = job.length; ; ) {
    const buffer = new Uint8Array(chunkBytes)
    const count = await file.read(buffer, offset)
    if (count === 0) break
    offset += count
    const chunk = buffer.subarray(0, count)
    const lines: Uint8Array[] = []
    let start = 0
    for (let end = chunk.indexOf(lineFeed); end >= 0; end = chunk.indexOf(lineFeed, start)) {
      const line = concat(...pending, chunk.subarray(start, end + 1))
      refuseIfLong(line.length)
      lines.push(line)
      pending = []
      pendingBytes = 0
      lineNumber++
      start = end + 1
    }
    if (start < chunk.length) {
      pending.push(chunk.subarray(start))
      pendingBytes += chunk.length - start
    }
    refuseIfLong(pendingBytes)
    for (let i = 0; i < lines.length; i += limits.linesMax) yield lines.slice(i, i + limits.linesMax)
  }
  if (pendingBytes > 0) yield [concat(...pending)]
}

function jobPath(peer: Uint8Array, path: string): string {
  return `/pawl/job/${base64url(sha256(concat(peer, utf8(path))))}`
}

function encode(job: Job): Uint8Array {
  return encodeCbor({ format: 1, ...job })
}

/** @throws BytesError */
export function decodeJob(bytes: Uint8Array): Job {
  const map = decodeCborMap(bytes, ['format', 'path', 'peer', 'length', 'sha256', 'lines', 'first', 'last'])
  if (map.format !== 1) throw new BytesError('send job of an unknown format')
  return {
    path: asText(map.path),
    peer: asBytes(map.peer, 32),
    length: asCount(map.length),
    sha256: asBytes(map.sha256, 32),
    lines: asCount(map.lines),
    first: asCount(map.first),
    last: asCount(map.last),
  }
}
