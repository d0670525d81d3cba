import { crc32 } from 'node:zlib'
import { BytesError, equal, utf8 } from '../bytes/bytes.ts'
import { append, leafHash, type Rooted, rooted } from '../bytes/merkle.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { hmacSha256, sha256 } from '../crypto/hash.ts'
import { equalSecrets, type Secret } from '../crypto/secret.ts'
import {
  type Block,
  blockKey,
  blockTag,
  cutBlocks,
  type Operation,
  type Placed,
  parseHead,
  recordBytes,
  type ScopeKey,
  type ScopeTag,
  scopesMax,
  sealBlock,
  sealedOverheadBytes,
} from './block.ts'
import type { JournalKeys } from './journal-keys.ts'
import { limits } from './limits.ts'

/**
 * docs/spec/journal.md, "Group": records committed together, whole or absent. The bytes are header, scope table,
 * blocks, trailer (the hash of each block), MAC, zeros to the next sector. The group's leaf is all of that but the
 * blocks, whose hashes stand for them; the MAC covers the leaf's hash, so that one pass over the bytes serves both.
 */
const magic = utf8('PAWLGRP1')
const format = 1
export const groupHeaderBytes = 136
/** The numbers of scopes and blocks, which follow the header. */
const countsBytes = 2 + 2
const scopeBytes = 2 + 16 + 32
const hashBytes = 32
const macBytes = 32

export type GroupHeader = {
  /** The number of the store key that its MAC and its blocks hang on. */
  readonly storeKey: number
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
  readonly after: Rooted
  readonly placed: readonly Placed[]
}

/** Seals the operations as the group that comes after those in `before`. */
export function sealGroup(group: {
  readonly operations: readonly Operation[]
  readonly before: Rooted
  readonly confirmed: number
  readonly salt: Uint8Array
  readonly keys: JournalKeys
}): SealedGroup {
  const { operations, before, salt } = group
  const { storeId, current: storeKey, macKey } = group.keys
  const generation = before.tree.size + 1
  const scopes = new Map<ScopeKey, number>()
  const blocks = cutBlocks(operations, scopes)
  const body = blocks.reduce(
    (sum, { head, scope, plaintext }) =>
      sum + head.length + (scope === undefined ? 0 : plaintext.length + sealedOverheadBytes) + hashBytes,
    0,
  )
  const length = groupHeaderBytes + countsBytes + scopes.size * scopeBytes + body + macBytes
  // What no reader would take must not be written, let alone acknowledged.
  if (length > limits.groupBytesMax || operations.length > limits.groupRecordsMax || scopes.size > scopesMax)
    throw new RangeError('a group over its bounds')
  const padded = paddedLength({ length })
  const writer = new Writer(padded)
  writer.bytes(magic).u16(format).u16(storeKey).u32(operations.length).u32(length)
  writer.u64(generation).u64(group.confirmed)
  writer.bytes(storeId).bytes(before.root).bytes(salt)
  writer.u32(crc32(writer.done()))
  writer.u16(scopes.size).u16(blocks.length)

  const keys = new Map<ScopeKey, { readonly tag: ScopeTag; readonly key: Secret }>()
  for (const scope of scopes.keys()) {
    const tag = { slot: scope.slot, id: scope.id, tag: blockTag(scope, salt, generation, blocks), storeKey }
    keys.set(scope, { tag, key: blockKey(scope.key, tag) })
    writer.u16(tag.slot).bytes(tag.id).bytes(tag.tag)
  }
  const front = writer.done()
  const placed: Placed[] = []
  const hashes: Uint8Array[] = []
  for (const [index, unsealed] of blocks.entries()) {
    const offset = writer.length
    const sealing = unsealed.scope && keys.get(unsealed.scope)
    writer.bytes(unsealed.head)
    if (sealing === undefined)
      for (const { path } of unsealed.operations) placed.push({ kind: 'delete', path })
    else {
      writer.bytes(sealBlock(sealing.key, index, unsealed))
      const block = { scope: sealing.tag, index, offset, length: writer.length - offset }
      for (const [at, put] of unsealed.operations.entries())
        if (put.kind === 'put') {
          const { path, generation: first } = put
          placed.push({ kind: 'put', path, block, index: at, length: recordBytes(put), generation: first })
        }
    }
    hashes.push(sha256(writer.done().subarray(offset)))
  }
  const trailerAt = writer.length
  for (const hash of hashes) writer.bytes(hash)
  const leaf = leafHash(sha256, front, writer.done().subarray(trailerAt))
  writer.bytes(hmacSha256(macKey.bytes, leaf))
  writer.zeros(padded - writer.length)
  for (const { key } of keys.values()) key[Symbol.dispose]()
  const after = rooted(sha256, append(sha256, before.tree, leaf))
  return { bytes: writer.done(), generation, after, placed }
}

