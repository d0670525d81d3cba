import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { suite, test } from 'node:test'
import type { Job } from '../../src/mailbox/job.ts'
import { limits } from '../../src/mailbox/limits.ts'
import { isDelivered, queueFile } from '../../src/mailbox/send-file.ts'
import { type AtRest, noNonceTwice, run } from '../session/world.ts'
import { plantDirectory, plantFile, remove } from '../simulator/surgery.ts'
import { bytesOf, clock, coded, freshHome, openOutbox, peer, positionAfter, retained } from './support.ts'

noNonceTwice()

const path = '/in/lines.txt'

async function homeWith(content: Uint8Array | string): Promise<AtRest> {
  const site = await freshHome()
  return withFile({ ...site, image: plantDirectory(site.image, '/in') }, content)
}

function withFile(site: AtRest, content: Uint8Array | string): AtRest {
  const bytes = typeof content === 'string' ? bytesOf(content) : content
  return { ...site, image: plantFile(site.image, path, bytes) }
}

type Queued = { readonly job: Job; readonly messages: readonly string[]; readonly site: AtRest }

/** One `send`: queues the file; with `acknowledge` the peer then takes everything. */
async function send(
  site: AtRest,
  options: { readonly again?: boolean; readonly acknowledge?: boolean; readonly to?: Uint8Array } = {},
): Promise<Queued> {
  const { endpoint, disk, close } = await run(site, clock)
  try {
    const outbox = await openOutbox(endpoint.store)
    const again = options.again ?? false
    const job = await queueFile(disk, endpoint.store, outbox, options.to ?? peer, path, { again })
    const messages = retained(outbox)
    if (options.acknowledge === true) {
      assert.equal(isDelivered(job, outbox), messages.length === 0)
      outbox.acknowledge(outbox.sending)
      await outbox.flush()
      assert.ok(isDelivered(job, outbox))
    }
    return { job, messages, site: await close() }
  } catch (error) {
    await close()
    throw error
  }
}

