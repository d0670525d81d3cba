import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { concat, equal } from '../../src/bytes/bytes.ts'
import { encodeHeader, type FrameType, headerBytes, nonceOf, parseHeader } from '../../src/channel/frame.ts'
import { type FrameEvent, FrameReader } from '../../src/channel/index.ts'

const anyFrame = fc
  .record({
    type: fc.constantFrom<FrameType>(1, 2, 3, 4),
    sessionId: fc.uint8Array({ minLength: 8, maxLength: 8 }),
    epoch: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    seq: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    payload: fc.uint8Array({ maxLength: 278 }),
  })
  .map(({ payload, ...fields }) => ({
    ...fields,
    payload,
    bytes: concat(encodeHeader({ ...fields, payloadBytes: payload.length }), payload),
  }))

/** Feeds bytes in pieces of these lengths, over and over; copies, since frames are views. */
function feed(reader: FrameReader, bytes: Uint8Array, lengths: readonly number[]): FrameEvent[] {
  const events: FrameEvent[] = []
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const length = lengths[i % lengths.length] ?? 1
    for (const event of reader.feed(bytes.subarray(at, at + length)))
      events.push(event.kind === 'frame-arrived' ? { ...event, frame: structuredClone(event.frame) } : event)
    at += length
  }
  return events
}

suite('the reader', () => {
  test('gives the same frames however the stream is cut', () => {
    const cuts = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 8 })
    fc.assert(
      fc.property(fc.array(anyFrame, { maxLength: 6 }), cuts, (frames, lengths) => {
        const reader = new FrameReader()
        const events = feed(reader, concat(...frames.map(({ bytes }) => bytes)), lengths)
        assert.equal(events.length, frames.length)
        events.forEach((event, i) => {
          const sent = frames[i]
          assert.ok(sent && event.kind === 'frame-arrived')
          assert.ok(equal(event.frame.payload, sent.payload))
          assert.ok(equal(event.frame.header, sent.bytes.subarray(0, headerBytes)))
          assert.deepEqual(
            [event.frame.type, event.frame.epoch, event.frame.seq],
            [sent.type, sent.epoch, sent.seq],
          )
        })
        assert.equal(reader.held, 0)
      }),
      { numRuns: 300 },
    )
  })

  test('refuses each kind of frame one byte past its limit, at the header, holding nothing; at the limit not', () => {
    for (const [type, seq, max] of [
      [1, 1, 8_192],
      [1, 2, 131_072],
      [2, 1, 65_552],
      [3, 1, 131_072],
      [4, 1, 278],
    ] as const) {
      const fields = { type, sessionId: new Uint8Array(8), epoch: type === 1 ? 0 : 1, seq }
      for (const length of [max + 1, 2 ** 32 - 1]) {
        const reader = new FrameReader()
        const header = encodeHeader({ ...fields, payloadBytes: length })
        assert.deepEqual(feed(reader, header, [1]), [{ kind: 'frame-refused', reason: 15 }])
        assert.equal(reader.capacity, 0)
        assert.deepEqual(feed(reader, header, [22]), [], 'nothing after a refusal')
      }
      const reader = new FrameReader()
      const whole = concat(encodeHeader({ ...fields, payloadBytes: max }), new Uint8Array(max))
      assert.equal(feed(reader, whole, [1_000])[0]?.kind, 'frame-arrived')
    }
  })

  test('refuses unknown types and flags with 10, whatever the length says', () => {
    const header = encodeHeader({ type: 2, sessionId: new Uint8Array(8), epoch: 1, seq: 1, payloadBytes: 1 })
    for (const type of [0, 5, 6, 255]) {
      const bad = Uint8Array.from(header)
      bad[0] = type
      assert.deepEqual(parseHeader(bad), { ok: false, reason: 10 })
    }
    for (let flags = 1; flags < 256; flags++) {
      const bad = Uint8Array.from(header)
      bad[1] = flags
      assert.deepEqual(parseHeader(bad), { ok: false, reason: 10 })
    }
  })

  test('holds memory for what came, never for what a length claims', () => {
    const header = encodeHeader({
      type: 1,
      sessionId: new Uint8Array(8),
      epoch: 0,
      seq: 2,
      payloadBytes: 131_072,
    })
    const reader = new FrameReader()
    feed(reader, header, [22])
    assert.ok(reader.capacity <= 4_096)
    for (let fed = 0; fed < 131_071; fed += 1_000) {
      feed(reader, new Uint8Array(Math.min(1_000, 131_071 - fed)), [1_000])
      assert.ok(reader.capacity <= Math.max(4_096, 2 * reader.held))
    }
    assert.equal(reader.held, headerBytes + 131_071)
  })

  test('is linear in the bytes fed, one at a time too', () => {
    const time = (payloadBytes: number): number => {
      const fields = { type: 1, sessionId: new Uint8Array(8), epoch: 0, seq: 2, payloadBytes } as const
      const bytes = concat(encodeHeader(fields), new Uint8Array(payloadBytes))
      let best = Number.POSITIVE_INFINITY
      for (let run = 0; run < 5; run++) {
        const reader = new FrameReader()
        const began = performance.now()
        assert.equal(feed(reader, bytes, [1]).length, 1)
        best = Math.min(best, performance.now() - began)
      }
      return best
    }
    time(16_384)
    const [small, large] = [time(16_384), time(131_072)]
    // Eight times the bytes: quadratic would be sixty-four times the time.
    assert.ok(large < 30 * small, `${small} ms, ${large} ms`)
  })
})

test('the nonce is epoch, four zero bytes, seq, and no two frames share one', () => {
  assert.deepEqual([...nonceOf(0x01020304, 0x05060708)], [1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8])
  assert.throws(() => nonceOf(1, 2 ** 32))
  assert.throws(() => nonceOf(2 ** 32, 1))
})
