import assert from 'node:assert/strict'
import fs from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { WireError } from '../../src/host/wire.ts'
import { type JournalOptions, openJournalSink } from '../../src/node/journal.ts'
import { scratch } from './support.ts'

const header = 'pawl\n\n6\n1\n0\n0\n0\n'

/** What stands where the journal does: hears what each connection says, and can go away and come back. */
class FakeJournal {
  readonly path: string
  /** What came, of each connection. */
  readonly heard: string[] = []
  #server: net.Server | undefined
  readonly #sockets = new Set<net.Socket>()
  readonly #reads: boolean

  constructor(t: TestContext, reads = true) {
    this.path = join(scratch(t), 'stdout')
    this.#reads = reads
    t.after(() => this.leave())
  }

  async come(): Promise<void> {
    const server = net.createServer(socket => {
      const place = this.heard.push('') - 1
      this.#sockets.add(socket)
      socket.on('error', () => {})
      if (this.#reads) socket.on('data', chunk => (this.heard[place] += chunk.toString()))
    })
    this.#server = server
    await new Promise<void>(resolve => server.listen(this.path, resolve))
  }

  leave(): void {
    this.#server?.close()
    for (const socket of this.#sockets) socket.destroy()
    this.#sockets.clear()
    fs.rmSync(this.path, { force: true })
  }

  /** Resolves once the connection has said so much. */
  async hears(connection: number, end: string): Promise<string> {
    const until = Date.now() + 10_000
    while (!this.heard[connection]?.endsWith(end)) {
      assert.ok(Date.now() < until, `heard ${JSON.stringify(this.heard)}`)
      await new Promise(resolve => setTimeout(resolve, 5))
    }
    return this.heard[connection] ?? ''
  }

  options(more: Partial<JournalOptions> = {}): JournalOptions {
    return {
      path: this.path,
      identifier: 'pawl',
      priority: line => (line.startsWith('no') ? 4 : 6),
      dropped: count => `dropped ${count}`,
      ...more,
    }
  }
}

test('the journal is told whose lines they are, then each in its order with its priority', async t => {
  const journal = new FakeJournal(t)
  await journal.come()
  const sink = await openJournalSink(journal.options())
  sink.write(['one', 'no two'])
  sink.write(['three'])
  await sink.close()
  assert.equal(await journal.hears(0, 'three\n'), `${header}<6>one\n<4>no two\n<6>three\n`)
})

test('where there is no journal, that is said at once', async t => {
  const journal = new FakeJournal(t)
  await assert.rejects(
    openJournalSink(journal.options()),
    error => error instanceof WireError && error.code === 'unreachable',
  )
})

test('lines wait for a journal that went away, and what was too much is counted', async t => {
  const journal = new FakeJournal(t)
  await journal.come()
  const sink = await openJournalSink(journal.options())
  sink.write(['before'])
  await journal.hears(0, 'before\n')
  journal.leave()
  for (let i = 0; i < 30; i++) {
    sink.write([`${i}`.padEnd(100_000, '.')])
    await new Promise(resolve => setTimeout(resolve, 2))
  }
  await journal.come()
  await journal.hears(1, '\n')
  await sink.close()
  const [, again = ''] = journal.heard
  const lines = (await journal.hears(1, `${again.split('\n').at(-2)}\n`))
    .slice(header.length)
    .trimEnd()
    .split('\n')
  const kept = lines.slice(0, -1).map(line => Number(/^<6>(\d+)\.+$/.exec(line)?.[1]))
  assert.deepEqual(
    kept,
    Array.from(kept, (_, i) => i),
    'in order, without a gap',
  )
  assert.ok(kept.length >= 10 && kept.length < 30, `${kept.length} kept`)
  assert.equal(lines.at(-1), `<6>dropped ${30 - kept.length}`)
})

test('a journal that takes nothing holds nobody up, and the end does not wait for it for ever', async t => {
  const journal = new FakeJournal(t, false)
  await journal.come()
  const sink = await openJournalSink(journal.options({ closingMs: 200 }))
  const from = performance.now()
  for (let i = 0; i < 1000; i++) sink.write(['x'.repeat(10_000)])
  assert.ok(performance.now() - from < 2000)
  await assert.rejects(sink.close(), WireError)
  assert.ok(performance.now() - from < 5000)
})

test('at the end of a journal that is gone, what waits is told to be lost', async t => {
  const journal = new FakeJournal(t)
  await journal.come()
  const sink = await openJournalSink(journal.options())
  await journal.hears(0, header)
  journal.leave()
  await new Promise(resolve => setTimeout(resolve, 20))
  sink.write(['lost'])
  await assert.rejects(sink.close(), WireError)
})