suite('a send job', () => {
  test('each line is a message with its own line end; the last one may lack it', async () => {
    const { job, messages } = await send(await homeWith('one\n\ntwo\r\n\n\nthree'))
    assert.deepEqual(messages, ['one\n', '\n', 'two\r\n', '\n', '\n', 'three'])
    assert.equal(job.lines, 6)
    assert.equal(job.last, 6)
    assert.equal(job.length, 17)
  })

  test('bytes that are no text go as they are', async () => {
    const bytes = Uint8Array.of(0xff, 0xfe, 10, 0xc3, 0x28, 0, 10, 10, 0x80)
    const { endpoint, disk, close } = await run(await homeWith(bytes), clock)
    const outbox = await openOutbox(endpoint.store)
    const job = await queueFile(disk, endpoint.store, outbox, peer, path, { again: false })
    const messages = [1, 2, 3, 4].map(number => [...(outbox.message(number) ?? [])])
    assert.deepEqual(messages, [[0xff, 0xfe, 10], [0xc3, 0x28, 0, 10], [10], [0x80]])
    assert.deepEqual(Buffer.from(job.sha256), createHash('sha256').update(bytes).digest())
    await close()
  })

  test('an empty file is done at once', async () => {
    const { job, messages } = await send(await homeWith(''), { acknowledge: true })
    assert.deepEqual(messages, [])
    assert.equal(job.last, 0)
  })

  test('a finished job sends nothing; the file grown sends what is new', async () => {
    let { site } = await send(await homeWith('one\ntwo\n'), { acknowledge: true })
    const second = await send(site, { acknowledge: true })
    assert.deepEqual(second.messages, [])
    assert.equal(second.job.lines, 2)
    site = withFile(second.site, 'one\ntwo\nthree\nfour')
    const third = await send(site, { acknowledge: true })
    assert.deepEqual(third.messages, ['three\n', 'four'])
    const fourth = await send(withFile(third.site, 'one\ntwo\nthree\nfour, and a half\n'))
    assert.deepEqual(fourth.messages, [', and a half\n'])
    assert.equal(fourth.job.length, 31)
  })

  test('a file that changed in the part already queued is refused, and so is one that got shorter', async () => {
    const { site } = await send(await homeWith('one\ntwo\n'))
    for (const content of ['one\nTwo\n', 'one\ntw', '', 'One\ntwo\nthree\n'])
      await assert.rejects(send(withFile(site, content)), coded('EINVAL', 'changed', '--again'))
    const { messages } = await send(withFile(site, 'one\nTwo\n'), { again: true })
    assert.deepEqual(messages, ['one\n', 'two\n', 'one\n', 'Two\n'])
  })

  test('again sends all of it anew, and is then the job that goes on', async () => {
    const first = await send(await homeWith('one\n'), { acknowledge: true })
    const second = await send(first.site, { again: true })
    assert.deepEqual(second.messages, ['one\n'])
    const third = await send(withFile(second.site, 'one\ntwo\n'))
    assert.deepEqual(third.messages, ['one\n', 'two\n'])
    assert.equal(third.job.last, 3)
  })

  test('the same file for another peer is another job', async () => {
    const first = await send(await homeWith('one\n'), { acknowledge: true })
    const second = await send(first.site, { to: new Uint8Array(32).fill(8) })
    assert.equal(second.job.lines, 1)
    assert.deepEqual(second.messages, ['one\n'])
  })

  test('what is not there, or no regular file, is refused', async () => {
    const site = await homeWith('x')
    await assert.rejects(send({ ...site, image: remove(site.image, path) }), { code: 'missing' })
    const directory = { ...site, image: plantDirectory(remove(site.image, path), path) }
    await assert.rejects(send(directory))
  })

  test('a line of the largest size goes, one byte more is refused with its number', async () => {
    const most = limits.messageBytesMax
    const longest = Buffer.alloc(most, 'x')
    longest[most - 1] = 10
    const good = await send(await homeWith(Buffer.concat([bytesOf('first\n'), longest, bytesOf('last')])))
    assert.deepEqual(
      good.messages.map(message => message.length),
      [6, most, 4],
    )
    const over = Buffer.concat([bytesOf('first\n\n'), Buffer.from('x'), longest, bytesOf('last\n')])
    await assert.rejects(send(await homeWith(over)), coded('EINVAL', 'line 3 is over'))
    const endless = Buffer.alloc(most + 1, 'y')
    await assert.rejects(send(await homeWith(endless)), coded('EINVAL', 'line 1 is over'))
  })

  test('a process that dies anywhere continues with no line lost and none twice', async () => {
    const lines = Array.from({ length: 60 }, (_, i) => `${i} ${'.'.repeat((i % 7) * 1500)}\n`)
    const start = await homeWith(lines.join(''))
    const { linesMax } = limits
    Object.assign(limits, { linesMax: 8 })
    try {
      for (let calls = 1; ; calls++) {
        const running = await run(start, clock)
        const outbox = await openOutbox(running.endpoint.store)
        const last = running.disk.calls + calls
        const died = new Promise<false>(resolve =>
          running.disk.observe(() => {
            if (running.disk.calls < last) return
            running.disk.kill()
            resolve(false)
          }),
        )
        const queued = queueFile(running.disk, running.endpoint.store, outbox, peer, path, { again: false })
        const isDone = await Promise.race([queued.then(() => true), died])
        running.disk.observe(undefined)
        const { messages, job } = await send(running.kill())
        assert.deepEqual(messages, lines)
        assert.equal(job.lines, lines.length)
        if (isDone) break
      }
    } finally {
      Object.assign(limits, { linesMax })
    }
  })

  test('no more is queued than the outbox may hold; acknowledgements let it go on', async () => {
    const lines = Array.from({ length: 200 }, (_, i) => `${i}\n`)
    const { endpoint, disk, close } = await run(await homeWith(lines.join('')), clock)
    const { linesMax, outboxMessagesMax } = limits
    Object.assign(limits, { linesMax: 10, outboxMessagesMax: 40 })
    try {
      const outbox = await openOutbox(endpoint.store)
      const seen: string[] = []
      let most = 0
      const unwatch = outbox.watch(() => {
        const waiting = retained(outbox)
        most = Math.max(most, waiting.length)
        if (waiting.length < 40) return
        setImmediate(() => {
          seen.push(...retained(outbox).slice(0, 25))
          outbox.acknowledge(positionAfter(outbox, 25))
        })
      })
      const job = await queueFile(disk, endpoint.store, outbox, peer, path, { again: false })
      unwatch()
      assert.equal(job.lines, 200)
      assert.deepEqual([...seen, ...retained(outbox)], lines)
      assert.ok(most < 50, `${most} were queued`)
    } finally {
      Object.assign(limits, { linesMax, outboxMessagesMax })
    }
    await close()
  })

  test('two jobs that are queued at once share the outbox, and each counts its own lines', async () => {
    const site = await homeWith('a\nb\n')
    const both = { ...site, image: plantFile(site.image, '/in/other.txt', bytesOf('c\nd\ne\n')) }
    const { endpoint, disk, close } = await run(both, clock)
    const outbox = await openOutbox(endpoint.store)
    const queue = (file: string) => queueFile(disk, endpoint.store, outbox, peer, file, { again: false })
    const [one, other] = await Promise.all([queue(path), queue('/in/other.txt')])
    assert.deepEqual([one.lines, other.lines], [2, 3])
    assert.deepEqual([one.last, other.last].sort(), one.last < other.last ? [2, 5] : [3, 5])
    assert.equal(retained(outbox)[one.last - 1], 'b\n')
    assert.equal(retained(outbox)[other.last - 1], 'e\n')
    await close()
  })

  test('stopped, it leaves what is queued, counted, and goes on from there', async () => {
    const site = await homeWith('x\n'.repeat(limits.outboxMessagesMax + 20_000))
    const { endpoint, disk, close } = await run(site, clock)
    const outbox = await openOutbox(endpoint.store)
    const stop = new AbortController()
    const queueing = queueFile(disk, endpoint.store, outbox, peer, path, { again: false, stop: stop.signal })
    await outbox.until(() => outbox.isFull)
    stop.abort(new Error('stopped'))
    await assert.rejects(queueing, { message: 'stopped' })
    const queued = outbox.sending.next - 1
    assert.ok(queued >= limits.outboxMessagesMax)
    outbox.acknowledge(outbox.sending)
    await outbox.flush()
    const job = await queueFile(disk, endpoint.store, outbox, peer, path, { again: false })
    assert.equal(job.lines, limits.outboxMessagesMax + 20_000)
    assert.equal(job.last, job.lines)
    assert.equal(retained(outbox).length, job.lines - queued)
    await close()
  })
})
