import assert from 'node:assert/strict'
import test from 'node:test'
import { SimulatedDisk } from './disk.ts'
import { bytesAt, emptyImage, imageKey, nodeAt } from './image.ts'
import { plantDirectory, plantFile, plantOther, setMode } from './surgery.ts'

const bytes = new Uint8Array([1, 2, 3])

test('files keep what is written, and read zeros where nothing was', async () => {
  const disk = new SimulatedDisk(emptyImage({ sectorSize: 4096 }))
  const file = await disk.open('/f', { access: 'exclusive' })
  await file.write(bytes, 5000)
  const into = new Uint8Array(10).fill(9)
  assert.equal(await file.read(into, 4999), 4)
  assert.deepEqual([...into.subarray(0, 4)], [0, 1, 2, 3])
  await file.truncate(5001)
  await file.truncate(6000)
  assert.equal(await file.read(into, 5000), 10)
  assert.deepEqual([...into], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
  assert.equal(await file.read(into, 6000), 0)
  assert.deepEqual(await file.stat(), { kind: 'file', size: 6000, mode: 0o600, device: 1, inode: 2 })
})

test('an open file is the inode, not the name', async () => {
  const disk = new SimulatedDisk()
  const file = await disk.open('/f', { access: 'exclusive' })
  await disk.rename('/f', '/g')
  await file.write(bytes, 0)
  assert.deepEqual(bytesAt(disk.killState(), '/g'), bytes)
  await disk.unlink('/g')
  await file.write(bytes, 3)
  assert.equal((await file.stat()).size, 6)
  assert.deepEqual(await disk.list('/'), [])
})

test('each refusal has the code that callers act on', async () => {
  const image = plantOther(plantFile(plantDirectory(emptyImage(), '/d'), '/d/f', bytes), '/socket')
  const disk = new SimulatedDisk(image)
  await assert.rejects(disk.open('/none', { access: 'read' }), { code: 'missing' })
  await assert.rejects(disk.open('/none', { access: 'write' }), { code: 'missing' })
  await assert.rejects(disk.open('/none/f', { access: 'exclusive' }), { code: 'missing' })
  await assert.rejects(disk.open('/d/f', { access: 'exclusive' }), { code: 'exists' })
  await assert.rejects(disk.open('/d', { access: 'read' }), { code: 'unfit' })
  await assert.rejects(disk.open('/socket', { access: 'read' }), { code: 'unfit' })
  await assert.rejects(disk.makeDirectory('/d'), { code: 'exists' })
  await assert.rejects(disk.list('/none'), { code: 'missing' })
  await assert.rejects(disk.rename('/none', '/x'), { code: 'missing' })
  await assert.rejects(disk.rename('/d/f', '/d'), { code: 'failed' })
  await assert.rejects(disk.rename('/d', '/d/e'), { code: 'failed' })
  await assert.rejects(disk.unlink('/none'), { code: 'missing' })
  await assert.rejects(disk.unlink('/d'), { code: 'unfit' })
  await assert.rejects(disk.syncDirectory('/none'), { code: 'missing' })
  const file = await disk.open('/d/f', { access: 'read' })
  await assert.rejects(file.write(bytes, 0), { code: 'failed' })
  await file.close()
  await assert.rejects(file.read(new Uint8Array(1), 0), { code: 'failed' })
  assert.equal(await disk.stat('/none/f'), undefined)
  assert.equal((await disk.stat('/socket'))?.kind, 'other')
})

test('a directory replaces an empty directory, and names come in byte order', async () => {
  const disk = new SimulatedDisk(plantDirectory(plantDirectory(emptyImage(), '/new'), '/old'))
  await disk.open('/new/b', { access: 'exclusive' })
  await disk.open('/new/B', { access: 'exclusive' })
  await disk.open('/new/é', { access: 'exclusive' })
  await disk.rename('/new', '/old')
  assert.deepEqual(await disk.list('/'), ['old'])
  assert.deepEqual(await disk.list('/old'), ['B', 'b', 'é'])
  assert.equal(await disk.stat('/new'), undefined)
  assert.equal((await disk.stat('/old'))?.mode, 0o700)
})

test('the mode an operator left is what is seen', async () => {
  const disk = new SimulatedDisk(setMode(plantFile(emptyImage(), '/f', bytes), '/f', 0o644))
  assert.equal((await disk.stat('/f'))?.mode, 0o644)
})

test('one process of a machine holds a lock; its death frees it', async () => {
  const first = new SimulatedDisk()
  const second = first.process()
  const lock = await first.lock('/lock')
  await assert.rejects(second.lock('/lock'), { code: 'locked' })
  await assert.rejects(first.lock('/lock'), { code: 'locked' })
  await lock.release()
  await second.lock('/lock')
  await lock.release()
  await assert.rejects(first.lock('/lock'), { code: 'locked' })
  second.freeLocks()
  await first.lock('/lock')
  await new SimulatedDisk(first.killState()).lock('/lock')
})

test('a dead process changes nothing any more', async () => {
  const disk = new SimulatedDisk()
  const file = await disk.open('/f', { access: 'exclusive' })
  const writing = file.write(bytes, 0).then(() => 'returned')
  disk.kill()
  const waited = new Promise(resolve => setImmediate(() => resolve('still waiting')))
  assert.equal(await Promise.race([writing, waited]), 'still waiting')
  assert.equal((await disk.process().stat('/f'))?.size, 0)
})

test('the death of a process keeps all its work, and all of it pending', async () => {
  const disk = new SimulatedDisk()
  const file = await disk.open('/f', { access: 'exclusive' })
  await file.write(bytes, 0)
  assert.deepEqual(bytesAt(disk.killState(), '/f'), bytes)
  disk.kill()
  const next = disk.process()
  assert.equal((await next.stat('/f'))?.size, 3)
  assert.equal([...next.crashStates()].length, 4)
  const carriedOn = new SimulatedDisk(disk.snapshot())
  assert.equal([...carriedOn.crashStates()].length, 4)
  await carriedOn.syncDirectory('/')
  assert.equal([...carriedOn.crashStates()].length, 3)
  assert.equal([...next.crashStates()].length, 4)
})

test('an image is a value: disks booted from it do not disturb each other', async () => {
  const image = plantFile(emptyImage(), '/f', new Uint8Array(1000).fill(1))
  const key = imageKey(image)
  for (const fill of [2, 3]) {
    const disk = new SimulatedDisk(image)
    const file = await disk.open('/f', { access: 'write', durable: true })
    const into = new Uint8Array(1)
    await file.read(into, 999)
    assert.equal(into[0], 1)
    await file.write(new Uint8Array(1000).fill(fill), 0)
    await disk.unlink('/f')
    await disk.syncDirectory('/')
  }
  assert.equal(imageKey(image), key)
  assert.equal(nodeAt(image, '/f')?.kind, 'file')
})

test('concurrent calls pass each other, the same way for the same seed', async () => {
  const order = async (seed: number) => {
    const disk = new SimulatedDisk(emptyImage(), { seed, turnsMax: 5 })
    const done: number[] = []
    await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        disk.open(`/${i}`, { access: 'exclusive' }).then(() => done.push(i)),
      ),
    )
    return done.join('')
  }
  assert.equal(await order(1), await order(1))
  assert.notEqual(await order(1), '01234567')
  const seen = new Set<string>()
  for (let seed = 1; seed <= 10; seed++) seen.add(await order(seed))
  assert.ok(seen.size > 5)
})
