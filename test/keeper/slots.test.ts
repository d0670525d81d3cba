import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Disk } from '../../src/host/disk.ts'
import { createSlots, Slots } from '../../src/keeper/slots.ts'
import { realDisk } from '../../src/node/disk.ts'
import { entropy, markIs, scratch } from './support.ts'

async function fresh(t: TestContext, count = 5): Promise<string> {
  const path = join(scratch(t), 'slots')
  await createSlots(realDisk, entropy, path, count)
  return path
}

async function secretIn(slots: Slots, slot: number): Promise<Uint8Array> {
  using secret = await slots.read(slot)
  return Uint8Array.from(secret.bytes)
}

test('the file is a header sector, then a sector for each slot, random from the start', async t => {
  const path = await fresh(t)
  const bytes = fs.readFileSync(path)
  assert.equal(bytes.length, 6 * 4096)
  assert.deepEqual(bytes.subarray(0, 12), Buffer.from('PAWLSLT1\0\0\0\x05', 'latin1'))
  const slots = await Slots.open(realDisk, path, 'read')
  const seen = new Set<string>()
  for (let slot = 0; slot < slots.count; slot++) {
    const secret = await secretIn(slots, slot)
    assert.deepEqual(Buffer.from(secret), bytes.subarray((slot + 1) * 4096, (slot + 1) * 4096 + 32))
    assert.ok(bytes.subarray((slot + 1) * 4096 + 32, (slot + 2) * 4096).every(byte => byte === 0))
    seen.add(Buffer.from(secret).toString('hex'))
  }
  assert.equal(seen.size, 5)
  assert.ok(!seen.has('00'.repeat(32)))
  await slots.close()
})

test('overwriting replaces the bytes in the file, in place, and touches no other slot', async t => {
  const path = await fresh(t)
  const before = fs.readFileSync(path)
  const { ino, size } = fs.statSync(path)
  const slots = await Slots.open(realDisk, path, 'write')
  const old = await secretIn(slots, 2)
  const next = entropy.bytes(32)
  await slots.overwrite(2, next)
  assert.deepEqual(await secretIn(slots, 2), next)
  await slots.close()
  const after = fs.readFileSync(path)
  assert.ok(
    before.includes(Buffer.from(old)) && !after.includes(Buffer.from(old)),
    'the old secret is nowhere in the file',
  )
  assert.deepEqual(after.subarray(3 * 4096, 3 * 4096 + 32), Buffer.from(next))
  for (const [from, to] of [
    [0, 3 * 4096],
    [4 * 4096, 6 * 4096],
  ] as const)
    assert.deepEqual(after.subarray(from, to), before.subarray(from, to))
  assert.deepEqual([fs.statSync(path).ino, fs.statSync(path).size], [ino, size])
})

test('the file is opened so that each write is durable when it returns', async t => {
  const path = await fresh(t)
  let durable: boolean | undefined
  const watching: Disk = {
    ...realDisk,
    open: (name, options) => {
      durable = options.durable
      return realDisk.open(name, options)
    },
  }
  await (await Slots.open(watching, path, 'write')).close()
  assert.equal(durable, true)
})

test('an overwrite that does not read back as written is refused', async t => {
  const path = await fresh(t)
  const losing: Disk = {
    ...realDisk,
    async open(name, options) {
      const file = await realDisk.open(name, options)
      file.write = async () => {}
      return file
    },
  }
  const slots = await Slots.open(losing, path, 'write')
  await assert.rejects(slots.overwrite(1, entropy.bytes(32)), markIs('EINTEGRITY', 'slot 1'))
  await slots.close()
})

test('there are as many slots as the file says, and no others', async t => {
  const slots = await Slots.open(realDisk, await fresh(t, 3), 'write')
  for (const slot of [-1, 3, 0.5, Number.NaN]) {
    await assert.rejects(slots.read(slot), slot === 3 ? markIs('EINTEGRITY', '3 slots') : RangeError)
    await assert.rejects(slots.overwrite(slot, entropy.bytes(32)), RangeError)
  }
  await slots.close()
})

test('a slot file that becomes shorter while it is open is refused', async t => {
  const path = await fresh(t, 3)
  const slots = await Slots.open(realDisk, path, 'write')
  fs.truncateSync(path, 3 * 4096 + 16)
  await assert.rejects(slots.read(2), markIs('EINTEGRITY'))
  await slots.close()
})
