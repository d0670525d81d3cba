import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { root } from './support.ts'

test('dependencies that do not install are an error and a hint, exit 1', t => {
  const folder = mkdtempSync(join(tmpdir(), 'pawl prepare '))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  mkdirSync(join(folder, 'bin'))
  cpSync(join(root, 'bin/prepare'), join(folder, 'bin/prepare'))
  writeFileSync(join(folder, 'package-lock.json'), '{}')
  writeFileSync(join(folder, 'npm'), '#!/bin/sh\necho no network >&2\nexit 7\n', { mode: 0o755 })
  const env = { PATH: `${folder}:${process.env.PATH}` }
  const { status, stderr } = spawnSync('sh', [join(folder, 'bin/prepare')], { env, encoding: 'utf8' })
  assert.equal(status, 1)
  assert.deepEqual(stderr.trimEnd().split('\n').slice(1), [
    'no network',
    'pawl: error: the dependencies did not install',
    'pawl: hint: see what npm says above, and whether its registry can be reached; try again',
  ])
})
