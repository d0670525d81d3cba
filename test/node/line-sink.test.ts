import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { DiskError } from '../../src/host/disk.ts'
import { openLineSink } from '../../src/node/line-sink.ts'

const dropped = (count: number) => `dropped ${count}`

test('lines are appended in their order; what is too much at once is counted in a line of its own', async t => {
  const directory = fs.mkdtempSync(join(os.tmpdir(), 'pawl-sink-'))
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }))
  const path = join(directory, 'lines')
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
