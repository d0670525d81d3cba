import { BytesError, base64url, concat, equal, utf8 } from '../bytes/bytes.ts'
import { asBytes, asCount, asText, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { sha256 } from '../crypto/hash.ts'
import type { Disk, File, Stat } from '../host/disk.ts'
import { wentOnFrom } from '../state/amendments.ts'
import { StateError } from '../state/error.ts'
import type { Store } from '../state/store.ts'
import type { Batch } from './inbox.ts'
import { limits } from './limits.ts'

/** The most one batch may append: what may lie behind the committed length after a crash, and no more. */
const reserveBytes = limits.inboxBytesMax + limits.messageBytesMax

/** What the store says of the file: which one it is, and how much of it was acknowledged. */
type Known = {
  readonly path: string
  readonly peer: Uint8Array
  readonly device: number
  readonly inode: number
  readonly length: number
  readonly reserve: number
}

/**
 * A file that accepted messages are appended to (docs/spec/mailbox.md, "Out file"). It is state too: shorter than
 * was committed, longer than the reserve, replaced or irregular, it is refused; longer by at most the reserve is what
 * a crash left and nobody was told of. That is cut back before the next append and no sooner: messages come only from
 * a peer that agrees where this end stands, while a home that was put back together with its anchor would cut what
 * was acknowledged.
 */
export class OutFile {
  readonly #disk: Disk
  readonly #place: string
  readonly #file: File
  #known: Known
  #excess: number
  #isGivenUp = false

  private constructor(disk: Disk, place: string, file: File, known: Known, excess: number) {
    this.#disk = disk
    this.#place = place
    this.#file = file
    this.#known = known
    this.#excess = excess
  }

  /**
   * `path` is absolute, its directory without symbolic links. Where the file goes with a shared home from one directory to
   * the next, that is its `place`, and `path` is its name there.
   * @throws StateError EINVAL (not ours to append to), EINTEGRITY (turned back or tampered with)
   */
  static async open(
    disk: Disk,
    store: Store,
    peer: Uint8Array,
    path: string,
    place = path,
  ): Promise<OutFile> {
    const record = recordPath(path)
    if (!store.has(record)) return OutFile.#create(disk, store, peer, path, place)
    const { payload, generation } = await store.get(record)
    const known = decodeOutFile(payload)
    if (equal(known.peer, peer)) {
      const file = await OutFile.#reopen(disk, known, place)
      file.#isGivenUp = await wentOnFrom(store, generation)
      return file
    }
    // Bytes that were never acknowledged are the other peer's all the same: only it can say that nobody was told.
    if (known.length > 0 || ((await disk.stat(place))?.size ?? 0) > 0)
      throw new StateError('EINVAL', `${path} holds the messages of another peer; name another file`)
    const file = await OutFile.#reopen(disk, { ...known, peer }, place)
    await store.commit([{ put: record, payload: encode(file.#known) }])
    return file
  }

  static async #create(
    disk: Disk,
    store: Store,
    peer: Uint8Array,
    path: string,
    place: string,
  ): Promise<OutFile> {
    const found = await disk.stat(place)
    if (found !== undefined && (found.kind !== 'file' || found.size > 0))
      throw new StateError('EINVAL', `${place} exists and is not an empty file; name a new one`)
    const access = found === undefined ? 'exclusive' : 'write'
    const file = await disk.open(place, { access })
    await file.sync()
    // Without it a power cut could take the file away after messages in it were acknowledged.
    await syncDirectoryOf(disk, place)
    const { device, inode } = await file.stat()
    const known = { path, peer, device, inode, length: 0, reserve: reserveBytes }
    await store.commit([{ put: recordPath(path), payload: encode(known) }])
    return new OutFile(disk, place, file, known, 0)
  }

  static async #reopen(disk: Disk, before: Known, place: string): Promise<OutFile> {
    const isCopy = place !== before.path // made by the takeover, in a directory of this owner's own
    const inode = isCopy ? ((await disk.stat(place))?.inode ?? before.inode) : before.inode
    const known = { ...before, inode }
    refuseIfDifferent(known, await disk.stat(place))
    const file = await disk.open(place, { access: 'write' })
    try {
      const found = await file.stat()
      refuseIfDifferent(known, found)
      // A device may have another number after a reboot; the inode and the length say that it is this file.
      return new OutFile(disk, place, file, { ...known, device: found.device }, found.size - known.length)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  get length(): number {
    return this.#known.length
  }

  /** Bytes behind what was acknowledged, which the next append cuts off. */
  get excess(): number {
    return this.#excess
  }

  /**
   * By an amendment the store went on from before these bytes: they may be messages that were accepted and acknowledged, and
   * that it does not know of any more. They are kept beside the file, whatever comes.
   */
  get isExcessGivenUp(): boolean {
    return this.#excess > 0 && this.#isGivenUp
  }

  /** Where `append` keeps an excess that is not to be destroyed; a hash of it follows. */
  get keptAs(): string {
    return `${this.#place}.cut-${this.#known.length}-`
  }

  /** File first, then store and mark, then the sender hears of it. */
  async append(batch: Batch): Promise<void> {
    const bytes = concat(...batch.messages)
    const known = { ...this.#known, length: this.#known.length + bytes.length }
    if (this.#excess > 0) await this.#cut(bytes)
    this.#excess = 0
    this.#isGivenUp = false
    if (bytes.length > 0) {
      await this.#file.write(bytes, this.#known.length)
      await this.#file.sync() // a crash here leaves an excess within the reserve, to be cut back
    }
    await batch.accept([{ put: recordPath(known.path), payload: encode(known) }])
    this.#known = known
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  /**
   * Cuts the excess off. What a crash left are the first bytes of the messages that now come again, or zeros where
   * a power cut took them. Anything else is not ours to destroy: after both ends were put back it may be what was
   * acknowledged once. It is kept beside the file.
   */
  async #cut(coming: Uint8Array): Promise<void> {
    const { length } = this.#known
    const excess = new Uint8Array(this.#excess)
    await this.#file.read(excess, length)
    const isOurs =
      !this.#isGivenUp &&
      excess.subarray(0, coming.length).every((byte, i) => byte === coming[i] || byte === 0)
    if (!isOurs) await this.#keep(`${this.keptAs}${base64url(sha256(excess)).slice(0, 8)}`, excess)
    await this.#file.truncate(length)
  }

  /** Durable when it returns. A crash may have left a part of the same bytes under the same name. */
  async #keep(path: string, bytes: Uint8Array): Promise<void> {
    const isThere = (await this.#disk.stat(path)) !== undefined
    const kept = await this.#disk.open(path, { access: isThere ? 'write' : 'exclusive' })
    await kept.write(bytes, 0)
    await kept.sync()
    await kept.close()
    await syncDirectoryOf(this.#disk, path)
  }
}

function syncDirectoryOf(disk: Disk, path: string): Promise<void> {
  return disk.syncDirectory(path.slice(0, Math.max(1, path.lastIndexOf('/'))))
}

function refuseIfDifferent(known: Known, found: Stat | undefined): void {
  const wrong = found === undefined ? 'is gone' : difference(known, found)
  if (wrong === undefined) return
  throw new StateError(
    'EINTEGRITY',
    `${known.path} ${wrong}; put back that very file, or receive into a new one`,
  )
}

function difference(known: Known, found: Stat): string | undefined {
  if (found.kind !== 'file') return 'is no regular file'
  if (found.inode !== known.inode) return 'is another file than the one written to'
  if (found.size < known.length) return `has ${found.size} bytes where ${known.length} were acknowledged`
  if (found.size > known.length + known.reserve)
    return 'has more bytes than were ever written to it from here'
  return undefined
}

function recordPath(path: string): string {
  return `/pawl/receive/${base64url(sha256(utf8(path)))}`
}

function encode(known: Known): Uint8Array {
  return encodeCbor({ format: 1, ...known })
}

/** @throws BytesError */
export function decodeOutFile(bytes: Uint8Array): Known {
  const map = decodeCborMap(bytes, ['format', 'path', 'peer', 'device', 'inode', 'length', 'reserve'])
  if (map.format !== 1) throw new BytesError('out file record of an unknown format')
  return {
    path: asText(map.path),
    peer: asBytes(map.peer, 32),
    device: asCount(map.device),
    inode: asCount(map.inode),
    length: asCount(map.length),
    reserve: asCount(map.reserve),
  }
}
