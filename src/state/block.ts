import { BytesError, utf8 } from '../bytes/bytes.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { aes256gcm, openSecret } from '../crypto/aead.ts'
import { hmacSha256 } from '../crypto/hash.ts'
import { Secret } from '../crypto/secret.ts'
import { limits } from './limits.ts'

/**
 * docs/spec/journal.md, "Block": a run of records of one scope, sealed together. Its head names the records and is the
 * associated data; a block of deletes has a head only. Sealing a run at once is what makes many small records cheap;
 * reading one opens its block, so a block ends at 64 KiB of plaintext.
 */
const headBytes = 2 + 2 + 4
const deletes = 0xffff
/** In the number of the scope: records that an older group put first, each with that group's number. */
const carriedBit = 0x8000
export const scopesMax = carriedBit - 1
export const sealedOverheadBytes = aes256gcm.tagBytes

/**
 * A scope's data key and the slot it hangs on. `id` is fresh for each scope, so a slot may be used again. `key` is
 * another one once the store key is rotated.
 */
export type ScopeKey = { readonly slot: number; readonly id: Uint8Array; key: Secret }

/**
 * The scope of sealed blocks as a group names it; `tag` is what their key was derived from, and `storeKey` the number
 * of the store key that the scope key was.
 */
export type ScopeTag = {
  readonly slot: number
  readonly id: Uint8Array
  readonly tag: Uint8Array
  readonly storeKey: number
}

export type Put = {
  readonly kind: 'put'
  readonly path: string
  readonly scope: ScopeKey
  readonly envelope: Uint8Array
  readonly payload: Uint8Array
  /** Of a record that is carried: the number of the group that put it first. */
  readonly generation?: number
}

export type Operation = Put | { readonly kind: 'delete'; readonly path: string }

/** Where a sealed block lies within its group, and what opens it. Offsets are from the group's first byte. */
export type Block = {
  readonly scope: ScopeTag
  readonly index: number
  readonly offset: number
  readonly length: number
}

export type Placed =
  | {
      readonly kind: 'put'
      readonly path: string
      readonly block: Block
      readonly index: number
      /** Plaintext bytes: envelope and payload. */
      readonly length: number
      /** The number of the group that put it first, where that is an older one. */
      readonly generation: number | undefined
    }
  | { readonly kind: 'delete'; readonly path: string }

/** A block that is to be written: its head, and for puts the plaintext to be sealed. */
export type Unsealed = {
  readonly head: Uint8Array
  readonly operations: readonly Operation[]
  readonly scope: ScopeKey | undefined
  readonly plaintext: Uint8Array
}

/** What an operation takes of a group at most, with a block of its own: what a batch's size is counted in. */
export function operationBytes(operation: Operation): number {
  const sealed = operation.kind === 'put' ? recordBytes(operation) + sealedOverheadBytes : 0
  return headBytes + 5 + operation.path.length + sealed + 32
}

/** Cuts operations, in their order, into blocks; `scopes` gives each scope its place in the group's table. */
export function cutBlocks(operations: readonly Operation[], scopes: Map<ScopeKey, number>): Unsealed[] {
  const blocks: Unsealed[] = []
  for (let start = 0; start < operations.length; ) {
    const first = operations[start]
    const scope = first?.kind === 'put' ? first.scope : undefined
    const carried = isCarried(first)
    if (scope !== undefined && !scopes.has(scope)) scopes.set(scope, scopes.size)
    let end = start
    let bytes = 0
    for (let next = operations[end]; next !== undefined; next = operations[end]) {
      const size = next.kind === 'put' ? recordBytes(next) : 0
      if ((next.kind === 'put' ? next.scope : undefined) !== scope || isCarried(next) !== carried) break
      if (end > start && bytes + size > limits.blockBytesMax) break
      bytes += size
      end++
    }
    blocks.push(blockOf(operations.slice(start, end), scope, scope && scopes.get(scope), bytes))
    start = end
  }
  return blocks
}

/**
 * The key that seals a scope's blocks in one group: a MAC over the salt of this run, the generation, and the place,
 * every path and every plaintext of each block that it will seal. A nonce is a block's place in its group, so whoever
 * arrives at the same key and nonce seals the same bytes: after a rollback, a clone or a crash, with no nonce state.
 */
export function blockTag(
  scope: ScopeKey,
  salt: Uint8Array,
  generation: number,
  blocks: readonly Unsealed[],
): Uint8Array {
  const parts = [tagLabel, salt, new Writer(8).u64(generation).done()]
  for (const [index, block] of blocks.entries())
    if (block.scope === scope) parts.push(new Writer(4).u32(index).done(), block.head, block.plaintext)
  return hmacSha256(scope.key.bytes, ...parts)
}

export function blockKey(scopeKey: Secret, scope: Pick<ScopeTag, 'tag'>): Secret {
  return new Secret(hmacSha256(scopeKey.bytes, keyLabel, scope.tag))
}

export function sealBlock(key: Secret, index: number, block: Unsealed): Uint8Array {
  return aes256gcm.seal(key, nonce(index), block.head, block.plaintext)
}

