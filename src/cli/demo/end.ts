import { fileURLToPath } from 'node:url'
import { type Child, type Ended, startChild } from '../../node/child.ts'
import type { Watch } from './watch.ts'

export type { Ended }

/** A JSON line that a process wrote. */
export type Said = { readonly [field: string]: unknown }

/** One run of one command. */
export type Run = {
  readonly child: Child
  readonly said: readonly Said[]
  /** Once it is over. */
  ended: Ended | undefined
}

const program = fileURLToPath(new URL('../../../bin/pawl', import.meta.url))

/** The program itself, run as anybody would run it. */
export class Pawl {
  readonly #watch: Watch
  readonly #environment: Readonly<Record<string, string>>
  readonly #runs = new Set<Run>()

  /** Every (key, nonce) that any of the processes seals with becomes a line of the file `nonces`. */
  constructor(watch: Watch, nonces: string) {
    this.#watch = watch
    this.#environment = { ...ownEnvironment(), QSL_TEST_HOOKS: '1', PAWL_HOOK_NONCES: nonces }
  }

  start(words: readonly string[], hear: (said: Said) => void = () => undefined): Run {
    const said: Said[] = []
    const child = startChild(program, [...words, '--json'], {
      environment: this.#environment,
      onLine: line => {
        const heard = parse(line)
        if (heard === undefined) return
        said.push(heard)
        hear(heard)
        this.#watch.changed()
      },
    })
    const run: Run = { child, said, ended: undefined }
    this.#runs.add(run)
    void child.ended.then(ended => {
      run.ended = ended
      this.#runs.delete(run)
      this.#watch.changed()
    })
    return run
  }

  /** Runs a short command to its end. @throws Error unless it succeeds */
  async run(words: readonly string[]): Promise<Said> {
    const run = this.start(words)
    const ended = await this.ended(run, words.join(' '))
    const [answer] = run.said
    if (ended.code !== 0 || answer === undefined)
      throw new Error(`pawl ${words.join(' ')} ended with ${describeEnd(ended)}: ${failureOf(run)?.message}`)
    return answer
  }

  ended(run: Run, what: string): Promise<Ended> {
    return this.#watch.until(`the end of ${what}`, () => run.ended)
  }

  /** Whatever still runs is gone when this returns. */
  async killAll(): Promise<void> {
    const runs = [...this.#runs]
    for (const { child } of runs) child.kill('SIGKILL')
    await Promise.all(runs.map(({ child }) => child.ended))
  }
}

export type Failure = { readonly code: string; readonly message: string; readonly hint: string }

/** What a process that failed said of it. */
export function failureOf(run: Run): Failure | undefined {
  const said = run.said.find(({ type }) => type === 'error')
  if (said === undefined) return undefined
  return { code: String(said.code), message: String(said.message), hint: String(said.hint ?? '') }
}

export function describeEnd({ code, signal, failure }: Ended): string {
  return failure ?? (signal === undefined ? `exit ${code}` : signal)
}

export function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0
}

/** Cut short by a kill, or not JSON: nothing. */
function parse(line: string): Said | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value)) : undefined
  } catch {
    return undefined
  }
}

/** Nothing of the caller's own homes, anchors, hooks or services finds its way into the demo. */
function ownEnvironment(): Record<string, string> {
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(process.env))
    if (value !== undefined && !/^(PAWL_|QSL_|NODE_ENV$|STATE_DIRECTORY$)/.test(name)) kept[name] = value
  return kept
}
