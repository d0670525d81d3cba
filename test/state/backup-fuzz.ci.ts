import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { BytesError } from '../../src/bytes/bytes.ts'
import { type CborMap, decodeCborMap } from '../../src/bytes/cbor.ts'
import { type Item, itemBytes, parseItems, writeItem } from '../../src/state/backup/items.ts'
import { wrap } from '../../src/state/envelope.ts'
import { backupOf, leastItems, record, signedAgain, verdict, withHeader } from './backup-fuzz.ts'
import { bytesOf } from './support.ts'

const runs = process.env.SLOW === '1' ? 20_000 : 3000
const headerKeys = ['signer', 'size', 'roots', 'at', 'slots', 'recovery', 'kem', 'salt']

function headerOf(bytes: Buffer): CborMap {
  return decodeCborMap(bytes.subarray(12, 12 + bytes.readUInt16BE(10)), headerKeys)
}

/** Where each chunk lies, its length in front, and the zeros behind the last. */
function chunksOf(bytes: Buffer): { readonly at: number; readonly end: number }[] {
  const found: { readonly at: number; readonly end: number }[] = []
  let at = 12 + bytes.readUInt16BE(10)
  for (let length = bytes.readUInt32BE(at); length > 0; length = bytes.readUInt32BE(at)) {
    found.push({ at, end: at + 4 + length })
    at += 4 + length
  }
  return found
}

test('a whole backup is taken, one of several chunks too', async () => {
  const bytes = await backupOf(leastItems())
  assert.equal(await verdict(bytes), 'whole')
  assert.equal(chunksOf(bytes).length, 3)
  assert.equal(await verdict(await signedAgain(bytes)), 'whole', 'the tests below change only what they say')
})

test('chunks cut off, repeated, swapped, left out, or of another backup: refused, though the store signed it', async () => {
  const bytes = await backupOf(leastItems())
  const other = await backupOf(leastItems())
  const [one, two, three] = chunksOf(bytes)
  assert.ok(one !== undefined && two !== undefined && three !== undefined)
  const front = bytes.subarray(0, one.at)
  const part = ({ at, end }: { readonly at: number; readonly end: number }, of = bytes) =>
    of.subarray(at, end)
  const behind = bytes.subarray(three.end)
  const [a, b, c] = [part(one), part(two), part(three)]
  const orders: readonly (readonly [string, readonly Buffer[]])[] = [
    ['the last cut off', [a, b]],
    ['all but the first cut off', [a]],
    ['all cut off', []],
    ['swapped', [b, a, c]],
    ['the first left out', [b, c]],
    ['one left out', [a, c]],
    ['one twice', [a, a, b, c]],
    ['the last twice', [a, b, c, c]],
    ['the first of another', [part(one, other), b, c]],
  ]
  assert.equal(await verdict(await signedAgain(Buffer.concat([front, a, b, c, behind]))), 'whole')
  for (const [what, order] of orders)
    assert.equal(
      await verdict(await signedAgain(Buffer.concat([front, ...order, behind]))),
      'EINTEGRITY',
      what,
    )
})

test('a header that says something else is refused, though the store signed it', async () => {
  const bytes = await backupOf(leastItems())
  const header = headerOf(bytes)
  const signer = headerOf(await backupOf(leastItems())).signer ?? null
  const cases: readonly (readonly [string, CborMap])[] = [
    ['one group more', { ...header, size: 6 }],
    ['no group', { ...header, size: 0, roots: new Uint8Array(0) }],
    ['a root too many', { ...header, roots: new Uint8Array(96) }],
    ['another time', { ...header, at: 1 }],
    ['fewer slots', { ...header, slots: 7 }],
    ['no slots', { ...header, slots: 0 }],
    ['slots without end', { ...header, slots: 2 ** 40 }],
    ['another salt', { ...header, salt: new Uint8Array(32) }],
    ['a key too short', { ...header, kem: new Uint8Array(1599) }],
    ['another KEM ciphertext', { ...header, kem: new Uint8Array(1600).fill(9) }],
    ['a key more', { ...header, more: 1 }],
    ['no signer', { ...header, signer: null }],
  ]
  assert.equal(await verdict(await signedAgain(withHeader(bytes, { ...header, signer }))), 'whole')
  for (const [what, map] of cases)
    assert.equal(await verdict(await signedAgain(withHeader(bytes, map))), 'EINTEGRITY', what)
  const { salt: _, ...less } = header
  assert.equal(await verdict(await signedAgain(withHeader(bytes, less))), 'EINTEGRITY', 'a key less')
  const foreign = withHeader(bytes, { ...header, recovery: new Uint8Array(32) })
  assert.equal(await verdict(foreign), 'EKEY')
  const newer = Buffer.from(bytes)
  newer.writeUInt16BE(2, 8)
  assert.equal(await verdict(newer), 'EVERSION')
})

