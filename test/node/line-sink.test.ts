import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { DiskError } from '../../src/host/disk.ts'
import { openLineSink } from '../../src/node/line-sink.ts'

const dropped = (count: number) => `dropped ${count}`

function directoryOf(t: TestContext): string {
  const directory = fs.mkdtempSync(join(os.tmpdir(), 'pawl-sink-'))
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }))
  return directory
}

async function until(is: () => boolean, what: string): Promise<void> {
  for (const end = Date.now() + 20_000; !is(); await new Promise(resolve => setTimeout(resolve, 10)))
    if (Date.now() > end) assert.fail(`never: ${what}`)
}

test('lines are appended in their order; what is too much at once is counted in a line of its own', async t => {
  const path = join(directoryOf(t), 'lines')
  const first = await openLineSink(path, dropped)
  first.write(['one', 'two'])
  first.write(['three'])
  await first.close()
  const second = await openLineSink(path, dropped)
  second.write(Array.from({ length: 30 }, (_, i) => `${i}`.padEnd(100_000, '.')))
  await second.close()
  const lines = fs.readFileSync(path, 'utf8').trimEnd().split('\n')
  assert.deepEqual(lines.slice(0, 3), ['one', 'two', 'three'])
  const kept = lines.slice(3, -1)
  assert.ok(kept.length >= 10 && kept.length < 30)
  assert.equal(lines.at(-1), `dropped ${30 - kept.length}`)
  assert.equal(fs.statSync(path).mode & 0o777, 0o600)
})

test('a disk that takes no lines stops nobody, and is told at the end', async () => {
  const sink = await openLineSink('/dev/full', dropped)
  for (let i = 0; i < 100; i++) sink.write(['x'.repeat(1000)])
  await assert.rejects(sink.close(), DiskError)
})

test('a disk that is full for a while: it is told, no line is cut, what is missing is counted, and it goes on', async t => {
  const path = join(directoryOf(t), 'lines')
  const told: string[] = []
  const sink = await openLineSink(path, dropped, {
    behind: error => told.push(`behind: ${error}`),
    caughtUp: () => told.push('caught up'),
  })
  const [write, full] = [fs.write, Object.assign(new Error('full'), { code: 'ENOSPC' })]
  let room = 7
  const limited = (fd: number, bytes: Buffer, done: (error: Error | null, count: number) => void): void => {
    if (room === 0) return void setImmediate(done, full, 0)
    const part = bytes.subarray(0, room)
    room -= part.length
    write(fd, part, done)
  }
  const mocked = t.mock.method(fs, 'write', limited)
  const many = Array.from({ length: 30 }, (_, i) => `${i}`.padEnd(100_000, '.'))
  sink.write(['one', 'twotwo'])
  await until(() => told.length > 0, 'it is told')
  assert.equal(fs.readFileSync(path, 'utf8'), 'one\ntwo', 'it was cut in the middle')
  sink.write(many)
  mocked.mock.restore()
  await until(() => told.length > 1, 'told that it goes on')
  sink.write(['last'])
  await sink.close()
  assert.deepEqual(told, [`behind: DiskError: write ${path}: ENOSPC`, 'caught up'])
  const [one, two, ...others] = fs.readFileSync(path, 'utf8').trimEnd().split('\n')
  const kept = others.filter(line => many.includes(line))
  assert.ok(kept.length > 0 && kept.length < many.length)
  assert.deepEqual([one, two, ...others], ['one', 'twotwo', ...kept, `dropped ${30 - kept.length}`, 'last'])
})

test('a line that was cut by the end of a process is not gone on with', async t => {
  const path = join(directoryOf(t), 'lines')
  fs.writeFileSync(path, 'whole\ncu')
  const sink = await openLineSink(path, dropped)
  sink.write(['next'])
  await sink.close()
  assert.equal(fs.readFileSync(path, 'utf8'), 'whole\ncu\nnext\n')
  const again = await openLineSink(path, dropped)
  await again.close()
  assert.equal(fs.readFileSync(path, 'utf8'), 'whole\ncu\nnext\n')
})

test('a pipe that is read late: every line is whole, and every one is there or counted', async t => {
  const path = join(directoryOf(t), 'pipe')
  execFileSync('mkfifo', [path])
  const reader = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
  let open = true
  t.after(() => open && fs.closeSync(reader))
  const told: string[] = []
  const sink = await openLineSink(path, dropped, {
    behind: () => told.push('behind'),
    caughtUp: () => told.push('caught up'),
  })
  const lines = Array.from({ length: 5000 }, (_, i) => `${i}`.padEnd(1000, '.'))
  for (let i = 0; i < lines.length; i += 500) {
    sink.write(lines.slice(i, i + 500))
    await new Promise(resolve => setTimeout(resolve, 5))
  }
  await until(() => told.length === 1, 'told that it is behind')
  let read = ''
  const buffer = Buffer.alloc(65_536)
  await until(() => {
    try {
      for (let count = 1; count > 0; ) {
        count = fs.readSync(reader, buffer)
        read += buffer.toString('latin1', 0, count)
      }
    } catch {
      // nothing there yet
    }
    return told.length === 2
  }, 'all of it read')
  await sink.close()
  open = false
  read += fs.readFileSync(reader, 'latin1')
  fs.closeSync(reader)
  assert.deepEqual(told, ['behind', 'caught up'])
  const found = read.trimEnd().split('\n')
  const missing = found.flatMap(line => (line.startsWith('dropped ') ? [Number(line.slice(8))] : []))
  const kept = found.filter(line => !line.startsWith('dropped '))
  assert.ok(
    kept.every(line => lines.includes(line)),
    'a line was cut',
  )
  assert.equal(kept.length + missing.reduce((sum, count) => sum + count, 0), lines.length)
})
