import type { Clock } from '../host/clock.ts'
import { answerJson, count } from './output.ts'

export type Figures = {
  /** Lines of the file that are safely queued. */
  readonly queued: number
  /** Lines of it that the peer has acknowledged. */
  readonly acknowledged: number
}

const drawEveryMs = 100
const jsonEveryMs = 1000
const rateOverMs = 2000

/** How far a job is, while it runs: one line on a terminal's standard error, or JSON lines; else nothing. */
export class Progress {
  readonly #clock: Clock
  readonly #mode: 'terminal' | 'json' | 'silent'
  readonly #figures: () => Figures
  readonly #seen: { readonly at: number; readonly acknowledged: number }[] = []
  #cancel: (() => void) | undefined
  #drawn = false

  constructor(clock: Clock, json: boolean, figures: () => Figures) {
    this.#clock = clock
    this.#mode = json ? 'json' : process.stderr.isTTY ? 'terminal' : 'silent'
    this.#figures = figures
  }

  get everyMs(): number {
    return this.#mode === 'terminal' ? drawEveryMs : jsonEveryMs
  }

  start(): void {
    if (this.#mode === 'silent') return
    this.#cancel = this.#clock.after(this.everyMs, () => {
      this.#show()
      this.start()
    })
  }

  /** Leaves the terminal as if nothing had been drawn. */
  end(): void {
    this.#cancel?.()
    this.wipe()
  }

  /** For another line in its place. */
  wipe(): void {
    if (this.#drawn) process.stderr.write('\r\u001b[K')
    this.#drawn = false
  }

  #show(): void {
    const figures = this.#figures()
    const rate = this.#rate(figures.acknowledged)
    if (this.#mode === 'json') {
      void answerJson({ type: 'progress', ...figures, perSecond: rate }).catch(() => undefined)
      return
    }
    const { queued, acknowledged } = figures
    process.stderr.write(
      `\r${count(queued)} queued  ${count(acknowledged)} acknowledged  ${count(rate)}/s\u001b[K`,
    )
    this.#drawn = true
  }

  /** Acknowledged lines a second, over the last moments. */
  #rate(acknowledged: number): number {
    const at = this.#clock.monotonic()
    this.#seen.push({ at, acknowledged })
    while (this.#seen.length > 2 && at - (this.#seen[0]?.at ?? at) > rateOverMs) this.#seen.shift()
    const first = this.#seen[0]
    if (first === undefined || first.at === at) return 0
    return Math.round(((acknowledged - first.acknowledged) / (at - first.at)) * 1000)
  }
}