test('items that no store has are refused, though the store signed them', async () => {
  const all = leastItems()
  const without = (path: string) => all.filter(item => item.kind !== 'record' || item.path !== path)
  const payload = bytesOf('x')
  const cases: readonly (readonly [string, readonly Item[]])[] = [
    ['no place', all.slice(1)],
    ['two places', [...all.slice(0, 1), ...all]],
    ['the place behind a scope', [...all.slice(1, 2), ...all.slice(0, 1), ...all.slice(2)]],
    ['no scope', [...all.slice(0, 1), ...all.slice(2)]],
    ['another first scope', [...all.slice(0, 1), { kind: 'scope', name: 'x' }, ...all.slice(1)]],
    ['a scope twice', [...all.slice(0, 2), ...all.slice(1)]],
    ['a scope behind a record', [...all, { kind: 'scope', name: 'x' }]],
    [
      'more scopes than slots',
      [
        ...all.slice(0, 2),
        ...Array.from({ length: 8 }, (_, i): Item => ({ kind: 'scope', name: `${i}` })),
        ...all.slice(2),
      ],
    ],
    ['a record of no scope', [...all, record('/state/b', payload, { scope: 1 })]],
    ['a record of a later group', [...all, record('/state/b', payload, { generation: 6 })]],
    ['a record of no group', [...all, record('/state/b', payload, { generation: 0 })]],
    ['a path that is none', [...all, record('/state/../b', payload)]],
    ['a scope record', [...all, record('/pawl/scope/0', payload)]],
    ['the record of the journal', [...all, record('/pawl/journal', payload)]],
    ['another payload', [...all, record('/state/b', payload, { payload: bytesOf('y') })]],
    ['another envelope', [...all, record('/state/b', payload, { envelope: bytesOf('y') })]],
    ['no config', without('/pawl/config')],
    ['a config that is none', [...without('/pawl/config'), record('/pawl/config', payload)]],
    ['no signer', without('/pawl/signer')],
    ['another signer', [...without('/pawl/signer'), record('/pawl/signer', payload)]],
    ['no keys', without('/pawl/signer/keys')],
    ['other keys', [...without('/pawl/signer/keys'), record('/pawl/signer/keys', new Uint8Array(66))]],
    ['an audit chunk that is none', [...all, record('/pawl/audit/0000000000000000', payload)]],
  ]
  for (const [what, items] of cases) assert.equal(await verdict(await backupOf(items)), 'EINTEGRITY', what)
  assert.equal(await verdict(await backupOf([...all, record('/state/b', payload)])), 'whole')
})

test('a backup with any byte turned, cut anywhere, or with something behind it, is refused', async () => {
  const bytes = await backupOf(
    leastItems().filter(item => item.kind !== 'record' || item.payload.length < 9999),
  )
  const positions = [
    ...Array(200).keys(),
    ...chunksOf(bytes).flatMap(({ at, end }) => [at, at + 3, at + 4, end - 1]),
  ]
  for (const at of positions) {
    const bad = Buffer.from(bytes)
    bad[at] = (bad[at] ?? 0) ^ 0x10
    assert.notEqual(await verdict(bad), 'whole', `byte ${at}`)
  }
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
      const bad = Buffer.from(bytes)
      bad[at] = (bad[at] ?? 0) ^ mask
      assert.notEqual(await verdict(bad), 'whole')
    }),
    { numRuns: runs },
  )
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), async length => {
      assert.equal(await verdict(bytes.subarray(0, length)), 'EINTEGRITY')
    }),
    { numRuns: runs / 3 },
  )
  assert.equal(await verdict(Buffer.concat([bytes, Buffer.alloc(1)])), 'EINTEGRITY')
})

test('lengths that were made up are refused before anything of that length is asked for', async () => {
  const bytes = await backupOf(leastItems())
  const [first] = chunksOf(bytes)
  assert.ok(first !== undefined)
  for (const length of [1, 16, 1_179_665, 0x7fffffff, 0xffffffff]) {
    const bad = Buffer.from(bytes)
    bad.writeUInt32BE(length, first.at)
    assert.equal(await verdict(bad), 'EINTEGRITY', `${length}`)
  }
  for (const length of [0, 16_384, 16_385, 0xffff]) {
    const bad = Buffer.from(bytes)
    bad.writeUInt16BE(length, 10)
    assert.equal(await verdict(bad), 'EINTEGRITY', `${length}`)
  }
})

test('items: what is written is read; anything else is items of one spelling or refused', async () => {
  const name = fc.string({ minLength: 1, maxLength: 60, unit: 'grapheme' })
  const path = fc
    .array(fc.stringMatching(/^[a-z0-9]{1,20}$/), { minLength: 1, maxLength: 5 })
    .map(all => `/${all.join('/')}`)
  const item: fc.Arbitrary<Item> = fc.oneof(
    name.map((name): Item => ({ kind: 'scope', name })),
    name.map((anchor): Item => ({ kind: 'place', anchor: `/${anchor.replaceAll('\0', '')}` })),
    fc.record({ path, payload: fc.uint8Array({ maxLength: 300 }), scope: fc.nat(65_535), at: fc.nat() }).map(
      ({ path, payload, scope, at }): Item => ({
        kind: 'record',
        path,
        payload,
        scope,
        generation: at,
        envelope: wrap(payload, { subject: '', purpose: '', at }),
      }),
    ),
  )
  const chunkOf = (items: readonly Item[]) => {
    const chunk = Buffer.alloc(items.reduce((sum, item) => sum + itemBytes(item), 0))
    let at = 0
    for (const item of items) {
      writeItem(chunk.subarray(at), item)
      at += itemBytes(item)
    }
    return chunk
  }
  const plain = (items: readonly Item[]) =>
    items.map(item =>
      item.kind === 'record'
        ? { ...item, payload: Buffer.from(item.payload), envelope: Buffer.from(item.envelope) }
        : item,
    )
  fc.assert(
    fc.property(
      fc.array(item, { minLength: 1, maxLength: 8 }),
      fc.nat(),
      fc.nat(255),
      (items, place, mask) => {
        const chunk = chunkOf(items)
        assert.deepEqual(plain(parseItems(chunk)), plain(items))
        const bad = Buffer.from(chunk)
        bad[place % bad.length] = (bad[place % bad.length] ?? 0) ^ mask
        try {
          assert.deepEqual(chunkOf(parseItems(bad)), bad)
        } catch (error) {
          if (!(error instanceof BytesError)) throw error
        }
      },
    ),
    { numRuns: runs },
  )
})
