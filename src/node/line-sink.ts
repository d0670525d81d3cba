import fs from 'node:fs'
import { settled } from './file.ts'
import { LineQueue } from './line-queue.ts'

/** Takes lines as they come, and never makes whoever tells them wait: see {@link LineQueue}. */
export type LineSink = {
  write(lines: readonly string[]): void
  /** Writes what waits. Throws `DiskError` or `WireError` if that failed, now or before. */
  close(): Promise<void>
}

/** Told once each, by turns. */
export type Tell = {
  /** Nothing could be written for a while; it is tried again until it can. */
  behind(error: unknown): void
  /** What waited is written. */
  caughtUp(): void
}

const againMsMin = 50
const againMsMax = 5_000
/** A pipe that is full for a moment is no news. */
const failuresTold = 4
/** At the end, how long what waits may take. */
const closingMsMax = 1_000

/**
 * Lines appended to a file of mode 0600, or to a pipe. What cannot be written is tried again, from the byte on where it
 * was cut; a line that an earlier process left cut is ended first. `dropped`: as of {@link LineQueue}. Throws `DiskError`.
 */
export async function openLineSink(
  path: string,
  dropped: (count: number) => string,
  tell: Tell = { behind() {}, caughtUp() {} },
): Promise<LineSink> {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = fs.constants
  const flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK
  const fd = await opened(path, flags)
  try {
    return new FileSink(fd, path, new LineQueue(dropped), tell, (await endsInside(fd, path)) ? '\n' : '')
  } catch (error) {
    fs.closeSync(fd)
    throw error
  }
}

function opened(path: string, flags: number): Promise<number> {
  return settled('open', path, done => fs.open(path, flags, 0o600, done))
}

/** Whether that file ends in the middle of a line. */
async function endsInside(fd: number, path: string): Promise<boolean> {
  const stats = await settled<fs.Stats>('fstat', path, done => fs.fstat(fd, done))
  if (!stats.isFile() || stats.size === 0) return false
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants
  const reading = await opened(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const last = Buffer.alloc(1)
    await settled<number>('read', path, done => fs.read(reading, last, 0, 1, stats.size - 1, done))
    return last.toString() !== '\n'
  } finally {
    await settled<void>('close', path, done => fs.close(reading, done))
  }
}

class FileSink implements LineSink {
  readonly #fd: number
  readonly #path: string
  readonly #queue: LineQueue
  readonly #tell: Tell
  /** What is not written yet of what was taken from the queue. */
  #rest: Buffer
  #writing: Promise<void> | undefined
  #failures = 0
  #againMs = againMsMin
  #giveUpAt = Number.POSITIVE_INFINITY
  #wake: () => void = () => {}
  #failure: unknown

  constructor(fd: number, path: string, queue: LineQueue, tell: Tell, first: string) {
    this.#fd = fd
    this.#path = path
    this.#queue = queue
    this.#tell = tell
    this.#rest = Buffer.from(first)
  }

  write(lines: readonly string[]): void {
    this.#queue.add(lines)
    this.#writing ??= this.#run().finally(() => {
      this.#writing = undefined
    })
  }

  async close(): Promise<void> {
    this.#giveUpAt = performance.now() + closingMsMax
    this.#againMs = againMsMin
    this.#wake()
    await this.#writing
    await settled<void>('close', this.#path, done => fs.close(this.#fd, done))
    if (this.#failure !== undefined) throw this.#failure
  }

  async #run(): Promise<void> {
    while (!this.#queue.isEmpty) {
      const lines = Buffer.from(`${this.#queue.take().join('\n')}\n`)
      this.#rest = Buffer.concat([this.#rest, lines])
      while (this.#rest.length > 0) {
        const error = await this.#writeOnce()
        if (error === undefined) continue
        if (performance.now() >= this.#giveUpAt) {
          this.#failure = error
          return
        }
        if (++this.#failures === failuresTold) this.#tell.behind(error)
        await this.#pause()
      }
    }
    if (this.#failures >= failuresTold) this.#tell.caughtUp()
    this.#failures = 0
  }

  /** Answers with why nothing was written. */
  async #writeOnce(): Promise<unknown> {
    try {
      const write = (done: (error: Error | null, count: number) => void) =>
        fs.write(this.#fd, this.#rest, done)
      this.#rest = this.#rest.subarray(await settled<number>('write', this.#path, write))
      this.#againMs = againMsMin
      return undefined
    } catch (error) {
      return error
    }
  }

  #pause(): Promise<void> {
    const ms = this.#againMs
    this.#againMs = Math.min(2 * ms, againMsMax)
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}
