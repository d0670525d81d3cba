import { styleText } from 'node:util'
import { realClock } from '../../node/clock.ts'
import { answer, answerJson } from '../output.ts'
import { liveLine, type Progress, wrap } from './layout.ts'

export type { Progress }

/** What an event is: something done, harm done, and the answer to it. */
export type Tone = 'plain' | 'attack' | 'held' | 'why'

/** A claim that was checked, with what was found. */
export type Check = { readonly claim: string; readonly held: boolean; readonly found: string }

export type Teller = {
  step(title: string, about: string): Promise<void>
  /** `fields` are for programs. */
  event(tone: Tone, text: string, fields?: Readonly<Record<string, unknown>>): Promise<void>
  /** Several lines that belong together, for people only. */
  table(lines: readonly string[]): Promise<void>
  check(check: Check): Promise<void>
  result(result: Result): Promise<void>
  /** Shown while the story goes on, where that is possible. */
  follow(progress: () => Progress): void
  end(): void
}

export type Result = {
  readonly held: boolean
  readonly checks: number
  readonly failed: readonly string[]
  readonly seconds: number
  /** What ended it before its time. */
  readonly trouble: string | undefined
  readonly kept: string | undefined
}

export function teller(json: boolean): Teller {
  return json ? jsonTeller() : new TextTeller()
}

/** JSON lines, each with a type: step, event, check, result. */
function jsonTeller(): Teller {
  let number = 0
  return {
    step: (title, about) => answerJson({ type: 'step', number: ++number, title, about }),
    event: (tone, text, fields = {}) => answerJson({ type: 'event', tone, text, ...fields }),
    table: async () => undefined,
    check: check => answerJson({ type: 'check', ...check }),
    result: result => answerJson({ type: 'result', ...result }),
    follow: () => undefined,
    end: () => undefined,
  }
}

const drawEveryMs = 100
const eraseLine = '\r\u001b[K'

const tones = {
  plain: text => text,
  attack: text => styleText('yellow', text),
  held: text => styleText('green', text),
  why: text => styleText('dim', text),
} as const satisfies Readonly<Record<Tone, (text: string) => string>>

const signs = { plain: '·', attack: '!', held: '✓', why: ' ' } as const satisfies Readonly<
  Record<Tone, string>
>

/** For people: colours where the terminal has them, and a line that is drawn anew in place. Explains a thing once. */
class TextTeller implements Teller {
  readonly #begun = realClock.monotonic()
  readonly #explained = new Set<string>()
  #number = 0
  #progress: (() => Progress) | undefined
  #cancel: (() => void) | undefined

  async step(title: string, about: string): Promise<void> {
    const head =
      this.#number === 0
        ? [styleText('bold', 'Pawl, the whole story, live'), ...wrap(pawl, proseColumns())]
        : []
    this.#number++
    const lines = wrap(about, proseColumns() - 3).map(line => styleText('dim', `   ${line}`))
    await this.#print([...head, '', styleText('bold', `${this.#number}. ${title}`), ...lines])
  }

  async event(tone: Tone, text: string): Promise<void> {
    if (tone === 'why') {
      if (this.#explained.has(text)) return
      this.#explained.add(text)
    }
    const at = styleText('dim', ((realClock.monotonic() - this.#begun) / 1000).toFixed(1).padStart(6))
    const when = tone === 'why' ? ' '.repeat(6) : at
    const [first = '', ...rest] = wrap(text, windowColumns() - eventIndent.length)
    const lines = rest.map(line => `${eventIndent}${tones[tone](line)}`)
    await this.#print([`${when} ${tones[tone](`${signs[tone]} ${first}`)}`, ...lines])
  }

  async table(lines: readonly string[]): Promise<void> {
    await this.#print(['', ...lines.map(line => `       ${line}`), ''])
  }

  async check({ claim, held, found }: Check): Promise<void> {
    const sign = held ? styleText('green', '✓') : styleText('red', '✗')
    const shown = (line: string) => styleText(held ? 'dim' : 'red', line)
    if (windowColumns() >= checkColumns)
      return this.#print([`   ${sign} ${claim.padEnd(claimColumns)} ${shown(found)}`])
    const [first = '', ...rest] = wrap(claim, windowColumns() - 5)
    const details = wrap(found, windowColumns() - 7).map(line => `       ${shown(line)}`)
    await this.#print([`   ${sign} ${first}`, ...rest.map(line => `     ${line}`), ...details])
  }

  async result({ held, checks, failed, seconds, trouble, kept }: Result): Promise<void> {
    const time = `${seconds.toFixed(1)} s`
    const lines = held
      ? [styleText(['bold', 'green'], `All ${checks} checks held, in ${time}.`)]
      : [
          styleText(['bold', 'red'], `Not everything held, in ${time}.`),
          ...failed.map(claim => `   failed: ${claim}`),
          ...(trouble === undefined ? [] : [`   ended early: ${trouble}`]),
        ]
    await this.#print(['', ...lines, ...(kept === undefined ? [] : [`Everything it made is in ${kept}`])])
  }

  follow(progress: () => Progress): void {
    if (!process.stdout.isTTY || !process.stderr.isTTY) return
    this.#progress = progress
    this.#tick()
  }

  end(): void {
    this.#cancel?.()
    if (this.#progress !== undefined) process.stderr.write(eraseLine)
    this.#progress = undefined
  }

  #tick(): void {
    this.#draw()
    this.#cancel = realClock.after(drawEveryMs, () => this.#tick())
  }

  #draw(): void {
    if (this.#progress === undefined) return
    const { bar, text } = liveLine(this.#progress(), process.stderr.columns || usualColumns)
    process.stderr.write(`${eraseLine}${styleText('cyan', bar)}${text}`)
  }

  async #print(lines: readonly string[]): Promise<void> {
    if (this.#progress !== undefined) process.stderr.write(eraseLine)
    await answer(lines.join('\n'))
    this.#draw()
  }
}

const eventIndent = ' '.repeat(9)
const claimColumns = 58
/** What a check on one line takes. */
const checkColumns = 140
/** Wider lines of prose are hard to read. */
const proseColumnsMax = 96
/** Of a terminal that does not say. */
const usualColumns = 80
const pawl =
  'A pawl is the small bar that lets a ratchet turn one way only. Pawl does that to messages and keys: what was acknowledged stays, nothing happens twice, and whoever turns a machine back, or copies it, is refused. See for yourself:'

/** The window as it is now; what is written elsewhere than to a terminal is not broken into lines. */
function windowColumns(): number {
  return process.stdout.isTTY ? process.stdout.columns || usualColumns : Number.POSITIVE_INFINITY
}

function proseColumns(): number {
  return Math.min(proseColumnsMax, windowColumns())
}
