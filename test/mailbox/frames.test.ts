import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { utf8 } from '../../src/bytes/bytes.ts'
import { frameTypes } from '../../src/channel/frame.ts'
import { FrameReader } from '../../src/channel/frame-reader.ts'
import { adoptParameters } from '../../src/state/parameters.ts'
import { assertReceived, Receiver, Sender } from '../session/exchange.ts'
import { type AtRest, IdleClock, introduced, noNonceTwice } from '../session/world.ts'
import { withStore } from './support.ts'

noNonceTwice()

const clock = new IdleClock()
const [siteA, siteB] = await introduced()
const tagBytes = 16

function lowered(site: AtRest, bytes: number): Promise<AtRest> {
  const file = `{"format":"pawl-parameters-1","version":1,"values":{"qsp.max_body_ct_len":${bytes}}}`
  return withStore(site, async store => void (await adoptParameters(store, utf8(file))))
}

/** Sends messages of many sizes; answers with the plaintext bytes of the largest data frame of each end. */
async function largestFrames(a: AtRest, b: AtRest): Promise<{ left: number; right: number }> {
  const largest = { left: 0, right: 0 }
  const readers = { left: new FrameReader(), right: new FrameReader() }
  const [receiver, sender] = [await Receiver.start(b, clock), await Sender.start(a, clock)]
  const messages = [1, 1_000, 2_034, 2_035, 5_000, 200_000].map(length => Buffer.alloc(length, length))
  const meddle = (chunk: Uint8Array, from: 'left' | 'right') => {
    for (const event of readers[from].feed(chunk))
      if (event.kind === 'frame-arrived' && event.frame.type === frameTypes.data)
        largest[from] = Math.max(largest[from], event.frame.payload.length - tagBytes)
    return [chunk]
  }
  await sender.send(messages, () => receiver.dial({ meddle }))
  await sender.close()
  assert.deepEqual(receiver.errors, [])
  await assertReceived(await receiver.close(), clock, messages)
  return largest
}

suite('frames of a stream', () => {
  test('are as large as both ends take, and messages of any size go through', async () => {
    assert.equal((await largestFrames(siteA, siteB)).left, 65_536)
    assert.equal((await largestFrames(await lowered(siteA, 5_000), siteB)).left, 5_000, 'of the sender')
    assert.equal((await largestFrames(siteA, await lowered(siteB, 2_048))).left, 2_048, 'of the receiver')
    const [a, b] = [await lowered(siteA, 2_048), await lowered(siteB, 100_000)]
    assert.equal((await largestFrames(a, b)).left, 2_048)
  })
})
