import { CommanderError, Command as Parser, Option as ParserOption } from 'commander'
import { type Command, Given, UsageError } from './command.ts'
import { commands } from './commands.ts'
import type { Exit } from './exits.ts'
import { commandsOf, groupHelp, help, list, overview } from './help.ts'
import { answer } from './output.ts'
import { version } from './version.ts'

/** Parses and runs one command line. @throws UsageError, and whatever the command throws */
export async function run(line: readonly string[]): Promise<Exit> {
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
    const [first = '', second] = command.name.split(' ')
    const parent = second === undefined ? program : (groups.get(first) ?? group(program, first, print))
    if (second !== undefined) groups.set(first, parent)
    parent.addCommand(leaf(new Parser(second ?? first), command, found, print))
  }
  return program
}

function group(program: Parser, name: string, print: (text: string) => void): Parser {
  const made = prepared(new Parser(name), print, () => groupHelp(name))
  made.helpCommand(false)
  program.addCommand(made)
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
  const group = commandsOf(first).map(({ name }) => name.slice(first.length + 1))
  if (error.code === 'commander.help')
    return new UsageError(`pawl ${first} needs one of: ${group.join(', ')}`, `see pawl ${first} --help`)
  if (first.startsWith('-'))
    return new UsageError(
      `unknown option ${JSON.stringify(first)}`,
      'options go behind the command; see pawl --help',
    )
  const typed = `${line.join(' ')} `
  const name =
    commands.find(({ name }) => typed.startsWith(`${name} `))?.name ?? (group.length > 0 ? first : '')
  const said = error.message.replace(/^error: /, '').replace(/[<>]/g, '')
  const meant = /\(Did you mean (?:one of )?(.+)\?\)/.exec(said)?.[1]
  const message = said.replace(/\s*\(Did you mean .*$/s, '').replace(/\.$/, '')
  const see = `see pawl ${[name, '--help'].filter(Boolean).join(' ')}`
  return new UsageError(message, meant === undefined ? see : `did you mean ${meant}?`)
}
