import type { Ending } from './exits.ts'

/** A row of the command table: all that help, documents and the parser know of a command. */
export type Command = {
  /** As typed: `init`, `peer add`. */
  readonly name: string
  /** Its arguments, each one required unless in brackets: `NAME IDENTITY`, `[PREFIX]`. */
  readonly words: string
  readonly summary: string
  /** What to know before using it, in paragraphs. */
  readonly about: readonly string[]
  readonly options: readonly Option[]
  readonly examples: readonly Example[]
  /** What `--json` answers with: the fields of one object, or of each type of line. Added to, never renamed. */
  readonly fields: readonly string[]
  /** The ways it can end. */
  readonly exits: readonly Ending[]
  /** What to read next: names of commands. */
  readonly seeAlso: readonly string[]
  /** Loaded when it is called for, so that small commands start fast. */
  readonly load: () => Promise<Run>
}

export type Option = {
  /** `--home DIR`, or `--json` for one without a value. */
  readonly flag: string
  readonly about: string
  readonly required?: boolean
}

export type Example = { readonly line: string; readonly about: string }

export type Run = (given: Given) => Promise<Ending>

/** What was typed behind the command's name. */
export class Given {
  readonly words: readonly string[]
  readonly #options: ReadonlyMap<string, string | true>

  constructor(words: readonly string[], options: ReadonlyMap<string, string | true>) {
    this.words = words
    this.#options = options
  }

  /** The argument at `index`; the parser has seen to it that required ones are there. */
  word(index: number): string {
    const word = this.words[index]
    if (word === undefined) throw new TypeError(`argument ${index} was not asked for`)
    return word
  }

  text(name: string): string | undefined {
    const value = this.#options.get(name)
    return value === true ? undefined : value
  }

  /** A required option. */
  needed(name: string): string {
    const value = this.text(name)
    if (value === undefined) throw new TypeError(`${name} was not asked for`)
    return value
  }

  has(name: string): boolean {
    return this.#options.has(name)
  }

  get json(): boolean {
    return this.has('--json')
  }
}

/** The caller's trouble before any work was begun. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  readonly code = 'cli/USAGE'
  readonly hint: string

  constructor(message: string, hint: string) {
    super(message)
    this.hint = hint
  }
}

/** No home where one was looked for. */
export class NoHomeError extends Error {
  override readonly name = 'NoHomeError'
  readonly code = 'cli/NO_HOME'
  readonly hint: string

  /** `hint`: that it may be elsewhere, or lost, and the command that makes one there. */
  constructor(home: string, hint: string) {
    super(`no home at ${home}`)
    this.hint = hint
  }
}

/** A peer's name that this home does not know. */
export class NoPeerError extends Error {
  override readonly name = 'NoPeerError'
  readonly code = 'cli/NO_PEER'

  constructor(name: string) {
    super(`no peer ${JSON.stringify(name)}`)
  }
}

/** The answer could not be written to standard output. */
export class OutputError extends Error {
  override readonly name = 'OutputError'
  readonly code = 'cli/OUTPUT'

  constructor(cause: Error) {
    super(`standard output takes no more: ${cause.message}`, { cause })
  }
}

/** The process that holds the home ends, and what it did for others with it. */
export class HolderEndsError extends Error {
  override readonly name = 'HolderEndsError'
  readonly code = 'state/EDAEMON'

  constructor(options?: ErrorOptions) {
    super('the process that held the home has ended; what is queued stays queued', options)
  }
}
