/** Which lines of a file were given up, by the numbers of its own messages, and what of it is sent once more (C11). */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { lostLines } from '../../src/mailbox/job.ts'
import { limits } from '../../src/mailbox/limits.ts'
import { Losses, listLost } from '../../src/mailbox/lost.ts'
import { queueFile } from '../../src/mailbox/send-file.ts'
import { type AtRest, noNonceTwice, run } from '../session/world.ts'
import { plantDirectory, plantFile } from '../simulator/surgery.ts'
import { bytesOf, clock, freshHome, openOutbox, peer, retained } from './support.ts'

noNonceTwice()

const [path, other] = ['/in/lines.txt', '/in/other.txt']
type Range = readonly [first: number, last: number, arrived?: boolean]

async function homeWith(lines: string, others = ''): Promise<AtRest> {
  const site = await freshHome()
  const image = plantFile(plantDirectory(site.image, '/in'), path, bytesOf(lines))
  return { ...site, image: plantFile(image, other, bytesOf(others)) }
}

function grown(site: AtRest, file: string, content: string): AtRest {
  return { ...site, image: plantFile(site.image, file, bytesOf(content)) }
}

/** Queues, and has the peer acknowledge all of it; then those ranges are put on record. */
async function send(
  site: AtRest,
  file: string,
  { lost = false, again = false, ranges = [] as Range[] } = {},
) {
  const { endpoint, disk, close } = await run(site, clock)
  const { store } = endpoint
  const outbox = await openOutbox(store)
  const job = await queueFile(disk, store, outbox, peer, file, { again, lost })
  const messages = retained(outbox)
  outbox.acknowledge(outbox.sending)
  await outbox.flush()
  const losses = await Losses.open(store, peer)
  for (const [first, last, arrived = false] of ranges)
    await losses.note({ way: 'sent', arrived, first, last })
  const { never, unsure } = await lostLines(store, job, await listLost(store, peer))
  const words = (runs: typeof never) => runs.map(({ line, count }) => `${line}-${line + count - 1}`)
  const records = store.list('/pawl/job/').length
  return {
    messages,
    last: job.last,
    never: words(never),
    unsure: words(unsure),
    records,
    site: await close(),
  }
}

/** Small records, so that a few runs fill several. */
function withSmallRecords(t: { after(then: () => void): void }): void {
  const { jobRunsMax } = limits
  t.after(() => void Object.assign(limits, { jobRunsMax }))
  Object.assign(limits, { jobRunsMax: 2 })
}

