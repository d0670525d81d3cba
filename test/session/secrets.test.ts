import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { bytesAt, type Image, pathsOf } from '../simulator/image.ts'
import { plantFile } from '../simulator/surgery.ts'
import { Receiver, Sender } from './exchange.ts'
import { copyOf } from './scenarios.ts'
import { anchors, home, IdleClock, introduced, noNonceTwice, type Running } from './world.ts'

noNonceTwice()

/** Files below a path that hold the needle, in any of its spellings. */
function filesWith(image: Image, below: string, needle: Uint8Array): string[] {
  const raw = Buffer.from(needle)
  const spellings = [
    raw,
    Buffer.from(raw.toString('hex')),
    Buffer.from(raw.toString('base64url').slice(0, -2)),
  ]
  return [...pathsOf(image)]
    .map(([path]) => path)
    .filter(path => path.startsWith(below))
    .filter(path => {
      const bytes = Buffer.from(bytesAt(image, path) ?? [])
      return spellings.some(spelling => bytes.includes(spelling))
    })
}

/** What no file of a home may hold, nor of an anchor but its key and its slots. */
function secretsOf(
  { endpoint }: Running,
  memory: { copy(): { secrets: readonly { res: { bytes: Uint8Array } }[] } },
) {
  const { keys } = endpoint.own
  const seeds = [keys.seed('ed25519'), keys.seed('mldsa87')]
  return [...seeds.map(seed => seed.bytes), ...memory.copy().secrets.map(({ res }) => res.bytes)]
}

suite('at rest', () => {
  test('no file of a home or an anchor holds a word of a message, or a private key', async () => {
    const [a, b] = await introduced()
    const clock = new IdleClock()
    const marks = ['Pay 1000 EUR to account', 'a secret of some length in a long message']
    const messages = [
      ...Array.from({ length: 30 }, (_, i) => Buffer.from(`${marks[0]} ${i}\n`)),
      Buffer.from(`${marks[1]} `.repeat(30_000)),
    ]
    const receiver = await Receiver.start(b, clock)
    const sender = await Sender.start(a, clock)
    await sender.queue(messages.slice(0, 20))
    const images = [copyOf(a, sender.running).image]
    await sender.send(messages, () => receiver.dial())
    images.push(copyOf(a, sender.running).image, copyOf(b, receiver.running).image)
    const secrets = [
      ...marks.map(mark => Buffer.from(mark)),
      ...secretsOf(sender.running, sender.to.party.memory),
      ...secretsOf(receiver.running, receiver.from.party.memory),
    ]
    images.push((await sender.close()).image, (await receiver.close()).image)
    assert.ok(secrets.length >= 8)
    for (const image of images)
      for (const secret of secrets) assert.deepEqual(filesWith(image, '/', secret), [])
  })

  test('a store key is in its file in the anchor and nowhere else', async () => {
    const [a] = await introduced()
    const key = [...pathsOf(a.image)]
      .map(([path]) => path)
      .find(path => /^\/anchors\/[0-9a-f]+\/key$/.test(path))
    assert.ok(key !== undefined, 'no key file')
    const bytes = bytesAt(a.image, key) ?? new Uint8Array()
    assert.deepEqual(filesWith(a.image, '/', bytes.subarray(12, 44)), [key])
  })

  test('a leak that is planted is found: in a home, in an anchor, as text or as hexadecimal', async () => {
    const [a] = await introduced()
    const secret = Buffer.from('a secret of some length')
    for (const directory of [home, anchors])
      for (const spelling of [
        secret,
        Buffer.from(secret.toString('hex')),
        Buffer.from(secret.toString('base64url')),
      ]) {
        const padded = Buffer.concat([Buffer.alloc(5000, 1), spelling, Buffer.alloc(100)])
        const image = plantFile(a.image, `${directory}/leak`, padded)
        assert.deepEqual(filesWith(image, '/', secret), [`${directory}/leak`])
      }
  })
})
