import type { Wire } from '../host/wire.ts'
import { LineQueue } from './line-queue.ts'
import type { LineSink } from './line-sink.ts'
import { connectUnix } from './unix.ts'

/** Where systemd-journald takes lines (sd_journal_stream_fd(3)). */
export const journalPath = '/run/systemd/journal/stdout'

/** Severities of syslog(3). */
export type Priority = 4 | 6

export type JournalOptions = {
  /** SYSLOG_IDENTIFIER of each entry. */
  readonly identifier: string
  readonly priority: (line: string) => Priority
  readonly path?: string
  /** As of {@link LineQueue}. */
  readonly dropped: (count: number) => string
  /** At the end, how long what waits may take. */
  readonly closingMs?: number
}

const closingMsMax = 5_000
const againMsMin = 100
const againMsMax = 10_000

/**
 * Each line an entry of the systemd journal, its MESSAGE the line. When the journal goes away, lines wait until it is
 * back; what it took and lost is lost, what it was taking then may be there twice. Throws `WireError` if it is not there.
 */
export async function openJournalSink(options: JournalOptions): Promise<LineSink> {
  return new JournalSink(await connected(options), options)
}

class JournalSink implements LineSink {
  readonly #options: JournalOptions
  readonly #queue: LineQueue
  #wire: Wire | undefined
  #writing: Promise<void> | undefined
  #againMs = againMsMin
  #isClosing = false
  #isLate = false
  #wake: () => void = () => {}
  #failure: unknown

  constructor(wire: Wire, options: JournalOptions) {
    this.#wire = wire
    this.#options = options
    this.#queue = new LineQueue(options.dropped)
  }

  write(lines: readonly string[]): void {
    this.#queue.add(lines)
    this.#writing ??= this.#run().finally(() => {
      this.#writing = undefined
    })
  }

  async close(): Promise<void> {
    this.#isClosing = true
    this.#wake()
    const late = setTimeout(() => {
      this.#isLate = true
      this.#wire?.abort()
    }, this.#options.closingMs ?? closingMsMax)
    await this.#writing
    clearTimeout(late)
    this.#wire?.close()
    if (this.#failure !== undefined) throw this.#failure
  }

  async #run(): Promise<void> {
    while (!this.#queue.isEmpty) {
      const lines = this.#queue.take().map(line => `<${this.#options.priority(line)}>${line}\n`)
      const bytes = new TextEncoder().encode(lines.join(''))
      for (;;) {
        const isLast = this.#isClosing
        const failure = await this.#send(bytes)
        if (failure === undefined) break
        if (isLast || this.#isLate) {
          this.#failure = failure
          return
        }
        await this.#pause()
      }
    }
  }

  /** Answers with why the journal did not take them. */
  async #send(bytes: Uint8Array): Promise<unknown> {
    try {
      this.#wire ??= await connected(this.#options)
      await this.#wire.write(bytes)
      this.#againMs = againMsMin
      return undefined
    } catch (error) {
      this.#wire?.abort()
      this.#wire = undefined
      return error
    }
  }

  #pause(): Promise<void> {
    if (this.#isClosing) return Promise.resolve()
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

/** Whose lines they are, then lines with their priority before them; nothing is passed on to other logs. */
async function connected({ identifier, path = journalPath }: JournalOptions): Promise<Wire> {
  const wire = await connectUnix(path)
  const [unit, priority, withPriorities, toSyslog, toKernel, toConsole] = ['', 6, 1, 0, 0, 0]
  const header = [identifier, unit, priority, withPriorities, toSyslog, toKernel, toConsole]
  await wire.write(new TextEncoder().encode(header.map(field => `${field}\n`).join('')))
  return wire
}
