import type { KeeperName } from '../keeper/outside.ts'
import type { Mark, Rollback } from '../mark/mark.ts'
import type { Config } from './config.ts'
import { StateError, stateError } from './error.ts'
import type { Use } from './fsck/anchor.ts'
import type { Finding, FindingName } from './fsck/findings.ts'
import { lookAt, type Sight } from './fsck/look.ts'
import { locate, type World } from './home.ts'
import { reachNamed } from './keepers.ts'
import { readHome } from './reader.ts'
import type { Found } from './records.ts'
import { openSigner } from './signer.ts'
import type { Store } from './store.ts'

/** What was found of a home: docs/spec/recovery.md, "What was found". */
export type Verdict =
  | 'nothing is wrong'
  | 'the home went back'
  | 'the keeper went back'
  | 'the home forked'
  | 'damage'
  | 'the keeper is away'

export type Diagnosis = {
  readonly verdict: Verdict
  /** What any command that opens it ends with. */
  readonly failure: StateError | undefined
  /** `another`: a process has it open; `unknown`: nothing may be written, so nobody can tell. */
  readonly use: Use
  readonly anchor: string
  readonly config: Config | undefined
  /** The number of groups that the home has. */
  readonly size: number
  /** What the mark file holds, and the keeper outside, where there is one that answers. */
  readonly mark: Mark | undefined
  readonly kept: Mark | undefined
  readonly damage: readonly Finding[]
  /** An amendment can go on from here. */
  readonly mayGoOn: boolean
  /** What opens of it. */
  readonly records: DiagnosedRecords
  close(): Promise<void>
}

export type DiagnosedRecords = {
  list(prefix: string): string[]
  get(path: string): Promise<Found>
}

type Options = {
  readonly anchorBase?: string | undefined
  readonly keeper?: KeeperName | undefined
  /** As any command opens it. */
  readonly open: () => Promise<Store>
}

/**
 * Opens a home as any command does, and where that is refused looks at what there is; a home that opens is mended by it as
 * ever, and one that is refused stays as it is. @throws StateError ENOENT; what is no refusal and no damage
 */
export async function diagnose(world: World, home: string, options: Options): Promise<Diagnosis> {
  const { anchorBase, open } = options
  const { anchorPath: anchor } = await locate(world.disk, home, anchorBase)
  const well = { anchor, failure: undefined, kept: undefined, damage: [], mayGoOn: true } as const
  try {
    const store = await open()
    const { config, mark } = store
    const verdict = 'nothing is wrong'
    const close = () => store.close()
    return { ...well, verdict, use: 'nobody', config, size: mark.number, mark, records: store, close }
  } catch (error) {
    const failure = stateError(error)
    if (!(failure instanceof StateError)) throw failure
    if (failure.code === 'ELOCKED' || failure.code === 'EPERM') {
      const use = failure.code === 'ELOCKED' ? 'another' : 'unknown'
      const reader = await readHome(world, home, anchorBase)
      const { config, mark } = reader
      const verdict = 'nothing is wrong'
      const close = () => reader.close()
      return { ...well, verdict, use, config, size: mark.number, mark, records: reader, close }
    }
    if (!isJudgement(failure)) throw failure
    return lookAtRefused(world, home, failure, { ...options, anchor })
  }
}

function isJudgement({ code }: StateError): boolean {
  return code === 'EROLLBACK' || code === 'EINTEGRITY' || code === 'EKEEPER'
}

async function lookAtRefused(
  world: World,
  home: string,
  failure: StateError,
  { anchorBase, keeper, anchor }: Omit<Options, 'open'> & { readonly anchor: string },
): Promise<Diagnosis> {
  const sight = await lookAt(world, home, { anchorBase, deep: false })
  const kept = await peek(world, sight, { keeper, anchor })
  const { findings, config, mark, records } = sight
  const size = sight.walk?.size ?? 0
  const verdict = verdictOf(failure, sight)
  const unrecoverable = findings.list.filter(({ kind }) => kind === 'unrecoverable')
  const isSound = config !== undefined && unrecoverable.every(({ code }) => noObstacles.has(code))
  return {
    verdict,
    failure,
    use: findings.has('ANCHOR_MISSING', 'LOCK_FILE') ? 'nobody' : sight.use,
    anchor,
    config,
    size,
    mark,
    kept,
    damage: unrecoverable.filter(({ code }) => !wentBack.has(code)),
    mayGoOn: isSound && failure.code !== 'EKEEPER',
    records: {
      list: prefix => records?.list(prefix) ?? [],
      async get(path) {
        if (records === undefined) throw new StateError('ENOENT', `nothing at ${path}`)
        return records.get(path)
      },
    },
    close: () => sight.close(),
  }
}

const wentBack: ReadonlySet<string> = codes('ANCHOR_WENT_BACK', 'HOME_WENT_BACK', 'HOME_FORKED')
/** What an amendment gives up; all else that is unrecoverable is in its way. */
const noObstacles: ReadonlySet<string> = codes(
  'ANCHOR_WENT_BACK',
  'HOME_WENT_BACK',
  'HOME_FORKED',
  'MARK_FILE',
  'SLOT',
  'TOO_MANY_UNMARKED',
)

function codes(...names: readonly FindingName[]): ReadonlySet<string> {
  return new Set(names.map(name => `fsck/${name}`))
}

/** By mark file and journal, of which the look sees more than the opening did; then by what that was refused for. */
function verdictOf({ code, rollback }: StateError, { findings }: Sight): Verdict {
  if (code === 'EKEEPER') return 'the keeper is away'
  if (findings.has('HOME_FORKED')) return 'the home forked'
  if (findings.has('ANCHOR_WENT_BACK')) return 'the keeper went back'
  if (findings.has('HOME_WENT_BACK')) return 'the home went back'
  // A rollback that is not named is a keeper that holds something else than anybody here has written.
  return code === 'EINTEGRITY' ? 'damage' : verdicts[rollback ?? 'the store forked']
}

/** Who has its anchor in hand at an older state has an older home as well. */
const verdicts: Readonly<Record<Rollback, Verdict>> = {
  'the keeper went back': 'the keeper went back',
  'the store went back': 'the home went back',
  'the store forked': 'the home forked',
  'the anchor went back': 'the home went back',
}

/** What the keeper outside holds; nothing where there is none, or it does not answer, or nobody can be shown to it. */
async function peek(
  world: World,
  { records, config }: Sight,
  { keeper, anchor }: Pick<Options, 'keeper'> & { readonly anchor: string },
): Promise<Mark | undefined> {
  if (records === undefined || config === undefined) return undefined
  try {
    const { signer, keys } = await openSigner(records)
    using _ = keys
    const outside = await reachNamed(world, config, keeper, { signer, keys, anchor })
    try {
      return await outside?.peek()
    } finally {
      await outside?.close()
    }
  } catch (error) {
    if (stateError(error) instanceof StateError) return undefined
    throw error
  }
}
