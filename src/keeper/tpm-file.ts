import { equal, isZero, utf8 } from '../bytes/bytes.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { hmacSha256 } from '../crypto/hash.ts'
import { equalSecrets, type Secret } from '../crypto/secret.ts'
import { type Disk, DiskError, type File } from '../host/disk.ts'
import { type Mark, MarkError } from '../mark/mark.ts'

/** docs/spec/keepers-tpm.md, "The file": a mark, and what the counter must show for it to be the newest. */
export type Pinned = {
  readonly mark: Mark
  readonly index: number
  readonly pin: number
  readonly resets: number
  /** When the allowance is whole again, by the TPM's clock. */
  readonly full: number
  readonly isTight: boolean
}

export const tpmFileName = 'tpm'
const slotBytes = 4096
const magic = utf8('PAWLTPM1')
const bodyBytes = 8 + 32 + 8 + 32 + 4 + 8 + 4 + 8 + 1
const macBytes = 32

/** Two slots, overwritten in turn. Only the holder of the anchor's lock may open it. */
export class TpmFile {
  readonly #file: File
  readonly #key: Secret
  #slot: 0 | 1

  private constructor(file: File, key: Secret, slot: 0 | 1) {
    this.#file = file
    this.#key = key
    this.#slot = slot
  }

  /** `undefined` if there is none. @throws MarkError EINTEGRITY, DiskError. `key` stays the caller's. */
  static async open(
    disk: Disk,
    path: string,
    key: Secret,
    domain: Uint8Array,
  ): Promise<{ readonly file: TpmFile; readonly pinned: Pinned } | undefined> {
    const file = await disk.open(path, { access: 'write', durable: true }).catch((error: unknown) => {
      if (error instanceof DiskError && error.code === 'missing') return undefined
      throw error
    })
    if (file === undefined) return undefined
    try {
      const { pinned, slot } = await newest(file, key, domain)
      await file.sync() // the writer before may have been killed with it in the page cache only
      const opened = new TpmFile(file, key, slot)
      await opened.write(pinned) // and after a sync that failed only this write says what the disk holds
      return { file: opened, pinned }
    } catch (error) {
      await file.close()
      throw error
    }
  }

  static async create(disk: Disk, path: string, key: Secret, first: Pinned): Promise<TpmFile> {
    const file = await disk.open(path, { access: 'exclusive', durable: true })
    await file.write(new Uint8Array(2 * slotBytes), 0)
    const created = new TpmFile(file, key, 1)
    await created.write(first)
    await created.write(first)
    return created
  }

  /** Durable when it returns; torn, it leaves the newest one whole, or with `instead` the one before that. */
  async write(pinned: Pinned, { instead = false }: { readonly instead?: boolean } = {}): Promise<void> {
    const slot = this.#slot === (instead ? 0 : 1) ? 0 : 1
    await this.#file.write(encode(this.#key, pinned), slot * slotBytes)
    this.#slot = slot
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}

/** What the file says, without writing to it; `undefined` if there is none. @throws MarkError EINTEGRITY, DiskError */
export async function readPinned(
  disk: Disk,
  path: string,
  key: Secret,
  domain: Uint8Array,
): Promise<Pinned | undefined> {
  if ((await disk.stat(path)) === undefined) return undefined
  const file = await disk.open(path, { access: 'read' })
  try {
    return (await newest(file, key, domain)).pinned
  } finally {
    await file.close()
  }
}

async function newest(
  file: File,
  key: Secret,
  domain: Uint8Array,
): Promise<{ readonly pinned: Pinned; readonly slot: 0 | 1 }> {
  if ((await file.stat()).size !== 2 * slotBytes)
    throw new MarkError('EINTEGRITY', `the anchor's file ${tpmFileName} is not two slots long`)
  const bytes = new Uint8Array(2 * slotBytes)
  await file.read(bytes, 0)
  const [first, second] = [bytes.subarray(0, slotBytes), bytes.subarray(slotBytes)].map(slot =>
    decode(key, domain, slot),
  )
  if (first !== undefined && (second === undefined || isNewer(first, second)))
    return { pinned: first, slot: 0 }
  if (second !== undefined) return { pinned: second, slot: 1 }
  throw new MarkError('EINTEGRITY', `both slots of the anchor's file ${tpmFileName} are damaged`)
}

function isNewer(a: Pinned, b: Pinned): boolean {
  return a.pin === b.pin ? a.mark.number > b.mark.number : a.pin > b.pin
}

function encode(key: Secret, { mark, index, pin, resets, full, isTight }: Pinned): Uint8Array {
  const slot = new Writer(slotBytes)
  slot.bytes(magic).bytes(mark.domain).u64(mark.number).bytes(mark.head)
  slot
    .u32(index)
    .u64(pin)
    .u32(resets)
    .u64(full)
    .u8(isTight ? 1 : 0)
  slot.bytes(hmacSha256(key.bytes, slot.done()))
  return slot.zeros(slotBytes - slot.length).done()
}

/** `undefined` for what is not a whole slot of this domain: a torn write, until the other one is bad too. */
function decode(key: Secret, domain: Uint8Array, slot: Uint8Array): Pinned | undefined {
  const reader = new Reader(slot)
  const body = reader.bytes(bodyBytes)
  if (!equalSecrets(hmacSha256(key.bytes, body), reader.bytes(macBytes))) return undefined
  if (!isZero(reader.rest())) return undefined
  const fields = new Reader(body)
  if (!equal(fields.bytes(8), magic) || !equal(fields.bytes(32), domain)) return undefined
  return {
    mark: { domain, number: fields.u64(), head: Uint8Array.from(fields.bytes(32)) },
    index: fields.u32(),
    pin: fields.u64(),
    resets: fields.u32(),
    full: fields.u64(),
    isTight: fields.u8() === 1,
  }
}
