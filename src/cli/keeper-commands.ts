import type { Command } from './command.ts'
import { anchor, home, json, opening } from './options.ts'

/** The part of the command table that is about who keeps the mark of a home that exists. */
export const keeperCommands: readonly Command[] = [
  {
    name: 'keeper change',
    words: 'KEEPER',
    summary: 'have another keeper keep the mark',
    about: [
      'KEEPER is named as for pawl init. The new one is given the mark, the old one is moved on, so that no older copy of the home fits it any more, and an amendment in the home says so. Cut short, it is carried on by the same command.',
    ],
    options: [home, anchor, json],
    examples: [
      {
        line: "pawl keeper change 'etcd:https://a:2379,https://b:2379,https://c:2379?ca=/etc/ca.pem'",
        about: 'from now on three machines remember how far this home has come',
      },
      { line: 'pawl keeper change file', about: 'back to the mark file in the anchor alone' },
    ],
    fields: ['home', 'from, keeper: the keepers before and now', 'reason', 'mark: its number'],
    exits: ['done', ...opening],
    seeAlso: ['keeper lost', 'init', 'doctor'],
    load: async () => (await import('./keeper.ts')).change,
  },
  {
    name: 'keeper lost',
    words: 'KEEPER',
    summary: 'go on with another keeper when the one before is gone for good',
    about: [
      'As pawl keeper change, but the keeper before is not asked, and so cannot say that home and anchor were put back together. If it may come back, wait for it instead. The amendment in the home says that it was lost, when, and who said so.',
    ],
    options: [
      { flag: '--yes', about: 'it is gone for good, and these are the newest home and anchor' },
      home,
      anchor,
      json,
    ],
    examples: [
      {
        line: 'pawl keeper lost --yes postgres://pawl@db/marks?sslrootcert=/etc/ca.pem',
        about: 'the cluster of etcd burned down',
      },
      { line: 'pawl keeper lost --yes file', about: 'the mark file alone, until there is a new one' },
    ],
    fields: ['home', 'from, keeper: the keepers before and now', 'reason', 'mark: its number'],
    exits: ['done', ...opening],
    seeAlso: ['keeper change', 'doctor'],
    load: async () => (await import('./keeper.ts')).lost,
  },
]
