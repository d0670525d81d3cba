/**
 * docs/reference/cli.md, made from the command table. A test keeps the two equal; after a change:
 * node test/cli/reference.ts > docs/reference/cli.md
 */
import type { Command } from '../../src/cli/command.ts'
import { commands } from '../../src/cli/commands.ts'
import { exits } from '../../src/cli/exits.ts'
import { rules } from '../../src/cli/failure.ts'
import { help, list } from '../../src/cli/help.ts'

const environment = [
  ['PAWL_HOME', 'the home, where `--home` is not given; `~/.pawl` without either'],
  ['PAWL_ANCHOR', 'the base of the anchor, where `--anchor` is not given'],
  [
    'PAWL_KEEPER',
    'where the keeper outside is now, as `--keeper` of `pawl init` names it, if not where the home was made with it',
  ],
  ['STATE_DIRECTORY', 'its first entry is the base of a new anchor, where neither is given; systemd sets it'],
  [
    'XDG_STATE_HOME',
    '`pawl` in it is the base of a new anchor, where none of those is given and it is absolute',
  ],
  ['XDG_CACHE_HOME', '`pawl` in it, or in `~/.cache`, keeps compiled code; it may be deleted'],
  ['NO_COLOR', 'no colour in what `pawl doctor` and `pawl demo` say'],
  ['PAWL_DEBUG', '`1` prints where an error comes from'],
  [
    'QSL_TEST_HOOKS',
    '`1` switches on the test hooks of `src/node/hooks.ts`; refused before anything is written with `NODE_ENV=production`, and in every profile but dev and staging',
  ],
] as const

export function reference(): string {
  return [
    '# Command line',
    '',
    'What `--help` says of every command, the fields of every `--json` answer, and every error. This page is made from the',
    'command table by `test/cli/reference.ts`, and a test keeps it so.',
    '',
    '```console',
    '$ pawl --help',
    list(),
    '```',
    '',
    '## Environment',
    '',
    '| variable | meaning |',
    '|---|---|',
    ...environment.map(([name, meaning]) => `| \`${name}\` | ${meaning} |`),
    '',
    '## Exits and errors',
    '',
    'An error is two lines on standard error, `pawl: error: WHAT [CODE]` and `pawl: hint: WHAT TO DO`. With `--json` or `--log` it',
    'is one line there, an object with `type` (`error`), `code`, `message`, `hint` and `exit`. Codes are added to, never renamed.',
    '',
    'A signal ends `send` with 130, and `receive` with 0 (SIGTERM) or 130 (SIGINT), from the moment the program runs; before',
    'that, in the first tenth of a second, it ends them as it ends any process.',
    '',
    '| exit | meaning | codes |',
    '|---|---|---|',
    ...Object.entries(exits).map(
      ([name, { code, meaning }]) => `| ${code} | ${meaning} | ${codesOf(name).join(' ')} |`,
    ),
    '',
    ...commands.flatMap(section),
  ].join('\n')
}

function codesOf(exit: string): string[] {
  const own = { usage: ['cli/USAGE'], failed: ['cli/UNEXPECTED'] }[exit] ?? []
  const codes = Object.entries(rules).filter(([, rule]) => rule.exit === exit)
  return [...own, ...codes.map(([code]) => code)].map(code => `\`${code}\``)
}

function section(command: Command): string[] {
  return [
    `## pawl ${command.name}`,
    '',
    '```console',
    `$ pawl ${command.name} --help`,
    help(command),
    '```',
    '',
    `With \`--json\`, ${answerOf(command)}:`,
    '',
    ...command.fields.map(
      field => `- ${field.replace(/^([\w, ]+)/, names => names.replace(/\w+/g, '`$&`'))}`,
    ),
    '',
  ]
}

function answerOf({ options }: Command): string {
  const about = options.find(({ flag }) => flag === '--json')?.about ?? ''
  if (about.includes('JSON lines')) return 'lines with `type`, and by type'
  return about.includes('each line') ? 'lines, each an object with' : 'one object with'
}

if (import.meta.main) process.stdout.write(reference())
