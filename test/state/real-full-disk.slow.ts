import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { scratch } from './support.ts'

const canMount = spawnSync('unshare', ['-m', 'true']).status === 0

test('on a real disk that is full, deletes and compaction go on, and nothing that was told is lost', {
  skip: canMount ? false : 'needs a mount namespace of its own (root)',
}, t => {
  const directory = join(scratch(t), 'small')
  fs.mkdirSync(directory)
  const child = new URL('./real-full-disk.ts', import.meta.url).pathname
  const script = 'mount -t tmpfs -o size=24m tmpfs "$1" && exec "$2" "$3" "$1"'
  const run = spawnSync('unshare', ['-m', 'sh', '-c', script, 'sh', directory, process.execPath, child], {
    timeout: 100_000,
  })
  assert.equal(run.status, 0, run.stderr.toString())
  const seen = JSON.parse(run.stdout.toString())
  t.diagnostic(run.stdout.toString().trim())
  assert.ok(seen.full === 4 && seen.puts > 500 && seen.deletes > 300)
})
