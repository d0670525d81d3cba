import type { Command } from './command.ts'
import { anchor, home, json, jsonLines, opening, reading } from './options.ts'

/** The part of the command table that is about what a home is made of, and keeping it whole and small. */
export const upkeepCommands: readonly Command[] = [
  {
    name: 'state delete',
    words: 'PATH',
    summary: 'delete what is kept under a path',
    about: [
      'When it returns, no crash and no older copy of the home brings the record back here. Copies of the home that were made before still have it, sealed.',
    ],
    options: [home, anchor, json],
    examples: [
      { line: 'pawl state delete /state/orders/last', about: 'fails with 1 if nothing is there' },
      { line: 'pawl state delete /state/orders/last --json', about: 'with the generation of the deletion' },
    ],
    fields: ['path, generation'],
    exits: ['done', ...opening],
    seeAlso: ['state put', 'state history'],
    load: async () => (await import('./upkeep.ts')).deleteRecord,
  },
  {
    name: 'state audit',
    words: '',
    summary: 'the audit trail: what was asked of the store, and what was answered',
    about: [
      'One line of JSON each, oldest first: action, at (milliseconds since 1970), decision, path, reason, subject, and the generation of a change. Changes by the owner have an empty subject. Reads and refusals are those that pawl stated judged; when too many came at once, a line of action dropped says how many are missing. Old lines go when there are more than 64 MiB of them.',
    ],
    options: [home, anchor, { flag: '--json', about: 'the same: each line is a JSON object anyway' }],
    examples: [
      { line: 'pawl state audit', about: 'all of it' },
      { line: 'pawl state audit | grep \'"decision":"deny"\'', about: 'what was denied' },
    ],
    fields: [
      'action, at (milliseconds since 1970), decision (allow or deny), path, reason, subject; generation of a change',
    ],
    exits: ['done', ...reading],
    seeAlso: ['state history', 'stated'],
    load: async () => (await import('./upkeep.ts')).audit,
  },
  {
    name: 'state history',
    words: 'PATH',
    summary: 'what was done to a path, as far as the journal still has it',
    about: [
      'One line each, oldest first: generation, put or delete, size, time, purpose. A put into a scope that is gone is destroyed: its content cannot be read by anybody. Compaction takes away what was overwritten and deleted.',
    ],
    options: [home, anchor, json],
    examples: [
      { line: 'pawl state history /state/orders/last', about: 'when it changed' },
      { line: 'pawl state history /state/orders/last --json', about: 'with the SHA-256 of each payload' },
    ],
    fields: [
      'path',
      'changes: a list of objects with generation, kind (put, delete, destroyed), and of a put bytes, sha256, at, subject, purpose',
    ],
    exits: ['done', ...opening],
    seeAlso: ['state inspect', 'state compact'],
    load: async () => (await import('./upkeep.ts')).history,
  },
  {
    name: 'state compact',
    words: '',
    summary: 'give up all that was overwritten or deleted',
    about: [
      'Afterwards the journal holds only what is live. The store does this by itself as it grows; this does it now, and completely. It may be interrupted at any point. History ends where it has been.',
    ],
    options: [home, anchor, json],
    examples: [
      { line: 'pawl state compact', about: 'before a backup' },
      { line: 'pawl state compact --json', about: 'bytes before and after' },
    ],
    fields: ['before, after: bytes of the journal'],
    exits: ['done', ...opening, 'unreachable'],
    seeAlso: ['state inspect', 'state history'],
    load: async () => (await import('./upkeep.ts')).compact,
  },
  {
    name: 'state rotate',
    words: '[SCOPE]',
    summary: 'new keys for what is kept; the old ones are destroyed',
    about: [
      'Without SCOPE and --store-key, all of it: the store key, and the data key of every scope with the slot of the anchor that it hangs on. Everything that is live is sealed again under the new keys, beside whatever else the home is used for; then the old keys are overwritten, and with them dies every copy of what was sealed under them: in old segments, and in copies of the home.',
      'It takes as long as reading and writing all that is live, and for a while as much room again. Interrupted or killed, it goes on when the home is next opened for longer, or when it is asked for again. Do it when somebody may have read the anchor.',
      'SCOPE is a group of records under a key of their own. Programs make them with the library; pawl state inspect lists them. What is put without naming one is in the scope default.',
    ],
    options: [
      { flag: '--store-key', about: 'the store key; with SCOPE, both and nothing else' },
      home,
      anchor,
      json,
    ],
    examples: [
      { line: 'pawl state rotate', about: 'all keys' },
      { line: 'pawl state rotate default', about: 'the data key of what is put without naming a scope' },
      { line: 'pawl state rotate --store-key', about: 'what the mark and the journal are authentic by' },
    ],
    fields: ['scope: its name or null', 'storeKey, all: booleans'],
    exits: ['done', ...opening],
    seeAlso: ['state compact', 'state inspect'],
    load: async () => (await import('./upkeep.ts')).rotate,
  },
  {
    name: 'state inspect',
    words: '[PATH]',
    summary: 'say what a home is made of, or where a record lies',
    about: [
      'Store id, mark, segments, live records, scopes and key slots, what is unfinished, budgets. With PATH: its envelope, its generation, its scope, and the segment and block where it lies. Never a payload, never a key.',
      'It takes no lock and writes nothing. While another process uses the home, it says how it stands at its mark. A damaged home is described as far as it can be read, and ends with 3.',
    ],
    options: [home, anchor, json],
    examples: [
      { line: 'pawl state inspect', about: 'how much of the journal is live, how many slots are used' },
      { line: 'pawl state inspect /state/orders/last', about: 'who wrote it, when, and where it lies' },
      { line: 'pawl state inspect --json', about: 'for a monitor' },
    ],
    fields: [
      'store: the store id in hexadecimal',
      'home, anchor, keeper, profile',
      'mark: number, head',
      'generation: the number of the last group',
      'start: the number of groups given up before the first segment',
      'segments: a list of objects with number, bytes, first, last (groups)',
      'records, liveBytes, journalBytes',
      'scopes: a list of objects with name, slot, state, recoverable (whether it is in backups)',
      'amendments: a list of objects with number, reason, abandoned and adopted (each number, head), by, at (ISO 8601)',
      'slots: used, of',
      'findings: a list of objects as pawl state fsck has them',
      'budgets: payloadBytes, latencyMs, queueBytes, records',
      'path, bytes, sha256 (not under /pawl/), at, subject, purpose, generation, scope, slot, segment, file, group, offset, block: with PATH, instead of all these',
    ],
    exits: ['done', ...reading],
    seeAlso: ['state fsck', 'state list', 'doctor'],
    load: async () => (await import('./inspect.ts')).inspect,
  },
  {
    name: 'state fsck',
    words: '',
    summary: 'look over all that a home and its anchor have, and mend it',
    about: [
      'Every file, header, group, link, block, envelope and key slot, the mark against the journal, and letter sessions against their marks, without stopping at the first finding. Each finding has a code, what it is about, what it means, and what to do next; docs/guides/fsck.md lists them all.',
      'Without --repair it writes nothing and holds no lock. While another process uses the home, what lies beyond its mark is not judged.',
      'What a crash leaves (a torn end, groups that are not marked yet, leftovers) is mended by the next opening: it is said, and exits 0. --repair opens the home to mend it now, looks again, and exits 1.',
      'Its exits are its own, for every mistake too.',
    ],
    options: [
      { flag: '--repair', about: 'mend what can be mended; needs the lock' },
      home,
      anchor,
      jsonLines,
    ],
    examples: [
      { line: 'pawl state fsck', about: 'after a crash, a full disk, or a restore' },
      { line: 'pawl state fsck --repair || test $? -eq 1', about: 'in a script: clean, or clean now' },
      { line: 'pawl state fsck --json --home /mnt/backup/home', about: 'whether a backup is whole' },
    ],
    fields: [
      'finding: code, kind (harmless, mendable, unrecoverable), means, next, and as far as they apply detail, file, offset, group, path',
      'mended: the same, of what --repair has mended',
      'result: outcome (clean, repaired, unrecoverable), records, groups, segments, harmless, mendable, unrecoverable, unlisted (findings), mended, exit',
    ],
    exits: ['clean', 'repaired', 'unrecoverable', 'misused', 'interrupted'],
    seeAlso: ['state inspect', 'doctor'],
    load: async () => (await import('./fsck.ts')).fsckCommand,
  },
]
