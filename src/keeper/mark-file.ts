import { equal, isZero, utf8 } from '../bytes/bytes.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { hmacSha256 } from '../crypto/hash.ts'
import { equalSecrets, type Secret } from '../crypto/secret.ts'
import type { Disk, File } from '../host/disk.ts'
import { describeMark, judgeAdvance, type Keeper, type Mark, MarkError, sameMark } from '../mark/mark.ts'

/** docs/spec/anchor.md, "mark": two slots of one sector each, overwritten in turn, each under an HMAC. */
const slotBytes = 4096
const magic = utf8('PAWLMRK1')
const bodyBytes = 8 + 32 + 8 + 32
const macBytes = 32

/** What a slot's MAC may be under: the first is what is written under, another while the store key is being rotated. */
export type MarkKeys = readonly [Secret, ...Secret[]]

export async function createMarkFile(disk: Disk, path: string, macKey: Secret, first: Mark): Promise<void> {
  const file = await disk.open(path, { access: 'exclusive' })
  try {
    const sector = new Uint8Array(slotBytes)
    sector.set(encodeSlot(macKey, first))
    await file.write(sector, 0)
    await file.write(sector, slotBytes)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Whether a file lies there that could be one. */
export async function isMarkFile(disk: Disk, path: string): Promise<boolean> {
  const found = await disk.stat(path)
  return found?.kind === 'file' && found.size === 2 * slotBytes
}

/** The mark as a reader without the lock sees it: the valid slot with the greater number. */
export async function readMarkFile(
  disk: Disk,
  path: string,
  macKeys: MarkKeys,
  domain: Uint8Array,
): Promise<Mark> {
  const file = await disk.open(path, { access: 'read' })
  try {
    return newest(await readSlots(file, macKeys, domain)).mark
  } finally {
    await file.close()
  }
}

/** Both slots as they lie there, `undefined` for one that is not whole. @throws MarkError EINTEGRITY on another length */
export async function readMarkSlots(
  disk: Disk,
  path: string,
  macKeys: MarkKeys,
  domain: Uint8Array,
): Promise<MarkSlots> {
  const file = await disk.open(path, { access: 'read' })
  try {
    return await readSlots(file, macKeys, domain)
  } finally {
    await file.close()
  }
}

/** The mark that two slots hold. @throws MarkError EINTEGRITY if neither is whole, or they contradict each other */
export function markIn(slots: MarkSlots): Mark {
  return newest(slots).mark
}

/**
 * The keeper `file` (S4). It catches a home put back alone; home and anchor put back together it cannot see. Only
 * the holder of the anchor's lock may open it, so read-compare-write is a compare-and-swap.
 */
export class FileKeeper implements Keeper {
  readonly kind = 'file'
  readonly #file: File
  /** Owned here: wiped when it is closed. */
  #macKeys: MarkKeys
  #held: Mark
  /** What is being written: one slot at a time. */
  readonly #sector = new Uint8Array(slotBytes)
  #slot: 0 | 1

  private constructor(file: File, macKeys: MarkKeys, held: Mark, slot: 0 | 1) {
    this.#file = file
    this.#macKeys = macKeys
    this.#held = held
    this.#slot = slot
  }

  /**
   * `instead`: what it holds is given up by an amendment. Then two marks of one number, which an amendment that was cut
   * short may leave, do not matter, and where no slot is whole it holds that.
   */
  static async open(
    disk: Disk,
    path: string,
    macKeys: MarkKeys,
    domain: Uint8Array,
    instead?: Mark,
  ): Promise<FileKeeper> {
    const file = await disk.open(path, { access: 'write', durable: true })
    const slots = await readSlots(file, macKeys, domain)
    const { mark, slot } = newest(slots, instead)
    const keeper = new FileKeeper(file, macKeys, mark, slot)
    // What was read may be in the page cache only, its writer killed before its sync, and the other slot is about to
    // be overwritten: without this a power cut now could leave neither.
    await file.sync()
    // After a failed sync the page cache may show what the disk does not hold: written again into the other slot it
    // is durable, and only then does it count as confirmed.
    await keeper.#write(mark)
    return keeper
  }

  /** What the file says now. @throws MarkError EINTEGRITY */
  async read(): Promise<Mark> {
    return newest(await readSlots(this.#file, this.#macKeys, this.#held.domain)).mark
  }

  async advance(expected: Mark, next: Mark): Promise<void> {
    const verdict = judgeAdvance(this.#held, expected, next)
    if (verdict === 'refuse')
      throw new MarkError(
        'EROLLBACK',
        `the mark file holds ${describeMark(this.#held)}, not ${describeMark(expected)}`,
        { rollback: 'the store forked' },
      )
    if (verdict === 'advance') await this.#write(next)
  }

  /**
   * Holds `next` in place of whatever it holds: only an amendment that is durable by then calls it. Cut short it holds
   * the one or the other, or both under one number, which no opening takes.
   */
  async adopt(next: Mark): Promise<void> {
    await this.#write(next)
    await this.#write(next) // the other slot may hold a greater number
  }

  /** Writes the mark under another key, into both slots, so that nothing hangs on the one before. */
  async rekey(macKey: Secret): Promise<void> {
    this.#macKeys = [macKey, ...this.#macKeys]
    await this.#write(this.#held)
    await this.#write(this.#held)
    const [, ...old] = this.#macKeys
    this.#macKeys = [macKey]
    for (const key of old) key[Symbol.dispose]()
  }

  async close(): Promise<void> {
    for (const key of this.#macKeys) key[Symbol.dispose]()
    await this.#file.close()
  }

  /** Into the slot that does not hold the newest mark, so that a torn write leaves the newest one whole. */
  async #write(mark: Mark): Promise<void> {
    const slot = this.#slot === 0 ? 1 : 0
    this.#sector.set(encodeSlot(this.#macKeys[0], mark))
    await this.#file.write(this.#sector, slot * slotBytes)
    this.#slot = slot
    this.#held = mark
  }
}

export type MarkSlots = readonly [Mark | undefined, Mark | undefined]

function newest([first, second]: MarkSlots, instead?: Mark): { readonly mark: Mark; readonly slot: 0 | 1 } {
  if (first !== undefined && second !== undefined) {
    if (instead === undefined && first.number === second.number && !sameMark(first, second))
      throw new MarkError('EINTEGRITY', 'the two slots of the mark file contradict each other')
    return first.number > second.number ? { mark: first, slot: 0 } : { mark: second, slot: 1 }
  }
  if (first !== undefined) return { mark: first, slot: 0 }
  if (second !== undefined) return { mark: second, slot: 1 }
  if (instead !== undefined) return { mark: instead, slot: 1 }
  throw new MarkError('EINTEGRITY', 'both slots of the mark file are damaged')
}

async function readSlots(file: File, macKeys: MarkKeys, domain: Uint8Array): Promise<MarkSlots> {
  if ((await file.stat()).size !== 2 * slotBytes)
    throw new MarkError('EINTEGRITY', 'the mark file is not two slots long')
  const bytes = new Uint8Array(2 * slotBytes)
  await file.read(bytes, 0)
  const slot = (at: number) => {
    for (const macKey of macKeys) {
      const mark = decodeSlot(macKey, domain, bytes.subarray(at, at + slotBytes))
      if (mark !== undefined) return mark
    }
    return undefined
  }
  return [slot(0), slot(slotBytes)]
}

/** All but the zeros behind it. */
function encodeSlot(macKey: Secret, mark: Mark): Uint8Array {
  const slot = new Writer(bodyBytes + macBytes)
  slot.bytes(magic).bytes(mark.domain).u64(mark.number).bytes(mark.head)
  return slot.bytes(hmacSha256(macKey.bytes, slot.done())).done()
}

/** `undefined` for what is not a whole slot of this domain: a torn write, until the other one is bad too. */
function decodeSlot(macKey: Secret, domain: Uint8Array, slot: Uint8Array): Mark | undefined {
  const reader = new Reader(slot)
  const body = reader.bytes(bodyBytes)
  if (!equalSecrets(hmacSha256(macKey.bytes, body), reader.bytes(macBytes))) return undefined
  if (!isZero(reader.rest())) return undefined
  const fields = new Reader(body)
  if (!equal(fields.bytes(8), magic) || !equal(fields.bytes(32), domain)) return undefined
  return { domain, number: fields.u64(), head: Uint8Array.from(fields.bytes(32)) }
}
