/**
 * What a look at a home can find (D10). docs/guides/fsck.md has this table; codes are added to, never renamed.
 * `harmless`: nothing to do. `mendable`: a crash's ordinary trace. `unrecoverable`: refused until a copy is put back.
 */
export type Kind = 'harmless' | 'mendable' | 'unrecoverable'

const fromBackup = 'pawl state restore brings it back from a backup'
const newestHome = `put the newest whole copy of the home back; without one, ${fromBackup}`
const newestAnchor = `put the anchor itself back where it was, no older copy; if it is lost, move what is left of it aside, and ${fromBackup}`
const otherWays = 'pawl recover shows the other ways on'
const repair = 'pawl state fsck --repair, or go on: the next opening mends it'
const nothing = 'nothing'
const newSession = 'its program says what becomes of the session: docs/guides/library.md, "Letters"'

export const findingTable = {
  NO_HOME: {
    kind: 'unrecoverable',
    means: 'there is no home',
    next: `name the home with --home; if it is gone, put its newest copy back; without one, ${fromBackup}`,
  },
  HOME_FILE: {
    kind: 'unrecoverable',
    means: 'the home file is missing or damaged, so nothing says where the anchor is',
    next: 'put home.cbor back from any copy of this home: it never changes',
  },
  EXPOSED: {
    kind: 'unrecoverable',
    means: 'others can get at it, so every command refuses the home',
    next: 'give it back to its owner alone',
  },
  UNREADABLE: {
    kind: 'unrecoverable',
    means: 'the system does not let it be read',
    next: 'see what the system says of that place, and run it as the user who owns it',
  },
  ANCHOR_MISSING: {
    kind: 'unrecoverable',
    means: 'nothing is where the anchor should be',
    next: `name where it was moved with --anchor; if it is lost, this home opens no more, and only ${fromBackup}`,
  },
  KEY_FILE: {
    kind: 'unrecoverable',
    means: 'the store key is missing or damaged: nothing that is sealed can be looked at',
    next: newestAnchor,
  },
  LOCK_FILE: {
    kind: 'unrecoverable',
    means: 'the lock file is gone, or not the empty file it was',
    next: 'make sure that no process uses this home, then put an empty file there, mode 0600',
  },
  SLOTS_FILE: {
    kind: 'unrecoverable',
    means: 'the slots file is missing, cut short or damaged',
    next: newestAnchor,
  },
  SLOT: {
    kind: 'unrecoverable',
    means: 'a key slot is not the one that the journal names: the slots file is damaged, or an older copy',
    next: newestAnchor,
  },
  SLOT_PADDING: {
    kind: 'harmless',
    means: 'bytes of the slots file that are never read are not zeros',
    next: nothing,
  },
  MARK_FILE: {
    kind: 'unrecoverable',
    means: 'the mark file is missing, or neither of its slots is whole, or they contradict each other',
    next: newestAnchor,
  },
  MARK_SLOT: {
    kind: 'mendable',
    means: 'one of the two slots of the mark file is torn; the other one holds the mark',
    next: repair,
  },
  ANCHOR_WENT_BACK: {
    kind: 'unrecoverable',
    means: 'the mark is behind a number that it had confirmed: the anchor is an older copy',
    next: `put the newer anchor back; ${otherWays}`,
  },
  HOME_WENT_BACK: {
    kind: 'unrecoverable',
    means: 'the journal ends below what was acknowledged: the home is an older copy',
    next: `put the newer home back; ${otherWays}`,
  },
  HOME_FORKED: {
    kind: 'unrecoverable',
    means:
      'other groups than those that were marked: another copy of this home went on, by an amendment or by being written to',
    next: `put the newer home back, the one that this anchor was used with last; ${otherWays}`,
  },
  JOURNAL_MISSING: {
    kind: 'unrecoverable',
    means: 'the home has no journal',
    next: newestHome,
  },
  STRANGER: {
    kind: 'unrecoverable',
    means: 'a name that does not belong among the segments, so the home is refused',
    next: 'see what it is, and move it elsewhere',
  },
  SEGMENT_HEADER: {
    kind: 'unrecoverable',
    means:
      'a segment without a whole header of its own: damaged, renamed, of another store, or of a copy of the home that a restore or a rotation gave up, which never opens again',
    next: `if the home was restored, or its keys rotated, use the one that came of that; if not, ${newestHome}`,
  },
  SEGMENT_CHAIN: {
    kind: 'unrecoverable',
    means: 'a segment does not follow the one before it: one is missing, or they are of two copies',
    next: newestHome,
  },
  JOURNAL_START: {
    kind: 'unrecoverable',
    means: 'no segment begins where the journal begins: segments are missing',
    next: newestHome,
  },
  GROUP: {
    kind: 'unrecoverable',
    means: 'a group that was acknowledged is damaged or missing',
    next: newestHome,
  },
  TORN_TAIL: {
    kind: 'mendable',
    means: 'the journal ends in a group that was being written when a process died; nobody was promised it',
    next: repair,
  },
  UNMARKED: {
    kind: 'mendable',
    means: 'groups that are whole and not marked yet; they are written again, and marked',
    next: repair,
  },
  TOO_MANY_UNMARKED: {
    kind: 'unrecoverable',
    means: 'more groups are unmarked than are ever in flight: the mark is not the one of this home',
    next: newestAnchor,
  },
  LEFTOVER: {
    kind: 'mendable',
    means: 'a file that a crash left behind; it is not part of the journal and merely takes room',
    next: 'pawl state fsck --repair takes it away',
  },
  GIVEN_UP: {
    kind: 'mendable',
    means: 'a segment that a compaction was giving up; nothing in it is live',
    next: repair,
  },
  ROTATION_UNFINISHED: {
    kind: 'mendable',
    means: 'new keys were made, and something may still be sealed under the old ones, which are still there',
    next: 'pawl state fsck --repair completes it now; else whoever opens the home next goes on with it',
  },
  SHRED_UNFINISHED: {
    kind: 'mendable',
    means: 'the destruction of a scope was begun and not completed',
    next: 'pawl state fsck --repair now, if it is to be gone for good; else the next opening carries it on',
  },
  RESERVE: {
    kind: 'harmless',
    means: 'the reserve holds something else than zeros; its content is never read',
    next: nothing,
  },
  SESSION_MARK: {
    kind: 'unrecoverable',
    means: 'the mark of a letter session is missing or damaged: the session is refused, all else is not',
    next: `put that file back as the anchor had it last; without it ${newSession}`,
  },
  SESSION_ROLLBACK: {
    kind: 'unrecoverable',
    means: 'a letter session and its mark contradict each other: the session is refused, all else is not',
    next: `put the newest home and anchor back, both; if these are the newest, ${newSession}`,
  },
  SESSION_UNMARKED: {
    kind: 'harmless',
    means: 'the mark of a letter session is behind it by what a crash left: its next opening moves it on',
    next: nothing,
  },
  SESSION_MARK_LEFT: {
    kind: 'harmless',
    means: 'the mark of a letter session that is not there: it was being begun, or ended',
    next: nothing,
  },
  RECORD: {
    kind: 'unrecoverable',
    means: 'a live record does not open, or its payload is not the one that its envelope names',
    next: newestHome,
  },
  OWN_RECORD: {
    kind: 'unrecoverable',
    means: "a record of Pawl's own does not decode",
    next: `run the version of Pawl that wrote it; else ${newestHome}`,
  },
  UNKNOWN_RECORD: {
    kind: 'harmless',
    means: 'records under /pawl/ that this version does not know: it does not say whether they decode',
    next: nothing,
  },
  IN_USE: {
    kind: 'harmless',
    means: 'another process has the home open: what lies beyond the mark is being written, and is not judged',
    next: 'run it again when that process has ended, to have everything judged',
  },
  NOT_LOCKABLE: {
    kind: 'harmless',
    means: 'the lock cannot be tried here, so what lies beyond the mark is not judged',
    next: 'run it where the anchor may be written, to have everything judged',
  },
} as const satisfies {
  readonly [name: string]: { readonly kind: Kind; readonly means: string; readonly next: string }
}