/** What a group takes in its segment: whole sectors. */
export function paddedLength({ length }: { readonly length: number }): number {
  return Math.ceil(length / limits.sectorBytes) * limits.sectorBytes
}

/** A group's header if one stands at the start of `bytes`; its own CRC, so a bad length is never followed. */
export function parseGroupHeader(bytes: Uint8Array): GroupHeader | undefined {
  if (bytes.length < groupHeaderBytes || !equal(bytes.subarray(0, 8), magic)) return undefined
  const reader = new Reader(bytes.subarray(8, groupHeaderBytes))
  const known = reader.u16() === format
  const storeKey = reader.u16()
  const records = reader.u32()
  const length = reader.u32()
  if (
    new Reader(bytes.subarray(groupHeaderBytes - 4, groupHeaderBytes)).u32() !==
    crc32(bytes.subarray(0, groupHeaderBytes - 4))
  )
    return undefined
  if (!known) throw new BytesError('group of an unknown format')
  const generation = reader.u64()
  const confirmed = reader.u64()
  const fits = length >= groupHeaderBytes + countsBytes + macBytes && length <= limits.groupBytesMax
  if (!fits || records > limits.groupRecordsMax || generation < 1 || confirmed >= generation) return undefined
  const [storeId, rootBefore, salt] = [reader.bytes(32), reader.bytes(32), reader.bytes(32)]
  return { storeKey, records, length, generation, confirmed, storeId, rootBefore, salt }
}

/**
 * The leaf hash of an authentic group, `undefined` for one whose MAC does not fit. The blocks are not looked at:
 * {@link placeRecords} does that.
 */
export function authenticLeaf(
  bytes: Uint8Array,
  header: GroupHeader,
  keys: Pick<JournalKeys, 'mac'>,
): Uint8Array | undefined {
  const macKey = keys.mac(header.storeKey)
  if (macKey === undefined || bytes.length < header.length) return undefined
  const counts = new Reader(bytes.subarray(groupHeaderBytes, groupHeaderBytes + countsBytes))
  const blocksAt = groupHeaderBytes + countsBytes + counts.u16() * scopeBytes
  const macAt = header.length - macBytes
  const trailerAt = macAt - counts.u16() * hashBytes
  if (blocksAt > trailerAt) return undefined
  const leaf = leafHash(sha256, bytes.subarray(0, blocksAt), bytes.subarray(trailerAt, macAt))
  const mac = bytes.subarray(macAt, header.length)
  return equalSecrets(hmacSha256(macKey.bytes, leaf), mac) ? leaf : undefined
}

/**
 * Where each record of a group lies whose leaf is authentic.
 * @throws BytesError if a block is not the one whose hash the trailer has, or does not parse
 */
export function placeRecords(bytes: Uint8Array, header: GroupHeader): Placed[] {
  const reader = new Reader(bytes.subarray(0, header.length - macBytes))
  reader.bytes(groupHeaderBytes)
  const scopeCount = reader.u16()
  const blockCount = reader.u16()
  const scopes: ScopeTag[] = []
  for (let i = 0; i < scopeCount; i++)
    scopes.push({
      slot: reader.u16(),
      id: Uint8Array.from(reader.bytes(16)),
      tag: Uint8Array.from(reader.bytes(32)),
      storeKey: header.storeKey,
    })
  const trailerAt = header.length - macBytes - blockCount * hashBytes
  const placed: Placed[] = []
  for (let index = 0; index < blockCount; index++) {
    const offset = reader.offset
    const head = parseHead(reader)
    reader.bytes(head.sealedLength)
    const hashAt = trailerAt + index * hashBytes
    if (!equal(sha256(bytes.subarray(offset, reader.offset)), bytes.subarray(hashAt, hashAt + hashBytes)))
      throw new BytesError('a block is not the one that its group names')
    const scope = head.scope === undefined ? undefined : scopes[head.scope]
    if (scope === undefined && head.scope !== undefined)
      throw new BytesError('block of a scope that is not named')
    const block: Block | undefined = scope && { scope, index, offset, length: reader.offset - offset }
    for (const [at, path] of head.paths.entries())
      if (block === undefined) placed.push({ kind: 'delete', path })
      else {
        const [length = 0, first] = [head.lengths[at], head.generations[at]]
        if (first !== undefined && (first < 1 || first >= header.generation))
          throw new BytesError('a carried record of a later group')
        placed.push({ kind: 'put', path, block, index: at, length, generation: first })
      }
  }
  if (placed.length !== header.records) throw new BytesError('a group with another number of records')
  reader.bytes(blockCount * hashBytes)
  reader.end()
  return placed
}
