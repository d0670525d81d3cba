import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { DiskError } from '../../src/host/disk.ts'
import {
  createAnchor,
  firstMark,
  join as joined,
  openAnchor,
  openAnchorToRead,
  openFileKeeper,
} from '../../src/keeper/anchor.ts'
import { NoKeeper } from '../../src/keeper/none.ts'
import { MarkError, sameMark } from '../../src/mark/mark.ts'
import { realDisk } from '../../src/node/disk.ts'
import { entropy, flip, mark, markIs, scratch, storeId } from './support.ts'

async function fresh(t: TestContext): Promise<string> {
  const path = join(scratch(t), 'anchor')
  await createAnchor(realDisk, entropy, path, storeId, 4)
  return path
}

/** Both ways to open it, and the keeper: what the first of them says. */
async function openAll(path: string): Promise<void> {
  const reader = await openAnchorToRead(realDisk, path, storeId)
  await reader.slots.close()
  const anchor = await openAnchor(realDisk, path)
  try {
    await (await openFileKeeper(realDisk, anchor, storeId)).close()
  } finally {
    await anchor.close()
  }
}

test('an anchor is four files for its owner alone, and holds mark 0', async t => {
  const path = await fresh(t)
  const anchor = await openAnchor(realDisk, path)
  const keeper = await openFileKeeper(realDisk, anchor, storeId)
  assert.ok(sameMark(await keeper.read(), firstMark(storeId)))
  await keeper.close()
  await anchor.close()
  assert.deepEqual(fs.readdirSync(path).sort(), ['key', 'lock', 'mark', 'slots'])
  assert.equal(fs.statSync(path).mode & 0o777, 0o700)
  for (const name of fs.readdirSync(path)) assert.equal(fs.statSync(join(path, name)).mode & 0o777, 0o600)
})

test('two anchors share nothing', async t => {
  const [one, other] = [await fresh(t), await fresh(t)]
  for (const name of ['key', 'slots', 'mark'])
    assert.notDeepEqual(fs.readFileSync(join(one, name)), fs.readFileSync(join(other, name)), name)
})

test('an anchor is not made where one stands', async t => {
  const path = await fresh(t)
  const key = fs.readFileSync(join(path, 'key'))
  await assert.rejects(createAnchor(realDisk, entropy, path, storeId, 4), DiskError)
  assert.deepEqual(fs.readFileSync(join(path, 'key')), key)
})

for (const name of ['key', 'slots', 'mark'])
  test(`an anchor without its ${name}, or with a part of it, is refused`, async t => {
    const path = await fresh(t)
    const file = join(path, name)
    const whole = fs.readFileSync(file)
    const attempts: (readonly [string, Uint8Array | undefined])[] = [
      ['gone', undefined],
      ['empty', new Uint8Array(0)],
      ['one byte short', whole.subarray(0, whole.length - 1)],
      ['half', whole.subarray(0, whole.length / 2)],
      ['one byte more', Buffer.concat([whole, Uint8Array.of(0)])],
    ]
    for (const [what, bytes] of attempts) {
      fs.rmSync(file, { force: true })
      if (bytes !== undefined) fs.writeFileSync(file, bytes, { mode: 0o600 })
      await assert.rejects(openAll(path), markIs('EINTEGRITY'), what)
      assert.equal(fs.existsSync(file), bytes !== undefined, 'nothing is made anew')
    }
    fs.writeFileSync(file, whole)
    await openAll(path)
  })

test('every bit of the key file counts', async t => {
  const path = await fresh(t)
  const file = join(path, 'key')
  assert.equal(fs.statSync(file).size, 8192)
  for (let at = 0; at < 4096; at += at < 64 ? 1 : 61)
    for (let bit = 0; bit < 8; bit++) {
      flip(file, at, 1 << bit)
      await assert.rejects(openAnchor(realDisk, path), markIs('EINTEGRITY'))
      flip(file, at, 1 << bit)
    }
  await openAll(path)
})

test('a slot file of another count or another kind is refused', async t => {
  const path = await fresh(t)
  for (let at = 0; at < 12; at++) {
    flip(join(path, 'slots'), at)
    await assert.rejects(openAnchor(realDisk, path), markIs('EINTEGRITY'), `byte ${at}`)
    flip(join(path, 'slots'), at)
  }
})

test('the key of another anchor does not open this mark', async t => {
  const [path, other] = [await fresh(t), await fresh(t)]
  fs.copyFileSync(join(other, 'key'), join(path, 'key'))
  await assert.rejects(openAll(path), markIs('EINTEGRITY'))
})

test('an anchor has one holder: the second is told, and comes in once the first has let go', async t => {
  const path = await fresh(t)
  const first = await openAnchor(realDisk, path)
  await assert.rejects(
    openAnchor(realDisk, path),
    (error: unknown) => error instanceof DiskError && error.code === 'locked',
  )
  await (await openAnchorToRead(realDisk, path, storeId)).slots.close()
  await first.close()
  await (await openAnchor(realDisk, path)).close()
})

test('an anchor that cannot be opened is not left locked', async t => {
  const path = await fresh(t)
  flip(join(path, 'slots'), 0)
  for (let i = 0; i < 3; i++) await assert.rejects(openAnchor(realDisk, path), markIs('EINTEGRITY'))
  flip(join(path, 'slots'), 0)
  await (await openAnchor(realDisk, path)).close()
})

test('closing wipes the keys', async t => {
  const anchor = await openAnchor(realDisk, await fresh(t))
  const bytes = anchor.storeKeys.get(1)?.bytes
  assert.ok(bytes?.some(byte => byte !== 0))
  assert.ok(bytes !== undefined)
  await anchor.close()
  assert.ok(bytes.every(byte => byte === 0))
})

test('the keeper none holds the rule for one run and nothing beyond', async () => {
  const keeper = new NoKeeper(mark(3))
  await keeper.advance(mark(3), mark(4))
  await keeper.advance(mark(3), mark(4))
  await assert.rejects(keeper.advance(mark(3), mark(5)), MarkError)
  await assert.rejects(keeper.advance(mark(4), mark(2)), markIs('EROLLBACK'))
  assert.ok(sameMark(await keeper.read(), mark(4)))
})

test('paths are joined with one slash', () => {
  assert.deepEqual([joined('/a', 'b'), joined('/a/', 'b')], ['/a/b', '/a/b'])
})
