import fs from 'node:fs'
import { diskError } from './errno.ts'
import { settled } from './file.ts'
import { LineQueue } from './line-queue.ts'

/** Takes lines as they come, and never makes whoever tells them wait: see {@link LineQueue}. */
export type LineSink = {
  write(lines: readonly string[]): void
  /** Writes what waits. Throws `DiskError` or `WireError` if that failed, now or before. */
  close(): Promise<void>
}

/** Lines appended to a file of mode 0600. `dropped`: as of {@link LineQueue}. Throws `DiskError`. */
export async function openLineSink(path: string, dropped: (count: number) => string): Promise<LineSink> {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = fs.constants
  const flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK
  const fd = await settled<number>('open', path, done => fs.open(path, flags, 0o600, done))
  return new FileSink(fd, path, new LineQueue(dropped))
}

class FileSink implements LineSink {
  readonly #fd: number
  readonly #path: string
  readonly #queue: LineQueue
  #writing: Promise<void> | undefined
  #failure: unknown

  constructor(fd: number, path: string, queue: LineQueue) {
    this.#fd = fd
    this.#path = path
    this.#queue = queue
  }

  write(lines: readonly string[]): void {
    if (this.#failure !== undefined) return
    this.#queue.add(lines)
    this.#writing ??= this.#run().finally(() => {
      this.#writing = undefined
    })
  }

  async close(): Promise<void> {
    await this.#writing
    await settled<void>('close', this.#path, done => fs.close(this.#fd, done))
    if (this.#failure !== undefined) throw diskError('write', this.#path, this.#failure)
  }

  async #run(): Promise<void> {
    try {
      while (!this.#queue.isEmpty) {
        let bytes: Buffer = Buffer.from(`${this.#queue.take().join('\n')}\n`)
        while (bytes.length > 0) {
          const count = await settled<number>('write', this.#path, done => fs.write(this.#fd, bytes, done))
          bytes = bytes.subarray(count)
        }
      }
    } catch (error) {
      this.#failure ??= error
    }
  }
}
