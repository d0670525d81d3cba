import { crc32 } from 'node:zlib'
import { BytesError, concat, equal, utf8 } from '../bytes/bytes.ts'
import { append, type Frontier, leafHash, root } from '../bytes/merkle.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { aes256gcm, openSecret } from '../crypto/aead.ts'
import { hmacSha256, sha256 } from '../crypto/hash.ts'
import { equalSecrets, Secret } from '../crypto/secret.ts'
import { limits } from './limits.ts'

/**
 * docs/spec/journal.md, "Group": records committed together, whole or absent. The bytes are
 * header, scope table, records, trailer (the hash of each record), MAC, zeros to the next sector.
 * The group's leaf is everything before the MAC; the MAC covers the leaf's hash.
 */
const magic = utf8('PAWLGRP1')
const format = 1
const headerBytes = 136
const scopeBytes = 2 + 16 + 32
const recordHeadBytes = 8
const hashBytes = 32
const macBytes = 32

/** A scope's data key and the slot it hangs on. `id` is fresh for each scope, so a slot may be used again. */
export type ScopeKey = { readonly slot: number; readonly id: Uint8Array; readonly key: Secret }

export type Operation =
  | {
      readonly kind: 'put'
      readonly path: string
      readonly scope: ScopeKey
      readonly envelope: Uint8Array
      readonly payload: Uint8Array
    }
  | { readonly kind: 'delete'; readonly path: string }

/** Where a record lies within its group, and what opens it. Offsets are from the group's first byte. */
export type Placed = {
  readonly kind: 'put' | 'delete'
  readonly path: string
  readonly scope: ScopeTag | undefined
  readonly index: number
  readonly offset: number
  readonly length: number
}

export type ScopeTag = { readonly slot: number; readonly id: Uint8Array; readonly tag: Uint8Array }

export type GroupHeader = {
  readonly records: number
  /** From the first byte of the header to the last of the MAC. */
  readonly length: number
  readonly generation: number
  /** The highest number the keeper had confirmed when this group was built. */
  readonly confirmed: number
  readonly storeId: Uint8Array
  readonly rootBefore: Uint8Array
  readonly salt: Uint8Array
}

export type SealedGroup = {
  readonly bytes: Uint8Array
  readonly generation: number
  readonly tree: Frontier
  readonly placed: readonly Placed[]
}

/** Bytes that an operation takes of a group: what a batch's size is counted in. */
export function operationBytes(operation: Operation): number {
  const sealed =
    operation.kind === 'put'
      ? 2 + operation.envelope.length + operation.payload.length + aes256gcm.tagBytes
      : 0
  return recordHeadBytes + operation.path.length + sealed + hashBytes
}

/** Seals the operations as the group after `tree`. */
export function sealGroup(group: {
  readonly operations: readonly Operation[]
  readonly tree: Frontier
  readonly confirmed: number
  readonly storeId: Uint8Array
  readonly salt: Uint8Array
  readonly macKey: Secret
}): SealedGroup {
  const { operations, tree, storeId, salt } = group
  const generation = tree.size + 1
  const scopes = sealingScopes(operations, salt, generation)
  const records = operations.reduce((sum, operation) => sum + operationBytes(operation), 0)
  const length = headerBytes + 2 + scopes.size * scopeBytes + records + macBytes
  // What no reader would take must not be written, let alone acknowledged.
  if (length > limits.groupBytesMax || operations.length > limits.groupRecordsMax)
    throw new RangeError('a group over its bounds')
  const padded = Math.ceil(length / limits.sectorBytes) * limits.sectorBytes
  const writer = new Writer(padded)
  writer
    .bytes(magic)
    .u16(format)
    .u16(0)
    .u32(operations.length)
    .u32(length)
    .u64(generation)
    .u64(group.confirmed)
  writer.bytes(storeId).bytes(root(sha256, tree)).bytes(salt)
  writer.u32(crc32(writer.done()))
  writer.u16(scopes.size)
  for (const { tag } of scopes.values()) writer.u16(tag.slot).bytes(tag.id).bytes(tag.tag)

  const placed: Placed[] = []
  const hashes: Uint8Array[] = []
  for (const [index, operation] of operations.entries()) {
    const start = writer.length
    const path = Buffer.from(operation.path, 'latin1')
    if (operation.kind === 'delete') {
      writer.u8(2).u16(0).u8(path.length).u32(0).bytes(path)
      placed.push({
        kind: 'delete',
        path: operation.path,
        scope: undefined,
        index,
        offset: writer.length,
        length: 0,
      })
    } else {
      const scope = scopes.get(operation.scope)
      if (scope === undefined) throw new TypeError('a put without its scope')
      const sealed = aes256gcm.seal(scope.recordKey, nonce(index), path, plaintext(operation))
      writer.u8(1).u16(scope.index).u8(path.length).u32(sealed.length).bytes(path).bytes(sealed)
      const offset = writer.length - sealed.length
      placed.push({
        kind: 'put',
        path: operation.path,
        scope: scope.tag,
        index,
        offset,
        length: sealed.length,
      })
    }
    hashes.push(sha256(writer.done().subarray(start)))
  }
  for (const hash of hashes) writer.bytes(hash)
  const leaf = leafHash(sha256, writer.done())
  writer.bytes(hmacSha256(group.macKey.bytes, leaf))
  writer.zeros(padded - writer.length)
  for (const scope of scopes.values()) scope.recordKey[Symbol.dispose]()
  return { bytes: writer.done(), generation, tree: append(sha256, tree, leaf), placed }
}

