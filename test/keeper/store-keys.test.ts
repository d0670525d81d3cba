import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Secret } from '../../src/crypto/secret.ts'
import { createStoreKeys, StoreKeys } from '../../src/keeper/store-keys.ts'
import { realDisk } from '../../src/node/disk.ts'
import { flip, markIs, patch, scratch } from './support.ts'

const secret = (fill: number) => new Secret(new Uint8Array(32).fill(fill))

async function fresh(t: TestContext): Promise<string> {
  const path = join(scratch(t), 'key')
  await createStoreKeys(realDisk, path, secret(1))
  return path
}

async function withKeys<T>(path: string, work: (keys: StoreKeys) => Promise<T>): Promise<T> {
  const keys = await StoreKeys.open(realDisk, path, 'write')
  try {
    return await work(keys)
  } finally {
    await keys.close()
  }
}

const seen = (path: string) =>
  withKeys(path, async keys => ({
    current: keys.current,
    settled: keys.isSettled,
    keys: keys.numbers.map(number => [number, keys.get(number)?.bytes[0]]),
  }))

test('a key is added beside the current one, taken into use, and the old one erased in place', async t => {
  const path = await fresh(t)
  for (let number = 1; number <= 5; number++) {
    await withKeys(path, async keys => assert.equal(await keys.add(secret(number + 1)), number + 1))
    const both = [
      [number, number],
      [number + 1, number + 1],
    ]
    assert.deepEqual(await seen(path), { current: number, settled: false, keys: both })
    await withKeys(path, async keys => {
      keys.goOnWith(number + 1)
      assert.equal(keys.current, number + 1)
      await keys.eraseOthers()
      assert.deepEqual([keys.numbers, keys.get(number), keys.isSettled], [[number + 1], undefined, true])
    })
    assert.deepEqual(await seen(path), {
      current: number + 1,
      settled: true,
      keys: [[number + 1, number + 1]],
    })
    assert.ok(!fs.readFileSync(path).includes(Buffer.alloc(32, number)), 'the old key is not in the file')
    assert.equal(fs.statSync(path).size, 8192)
  }
})

test('two keys at once are the most there may be, and a key that is not there is not gone on with', async t => {
  await withKeys(await fresh(t), async keys => {
    await keys.add(secret(2))
    await assert.rejects(keys.add(secret(3)), TypeError)
    assert.throws(() => keys.goOnWith(3), TypeError)
  })
})

test('part of a key, half written or half erased, is no key, and is erased with what is erased', async t => {
  const path = await fresh(t)
  await withKeys(path, keys => keys.add(secret(2)))
  patch(path, 4096 + 20, new Uint8Array(100))
  assert.deepEqual(await seen(path), { current: 1, settled: false, keys: [[1, 1]] })
  await withKeys(path, keys => keys.eraseOthers())
  assert.deepEqual(await seen(path), { current: 1, settled: true, keys: [[1, 1]] })
  assert.ok(
    fs
      .readFileSync(path)
      .subarray(4096)
      .every(byte => byte === 0),
  )
})

test('with no whole key, or a key in the place of another, the file is refused', async t => {
  const path = await fresh(t)
  flip(path, 30)
  await assert.rejects(StoreKeys.open(realDisk, path, 'read'), markIs('EINTEGRITY'))
  flip(path, 30)
  const whole = fs.readFileSync(path)
  patch(path, 4096, whole.subarray(0, 4096))
  patch(path, 0, new Uint8Array(4096))
  await assert.rejects(StoreKeys.open(realDisk, path, 'read'), markIs('EINTEGRITY'))
})

test('what was opened to be read is not written', async t => {
  const keys = await StoreKeys.open(realDisk, await fresh(t), 'read')
  await assert.rejects(keys.eraseOthers(), TypeError)
  await keys.close()
})
