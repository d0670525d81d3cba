import assert from 'node:assert/strict'
import { execSync } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { findExposure } from '../../src/node/permissions.ts'
import { faultIs, scratch } from './support.ts'

function home(t: TestContext): string {
  const path = join(scratch(t), 'home')
  fs.mkdirSync(path, { mode: 0o700 })
  fs.writeFileSync(join(path, 'home.cbor'), '', { mode: 0o600 })
  fs.mkdirSync(join(path, 'segments'), { mode: 0o700 })
  fs.writeFileSync(join(path, 'segments', '0001'), '', { mode: 0o600 })
  return path
}

test('0700 and 0600 throughout is private, and so is what is narrower', async t => {
  const path = home(t)
  assert.equal(await findExposure(path), undefined)
  fs.chmodSync(join(path, 'home.cbor'), 0o400)
  assert.equal(await findExposure(path), undefined)
})

for (const [name, mode, remedy] of [
  ['', 0o750, 'chmod 700'],
  ['', 0o701, 'chmod 700'],
  ['home.cbor', 0o640, 'chmod 600'],
  ['home.cbor', 0o602, 'chmod 600'],
  ['segments', 0o755, 'chmod 700'],
  ['segments/0001', 0o604, 'chmod 600'],
] as const)
  test(`${name || 'the home'} at ${mode.toString(8)} is found, and the remedy mends it`, async t => {
    const path = home(t)
    const offender = join(path, name)
    fs.chmodSync(offender, mode)
    const exposure = await findExposure(path)
    assert.equal(exposure?.path, offender)
    assert.equal(exposure?.problem, `mode 0${mode.toString(8)} lets others in`)
    assert.equal(exposure?.remedy, `${remedy} ${offender}`)
    execSync(exposure?.remedy ?? '')
    assert.equal(await findExposure(path), undefined)
  })

test('a remedy can be pasted whatever the name', async t => {
  const path = home(t)
  const odd = join(path, "it's $(here)")
  fs.writeFileSync(odd, '')
  fs.chmodSync(odd, 0o644)
  const exposure = await findExposure(path)
  execSync(exposure?.remedy ?? '')
  assert.equal(fs.statSync(odd).mode & 0o777, 0o600)
})

test('what belongs to another user is found before its mode is looked at', async t => {
  if (process.getuid?.() !== 0) return t.skip('only root can give a file away')
  const path = home(t)
  const offender = join(path, 'segments', '0001')
  fs.chownSync(offender, 65534, 65534)
  const exposure = await findExposure(path)
  assert.deepEqual(exposure, {
    path: offender,
    problem: 'belongs to user 65534, not 0',
    remedy: `chown 0 ${offender}`,
  })
  fs.chownSync(path, 65534, 65534)
  assert.equal((await findExposure(path))?.path, path)
})

test('a symbolic link inside is found, one that leads to the home is not', async t => {
  const path = home(t)
  fs.symlinkSync(path, `${path}-alias`)
  assert.equal(await findExposure(`${path}-alias`), undefined)
  fs.symlinkSync('/etc/passwd', join(path, 'segments', '0002'))
  assert.match((await findExposure(path))?.problem ?? '', /symbolic link/)
})

test('the socket of a running service is guarded by its directory', async t => {
  const path = home(t)
  const server = net.createServer()
  await new Promise<void>(listening => server.listen(join(path, 'control.sock'), listening))
  fs.chmodSync(join(path, 'control.sock'), 0o755)
  assert.equal(await findExposure(path), undefined)
  server.close()
})

test('no home at all is "missing", a file in its place is named', async t => {
  const path = home(t)
  await assert.rejects(findExposure(join(path, 'none')), faultIs('missing', join(path, 'none')))
  assert.equal((await findExposure(join(path, 'home.cbor')))?.problem, 'not a directory')
})
