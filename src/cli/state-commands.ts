import type { Command } from './command.ts'
import { anchor, home, json, opening, reading } from './options.ts'

/** The part of the command table that is about records. */
export const stateCommands: readonly Command[] = [
  {
    name: 'state put',
    words: 'PATH FILE',
    summary: 'keep the bytes of a file, sealed, under a path',
    about: [
      'When it returns, the record is on disk and marked: no crash loses it, and no older copy of the home hides it. PATH begins with /state/; FILE is at most 1 MiB, and - is standard input.',
    ],
    options: [home, anchor, json],
    examples: [
      { line: 'pawl state put /state/orders/last last.json', about: 'replaces what was there' },
      { line: 'date | pawl state put /state/seen -', about: 'from standard input' },
    ],
    fields: ['path, bytes, generation'],
    exits: ['done', ...opening],
    seeAlso: ['state get', 'state list'],
    load: async () => (await import('./state.ts')).put,
  },
  {
    name: 'state get',
    words: 'PATH',
    summary: 'write the bytes kept under a path to standard output',
    about: ['Exactly as they were put. Bytes that are no text are not written to a terminal.'],
    options: [
      { flag: '--out FILE', about: 'write them to a new file instead' },
      home,
      anchor,
      { flag: '--json', about: 'one JSON object, the bytes in base64' },
    ],
    examples: [
      { line: 'pawl state get /state/orders/last', about: 'to standard output' },
      { line: 'pawl state get /state/picture --out picture.png', about: 'to a file' },
    ],
    fields: [
      'path, bytes, generation, at (ISO 8601), subject, purpose',
      'payload: base64; or out, the file it was written to',
    ],
    exits: ['done', ...reading],
    seeAlso: ['state put', 'state list'],
    load: async () => (await import('./state.ts')).get,
  },
  {
    name: 'state list',
    words: '[PREFIX]',
    summary: 'list the paths that begin with a prefix',
    about: ['One path a line, in byte order; all of them without PREFIX.'],
    options: [home, anchor, json],
    examples: [
      { line: 'pawl state list', about: 'everything under /state/' },
      { line: 'pawl state list /state/orders/', about: 'what begins with it' },
    ],
    fields: ['paths: a list'],
    exits: ['done', ...reading],
    seeAlso: ['state get'],
    load: async () => (await import('./state.ts')).list,
  },
  {
    name: 'state policy check',
    words: 'SUBJECT OP PATH',
    summary: 'say whether the policy lets a subject do something, and why',
    about: [
      'OP is get, put, delete, list or history. With list, PATH is the prefix to list. The answer names the rule that allows it, counted from 0, or the rule that comes nearest. What no rule allows is denied; a home without a policy denies everything.',
      'Nobody is asked to do anything: it only judges. The policy of the home is for subjects that ask a server of it; who can open the home needs none.',
    ],
    options: [
      { flag: '--policy FILE', about: 'judge by this file instead, without adopting it; no home is needed' },
      home,
      anchor,
      json,
    ],
    examples: [
      {
        line: 'pawl state policy check bootctl put /state/boot/slot',
        about: 'by the policy in force: exit 0 if it is allowed, 3 if it is denied',
      },
      {
        line: 'pawl state policy check bootctl list /state/boot/ --policy new.json',
        about: 'before new.json is adopted',
      },
    ],
    fields: [
      'allowed: true or false',
      'subject, operation, path: what was asked',
      'rule: the first that allows it, counted from 0; else null',
      'reason: no policy, unknown subject, not under /state/, no rule for the operation, no rule for the path; null if it is allowed',
      'text: the same in a sentence',
      'version, digest: of the policy; null without one',
    ],
    exits: ['done', ...reading],
    seeAlso: ['state policy adopt', 'state policy show'],
    load: async () => (await import('./policy.ts')).check,
  },
  {
    name: 'state policy adopt',
    words: 'FILE',
    summary: 'put a policy in force',
    about: [
      'FILE is one JSON document (docs/guides/policy.md); - is standard input. All of it is checked first; what is wrong is named by its place. Its version must be greater than that of the policy in force: an older policy cannot be put back. The same file again changes nothing.',
    ],
    options: [home, anchor, json],
    examples: [
      { line: 'pawl state policy adopt policy.json', about: 'in force when it returns' },
      {
        line: 'pawl state policy show > p.json; "$EDITOR" p.json; pawl state policy adopt p.json',
        about: 'to change it: raise its version, too',
      },
    ],
    fields: [
      'version, digest: of the policy; digest is the SHA-256 of FILE in hexadecimal',
      'generation: of the commit that put it in force',
      'subjects, rules: how many',
      'adopted: false if it was in force already',
    ],
    exits: ['done', ...opening],
    seeAlso: ['state policy check', 'state policy show'],
    load: async () => (await import('./policy.ts')).adopt,
  },
  {
    name: 'state policy show',
    words: '',
    summary: 'print the policy in force',
    about: ['The file that was adopted, byte for byte. Its version and digest are said on standard error.'],
    options: [home, anchor, json],
    examples: [
      { line: 'pawl state policy show', about: 'the file' },
      { line: 'pawl state policy show --json', about: 'with its version, digest and when it was adopted' },
    ],
    fields: [
      'version, digest, generation, at (ISO 8601)',
      'policy: what the file says',
      'file: its bytes in base64',
    ],
    exits: ['done', ...reading],
    seeAlso: ['state policy adopt', 'state policy check'],
    load: async () => (await import('./policy.ts')).show,
  },
  {
    name: 'state parameters adopt',
    words: 'FILE',
    summary: "put a site's parameters in force",
    about: [
      'FILE is one JSON document (docs/spec/parameters.md): what sessions of this home may cost and keep; - is standard input. Each value may only be tighter than that of the profile; one that is wider is named, and nothing is adopted. The version must be greater than that of the file in force: an older one cannot be put back. The same file again changes nothing.',
      'It holds for connections made and letter sessions opened from then on, also in a process that has the home open.',
    ],
    options: [home, anchor, json],
    examples: [
      { line: 'pawl state parameters adopt site.json', about: 'in force when it returns' },
      {
        line: 'pawl state parameters adopt - < site.json',
        about:
          'from standard input; {"qsp.max_body_ct_len":16384} among its values: no more is sealed at once',
      },
    ],
    fields: [
      'version, digest: of the file; digest is its SHA-256 in hexadecimal',
      'generation: of the commit that put it in force',
      'adopted: false if it was in force already',
    ],
    exits: ['done', ...opening],
    seeAlso: ['state parameters show'],
    load: async () => (await import('./parameters.ts')).adopt,
  },
  {
    name: 'state parameters show',
    words: '',
    summary: 'list every parameter: its value, who says so, its range',
    about: [
      'One line each: the key, the value in force, the layer that it is from (baseline, profile or site), what it may be and which way is tighter. The profile, and version and digest of the file that was adopted, are said on standard error. What each does is on docs/spec/parameters.md.',
    ],
    options: [home, anchor, json],
    examples: [
      { line: 'pawl state parameters show', about: 'all of them' },
      { line: 'pawl state parameters show --json', about: 'the same as one object' },
    ],
    fields: [
      'profile',
      'version, digest, generation, at (ISO 8601): of the file that was adopted; null without one',
      'parameters: a list of objects with name, value, from (baseline, profile, site), range',
    ],
    exits: ['done', ...reading],
    seeAlso: ['state parameters adopt'],
    load: async () => (await import('./parameters.ts')).show,
  },
]