/** A group's header if one stands at the start of `bytes`; its own CRC, so a bad length is never followed. */
export function parseGroupHeader(bytes: Uint8Array): GroupHeader | undefined {
  if (bytes.length < headerBytes || !equal(bytes.subarray(0, 8), magic)) return undefined
  const reader = new Reader(bytes.subarray(8, headerBytes))
  const known = reader.u16() === format && reader.u16() === 0
  const records = reader.u32()
  const length = reader.u32()
  if (
    new Reader(bytes.subarray(headerBytes - 4, headerBytes)).u32() !==
    crc32(bytes.subarray(0, headerBytes - 4))
  )
    return undefined
  if (!known) throw new BytesError('group of an unknown format')
  const generation = reader.u64()
  const confirmed = reader.u64()
  const fits = length >= headerBytes + 2 + macBytes && length <= limits.groupBytesMax
  if (!fits || records > limits.groupRecordsMax || generation < 1 || confirmed >= generation) return undefined
  const [storeId, rootBefore, salt] = [reader.bytes(32), reader.bytes(32), reader.bytes(32)]
  return { records, length, generation, confirmed, storeId, rootBefore, salt }
}

/** The leaf hash of an authentic group, `undefined` for one whose MAC does not fit. */
export function authenticLeaf(
  bytes: Uint8Array,
  header: GroupHeader,
  macKey: Secret,
): Uint8Array | undefined {
  if (bytes.length < header.length) return undefined
  const split = header.length - macBytes
  const leaf = leafHash(sha256, bytes.subarray(0, split))
  return equalSecrets(hmacSha256(macKey.bytes, leaf), bytes.subarray(split, header.length)) ? leaf : undefined
}

/** Where each record of an authentic group lies. @throws BytesError */
export function placeRecords(bytes: Uint8Array, header: GroupHeader): Placed[] {
  const reader = new Reader(bytes.subarray(0, header.length - macBytes))
  reader.bytes(headerBytes)
  const scopes: ScopeTag[] = []
  for (let left = reader.u16(); left > 0; left--)
    scopes.push({
      slot: reader.u16(),
      id: Uint8Array.from(reader.bytes(16)),
      tag: Uint8Array.from(reader.bytes(32)),
    })
  const placed: Placed[] = []
  for (let index = 0; index < header.records; index++) {
    const kind = reader.u8()
    const scope = scopes[reader.u16()]
    const pathLength = reader.u8()
    const length = reader.u32()
    const name = reader.bytes(pathLength)
    const path = Buffer.from(name.buffer, name.byteOffset, name.length).toString('latin1')
    const offset = reader.offset
    reader.bytes(length)
    if (kind === 1 && scope !== undefined) placed.push({ kind: 'put', path, scope, index, offset, length })
    else if (kind === 2 && length === 0)
      placed.push({ kind: 'delete', path, scope: undefined, index, offset, length })
    else throw new BytesError('record of an unknown kind')
  }
  reader.bytes(header.records * hashBytes)
  reader.end()
  return placed
}

