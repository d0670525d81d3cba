import type { Command } from './command.ts'
import { anchor, home, json, reading } from './options.ts'

/** The part of the command table that is about backups. */
export const backupCommands: readonly Command[] = [
  {
    name: 'state recovery-key',
    words: 'FILE',
    summary: 'make the key that backups are sealed to',
    about: [
      'FILE gets the secret half, for you alone, FILE.pub the public one, for anybody; neither is ever written over. Taking backups needs FILE.pub only, restoring one needs FILE. Move FILE off the machine: on paper, or where it is kept for years. Whoever has it reads every backup that is sealed to it; without it none is of any use.',
    ],
    options: [json],
    examples: [
      {
        line: 'pawl state recovery-key /media/stick/recovery',
        about: 'the secret half never touches this disk',
      },
      { line: 'pawl state recovery-key recovery --json', about: 'with its id, which backups name' },
    ],
    fields: ['secret, public: the two files', 'id: of the key, in hexadecimal'],
    exits: ['done', 'failed', 'usage', 'refused'],
    seeAlso: ['state backup', 'state restore'],
    load: async () => (await import('./backup.ts')).recoveryKey,
  },
  {
    name: 'state backup',
    words: 'BACKUP',
    summary: 'write a backup of the home while it is in use',
    about: [
      'BACKUP, a new file, holds everything that is recoverable as it is at this moment, sealed to a recovery key and signed by the store: identity, peers, policy, your records, the audit trail. Not in it, not even sealed: sessions, messages that wait, and whatever else may be destroyed for good one day.',
      'No lock is taken, and whoever uses the home is not disturbed. BACKUP is whole on disk when this returns; it is never written over anything. What a copy of the home directory is not, this is: it needs no anchor, and restoring it is on the record.',
      'The records that it counts are yours and Pawl’s own; pawl state inspect counts those as well that are in no backup, and pawl state list yours alone.',
    ],
    options: [
      {
        flag: '--to FILE',
        about: 'the public recovery key, which ends in .pub; - is standard input',
        required: true,
      },
      home,
      anchor,
      json,
    ],
    examples: [
      {
        line: 'pawl state backup /backups/$(date +%F).pawl --to recovery.pub',
        about: 'every night, say; /etc/cron.d needs nothing that is secret',
      },
      { line: 'pawl state backup now.pawl --to recovery.pub --json', about: 'with the mark it was taken at' },
    ],
    fields: [
      'file, store, recovery: the id of the key',
      'mark: number, head; at (ISO 8601)',
      'scopes: a list of names; records, bytes',
    ],
    exits: ['done', ...reading],
    seeAlso: ['state restore', 'state recovery-key', 'state fsck'],
    load: async () => (await import('./backup.ts')).backup,
  },
  {
    name: 'state restore',
    words: 'BACKUP',
    summary: 'make a home of a backup, and a new anchor for it',
    about: [
      'All of BACKUP is checked before anything is made. The home goes on from the mark of the backup, with the same identity. Where the store still has an anchor, what was committed since the backup is given up for good, and the old home never opens again: that is said first, and has to be confirmed. It is written down as an amendment, signed by the store, and in the audit trail.',
      'Where a home stands none is made: move it aside. The anchor is made where it was, or in the BASE that is named. Cut short by anything, run it again: until it is through the home is in HOME.restoring, and what has that name and is not an unfinished restore is refused. To practise, use --check, or another machine.',
    ],
    options: [
      {
        flag: '--key FILE',
        about: 'the secret recovery key; - is standard input',
        required: true,
      },
      { flag: '--check', about: 'check all of BACKUP and say what is in it; nothing is made' },
      { flag: '--yes', about: 'confirm what is given up without being asked' },
      { flag: '--home DIR', about: 'where to make it; PAWL_HOME, or ~/.pawl, without it' },
      { flag: '--anchor BASE', about: 'the directory that gets the anchor; PAWL_ANCHOR says the same' },
      json,
    ],
    examples: [
      { line: 'pawl state restore 2026-11-21.pawl --key recovery --check', about: 'each time one was taken' },
      {
        line: 'pawl state restore 2026-11-21.pawl --key recovery',
        about: 'on a new machine, or after a loss',
      },
      {
        line: 'mv ~/.pawl ~/.pawl.old && pawl state restore last.pawl --key recovery --yes',
        about: 'back to an earlier time, on purpose',
      },
    ],
    fields: [
      'file: with --check; else home, anchor, carriedOn (only the last step of an earlier one was left), and amendment: number, reason, abandoned and adopted (each number, head)',
      'store; mark: number, head; at (ISO 8601); scopes: a list of names; records, bytes',
    ],
    exits: ['done', 'failed', 'usage', 'refused', 'unsupported', 'locked', 'wrongKey'],
    seeAlso: ['state backup', 'state fsck', 'init'],
    load: async () => (await import('./backup.ts')).restore,
  },
]
