import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { reasonNotTo } from '../node/support.ts'
import { scratch } from './support.ts'

test('on a full tmpfs, where write-file-atomic puts half of a new value in place of the old one, a put is ENOSPC and the old one stays', t => {
  // As root, or as one who may be root in a namespace of its own.
  const ways = ['-m', '-rm'].map(flags => ({ flags, reason: reasonNotTo('unshare', flags, 'true') }))
  const way = ways.find(({ reason }) => reason === undefined)
  if (way === undefined) return t.skip(ways[0]?.reason)
  const directory = join(scratch(t), 'small')
  fs.mkdirSync(directory)
  const child = new URL('./atomic-file.ts', import.meta.url).pathname
  const script = 'mount -t tmpfs -o size=24m,mode=700 tmpfs "$1" && exec "$2" "$3" "$1"'
  const words = [way.flags, 'sh', '-c', script, 'sh', directory, process.execPath, child]
  const run = spawnSync('unshare', words, { timeout: 60_000 })
  assert.equal(run.status, 0, run.stderr.toString())
  t.diagnostic(run.stdout.toString().trim())
  const seen = JSON.parse(run.stdout.toString())
  assert.equal(seen.ours, 'ENOSPC')
  // Version 8.0.0 of theirs writes once, does not look how much was written, and says that it is done.
  assert.deepEqual([seen.theirs, seen.theirOldIsThere, seen.theirNewIsThere], ['done', false, false])
  assert.ok(seen.theirBytes > 0 && seen.theirBytes < 200_000)
})
