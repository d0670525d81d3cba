import { isZero } from '../../bytes/bytes.ts'
import { type Disk, DiskError } from '../../host/disk.ts'
import { anchorNames, join, markKeysOf, readStoreKeys, refuseWithoutLockFile } from '../../keeper/anchor.ts'
import { markIn, readMarkSlots } from '../../keeper/mark-file.ts'
import { Slots, slotSecretBytes } from '../../keeper/slots.ts'
import type { StoreKeys } from '../../keeper/store-keys.ts'
import { type Mark, MarkError } from '../../mark/mark.ts'
import { limits } from '../limits.ts'
import { detailOf, type FindingName, type Findings } from './findings.ts'

/** What there is of an anchor; what is missing here has been told of. */
export type AnchorSight = {
  readonly storeKeys: StoreKeys | undefined
  readonly slots: Slots | undefined
  readonly mark: Mark | undefined
  close(): Promise<void>
}

/** Whether another process has the home open; `unknown` where the lock cannot be tried. */
export type Use = 'nobody' | 'another' | 'unknown'

/** Takes the lock for a moment, since nothing else tells; nothing is written. */
export async function whoUses(disk: Disk, anchor: string, findings: Findings): Promise<Use> {
  try {
    await refuseWithoutLockFile(disk, anchor)
    const lock = await disk.lock(join(anchor, anchorNames.lock))
    await lock.release()
    return 'nobody'
  } catch (error) {
    if (error instanceof DiskError && error.code === 'locked') return 'another'
    if (error instanceof MarkError) tellOf(findings, 'LOCK_FILE', join(anchor, anchorNames.lock), error)
    return 'unknown'
  }
}

/** What a directory that was named has instead of the anchor that was looked for in it. */
export async function insteadOfAnchor(disk: Disk, base: string): Promise<string> {
  const holdsOne = async (path: string) =>
    (await disk.stat(join(path, anchorNames.key)))?.kind === 'file' &&
    (await disk.stat(join(path, anchorNames.slots)))?.kind === 'file'
  try {
    const kind = (await disk.stat(base))?.kind
    if (kind === undefined) return `${base}: it is not there`
    if (kind !== 'directory') return `${base}: it is no directory`
    if (await holdsOne(base)) return `${base}: it is an anchor itself: name the directory above it`
    for (const name of await disk.list(base))
      if (await holdsOne(join(base, name)))
        return `${base}: it has the anchor of another store, and none of this one`
    return `${base}: there is no anchor in it`
  } catch (error) {
    return detailOf(error).detail ?? base
  }
}

export async function lookAtAnchor(
  disk: Disk,
  anchor: string,
  storeId: Uint8Array,
  findings: Findings,
): Promise<AnchorSight> {
  const at = (name: keyof typeof anchorNames) => join(anchor, anchorNames[name])
  const attempt = async <T>(name: FindingName, file: string, look: () => Promise<T>) => {
    try {
      return await look()
    } catch (error) {
      tellOf(findings, name, file, error)
      return undefined
    }
  }
  const storeKeys = await attempt('KEY_FILE', at('key'), () => readStoreKeys(disk, anchor))
  const slots = await attempt('SLOTS_FILE', at('slots'), () => Slots.open(disk, at('slots'), 'read'))
  if (slots !== undefined)
    await attempt('SLOTS_FILE', at('slots'), () => lookAtPadding(disk, at('slots'), findings))
  const mark =
    storeKeys && (await attempt('MARK_FILE', at('mark'), () => lookAtMark(disk, at('mark'), storeKeys)))
  return {
    storeKeys,
    slots,
    mark,
    async close() {
      await storeKeys?.close()
      await slots?.close()
    },
  }

  async function lookAtMark(disk: Disk, file: string, storeKeys: StoreKeys): Promise<Mark> {
    const markKeys = markKeysOf(storeKeys)
    const slots = await readMarkSlots(disk, file, markKeys, storeId).finally(() => {
      for (const key of markKeys) key[Symbol.dispose]()
    })
    const mark = markIn(slots)
    for (const [slot, held] of slots.entries())
      if (held === undefined) findings.tell('MARK_SLOT', { file, offset: slot * limits.sectorBytes })
    return mark
  }
}

/** The slots themselves are judged by the records of their scopes; what lies between them is never read. */
async function lookAtPadding(disk: Disk, path: string, findings: Findings): Promise<void> {
  const file = await disk.open(path, { access: 'read' })
  try {
    const sector = new Uint8Array(limits.sectorBytes)
    const headBytes = 12
    for (let offset = 0; (await file.read(sector, offset)) > 0; offset += sector.length)
      if (!isZero(sector.subarray(offset === 0 ? headBytes : slotSecretBytes)))
        findings.tell('SLOT_PADDING', { file: path, offset })
    sector.fill(0)
  } finally {
    await file.close()
  }
}

/** As the thing that is missing or damaged, or as one that the system does not let anybody read. */
export function tellOf(findings: Findings, name: FindingName, file: string, error: unknown): void {
  const isKept = error instanceof DiskError && (error.code === 'denied' || error.code === 'failed')
  findings.tell(isKept ? 'UNREADABLE' : name, { file }, detailOf(error))
}