suite('the lines of a job that were given up', () => {
  test('messages of another file between its own are not its lines', async () => {
    let { site } = await send(await homeWith('a\nb\n', '1\n2\n3\n'), path)
    ;({ site } = await send(site, other))
    const all = await send(grown(site, path, 'a\nb\nc\n'), path, { ranges: [[3, 5]] })
    assert.deepEqual([all.never, all.unsure], [[], []])
    assert.deepEqual((await send(all.site, other)).never, ['1-3'])
    const more = await send(all.site, path, { ranges: [[2, 6]] })
    assert.deepEqual(more.never, ['2-3'])
  })

  test('only they are sent again, as they were, before what is new; and then nothing is', async t => {
    withSmallRecords(t)
    let site = await homeWith('', '.\n'.repeat(9))
    let text = ''
    // A line that was sent without its end was a message, and so was the rest of it.
    for (const piece of ['a\n', 'b\nc', 'd\n', 'e\nf\n', 'g\n', 'h']) {
      text += piece
      ;({ site } = await send(grown(site, path, text), path))
      ;({ site } = await send(grown(site, other, `${text}.\n`), other, { again: true }))
    }
    const { last } = await send(site, path)
    const numbers = await send(site, path, { ranges: [[1, last]] })
    assert.deepEqual(numbers.never, ['1-8'])
    const lost = await send(grown(numbers.site, path, `${text}!\n`), path, { lost: true })
    assert.deepEqual(lost.messages, ['a\n', 'b\n', 'c', 'd\n', 'e\n', 'f\n', 'g\n', 'h', '!\n'])
    assert.deepEqual(lost.never, [])
    for (const again of [true, false])
      assert.deepEqual((await send(lost.site, path, { lost: again })).messages, [])
  })

  test('of a line that was sent again and is lost once more the newest number counts', async t => {
    withSmallRecords(t)
    const first = await send(await homeWith('a\nb\nc\nd\ne\n'), path, { ranges: [[2, 4]] })
    const second = await send(first.site, path, { lost: true, ranges: [[7, 7]] })
    assert.deepEqual(second.messages, ['b\n', 'c\n', 'd\n'])
    assert.deepEqual(second.never, ['3-3'])
    const third = await send(second.site, path, { lost: true })
    assert.deepEqual([third.messages, third.never], [['c\n'], []])
  })

  test('lines that may have arrived are never sent by themselves, and are settled by the word of the user', async () => {
    const { site, ...told } = await send(await homeWith('a\nb\nc\nd\n'), path, {
      ranges: [
        [1, 3],
        [3, 4, true],
      ],
    })
    assert.deepEqual([told.never, told.unsure], [['1-2'], ['3-4']])
    const lost = await send(site, path, { lost: true })
    assert.deepEqual(lost.messages, ['a\n', 'b\n'])
    assert.deepEqual([lost.never, lost.unsure], [[], []])
    assert.deepEqual((await send(lost.site, path, { ranges: [[5, 6]] })).never, ['1-2'])
  })

  test('all of it anew: what was lost before is not asked for any more, and its records go', async t => {
    withSmallRecords(t)
    let site = await homeWith('', '')
    let text = ''
    for (let i = 0; i < 8; i++) {
      text += `${i}\n`
      ;({ site } = await send(grown(site, path, text), path))
      ;({ site } = await send(grown(site, other, '.\n'), other, { again: true }))
    }
    const before = await send(site, path, { ranges: [[1, 3]] })
    assert.deepEqual(before.never, ['1-2'])
    assert.equal(before.records, 2 + 3, 'the two jobs, and three records of runs')
    const anew = await send(before.site, path, { again: true })
    assert.deepEqual([anew.messages.length, anew.never], [8, []])
    assert.equal(anew.records, 2)
  })

  test('a process that dies anywhere while it sends them again: each goes once', async t => {
    withSmallRecords(t)
    const { linesMax } = limits
    t.after(() => void Object.assign(limits, { linesMax }))
    Object.assign(limits, { linesMax: 3 })
    const lines = Array.from({ length: 20 }, (_, i) => `${i}\n`)
    const ranges: Range[] = [
      [2, 5],
      [9, 9],
      [12, 19],
      [20, 20, true],
    ]
    const start = await send(await homeWith(lines.join('')), path, { ranges })
    const wanted = lines.filter((_, i) =>
      ranges.some(([first, last, arrived]) => !arrived && first <= i + 1 && i + 1 <= last),
    )
    for (let calls = 1; ; calls++) {
      const running = await run(start.site, clock)
      const outbox = await openOutbox(running.endpoint.store)
      const last = running.disk.calls + calls
      const died = new Promise<false>(resolve =>
        running.disk.observe(() => {
          if (running.disk.calls < last) return
          running.disk.kill()
          resolve(false)
        }),
      )
      const options = { again: false, lost: true }
      const queued = queueFile(running.disk, running.endpoint.store, outbox, peer, path, options)
      const isDone = await Promise.race([queued.then(() => true), died])
      running.disk.observe(undefined)
      const { messages, never, unsure } = await send(running.kill(), path, { lost: true })
      assert.deepEqual(messages, wanted)
      assert.deepEqual([never, unsure], [[], []])
      if (isDone) break
    }
  })
})
