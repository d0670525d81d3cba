import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { BytesError, concat, equal } from '../../src/bytes/bytes.ts'
import { limits } from '../../src/mailbox/limits.ts'
import type { Position } from '../../src/mailbox/position.ts'
import { Assembler, FramePacker, type Item, parseItems } from '../../src/mailbox/wire.ts'
import { Random } from '../simulator/random.ts'
import { collectGarbage } from './support.ts'

const frameBytesMax = 65_536
const fuzzRuns = process.env.SLOW === '1' ? 2_000_000 : 60_000

const u32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
const u64 = (value: bigint) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(value)
  return bytes
}
const fragment = (number: bigint, flags: number, bytes: Uint8Array, length = bytes.length) =>
  concat(Uint8Array.of(1, flags), u64(number), u32(length), bytes)

type Fragment = Item & { readonly kind: 'fragment' }

function fragmentsOf(frames: readonly Uint8Array[]): Fragment[] {
  return frames.flatMap(parseItems).filter(item => item.kind === 'fragment')
}

function packed(first: number, messages: readonly Uint8Array[]): Uint8Array[] {
  const packer = new FramePacker(frameBytesMax)
  for (const [i, message] of messages.entries()) packer.message(first + i, message)
  return packer.take()
}

function assembled(first: number, frames: readonly Uint8Array[]): Uint8Array[] {
  const assembler = new Assembler(first)
  return fragmentsOf(frames).flatMap(item => assembler.take(item) ?? [])
}

suite('items in a data frame', () => {
  test('the bytes of a fragment and of an acknowledgement', () => {
    const head = Buffer.alloc(32, 7)
    const packer = new FramePacker(frameBytesMax)
    packer.acknowledgement({ next: 9, head })
    packer.message(3, Buffer.from('pay\n'))
    const [frame, ...more] = packer.take()
    assert.equal(more.length, 0)
    assert.deepEqual(
      Buffer.from(frame ?? []),
      Buffer.from(concat(Uint8Array.of(2), u64(9n), head, fragment(3n, 0, Buffer.from('pay\n')))),
    )
  })

  test('any messages and acknowledgements come out as they went in, in frames of at most their size', () => {
    const message = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.integer({ min: 60_000, max: 140_000 }).map(length => Buffer.alloc(length, length & 255)),
    )
    const position = fc.record({
      next: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
      head: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    })
    fc.assert(
      fc.property(fc.array(fc.oneof(message, position), { maxLength: 12 }), items => {
        const packer = new FramePacker(frameBytesMax)
        let number = 1
        for (const item of items)
          if (item instanceof Uint8Array) packer.message(number++, item)
          else packer.acknowledgement(item)
        const frames = packer.take()
        const assembler = new Assembler(1)
        const out: (Uint8Array | Position)[] = []
        for (const frame of frames) {
          assert.ok(frame.length > 0 && frame.length <= frameBytesMax)
          for (const item of parseItems(frame)) {
            assert.ok(item.kind === 'fragment' || item.kind === 'acknowledgement')
            const whole = item.kind === 'fragment' ? assembler.take(item) : item.position
            if (whole !== undefined) out.push(whole)
          }
        }
        // Acknowledgements may pass a message that is in fragments, never one another, and so for messages.
        const split = (list: readonly (Uint8Array | Position)[]) => [
          list.flatMap(item => ('next' in item ? [] : [Buffer.from(item).toString('hex')])),
          list.flatMap(item => ('next' in item ? [item.next] : [])),
        ]
        assert.deepEqual(split(out), split(items))
      }),
      { numRuns: 150 },
    )
  })

  test('a message of the largest size goes through, one byte more does not', () => {
    const whole = Buffer.alloc(limits.messageBytesMax, 3)
    const [out] = assembled(5, packed(5, [whole]))
    assert.ok(out !== undefined && equal(out, whole))
    const over = packed(5, [Buffer.alloc(limits.messageBytesMax + 1)])
    assert.throws(() => assembled(5, over), BytesError)
  })

  test('every fragment but the last of a message carries at least the least', () => {
    for (const lead of [0, 1, 1000, 65_000, 65_490, 65_520, 65_535]) {
      const frames = packed(1, [new Uint8Array(lead), new Uint8Array(200_000), new Uint8Array(3)])
      for (const item of fragmentsOf(frames))
        assert.ok(!item.more || item.bytes.length >= limits.fragmentBytesMin)
      assert.deepEqual(
        assembled(1, frames).map(message => message.length),
        [lead, 200_000, 3],
      )
    }
  })

  test('what is no item is refused', () => {
    const one = fragment(1n, 0, Buffer.from('x'))
    const refused: readonly (readonly [string, Uint8Array])[] = [
      ['a frame without items', new Uint8Array(0)],
      ['an unknown item', Uint8Array.of(3)],
      ['item 0', Uint8Array.of(0)],
      ['unknown flags', fragment(1n, 2, Buffer.from('x'))],
      ['a length over what is there', fragment(1n, 0, Buffer.from('x'), 2)],
      ['a length of 4 GiB', fragment(1n, 0, Buffer.from('x'), 0xffff_ffff)],
      ['a number above 2^53 - 1', fragment(2n ** 53n, 0, Buffer.from('x'))],
      ['a truncated acknowledgement', concat(Uint8Array.of(2), u64(1n), Buffer.alloc(31))],
      ['a good item and a bad one', concat(one, Uint8Array.of(9))],
    ]
    for (const [what, bytes] of refused) assert.throws(() => parseItems(bytes), BytesError, what)
    assert.equal(parseItems(concat(one, one)).length, 2)
    for (let end = 1; end < one.length; end++)
      assert.throws(() => parseItems(one.subarray(0, end)), BytesError)
  })

  test('bytes of chance and changed good frames end in items or in BytesError', () => {
    const random = new Random(20)
    const seeds = [
      ...packed(1, [Buffer.from('a'), Buffer.alloc(3000), Buffer.alloc(0)]),
      concat(Uint8Array.of(2), u64(77n), Buffer.alloc(32, 1)),
      concat(Uint8Array.of(3, 1), u64(4n), u64(5n), Uint8Array.of(4, 0), u64(4n), u64(5n), Uint8Array.of(5)),
    ]
    let good = 0
    for (let run = 0; run < fuzzRuns; run++) {
      const seed = seeds[random.below(seeds.length)] ?? new Uint8Array(1)
      const bytes = random.chance(0.3) ? random.bytes(random.below(64)) : new Uint8Array(seed)
      for (let change = random.below(3); change > 0; change--)
        if (bytes.length > 0) bytes[random.below(Math.min(bytes.length, 40))] = random.below(256)
      const cut = random.chance(0.3) ? bytes.subarray(0, random.below(bytes.length + 1)) : bytes
      try {
        const items = parseItems(cut)
        const inside = items.reduce((sum, item) => sum + least(item), 0)
        assert.ok(inside <= cut.length && items.length <= cut.length)
        good++
      } catch (error) {
        assert.ok(error instanceof BytesError, `run ${run}: ${String(error)}`)
      }
    }
    assert.ok(good > fuzzRuns / 50, 'too little of it was good')
  })
})

