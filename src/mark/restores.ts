/**
 * What becomes of a home when something of it is put back to an older state, or runs twice, with each keeper (S4): the one
 * place that says so. `pawl doctor` speaks from it, docs/guides/restores.md shows it, test/drills/restores.ts tries it.
 *
 * `opening`: refused by whatever opens it. `acknowledging`: refused at its next acknowledgement, by the keeper. `pin`: at
 * the next pin, which a store that is always busy makes once in 20 s. `peer`: it opens here, and the next peer that it had
 * exchanged with refuses it. `nothing`: there is no such thing.
 */
export type RestoreOutcome = 'opening' | 'acknowledging' | 'pin' | 'peer' | 'nothing'

/** As `pawl doctor` and docs/guides/restores.md put it. */
export const outcomeWords: Readonly<Record<RestoreOutcome, string>> = {
  opening: 'refused at opening',
  acknowledging: 'refused at the next acknowledgement',
  pin: 'refused at the next pin',
  peer: 'not here, by the next peer',
  nothing: '',
}

const kinds = ['file', 'none', 'etcd', 'postgres', 'witness', 'tpm'] as const
export type KeeperKind = (typeof kinds)[number]

type Restore = { readonly what: string; readonly outcomes: Readonly<Record<KeeperKind, RestoreOutcome>> }

function outcomes(file: RestoreOutcome, none: RestoreOutcome, outside: RestoreOutcome, tpm = outside) {
  return { file, none, etcd: outside, postgres: outside, witness: outside, tpm }
}

export const restores = {
  home: { what: 'the home alone', outcomes: outcomes('opening', 'peer', 'opening') },
  mark: { what: 'the mark file alone', outcomes: outcomes('opening', 'nothing', 'opening') },
  keeper: { what: 'the keeper outside alone', outcomes: outcomes('nothing', 'nothing', 'opening') },
  homeAndAnchor: { what: 'home and anchor together', outcomes: outcomes('peer', 'peer', 'opening') },
  everything: { what: 'home, anchor and keeper together', outcomes: outcomes('peer', 'peer', 'peer') },
  clone: {
    what: 'a copy of home and anchor that runs beside them',
    outcomes: outcomes('peer', 'peer', 'acknowledging', 'pin'),
  },
  machine: {
    what: 'the machine with its memory',
    outcomes: outcomes('peer', 'peer', 'acknowledging', 'pin'),
  },
} as const satisfies Readonly<Record<string, Restore>>

export type RestoreName = keyof typeof restores

/** Refused where it happens, before anything is acknowledged that it could take away again. */
export function isCaughtHere(restore: RestoreName, keeper: KeeperKind): boolean {
  const outcome = restores[restore].outcomes[keeper]
  return outcome === 'opening' || outcome === 'acknowledging'
}

/** What each keeper would catch, in four questions. */
export const keeperKinds = {
  file: caught('file'),
  none: caught('none'),
  etcd: caught('etcd'),
  postgres: caught('postgres'),
  tpm: caught('tpm'),
  witness: caught('witness'),
} as const

function caught(kind: KeeperKind) {
  return {
    home: isCaughtHere('home', kind),
    homeAndAnchor: isCaughtHere('homeAndAnchor', kind),
    /** Home, anchor and the memory of whoever runs. */
    machine: isCaughtHere('machine', kind),
    /** What the keeper itself holds: the mark file, where there is none outside. */
    keeper: isCaughtHere('keeper', kind) || isCaughtHere('mark', kind),
  }
}

/** All of it in a line: `refused at opening: the home alone, the mark file alone; not here ...`. */
export function describeRestores(keeper: KeeperKind): string {
  const by = new Map<RestoreOutcome, string[]>()
  for (const { what, outcomes } of Object.values(restores)) {
    const outcome = outcomes[keeper]
    if (outcome !== 'nothing') by.set(outcome, [...(by.get(outcome) ?? []), what])
  }
  return [...by].map(([outcome, whats]) => `${outcomeWords[outcome]}: ${whats.join(', ')}`).join('; ')
}
