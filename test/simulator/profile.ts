/** What a file system and device may do to work that no barrier has covered. */
export type Profile = {
  readonly name: string
  /**
   * (C3) which entries and lengths may be missing. `per-name`: any set in which each name's changes are a prefix.
   * `journal`: a prefix of all metadata of the device, in the order issued.
   */
  readonly metadata: 'per-name' | 'journal'
  /** (C4) a rename over an existing file lands only with the data of the file renamed; fsync also gives its name. */
  readonly renameFlushes: boolean
  /** A sector that a landed length covers, and whose data is missing, reads as these. */
  readonly unwritten: 'zeros' | 'garbage'
  /** (C5) a sector in flight is old or new, or may be mixed or garbage over its whole length. */
  readonly sectors: 'atomic' | 'torn'
}

/** `posix` allows all that `journaled` and `ext4` allow; `writeback` and `no-psow` each allow more than `posix`. */
export const profiles = {
  posix: profile('posix', {}),
  journaled: profile('journaled', { metadata: 'journal' }),
  ext4: profile('ext4', { metadata: 'journal', renameFlushes: true }),
  writeback: profile('writeback', { unwritten: 'garbage' }),
  'no-psow': profile('no-psow', { sectors: 'torn' }),
} as const

export type ProfileName = keyof typeof profiles

export const profileNames = Object.keys(profiles) as readonly ProfileName[]

export function profileOf(choice: ProfileName | Profile): Profile {
  return typeof choice === 'string' ? profiles[choice] : choice
}

function profile(name: string, traits: Partial<Profile>): Profile {
  return {
    name,
    metadata: 'per-name',
    renameFlushes: false,
    unwritten: 'zeros',
    sectors: 'atomic',
    ...traits,
  }
}
