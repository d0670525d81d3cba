import type { Clock } from '../host/clock.ts'
import type { Entropy } from '../host/entropy.ts'
import type { SessionMarks } from '../keeper/session-marks.ts'
import type { Parameters } from '../state/parameters.ts'
import type { Store } from '../state/store.ts'
import type { OwnIdentity } from './own-identity.ts'

/** What letters are kept in. */
export type LetterStore = Pick<
  Store,
  'commit' | 'getSecret' | 'has' | 'list' | 'makeScope' | 'shred' | 'openedAs'
> & {
  get(path: string): Promise<{ readonly payload: Uint8Array }>
  readonly sessionMarks: Pick<SessionMarks, 'begin' | 'open' | 'remove'>
}

/** What letters need of a home. `crashAt` is a test hook: it is told of every point at which a crash is tried (S11). */
export type LetterEndpoint = {
  readonly store: LetterStore
  readonly own: OwnIdentity
  readonly clock: Clock
  readonly entropy: Entropy
  readonly crashAt?: ((point: LetterPoint) => void) | undefined
  readonly parameters: Parameters
}

export type LetterPoint =
  | 'letter/parsed'
  | 'letter/decrypting'
  | 'letter/opened'
  | 'letter/committing'
  | 'letter/marking'
  | 'letter/committed'

export type LetterOptions = {
  /**
   * What becomes of a session that is, or may be, older than what its mark has promised (S9). `refuse`:
   * `session/ROLLBACK`. `continue`: it goes on above everything promised, and a signed amendment says so. `discard`:
   * it is destroyed, as by `close`, and a new one may be begun; so is one whose mark is gone or damaged.
   */
  readonly restored?: 'refuse' | 'continue' | 'discard'
  /** Who decided to go on, for the amendment. */
  readonly by?: string
}
