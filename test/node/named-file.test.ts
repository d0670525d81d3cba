import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { DiskError } from '../../src/host/disk.ts'
import { openNamed } from '../../src/node/file.ts'
import { lockFile } from '../../src/node/lock.ts'

function scratch(t: TestContext): string {
  const path = fs.mkdtempSync(join(os.tmpdir(), 'pawl-named-'))
  t.after(() => fs.rmSync(path, { recursive: true, force: true }))
  return path
}

async function textOf(path: string, refuse: () => Promise<void>): Promise<string> {
  const file = await openNamed(path, refuse)
  const bytes = new Uint8Array(100)
  const length = await file.read(bytes, 0).finally(() => file.close())
  return Buffer.from(bytes.subarray(0, length)).toString()
}

test('what is opened is the file that was judged, whatever its name means by then', async t => {
  const root = scratch(t)
  const [orders, secret] = [join(root, 'orders'), join(root, 'secret')]
  fs.mkdirSync(join(root, 'a'))
  fs.mkdirSync(join(root, 'b'))
  fs.writeFileSync(join(root, 'a', 'file'), 'orders')
  fs.writeFileSync(join(root, 'b', 'file'), 'secret')
  fs.symlinkSync(join(root, 'a'), orders)
  const swap = async () => {
    fs.symlinkSync(join(root, 'b'), secret)
    fs.renameSync(secret, orders)
  }
  assert.equal(await textOf(join(orders, 'file'), swap), 'orders')
  assert.equal(await textOf(join(orders, 'file'), async () => {}), 'secret')
})

test('a link at the end, a directory and a FIFO are refused, and nothing waits', async t => {
  const root = scratch(t)
  fs.writeFileSync(join(root, 'file'), 'x')
  fs.symlinkSync(join(root, 'file'), join(root, 'link'))
  execFileSync('mkfifo', [join(root, 'fifo')])
  for (const name of ['link', 'fifo', '.', 'none'])
    await assert.rejects(
      openNamed(join(root, name), async () => {}),
      DiskError,
      name,
    )
})

test('a lock file that is looked at and refused stays locked', async t => {
  const path = join(scratch(t), 'lock')
  const lock = await lockFile(path)
  const other = () => {
    const script = `
      const { lockFile } = await import('${new URL('../../src/node/lock.ts', import.meta.url)}')
      await lockFile(${JSON.stringify(path)}).then(() => process.stdout.write('free'), error => process.stdout.write(error.code))`
    return execFileSync(process.execPath, ['--input-type=module', '-e', script]).toString()
  }
  assert.equal(other(), 'locked')
  const refused = new Error('refused')
  for (let i = 0; i < 3; i++)
    await assert.rejects(
      openNamed(path, async () => {
        throw refused
      }),
      refused,
    )
  assert.equal(other(), 'locked')
  // The opposite, or this test shows nothing: opening and closing it frees the lock.
  fs.closeSync(fs.openSync(path, 'r'))
  assert.equal(other(), 'free')
  await lock.release()
})
