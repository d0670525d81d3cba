/** Every way a command ends; README.md, "Exits", is this table. Refused, failed and undecided never share a code. */
export const exits = {
  done: { code: 0, meaning: 'done' },
  failed: { code: 1, meaning: 'failed' },
  usage: { code: 2, meaning: 'usage, or invalid input' },
  refused: { code: 3, meaning: 'refused: rollback, replay, damage, policy' },
  undecided: { code: 4, meaning: 'undecided: evidence or trust is missing (reserved for later releases)' },
  unsupported: { code: 5, meaning: 'version or suite not supported' },
  noHome: { code: 10, meaning: 'no home' },
  locked: { code: 11, meaning: 'locked by another process' },
  wrongKey: { code: 12, meaning: 'wrong key or passphrase' },
  unreachable: { code: 20, meaning: 'peer, keeper or daemon not reachable' },
  interrupted: { code: 130, meaning: 'interrupted' },
} as const satisfies { readonly [name: string]: { readonly code: number; readonly meaning: string } }

export type Exit = keyof typeof exits

/** `pawl state fsck` alone ends in these (D10): docs/guides/fsck.md. */
export const fsckExits = {
  clean: { code: 0, meaning: 'clean, or the next opening mends it' },
  repaired: { code: 1, meaning: 'repaired' },
  unrecoverable: { code: 2, meaning: 'unrecoverable, or it could not be looked at' },
  misused: { code: 64, meaning: 'usage' },
} as const satisfies { readonly [name: string]: { readonly code: number; readonly meaning: string } }

/** Any way that a process ends. */
export const endings = { ...exits, ...fsckExits } as const

export type Ending = keyof typeof endings

/** How the command of this line ends where others end in `exit`. */
export function endingOf(exit: Exit, [first, second]: readonly string[]): Ending {
  if (first !== 'state' || second !== 'fsck') return exit
  return exit === 'usage' ? 'misused' : 'unrecoverable'
}