/** The records that a block's head names. @throws BytesError */
export function parseHead(reader: Reader): {
  readonly scope: number | undefined
  readonly paths: string[]
  readonly lengths: number[]
  /** Of carried records; else empty. */
  readonly generations: number[]
  readonly sealedLength: number
} {
  const kind = reader.u16()
  const isDeletes = kind === deletes
  const carried = !isDeletes && (kind & carriedBit) !== 0
  const count = reader.u16()
  const sealedLength = reader.u32()
  const paths: string[] = []
  const lengths: number[] = []
  const generations: number[] = []
  let plaintext = 0
  for (let i = 0; i < count; i++) {
    const pathLength = reader.u8()
    const length = reader.u32()
    if (carried) generations.push(reader.u64())
    const name = reader.bytes(pathLength)
    paths.push(Buffer.from(name.buffer, name.byteOffset, name.length).toString('latin1'))
    lengths.push(length)
    plaintext += length
  }
  const expected = isDeletes ? 0 : plaintext + sealedOverheadBytes
  if (count === 0 || sealedLength !== expected) throw new BytesError('block of an impossible length')
  return { scope: isDeletes ? undefined : kind & ~carriedBit, paths, lengths, generations, sealedLength }
}

/**
 * Opens all records of a block, by way of `openSecret` since some may be keys. They are views into one secret, which
 * the caller wipes. @throws SealError, BytesError
 */
export async function openRecords(
  scopeKey: Secret,
  block: Block,
  bytes: Uint8Array,
): Promise<{ readonly whole: Secret; readonly records: readonly Opened[] }> {
  const reader = new Reader(bytes)
  const { lengths } = parseHead(reader)
  const head = bytes.subarray(0, reader.offset)
  using key = blockKey(scopeKey, block.scope)
  const whole = await openSecret(key, nonce(block.index), head, reader.rest())
  const plaintext = new Reader(whole.bytes)
  return { whole, records: lengths.map(length => split(plaintext.bytes(length))) }
}

/** Opens one record of a block, given the block's bytes. @throws SealError, BytesError */
export function openRecord(scopeKey: Secret, block: Block, bytes: Uint8Array, index: number): Opened {
  const { head, sealed, at, length } = locate(bytes, index)
  using key = blockKey(scopeKey, block.scope)
  return split(aes256gcm.open(key, nonce(block.index), head, sealed).subarray(at, at + length))
}

/** As {@link openRecord}, for payloads that are keys: what was opened is wiped but for the answer. */
export async function openSecretRecord(
  scopeKey: Secret,
  block: Block,
  bytes: Uint8Array,
  index: number,
): Promise<{ readonly envelope: Uint8Array; readonly payload: Secret }> {
  const { head, sealed, at, length } = locate(bytes, index)
  using key = blockKey(scopeKey, block.scope)
  using whole = await openSecret(key, nonce(block.index), head, sealed)
  const { envelope, payload } = split(whole.bytes.subarray(at, at + length))
  return { envelope: Uint8Array.from(envelope), payload: new Secret(Uint8Array.from(payload)) }
}

/** Views into the opened bytes. */
export type Opened = { readonly envelope: Uint8Array; readonly payload: Uint8Array }

function split(record: Uint8Array): Opened {
  const reader = new Reader(record)
  const envelope = reader.bytes(reader.u16())
  return { envelope, payload: reader.rest() }
}

function locate(bytes: Uint8Array, index: number) {
  const reader = new Reader(bytes)
  const { lengths } = parseHead(reader)
  const head = bytes.subarray(0, reader.offset)
  const length = lengths[index]
  if (length === undefined) throw new BytesError('block without this record')
  const at = lengths.slice(0, index).reduce((sum, before) => sum + before, 0)
  return { head, sealed: reader.rest(), at, length }
}

function blockOf(
  operations: readonly Operation[],
  scope: ScopeKey | undefined,
  place: number | undefined,
  bytes: number,
): Unsealed {
  const carried = isCarried(operations[0])
  const heads = operations.reduce((sum, { path }) => sum + 5 + (carried ? 8 : 0) + path.length, headBytes)
  const head = new Writer(heads)
  head.u16(place === undefined ? deletes : carried ? place | carriedBit : place).u16(operations.length)
  head.u32(scope === undefined ? 0 : bytes + sealedOverheadBytes)
  const plaintext = new Writer(bytes)
  for (const operation of operations) {
    head.u8(operation.path.length).u32(operation.kind === 'put' ? recordBytes(operation) : 0)
    if (operation.kind === 'put' && operation.generation !== undefined) head.u64(operation.generation)
    head.bytes(Buffer.from(operation.path, 'latin1'))
    if (operation.kind === 'put')
      plaintext.u16(operation.envelope.length).bytes(operation.envelope).bytes(operation.payload)
  }
  return { head: head.done(), operations, scope, plaintext: plaintext.done() }
}

function isCarried(operation: Operation | undefined): boolean {
  return operation?.kind === 'put' && operation.generation !== undefined
}

export function recordBytes(put: Pick<Put, 'envelope' | 'payload'>): number {
  return 2 + put.envelope.length + put.payload.length
}

const tagLabel = utf8('pawl v1 block tag')
const keyLabel = utf8('pawl v1 block key')

function nonce(index: number): Uint8Array {
  const bytes = new Uint8Array(12)
  new DataView(bytes.buffer).setUint32(8, index)
  return bytes
}
