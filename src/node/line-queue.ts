/** What may wait to be written. More is dropped and counted: whoever tells the lines never waits for what takes them. */
const waitingBytesMax = 1024 * 1024

/** Lines on their way to what takes them more slowly than they come. */
export class LineQueue {
  readonly #dropped: (count: number) => string
  #waiting: string[] = []
  #bytes = 0
  #missing = 0

  /** `dropped` makes the line that stands for so many that were dropped. */
  constructor(dropped: (count: number) => string) {
    this.#dropped = dropped
  }

  add(lines: readonly string[]): void {
    for (const line of lines) {
      if (this.#bytes + line.length > waitingBytesMax) {
        this.#missing++
        continue
      }
      this.#waiting.push(line)
      this.#bytes += line.length
    }
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0 && this.#missing === 0
  }

  /** All that waits, and last the line for what was dropped. */
  take(): readonly string[] {
    const lines = this.#waiting.splice(0)
    if (this.#missing > 0) lines.push(this.#dropped(this.#missing))
    this.#bytes = 0
    this.#missing = 0
    return lines
  }
}
