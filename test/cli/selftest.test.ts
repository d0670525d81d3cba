import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { test } from 'node:test'
import { Scene } from './support.ts'

const lines = [
  'statefsd: write hardening on (atomic+integrity)',
  'SELFTEST: statefs atomic ok',
  'SELFTEST: statefs integrity deny ok',
  'SELFTEST: statefs oversize deny ok',
  'updated: bootctl persisted (atomic)',
  'keystored: device key persisted (atomic)',
]

test('the self-test prints its six lines byte for byte, exits 0 and leaves nothing', async t => {
  const scene = new Scene()
  t.after(() => scene.end())
  const { code, stdout, stderr } = await scene.run(['state', 'selftest'], { env: { TMPDIR: scene.folder } })
  assert.equal(code, 0, stderr)
  assert.equal(stdout, `${lines.join('\n')}\n`)
  assert.deepEqual(
    readdirSync(scene.folder).filter(name => name.startsWith('pawl-selftest')),
    [],
  )
})

test('a check that fails prints no further line, and the exit says so', async t => {
  const scene = new Scene()
  t.after(() => scene.end())
  const failed = await scene.run(['state', 'selftest'], { env: { TMPDIR: '/proc' } })
  assert.notEqual(failed.code, 0)
  assert.equal(failed.stdout, '')
  // Sockets need short names: what the daemon cannot serve fails the test instead of being passed over.
  const long = scene.path('x'.repeat(120))
  const { mkdirSync } = await import('node:fs')
  mkdirSync(long)
  const unserved = await scene.run(['state', 'selftest'], { env: { TMPDIR: long } })
  assert.notEqual(unserved.code, 0)
  assert.equal(unserved.stdout, '')
})
