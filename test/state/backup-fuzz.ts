/** Backups that their own store signed and that say what no store says; and whole ones, damaged on the way. */
import assert from 'node:assert/strict'
import { encodeCbor } from '../../src/bytes/cbor.ts'
import { RunningSha256 } from '../../src/crypto/hash.ts'
import { mlkem1024x25519 } from '../../src/crypto/kem.ts'
import { Secret } from '../../src/crypto/secret.ts'
import type { File } from '../../src/host/disk.ts'
import { checkBackup } from '../../src/state/backup/contents.ts'
import { BackupError } from '../../src/state/backup/error.ts'
import {
  BackupWriter,
  backupPurpose,
  encodeHeader,
  type Header,
  markOfHeader,
  openBackup,
  openChunksKey,
  signedBytes,
} from '../../src/state/backup/file.ts'
import type { Item, RecordItem } from '../../src/state/backup/items.ts'
import { encodeConfig } from '../../src/state/config.ts'
import { wrap } from '../../src/state/envelope.ts'
import { StateError, stateError } from '../../src/state/error.ts'
import { decodeSigner, decodeSignerKeys, newSigner, signForStore } from '../../src/state/signer.ts'
import { publicHalf, recovery } from './backup-support.ts'
import { bytesOf, world } from './support.ts'

/** A file in memory that counts what is asked of it. */
export class MemoryFile implements File {
  bytes: Buffer
  largestRead = 0

  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.bytes = Buffer.from(bytes)
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    this.largestRead = Math.max(this.largestRead, into.length)
    return this.bytes.copy(into, 0, position)
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    assert.equal(position, this.bytes.length)
    this.bytes = Buffer.concat([this.bytes, bytes])
  }

  async truncate(): Promise<void> {}
  async sync(): Promise<void> {}
  async stat() {
    return { kind: 'file', size: this.bytes.length, mode: 0o600, device: 1, inode: 1 } as const
  }
  async close(): Promise<void> {}
}

const made = newSigner(world.entropy)
const signer = decodeSigner(made.records[0]?.payload ?? new Uint8Array(0))
const keysBlob = made.records[1]?.payload ?? new Uint8Array(0)

export function record(path: string, payload: Uint8Array, part: Partial<RecordItem> = {}): RecordItem {
  const envelope = wrap(payload, { subject: 'me', purpose: 'test', at: 1 })
  return { kind: 'record', scope: 0, path, generation: 1, envelope, payload, ...part }
}

/** The least that a store has. */
export function leastItems(): Item[] {
  const [first, second] = made.records
  return [
    { kind: 'place', anchor: '/anchors/x' },
    { kind: 'scope', name: 'default' },
    record('/pawl/config', encodeConfig({ keeper: 'file', profile: 'dev' })),
    record(first?.path ?? '', first?.payload ?? new Uint8Array(0)),
    record(second?.path ?? '', second?.payload ?? new Uint8Array(0)),
    record('/state/a', bytesOf('a')),
    record('/state/large', new Uint8Array(300_000)),
    record('/state/z', bytesOf('z')),
  ]
}

/** A backup of these items, sealed and signed as a store would. */
export async function backupOf(items: readonly Item[], part: Partial<Header> = {}): Promise<Buffer> {
  const { ciphertext, shared } = mlkem1024x25519.encapsulate(publicHalf(recovery).publicKey)
  using _ = shared
  const header: Header = {
    signer,
    tree: { size: 5, roots: [world.entropy.bytes(32), world.entropy.bytes(32)] },
    at: 1_700_000_000_000,
    slots: 8,
    recovery: recovery.id,
    kem: ciphertext,
    salt: world.entropy.bytes(32),
    ...part,
  }
  const file = new MemoryFile()
  using writer = await BackupWriter.begin(file, shared, encodeHeader(header))
  for (const item of items) await writer.add(item)
  using blob = new Secret(Uint8Array.from(keysBlob))
  using keys = decodeSignerKeys(blob, signer)
  const storeId = markOfHeader(header).domain
  await writer.finish(digest => signForStore(keys, signer, backupPurpose, signedBytes(storeId, digest)))
  return file.bytes
}

/** Signed again by the store, whatever it says. */
export async function signedAgain(bytes: Buffer): Promise<Buffer> {
  const front = bytes.subarray(0, -4691)
  const digest = new RunningSha256()
  digest.update(front)
  using blob = new Secret(Uint8Array.from(keysBlob))
  using keys = decodeSignerKeys(blob, signer)
  const signed = signedBytes(made.storeId, digest.digest())
  return Buffer.concat([front, await signForStore(keys, signer, backupPurpose, signed)])
}

/** How a reader takes it: `whole`, or the code of the error. Nothing else may come out of it, and no large read. */
export async function verdict(bytes: Uint8Array): Promise<string> {
  const file = new MemoryFile(bytes)
  try {
    const backup = await openBackup(file)
    using key = openChunksKey(backup, recovery)
    const contents = await checkBackup(backup, key, undefined)
    contents.keys[Symbol.dispose]()
    return 'whole'
  } catch (thrown) {
    const error = stateError(thrown)
    if (error instanceof StateError || error instanceof BackupError) return error.code
    throw error
  } finally {
    assert.ok(file.largestRead < 1_300_000, `${file.largestRead} bytes were asked for at once`)
  }
}

/** A header map with other fields in it, its length as it then is. */
export function withHeader(bytes: Buffer, map: Parameters<typeof encodeCbor>[0]): Buffer {
  const encoded = encodeCbor(map)
  const front = Buffer.from(bytes.subarray(0, 12))
  front.writeUInt16BE(encoded.length, 10)
  return Buffer.concat([front, encoded, bytes.subarray(12 + bytes.readUInt16BE(10))])
}
