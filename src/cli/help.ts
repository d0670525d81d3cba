import type { Command, Option } from './command.ts'
import { commands, commonCommands } from './commands.ts'
import { endings, exits } from './exits.ts'

const columns = 88

/** One screen: what to type first. */
export function overview(): string {
  return [
    ...wrap('Pawl delivers messages exactly once, through crashes, and refuses a machine that was put back.'),
    ...commonCommands.flatMap(name => {
      const { words, options, summary } = commandNamed(name)
      const required = options.filter(option => option.required === true)
      return ['', `  ${usage(name, words, required)}`, `      ${summary}`]
    }),
    '',
    'pawl COMMAND --help  teaches a command with examples',
    'pawl --help          lists them all; pawl demo shows them at work',
  ].join('\n')
}

/** `pawl --help`: every command. */
export function list(): string {
  return [
    'Usage: pawl COMMAND [OPTIONS]',
    '',
    ...summaries(commands),
    '',
    'Examples:',
    '  bob$   pawl init && pawl id                        # alice does, too',
    '  alice$ pawl peer add bob pawl1:...                 # the line that bob sees',
    "  bob$   pawl peer add alice pawl1:...               # and alice's",
    '  bob$   pawl receive --listen 0.0.0.0:7100 --from alice --out orders.txt',
    '  alice$ pawl send --to bob.example:7100 --peer bob orders.txt',
    '',
    ...table([
      ['--help', 'this, or behind a command: its examples, options and exits'],
      ['--version', 'which version this is'],
    ]),
    '',
    ...wrap(`Exits: ${exitList(Object.values(exits))}.`),
    '',
    ...wrap(
      'The answer is on standard output, everything else on standard error. PAWL_HOME names the home, PAWL_ANCHOR the base of its anchor, PAWL_KEEPER where its keeper is now. PAWL_DEBUG=1 adds where an unexpected error comes from.',
    ),
  ].join('\n')
}

/** `pawl GROUP --help`: its commands. */
export function groupHelp(group: string): string {
  return [
    `Usage: pawl ${group} COMMAND [OPTIONS]`,
    '',
    ...summaries(commandsOf(group)),
    '',
    `pawl ${group} COMMAND --help teaches a command with examples`,
  ].join('\n')
}

export function commandsOf(group: string): readonly Command[] {
  return commands.filter(({ name }) => name.startsWith(`${group} `))
}

/** `pawl COMMAND --help`. */
export function help(command: Command): string {
  const { name, words, summary, about, options, examples, seeAlso } = command
  return [
    `pawl ${name}: ${summary}`,
    '',
    `Usage: ${usage(name, words, options)}`,
    ...about.flatMap(paragraph => ['', ...wrap(paragraph)]),
    '',
    'Examples:',
    ...examples.flatMap(({ line, about }) => [`  ${line}`, ...wrap(about, '      ')]),
    '',
    'Options:',
    ...table(
      options.map(({ flag, about, required }) => [flag, required === true ? `${about} (required)` : about]),
    ),
    '',
    ...wrap(`Exits: ${exitList(command.exits.map(exit => endings[exit]))}.`),
    '',
    `See also: ${seeAlso.map(other => `pawl ${other}`).join(', ')}`,
  ].join('\n')
}

function commandNamed(name: string): Command {
  const command = commands.find(known => known.name === name)
  if (command === undefined) throw new TypeError(`no command ${name}`)
  return command
}

function summaries(rows: readonly Command[]): string[] {
  return table(rows.map(({ name, summary }) => [name, summary]))
}

function usage(name: string, words: string, options: readonly Option[]): string {
  const required = options.filter(option => option.required === true).map(({ flag }) => flag)
  const optional =
    options.length > required.length && required.length === 0 && words === '' ? ['[OPTIONS]'] : []
  return ['pawl', name, ...required, ...optional, words].filter(part => part !== '').join(' ')
}

function exitList(list: readonly { readonly code: number; readonly meaning: string }[]): string {
  return list.map(({ code, meaning }) => `${code} ${meaning}`).join('; ')
}

function table(rows: readonly (readonly [string, string])[]): string[] {
  const left = Math.min(34, Math.max(...rows.map(([name]) => name.length)))
  return rows.flatMap(([name, text]) => {
    const indent = ' '.repeat(left + 4)
    const lines = wrap(text, indent)
    const head = `  ${name.padEnd(left)}  `
    if (name.length > left) return [`  ${name}`, ...lines]
    return lines.map((line, i) => (i === 0 ? head + line.trimStart() : line))
  })
}

function wrap(text: string, indent = ''): string[] {
  const lines: string[] = []
  let line = indent
  for (const word of text.split(' ')) {
    if (line.length > indent.length && line.length + 1 + word.length > columns) {
      lines.push(line)
      line = indent
    }
    line += line.length === indent.length ? word : ` ${word}`
  }
  return [...lines, line]
}
