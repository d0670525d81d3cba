import { hex, utf8 } from '../bytes/bytes.ts'
import type { Clock } from '../host/clock.ts'
import { type Disk, DiskError, type File } from '../host/disk.ts'
import { newestWhole, type Term, termsOf } from './terms.ts'

/** How often the owner of a shared home says that it is there. */
export const pulseMs = 500

const pulseBytes = 16
const ended = utf8('ended'.padEnd(pulseBytes))

/**
 * The sign of life of an owner (docs/spec/ownership.md, "Sign of life"): a file in its own directory that changes. It says
 * when taking over is worth a try; who owns is decided at the keeper alone.
 */
export class Pulse {
  readonly #file: File
  readonly #clock: Clock
  #count = 0
  #writing: Promise<void> = Promise.resolve()
  #cancel = () => {}
  #isOver = false

  private constructor(file: File, clock: Clock) {
    this.#file = file
    this.#clock = clock
  }

  /** `each` is done with every beat; neither has to succeed. */
  static async start(disk: Disk, clock: Clock, term: Term, each: () => Promise<void>): Promise<Pulse> {
    const pulse = new Pulse(await disk.open(term.pulse, { access: 'exclusive' }), clock)
    await pulse.#write(String(pulse.#count))
    await disk.syncDirectory(term.path)
    pulse.#next(each)
    return pulse
  }

  /** Says that it ended: whoever waits need not wait any longer. */
  async stop(): Promise<void> {
    if (this.#isOver) return
    this.#isOver = true
    this.#cancel()
    await this.#writing
    await this.#write('ended').catch(() => {}) // it only takes longer then
    await this.#file.close().catch(() => {})
  }

  #next(each: () => Promise<void>): void {
    this.#cancel = this.#clock.after(pulseMs, () => {
      this.#writing = this.#write(String(++this.#count))
        .then(each)
        .catch(() => {}) // who sees no sign of life takes over
        .then(() => {
          if (!this.#isOver) this.#next(each)
        })
    })
  }

  async #write(sign: string): Promise<void> {
    await this.#file.write(utf8(sign.padEnd(pulseBytes)), 0)
    await this.#file.sync()
  }
}

/** What is to be seen of the owner of a shared home: it changes while somebody is at work there. */
export type Sign = { readonly seen: string; readonly isEnded: boolean; readonly highest: number }

export async function signIn(disk: Disk, shared: string): Promise<Sign> {
  const terms = await termsOf(disk, shared)
  const highest = terms.at(-1)
  const pulse = highest && (await pulseOf(disk, highest))
  const whole = await newestWhole(disk, shared)
  const isMade = highest !== undefined && highest.number === 0 && whole !== undefined
  const numbers = terms.map(({ number }) => number).join(' ')
  return {
    seen: `${numbers}, ${whole?.number}: ${pulse}`,
    isEnded: pulse === hex(ended) || isMade, // a new home has had no owner
    highest: highest?.number ?? 0,
  }
}

async function pulseOf(disk: Disk, term: Term): Promise<string | undefined> {
  try {
    const file = await disk.open(term.pulse, { access: 'read' })
    const bytes = new Uint8Array(pulseBytes)
    const length = await file.read(bytes, 0).finally(() => file.close())
    return hex(bytes.subarray(0, length)) // whatever a crash left there
  } catch (error) {
    if (error instanceof DiskError && error.code === 'missing') return undefined
    throw error
  }
}
