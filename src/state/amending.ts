import type { FileKeeper } from '../keeper/mark-file.ts'
import type { StoreKeeper } from '../keeper/store-keeper.ts'
import type { Mark } from '../mark/mark.ts'
import type { Operation } from './block.ts'
import type { Batch } from './committer.ts'
import type { Config } from './config.ts'
import type { World } from './home.ts'
import type { Records } from './records.ts'
import type { Scope } from './scopes.ts'

/** What an amendment of an open store takes. */
export type AmendingParts = {
  readonly world: World
  readonly storeId: Uint8Array
  readonly config: Config
  readonly keeper: StoreKeeper
  readonly file: FileKeeper
  /** The anchor's directory, and that of the segments. */
  readonly anchor: string
  readonly directory: string
  readonly records: Records
  readonly closing: (() => Promise<void>)[]
  /** Where the journal ends. */
  readonly adopted: Mark
  /** What the keeper holds that is to be given up; `undefined` if it kept none. */
  readonly abandoned: Mark | undefined
  /** Scopes whose slots went on without this home, or were put back without it: nothing of them opens. */
  readonly misfits: readonly Scope[]
  /** Makes an operation of a record of the store's own. */
  readonly put: (path: string, payload: Uint8Array, purpose: string) => Operation
  readonly submit: (batch: Batch) => Promise<number>
}