export type FindingName = keyof typeof findingTable

/** What a finding is about. */
export type Subject = {
  readonly file?: string
  readonly offset?: number
  readonly group?: number
  readonly path?: string
}

export type Finding = Subject & {
  readonly code: `fsck/${FindingName}`
  readonly kind: Kind
  readonly means: string
  /** What is so in this case. */
  readonly detail?: string
  readonly next: string
}

/** A home that is damaged all over is not to fill the memory. */
export const findingsMax = 1000

/** What a look has found so far: a bounded list, and how many there were. */
export class Findings {
  readonly list: Finding[] = []
  readonly counts: Record<Kind, number> = { harmless: 0, mendable: 0, unrecoverable: 0 }
  readonly #seen = new Set<FindingName>()

  tell(
    name: FindingName,
    subject: Subject,
    more: { readonly detail?: string; readonly next?: string } = {},
  ): void {
    const { kind, means, next } = findingTable[name]
    this.#seen.add(name)
    this.counts[kind]++
    if (this.list.length < findingsMax)
      this.list.push({ code: `fsck/${name}`, kind, ...subject, means, next, ...more })
  }

  hasCode(code: Finding['code']): boolean {
    return this.list.some(finding => finding.code === code)
  }

  has(...names: readonly FindingName[]): boolean {
    return names.some(name => this.#seen.has(name))
  }

  get unlisted(): number {
    const { harmless, mendable, unrecoverable } = this.counts
    return harmless + mendable + unrecoverable - this.list.length
  }
}

/** What is told of an error: its message. */
export function detailOf(error: unknown): { readonly detail: string } {
  return { detail: error instanceof Error ? error.message : String(error) }
}