suite('putting fragments together', () => {
  const part = (number: number, more: boolean, length: number): Fragment => ({
    kind: 'fragment',
    number,
    more,
    bytes: new Uint8Array(length),
  })
  const fails = (expected: number, ...parts: readonly Fragment[]) => {
    const assembler = new Assembler(expected)
    assert.throws(() => parts.map(each => assembler.take(each)), BytesError)
  }

  test('a gap, a repeat, and a message that starts in another are refused', () => {
    fails(1, part(2, false, 1))
    fails(5, part(4, false, 1))
    fails(1, part(1, false, 1), part(1, false, 1))
    fails(1, part(1, true, 2000), part(2, false, 1))
    fails(1, part(1, false, 1), part(3, false, 1))
  })

  test('a small fragment is good as the last one only', () => {
    const assembler = new Assembler(1)
    assert.equal(assembler.take(part(1, true, limits.fragmentBytesMin)), undefined)
    assert.equal(assembler.take(part(1, false, 0))?.length, limits.fragmentBytesMin)
    fails(1, part(1, true, limits.fragmentBytesMin - 1))
    fails(1, part(1, true, 0))
  })

  test('a message grows to its limit and not beyond, however it is cut', () => {
    const assembler = new Assembler(1)
    const pieces = limits.messageBytesMax / 65_536
    for (let i = 0; i < pieces; i++) assert.equal(assembler.take(part(1, true, 65_536)), undefined)
    assert.throws(() => assembler.take(part(1, false, 1)), BytesError)
  })

  test('a fragment that is kept does not keep its frame', () => {
    // One least fragment in each frame, the rest filled up: held as views it would be sixty times as much.
    const filler = concat(
      ...Array.from({ length: 1500 }, () => concat(Uint8Array.of(2), u64(1n), Buffer.alloc(32))),
    )
    const assembler = new Assembler(1)
    const before = process.memoryUsage().arrayBuffers
    for (let i = 0; i < 600; i++) {
      const frame = concat(filler, fragment(1n, 1, new Uint8Array(limits.fragmentBytesMin)))
      for (const item of parseItems(frame)) if (item.kind === 'fragment') assembler.take(item)
    }
    collectGarbage()
    const grown = process.memoryUsage().arrayBuffers - before
    assert.ok(grown < 8 * 1024 * 1024, `${grown} bytes kept`)
    const whole = assembler.take(part(1, false, 0))
    assert.equal(whole?.length, 600 * limits.fragmentBytesMin)
  })
})

/** What an item takes of a frame at least. */
function least(item: Item): number {
  if (item.kind === 'fragment') return item.bytes.length
  return { acknowledgement: 41, lost: 18, noted: 18, settled: 1 }[item.kind]
}
