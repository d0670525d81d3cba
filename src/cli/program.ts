import { CommanderError, Command as Parser, Option as ParserOption } from 'commander'
import { type Command, Given, UsageError } from './command.ts'
import { commands } from './commands.ts'
import type { Ending } from './exits.ts'
import { commandsOf, groupHelp, help, list, overview } from './help.ts'
import { answer } from './output.ts'
import { version } from './version.ts'

/** Parses and runs one command line. @throws UsageError, and whatever the command throws */
export async function run(line: readonly string[]): Promise<Ending> {
  if (line.length === 0) {
    await answer(overview())
    return 'done'
  }
  refuseGarbled(line)
  let called: { readonly command: Command; readonly given: Given } | undefined
  const printed: string[] = []
  const program = parser(
    (command, given) => {
      called = { command, given }
    },
    text => printed.push(text),
  )
  try {
    await program.parseAsync(line, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode !== 0) throw usageError(error, line)
    await answer(printed.join('').trimEnd())
    return 'done'
  }
  if (called === undefined) throw new UsageError('which command?', 'pawl --help lists them')
  const work = await called.command.load()
  return work(called.given)
}

/** Bytes that are not UTF-8 come as U+FFFD: a file so named could not be opened, or another one would be. */
export function refuseGarbled(words: readonly string[]): void {
  const garbled = words.find(word => word.includes('\ufffd'))
  if (garbled !== undefined)
    throw new UsageError(
      `what was typed is not UTF-8: ${JSON.stringify(garbled)}`,
      'use names in UTF-8; mv gives a file another name',
    )
}

type Found = (command: Command, given: Given) => void

/** The parser that the command table describes. */
function parser(found: Found, print: (text: string) => void): Parser {
  const program = prepared(new Parser('pawl'), print, () => list())
  program.version(version, '--version', 'which version this is').helpOption('-h, --help')
  const groups = new Map<string, Parser>()
  for (const command of commands) {
    const words = command.name.split(' ')
    const last = words.pop() ?? ''
    let parent = program
    for (const [i, word] of words.entries()) {
      const name = words.slice(0, i + 1).join(' ')
      const known = groups.get(name) ?? group(parent, word, () => groupHelp(name), print)
      groups.set(name, known)
      parent = known
    }
    parent.addCommand(leaf(new Parser(last), command, found, print))
  }
  return program
}

function group(parent: Parser, word: string, text: () => string, print: (text: string) => void): Parser {
  const made = prepared(new Parser(word), print, text)
  made.helpCommand(false)
  parent.addCommand(made)
  return made
}

function leaf(parser: Parser, command: Command, found: Found, print: (text: string) => void): Parser {
  prepared(parser, print, () => help(command))
  for (const word of command.words.split(' ').filter(Boolean))
    parser.argument(word.startsWith('[') ? word : `<${word}>`)
  const options = command.options.map(option => {
    const made = new ParserOption(option.flag.replace(/ (.+)$/, ' <$1>'), option.about)
    if (option.required === true) made.makeOptionMandatory()
    parser.addOption(made)
    return { name: option.flag.split(' ')[0] ?? '', key: made.attributeName() }
  })
  return parser.action(() => {
    const given = new Map<string, string | true>()
    for (const { name, key } of options) {
      const value: unknown = parser.getOptionValue(key)
      if (typeof value === 'string' || value === true) given.set(name, value)
    }
    found(command, new Given(parser.args, given))
  })
}

function prepared(parser: Parser, print: (text: string) => void, text: () => string): Parser {
  return parser
    .exitOverride()
    .configureOutput({ writeOut: print, writeErr: () => {}, outputError: () => {} })
    .configureHelp({ formatHelp: () => `${text()}\n` })
}

/** In our words, with what was probably meant. */
function usageError(error: CommanderError, line: readonly string[]): UsageError {
  const [first = ''] = line
  const name = nameIn(line)
  if (error.code === 'commander.help') {
    const group = commandsOf(name).map(command => command.name.slice(name.length + 1))
    return new UsageError(`pawl ${name} needs one of: ${group.join(', ')}`, `see pawl ${name} --help`)
  }
  if (first.startsWith('-'))
    return new UsageError(
      `unknown option ${JSON.stringify(first)}`,
      'options go behind the command; see pawl --help',
    )
  const said = error.message.replace(/^error: /, '').replace(/[<>]/g, '')
  const meant = /\(Did you mean (?:one of )?(.+)\?\)/.exec(said)?.[1]
  const message = said.replace(/\s*\(Did you mean .*$/s, '').replace(/\.$/, '')
  const inGroup = error.code === 'commander.unknownCommand' && name === '' ? commandsCalled(first) : []
  if (inGroup.length > 0) return new UsageError(message, `did you mean ${inGroup.join(' or ')}?`)
  const see = `see pawl ${[name, '--help'].filter(Boolean).join(' ')}`
  return new UsageError(message, meant === undefined ? see : `did you mean ${meant}?`)
}

/** Commands of a group whose last word was typed without the group: `pawl put`. */
function commandsCalled(word: string): string[] {
  return commands.filter(({ name }) => name.endsWith(` ${word}`)).map(({ name }) => `pawl ${name}`)
}

/** The command or group of commands that the line begins with. */
function nameIn(line: readonly string[]): string {
  let known = ''
  for (const word of line) {
    const name = known === '' ? word : `${known} ${word}`
    if (!commands.some(command => `${command.name} `.startsWith(`${name} `))) break
    known = name
  }
  return known
}
