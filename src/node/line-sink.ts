import fs from 'node:fs'
import { diskError } from './errno.ts'
import { settled } from './file.ts'

/** What may wait to be written. More is dropped and counted: whoever tells the lines never waits for the disk. */
const waitingBytesMax = 1024 * 1024

/** Lines appended to a file of mode 0600, as they come. */
export type LineSink = {
  write(lines: readonly string[]): void
  /** Writes what waits. Throws `DiskError` if that failed, now or before. */
  close(): Promise<void>
}

/** `dropped` makes the line that stands for so many that were dropped. Throws `DiskError`. */
export async function openLineSink(path: string, dropped: (count: number) => string): Promise<LineSink> {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = fs.constants
  const flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK
  const fd = await settled<number>('open', path, done => fs.open(path, flags, 0o600, done))
  return new FileSink(fd, path, dropped)
}

class FileSink implements LineSink {
  readonly #fd: number
  readonly #path: string
  readonly #dropped: (count: number) => string
  #waiting: string[] = []
  #bytes = 0
  #missing = 0
  #writing: Promise<void> | undefined
  #failure: unknown

  constructor(fd: number, path: string, dropped: (count: number) => string) {
    this.#fd = fd
    this.#path = path
    this.#dropped = dropped
  }

  write(lines: readonly string[]): void {
    for (const line of lines) {
      if (this.#bytes + line.length > waitingBytesMax || this.#failure !== undefined) {
        this.#missing++
        continue
      }
      this.#waiting.push(line)
      this.#bytes += line.length
    }
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
      while (this.#waiting.length > 0 || this.#missing > 0) {
        const lines = this.#waiting.splice(0)
        this.#bytes = 0
        if (this.#missing > 0) lines.push(this.#dropped(this.#missing))
        this.#missing = 0
        let bytes: Buffer = Buffer.from(`${lines.join('\n')}\n`)
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
