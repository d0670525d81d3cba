import type { Amendment } from '../mark/amendment.ts'
import type { AmendingParts } from './amending.ts'
import { amendmentPath, amendments, signAmendment } from './amendments.ts'
import { auditBytes } from './audit.ts'
import type { Operation } from './block.ts'
import type { Config } from './config.ts'
import { StateError } from './error.ts'
import { openHome, parentOf, type World } from './home.ts'
import { newRecovery, recoveryPath } from './recovery-record.ts'
import { defaultScope, encodeScope, scopePath } from './scopes.ts'
import { listSegments, segmentPath } from './segment.ts'
import { openSigner } from './signer.ts'
import type { Store } from './store.ts'

/** What was given up, and what was gone on from. */
export type Recovered = {
  readonly number: number
  readonly amendment: Amendment
  /** The store's mark now. */
  readonly mark: number
  /** Scopes of which nothing opens any more: their slots are not the ones that this home knew. */
  readonly scopesLost: readonly string[]
}

export type RecoverOptions = {
  /** Who decided, as the amendment and the audit trail show it: 1 to 256 bytes of UTF-8. */
  readonly by: string
  /** Records under these are of before: what is remembered of sessions, say. */
  readonly forget?: readonly string[]
  /** Called when all is judged, before anything is changed: what it throws refuses it. */
  readonly admit?: (config: Config) => void
}

/**
 * Goes on from where the home is, whatever its keeper holds, by an amendment (docs/spec/recovery.md). Cut short anywhere,
 * the home is refused as before, or has gone on; the same call carries it on. Damage is refused.
 * @throws StateError EINTEGRITY, EKEEPER, ELOCKED, ENOSPC
 */
export async function recoverHome(
  world: World,
  home: string,
  { anchorBase, ...options }: RecoverOptions & { readonly anchorBase?: string | undefined },
): Promise<Recovered> {
  return recoverStore(await openHome(world, home, anchorBase, { recover: true }), options)
}

/** The same of a home that was opened to `recover`, as its owner where it is shared; it is closed in the end. */
export async function recoverStore(
  store: Store,
  { by, forget = [], admit }: RecoverOptions,
): Promise<Recovered> {
  try {
    admit?.(store.config)
    const done = await store.amend(parts => goOn(parts, by, forget))
    return { ...done, mark: store.mark.number }
  } finally {
    await store.close()
  }
}

async function goOn(
  parts: AmendingParts,
  by: string,
  forget: readonly string[],
): Promise<Omit<Recovered, 'mark'>> {
  const { world, records, misfits, adopted, put } = parts
  const lost = misfits.filter(({ state }) => state === 'live' || state === 'retiring')
  if (lost.some(({ name }) => name === defaultScope))
    throw new StateError(
      'EINTEGRITY',
      'the key of the default scope is not the one that this home was sealed with',
    )
  await syncAll(parts)
  const { signer, keys } = await openSigner(records)
  parts.closing.push(async () => keys[Symbol.dispose]())
  const number = ((await amendments(records)).at(-1)?.number ?? 0) + 1
  const path = amendmentPath(number)
  const abandoned = parts.abandoned ?? adopted
  const amendment: Amendment = { abandoned, adopted, reason: 'recovery', by, at: world.clock.now() }
  const operations: Operation[] = [
    put(path, await signAmendment(amendment, signer, keys), 'amendment'),
    put(recoveryPath, newRecovery(world.entropy), 'recovery'),
    ...forget.flatMap(prefix => records.list(prefix)).map((path): Operation => ({ kind: 'delete', path })),
    ...misfits.map(scope =>
      put(scopePath(scope.slot), encodeScope({ ...scope, state: 'shredding' }), 'scope'),
    ),
  ]
  const audit = [{ action: 'recover', decision: 'allow', path, reason: 'recovery', subject: by }] as const
  // The group first, then the keepers, of which the mark file is the last: before that it refuses the home.
  await parts.submit({
    operations,
    bytes: recordBytesMax * operations.length + auditBytes(audit),
    use: 'all',
    audit,
  })
  return { number, amendment, scopesLost: lost.map(({ name }) => name) }
}

/** An older home was copied here, and may be in no disk yet. */
async function syncAll({ world, directory }: AmendingParts): Promise<void> {
  const { disk } = world
  for (const number of (await listSegments(disk, directory)).numbers) {
    const file = await disk.open(segmentPath(directory, number), { access: 'write' })
    await file.sync().finally(() => file.close())
  }
  for (const path of [directory, parentOf(directory), parentOf(parentOf(directory))])
    await disk.syncDirectory(path)
}

/** An amendment with its signatures, or a scope, is far less. */
const recordBytesMax = 64 * 1024
