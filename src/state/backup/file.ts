import { BytesError, concat, equal, utf8 } from '../../bytes/bytes.ts'
import { asBytes, asCount, asMap, decodeCborMap, encodeCbor } from '../../bytes/cbor.ts'
import { type Frontier, root } from '../../bytes/merkle.ts'
import { Reader } from '../../bytes/reader.ts'
import { Writer } from '../../bytes/writer.ts'
import { aes256gcm, openSecret, SealError } from '../../crypto/aead.ts'
import { RunningSha256, sha256 } from '../../crypto/hash.ts'
import { hkdfSha256 } from '../../crypto/kdf.ts'
import { KemError, mlkem1024x25519 } from '../../crypto/kem.ts'
import type { Secret } from '../../crypto/secret.ts'
import type { File } from '../../host/disk.ts'
import type { Mark } from '../../mark/mark.ts'
import { StateError } from '../error.ts'
import { isSignedByStore, type Signer, storeIdOf, storeSignatureBytes } from '../signer.ts'
import { BackupError } from './error.ts'
import { type Item, itemBytes, parseItems, writeItem } from './items.ts'
import type { RecoveryKey } from './recovery-key.ts'

/** docs/spec/backup.md, "File": header, sealed chunks, signature. */
export type Header = {
  readonly signer: Signer
  /** The tree at the mark that the backup was taken at. */
  readonly tree: Frontier
  /** Wall-clock milliseconds since 1970. */
  readonly at: number
  readonly slots: number
  /** The id of the recovery key. */
  readonly recovery: Uint8Array
  readonly kem: Uint8Array
  readonly salt: Uint8Array
}

const magic = utf8('PAWLBKP1')
const format = 1
const preambleBytes = 8 + 2 + 2
const headerBytesMax = 16_384
const lengthBytes = 4
const chunkPlainBytes = 262_144
const chunkPlainBytesMax = 1_179_648
const slotsMax = 65_536
export const backupPurpose = 'pawl v1 backup'
const nothing = new Uint8Array(0)

/** The mark that a backup was taken at. */
export function markOfHeader({ signer, tree }: Header): Mark {
  return { domain: storeIdOf(signer), number: tree.size, head: root(sha256, tree) }
}

/** Everything in front of the first chunk. */
export function encodeHeader({ signer, tree, at, slots, recovery, kem, salt }: Header): Uint8Array {
  const { ed25519, mldsa87, nonce } = signer
  const roots = concat(...tree.roots)
  const map = encodeCbor({
    signer: { ed25519, mldsa87, nonce },
    size: tree.size,
    roots,
    at,
    slots,
    recovery,
    kem,
    salt,
  })
  return new Writer(preambleBytes + map.length).bytes(magic).u16(format).u16(map.length).bytes(map).done()
}

/** The length of the map behind the preamble. @throws BytesError, BackupError EVERSION */
function parsePreamble(bytes: Uint8Array): number {
  const reader = new Reader(bytes)
  if (!equal(reader.bytes(8), magic)) throw new BytesError('it does not begin as a backup does')
  const version = reader.u16()
  if (version !== format)
    throw new BackupError('EVERSION', `a backup of format ${version}; this version knows ${format}`)
  const length = reader.u16()
  if (length > headerBytesMax) throw new BytesError('a header over its bound')
  reader.end()
  return length
}

/** @throws BytesError */
export function parseHeader(bytes: Uint8Array): Header {
  const map = decodeCborMap(bytes, ['signer', 'size', 'roots', 'at', 'slots', 'recovery', 'kem', 'salt'])
  const signer = asMap(map.signer, ['ed25519', 'mldsa87', 'nonce'])
  const [size, slots, joined] = [asCount(map.size), asCount(map.slots, slotsMax), asBytes(map.roots)]
  const roots: Uint8Array[] = []
  for (let at = 0; at < joined.length; at += 32) roots.push(joined.slice(at, at + 32))
  const ones = [...size.toString(2)].filter(digit => digit === '1').length
  if (size === 0 || slots === 0 || joined.length !== 32 * ones) throw new BytesError('an impossible header')
  return {
    signer: {
      ed25519: asBytes(signer.ed25519, 32),
      mldsa87: asBytes(signer.mldsa87, 2592),
      nonce: asBytes(signer.nonce, 32),
    },
    tree: { size, roots },
    at: asCount(map.at),
    slots,
    recovery: asBytes(map.recovery, 32),
    kem: asBytes(map.kem, mlkem1024x25519.ciphertextBytes),
    salt: asBytes(map.salt, 32),
  }
}

/** `front` is everything up to the end of the header. */
export function chunksKey(shared: Secret, front: Uint8Array): Secret {
  using extracted = hkdfSha256.extract(utf8('pawl v1 backup'), shared.bytes)
  return hkdfSha256.expand(extracted, concat(utf8('pawl v1 backup chunks'), sha256(front)), 32)
}

/** What the store signs. */
export function signedBytes(storeId: Uint8Array, digest: Uint8Array): Uint8Array {
  return concat(storeId, digest)
}

function chunkNonce(number: number, isLast: boolean): Uint8Array {
  return new Writer(12)
    .zeros(7)
    .u32(number)
    .u8(isLast ? 1 : 0)
    .done()
}

/** Writes a backup into a new, empty file, an item at a time; holds one chunk. */
export class BackupWriter implements Disposable {
  readonly #file: File
  readonly #key: Secret
  readonly #digest = new RunningSha256()
  readonly #chunk = new Uint8Array(chunkPlainBytesMax)
  #filled = 0
  #number = 0
  #position = 0

  private constructor(file: File, key: Secret) {
    this.#file = file
    this.#key = key
  }

