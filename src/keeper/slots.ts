import { utf8 } from '../bytes/bytes.ts'
import { Writer } from '../bytes/writer.ts'
import { Secret } from '../crypto/secret.ts'
import type { Disk, File } from '../host/disk.ts'
import type { Entropy } from '../host/entropy.ts'
import { MarkError } from '../mark/mark.ts'

/**
 * docs/spec/anchor.md, "slots": 32 random bytes a slot, each at the start of a sector of its own, in one file that
 * is written whole at init. A slot's bytes are random from the start and fresh again after each erasure, so a new
 * scope takes what lies there and creating one writes nothing here; only `overwrite` does.
 */
const sectorBytes = 4096
const magic = utf8('PAWLSLT1')
export const slotSecretBytes = 32
export const slotCountDefault = 256

export async function createSlots(disk: Disk, entropy: Entropy, path: string, count: number): Promise<void> {
  const file = await disk.open(path, { access: 'exclusive' })
  try {
    const bytes = new Uint8Array((count + 1) * sectorBytes)
    bytes.set(new Writer(16).bytes(magic).u32(count).done(), 0)
    for (let slot = 0; slot < count; slot++)
      bytes.set(entropy.bytes(slotSecretBytes), (slot + 1) * sectorBytes)
    await file.write(bytes, 0)
    await file.sync()
    bytes.fill(0)
  } finally {
    await file.close()
  }
}

export class Slots {
  readonly count: number
  readonly #file: File

  private constructor(file: File, count: number) {
    this.#file = file
    this.count = count
  }

  /** @throws MarkError EINTEGRITY if the file is not a whole slot file */
  static async open(disk: Disk, path: string, access: 'read' | 'write'): Promise<Slots> {
    const file = await disk.open(path, access === 'write' ? { access, durable: true } : { access })
    const head = new Uint8Array(12)
    const length = await file.read(head, 0)
    const count = new DataView(head.buffer).getUint32(8)
    const whole = length === 12 && magic.every((byte, i) => head[i] === byte)
    if (!whole || (await file.stat()).size !== (count + 1) * sectorBytes) {
      await file.close()
      throw new MarkError('EINTEGRITY', `${path} is not a whole slot file`)
    }
    return new Slots(file, count)
  }

  /** @throws MarkError EINTEGRITY if there is no such slot: the journal names one that the file does not have */
  async read(slot: number): Promise<Secret> {
    if (slot >= this.count)
      throw new MarkError('EINTEGRITY', `the slots file has ${this.count} slots, none is ${slot}`)
    const secret = new Uint8Array(slotSecretBytes)
    const length = await this.#file.read(secret, this.#position(slot))
    if (length !== slotSecretBytes) throw new MarkError('EINTEGRITY', 'the slot file is shorter than it was')
    return new Secret(secret)
  }

  /** In place and synced, then read back: after this the old bytes are not in the file. */
  async overwrite(slot: number, fresh: Uint8Array): Promise<void> {
    const sector = new Uint8Array(sectorBytes)
    sector.set(fresh, 0)
    await this.#file.write(sector, this.#position(slot))
    using written = await this.read(slot)
    if (!fresh.every((byte, i) => written.bytes[i] === byte))
      throw new MarkError('EINTEGRITY', `slot ${slot} does not read back as written`)
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  #position(slot: number): number {
    if (!Number.isInteger(slot) || slot < 0 || slot >= this.count) throw new RangeError('no such slot')
    return (slot + 1) * sectorBytes
  }
}
