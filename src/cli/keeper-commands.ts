import type { Command } from './command.ts'
import { anchor, home, json, opening } from './options.ts'

/** The part of the command table that is about who keeps the mark of a home that exists. */
export const keeperCommands: readonly Command[] = [
  {
    name: 'recover',
    words: '',
    summary: 'what was found of a home that is refused, and the lawful ways on',
    about: [
      'Without options it changes nothing: it says whether the home went back, its keeper did, the two are of two histories, or something is damaged; what is lost by it; and the ways on as commands, the one that loses least first. Where nothing is wrong it says so.',
      'With --go-on the home goes on from what it has. The mark that is given up and the one that is adopted are named in a signed amendment, the keeper is moved to the new one, and no other copy of this home opens again. Cut short, it is run again. Damage is no place to go on from, and neither is a home in which nothing is wrong, unless a peer has refused it: home and anchor were put back together then, and only peers can tell.',
      'A shared home is taken over to be looked at, as by any command that opens it, and goes on as that of its new owner; while an owner is there it is told as that one left it at its mark.',
    ],
    options: [
      { flag: '--go-on', about: 'go on from what this home has, on the record' },
      { flag: '--yes', about: 'with --go-on: what is given up is known; without it a terminal asks' },
      home,
      anchor,
      json,
    ],
    examples: [
      { line: 'pawl recover', about: 'what was found, and what can be done' },
      { line: 'pawl recover --go-on', about: 'asks, then goes on from the copy that was put back' },
      { line: 'pawl recover --go-on --yes --json', about: 'for a program that has read the answer before' },
    ],
    fields: [
      'home, anchor, verdict, code (null if nothing is wrong), keeper',
      'groups: how many the home has; mark, kept: number and head in the mark file and at the keeper outside, or null',
      'lost: first and last group that it does not have, or null; damage: code, means, detail (or null), next; inUse',
      'amendment: what peers are told of the newest, or null; peers: name, sent, acknowledged, received, lost and unknown (way, first, last), waits (the amendment that waits for pawl peer allow-lost, or null), refused (reason, at: since they refused each other last; or null)',
      'ways: way, command, about, loses',
      'with --go-on: home, amendment (number, reason, abandoned, adopted), mark, scopesLost',
    ],
    exits: ['done', ...opening],
    seeAlso: ['doctor', 'state restore', 'state fsck', 'keeper lost'],
    load: async () => (await import('./recover.ts')).recover,
  },
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