  static async begin(file: File, shared: Secret, front: Uint8Array): Promise<BackupWriter> {
    const writer = new BackupWriter(file, chunksKey(shared, front))
    await writer.#write(front)
    return writer
  }

  async add(item: Item): Promise<void> {
    const bytes = itemBytes(item)
    if (this.#filled > 0 && this.#filled + bytes > chunkPlainBytes) await this.#seal(false)
    if (bytes > this.#chunk.length) throw new RangeError('an item that fits no chunk')
    writeItem(this.#chunk.subarray(this.#filled), item)
    this.#filled += bytes
  }

  /** Seals what is left, and signs all of it. Answers the length of the file; the caller syncs it. */
  async finish(sign: (digest: Uint8Array) => Promise<Uint8Array>): Promise<number> {
    await this.#seal(true)
    await this.#write(new Uint8Array(lengthBytes))
    await this.#write(await sign(this.#digest.digest()))
    return this.#position
  }

  [Symbol.dispose](): void {
    this.#chunk.fill(0)
    this.#key[Symbol.dispose]()
  }

  async #seal(isLast: boolean): Promise<void> {
    const plaintext = this.#chunk.subarray(0, this.#filled)
    const sealed = aes256gcm.seal(this.#key, chunkNonce(this.#number, isLast), nothing, plaintext)
    plaintext.fill(0)
    this.#filled = 0
    this.#number++
    await this.#write(new Writer(lengthBytes).u32(sealed.length).done())
    await this.#write(sealed)
  }

  async #write(bytes: Uint8Array): Promise<void> {
    this.#digest.update(bytes)
    await this.#file.write(bytes, this.#position)
    this.#position += bytes.length
  }
}

/** A backup whose header was read: nothing of it is vouched for before it was read to its end. */
export type OpenBackup = {
  readonly file: File
  readonly bytes: number
  readonly header: Header
  readonly storeId: Uint8Array
  readonly mark: Mark
  readonly front: Uint8Array
}

/** @throws StateError EINTEGRITY, BackupError EVERSION */
export async function openBackup(file: File): Promise<OpenBackup> {
  return damage(async () => {
    const { size } = await file.stat()
    const preamble = await exactly(file, 0, preambleBytes)
    const front = await exactly(file, 0, preambleBytes + parsePreamble(preamble))
    const header = parseHeader(front.subarray(preambleBytes))
    const mark = markOfHeader(header)
    return { file, bytes: size, header, storeId: mark.domain, mark, front }
  })
}

/** The key of a backup's chunks, which the caller wipes. @throws BackupError EKEY, StateError EINTEGRITY */
export function openChunksKey({ header, front }: OpenBackup, { pair, id }: RecoveryKey): Secret {
  if (!equal(header.recovery, id))
    throw new BackupError('EKEY', 'the backup is sealed to another recovery key')
  try {
    using shared = mlkem1024x25519.decapsulate(pair, header.kem)
    return chunksKey(shared, front)
  } catch (error) {
    if (error instanceof KemError) throw new StateError('EINTEGRITY', `backup: ${error.message}`)
    throw error
  }
}

/**
 * Reads all chunks, each opened and shown to `visit` as views that are wiped behind it, then holds the signature
 * against all of the file. What `visit` saw is vouched for when this returns, not before.
 * @throws StateError EINTEGRITY, and what `visit` throws
 */
export async function readBackup(
  backup: OpenBackup,
  key: Secret,
  visit: (items: readonly Item[], position: number) => Promise<void> | void,
): Promise<void> {
  const { file, front, header, storeId } = backup
  await damage(async () => {
    const digest = new RunningSha256()
    digest.update(front)
    let position = front.length
    let length = await lengthAt(file, position)
    if (length === 0) throw new BytesError('a backup without a chunk')
    for (let number = 0; length > 0; number++) {
      // The length of the chunk behind it, too: that tells whether this one is the last.
      const framed = await exactly(file, position, lengthBytes + length + lengthBytes)
      const next = lengthIn(framed.subarray(lengthBytes + length))
      digest.update(framed.subarray(0, lengthBytes + length))
      position += lengthBytes + length
      const sealed = framed.subarray(lengthBytes, lengthBytes + length)
      using plaintext = await openSecret(key, chunkNonce(number, next === 0), nothing, sealed)
      await visit(parseItems(plaintext.bytes), position)
      length = next
    }
    digest.update(new Uint8Array(lengthBytes))
    const signature = await exactly(file, position + lengthBytes, storeSignatureBytes)
    if ((await file.stat()).size !== position + lengthBytes + storeSignatureBytes)
      throw new BytesError('something follows the signature')
    const signed = signedBytes(storeId, digest.digest())
    if (!(await isSignedByStore(header.signer, backupPurpose, signed, signature)))
      throw new BytesError('the signature is not that of the store')
  })
}

async function lengthAt(file: File, position: number): Promise<number> {
  return lengthIn(await exactly(file, position, lengthBytes))
}

function lengthIn(bytes: Uint8Array): number {
  const length = new Reader(bytes).u32()
  // Before anything of that length is asked for.
  if (length !== 0 && (length <= aes256gcm.tagBytes || length > chunkPlainBytesMax + aes256gcm.tagBytes))
    throw new BytesError('a chunk of an impossible length')
  return length
}

async function exactly(file: File, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  if ((await file.read(bytes, position)) !== length) throw new BytesError('it ends too early')
  return bytes
}

/** Inside a backup, what does not parse or does not open is damage. */
async function damage<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof BytesError || error instanceof SealError)
      throw new StateError('EINTEGRITY', `the backup is damaged: ${error.message}`, { cause: error })
    throw error
  }
}