/** Opens a sealed record. @throws SealError, BytesError */
export function openRecord(
  scopeKey: Secret,
  record: Omit<Placed, 'offset' | 'length'>,
  sealed: Uint8Array,
): Opened {
  if (record.scope === undefined) throw new TypeError('a delete holds nothing to open')
  using recordKey = deriveRecordKey(scopeKey, record.scope.tag)
  return split(aes256gcm.open(recordKey, nonce(record.index), Buffer.from(record.path, 'latin1'), sealed))
}

/** As {@link openRecord}, for payloads that are keys: what was opened is wiped but for the answer. */
export async function openSecretRecord(
  scopeKey: Secret,
  record: Omit<Placed, 'offset' | 'length'>,
  sealed: Uint8Array,
): Promise<{ readonly envelope: Uint8Array; readonly payload: Secret }> {
  if (record.scope === undefined) throw new TypeError('a delete holds nothing to open')
  using recordKey = deriveRecordKey(scopeKey, record.scope.tag)
  using whole = await openSecret(recordKey, nonce(record.index), Buffer.from(record.path, 'latin1'), sealed)
  const { envelope, payload } = split(whole.bytes)
  return { envelope: Uint8Array.from(envelope), payload: new Secret(Uint8Array.from(payload)) }
}

export type Opened = { readonly envelope: Uint8Array; readonly payload: Uint8Array }

/** Views into the opened bytes. */
function split(opened: Uint8Array): Opened {
  const reader = new Reader(opened)
  const envelope = reader.bytes(reader.u16())
  return { envelope, payload: reader.rest() }
}

type SealingScope = { readonly index: number; readonly tag: ScopeTag; readonly recordKey: Secret }

/**
 * Synthetic record keys: a MAC over the salt of this run, the generation, and every path and plaintext that the
 * group seals under the scope. Two groups that differ in anything have different keys; a nonce is a record's place
 * in its group. So no (key, nonce) repeats after a rollback, a clone, or a crash, and no nonce state is kept.
 */
function sealingScopes(
  operations: readonly Operation[],
  salt: Uint8Array,
  generation: number,
): Map<ScopeKey, SealingScope> {
  const sealed = new Map<ScopeKey, Uint8Array[]>()
  for (const [index, operation] of operations.entries()) {
    if (operation.kind === 'delete') continue
    const { scope, path, envelope, payload } = operation
    const head = new Writer(512).u32(index).u8(path.length).bytes(Buffer.from(path, 'latin1'))
    head.u32(envelope.length).bytes(envelope).u32(payload.length)
    const parts = sealed.get(scope) ?? []
    parts.push(head.done(), payload)
    sealed.set(scope, parts)
  }
  const scopes = new Map<ScopeKey, SealingScope>()
  for (const [scope, parts] of sealed) {
    const head = new Writer(64).bytes(tagLabel).bytes(salt).u64(generation)
    const tag = hmacSha256(scope.key.bytes, head.done(), ...parts)
    scopes.set(scope, {
      index: scopes.size,
      tag: { slot: scope.slot, id: scope.id, tag },
      recordKey: deriveRecordKey(scope.key, tag),
    })
  }
  return scopes
}

const tagLabel = utf8('pawl v1 record tag')
const keyLabel = utf8('pawl v1 record key')

function deriveRecordKey(scopeKey: Secret, tag: Uint8Array): Secret {
  return new Secret(hmacSha256(scopeKey.bytes, keyLabel, tag))
}

function nonce(index: number): Uint8Array {
  const bytes = new Uint8Array(12)
  new DataView(bytes.buffer).setUint32(8, index)
  return bytes
}

function plaintext(put: Operation & { readonly kind: 'put' }): Uint8Array {
  return concat(Uint8Array.of(put.envelope.length >> 8, put.envelope.length & 255), put.envelope, put.payload)
}
