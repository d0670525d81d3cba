import assert from 'node:assert/strict'
import test from 'node:test'
import { SimulatedDisk } from './disk.ts'
import { anyOf, atNth, type Call, type Fault, type FaultRule } from './fault.ts'
import { bytesAt, emptyImage } from './image.ts'
import type { AfterFailedSync } from './machine.ts'
import { plantFile } from './surgery.ts'

const old = new Uint8Array(1024).fill(0x6f)
const fresh = new Uint8Array(1024).fill(0x6e)
const image = plantFile(emptyImage(), '/f', old)

const on = (operation: Call['operation'], fault: Fault, n = 1): FaultRule =>
  atNth(n, call => call.operation === operation, fault)

async function opened(faults: FaultRule, durable = false) {
  const disk = new SimulatedDisk(image, { faults })
  return { disk, file: await disk.open('/f', { access: 'write', durable }) }
}

function states(disk: SimulatedDisk): string[] {
  const firsts = [...disk.crashStates()].map(state => bytesAt(state, '/f') ?? new Uint8Array(0))
  return firsts.map(bytes => Buffer.from([bytes[0] ?? 0, bytes[512] ?? 0]).toString()).sort()
}

async function seen(disk: SimulatedDisk): Promise<string> {
  const bytes = bytesAt(disk.killState(), '/f') ?? new Uint8Array(0)
  return Buffer.from([bytes[0] ?? 0, bytes[512] ?? 0]).toString()
}

test('a write fails with nothing done, or with a part of it done', async () => {
  const none = await opened(on('write', { fails: 'failed' }))
  await assert.rejects(none.file.write(fresh, 0), { code: 'failed' })
  assert.equal(await seen(none.disk), 'oo')
  const part = await opened(on('write', { fails: 'full', applied: 600 }))
  await assert.rejects(part.file.write(fresh, 0), { code: 'full' })
  const bytes = bytesAt(part.disk.killState(), '/f') ?? old
  assert.deepEqual([bytes[599], bytes[600]], [0x6e, 0x6f])
})

const afterFailedSync: readonly (readonly [AfterFailedSync, string, readonly string[]])[] = [
  ['dropped', 'nn', ['oo']],
  ['reverted', 'oo', ['oo']],
  ['kept', 'nn', ['nn', 'no', 'on', 'oo']],
]

for (const [after, live, left] of afterFailedSync)
  test(`a failed sync, work ${after}: readers see ${live}, and a second sync that succeeds proves nothing`, async () => {
    const { disk, file } = await opened(on('sync', { fails: 'failed', after }))
    await file.write(fresh, 0)
    await assert.rejects(file.sync(), { code: 'failed' })
    assert.equal(await seen(disk), live)
    assert.deepEqual(states(disk), left)
    await file.sync()
    assert.equal(states(disk).includes('oo'), after !== 'kept')
  })

test('a failed sync, work partial: some of it landed, the rest is lost, readers see all of it', async () => {
  const outcomes = new Set<string>()
  for (let seed = 1; seed <= 30; seed++) {
    const disk = new SimulatedDisk(image, { faults: on('sync', { fails: 'failed', after: 'partial' }), seed })
    const file = await disk.open('/f', { access: 'write' })
    await file.write(fresh, 0)
    await assert.rejects(file.sync(), { code: 'failed' })
    assert.equal(await seen(disk), 'nn')
    assert.equal(states(disk).length, 1)
    outcomes.add(states(disk).join())
  }
  assert.deepEqual([...outcomes].sort(), ['nn', 'no', 'on', 'oo'])
})

test('a failed durable write leaves its bytes to readers and not on the disk', async () => {
  const { disk, file } = await opened(on('write', { fails: 'failed', applied: 1024 }), true)
  await assert.rejects(file.write(fresh, 0), { code: 'failed' })
  assert.equal(await seen(disk), 'nn')
  assert.deepEqual(states(disk), ['oo'])
})

test('a failed sync of an extended file leaves a length without data', async () => {
  const { disk, file } = await opened(on('sync', { fails: 'failed' }))
  await file.write(fresh, 1024)
  await assert.rejects(file.sync(), { code: 'failed' })
  await file.sync()
  const [state, ...more] = [...disk.crashStates()]
  assert.equal(more.length, 0)
  assert.deepEqual(bytesAt(state ?? image, '/f')?.subarray(1024), new Uint8Array(1024))
})

test('a failed directory sync: the name is seen, and lost', async () => {
  const disk = new SimulatedDisk(image, { faults: on('syncDirectory', { fails: 'failed' }) })
  await disk.open('/g', { access: 'exclusive' })
  await assert.rejects(disk.syncDirectory('/'), { code: 'failed' })
  assert.notEqual(await disk.stat('/g'), undefined)
})

test('a failed directory sync, reverted: the name is gone at once', async () => {
  const rule = on('syncDirectory', { fails: 'failed', after: 'reverted' })
  const disk = new SimulatedDisk(image, { faults: rule })
  await disk.rename('/f', '/g')
  await assert.rejects(disk.syncDirectory('/'), { code: 'failed' })
  assert.deepEqual(await disk.list('/'), ['f'])
})

test('a flush that lies answers yes and keeps nothing', async () => {
  const plain = await opened(on('sync', { lies: true }))
  await plain.file.write(fresh, 0)
  await plain.file.sync()
  assert.equal(states(plain.disk).length, 4)
  const durable = await opened(on('write', { lies: true }), true)
  await durable.file.write(fresh, 0)
  assert.equal(states(durable.disk).length, 4)
  const disk = new SimulatedDisk(image, { faults: on('syncDirectory', { lies: true }) })
  await disk.rename('/f', '/g')
  await disk.syncDirectory('/')
  assert.equal([...disk.crashStates()].length, 2)
})

test('a slow call waits, and others pass it', async () => {
  let go = () => {}
  const waits = new Promise<void>(resolve => {
    go = resolve
  })
  const { disk, file } = await opened(on('write', { waits }))
  const slow = file.write(fresh, 0)
  await file.write(new Uint8Array(1).fill(0x78), 0)
  assert.equal(await seen(disk), 'xo')
  go()
  await slow
  assert.equal(await seen(disk), 'nn')
})

test('any call can fail, once or from then on', async () => {
  const isRead = (call: Call) => call.operation === 'read'
  const rules = anyOf(
    atNth(2, isRead, { fails: 'failed' }, { onwards: true }),
    on('open', { fails: 'denied' }, 2),
  )
  const { disk, file } = await opened(rules)
  await assert.rejects(disk.open('/f', { access: 'read' }), { code: 'denied' })
  const into = new Uint8Array(1)
  await file.read(into, 0)
  await assert.rejects(file.read(into, 0), { code: 'failed' })
  await assert.rejects(file.read(into, 0), { code: 'failed' })
})

test('a write that is lost, or lands elsewhere, answers yes, and what it was meant for keeps its content', async () => {
  const lost = await opened(on('write', { lands: 'nowhere' }), true)
  await lost.file.write(fresh, 0)
  assert.deepEqual([await seen(lost.disk), states(lost.disk)], ['oo', ['oo']])
  const astray = await opened(on('write', { lands: 512 }), true)
  await astray.file.write(fresh.subarray(0, 512), 0)
  assert.deepEqual([await seen(astray.disk), states(astray.disk)], ['on', ['on']])
})

test('a read answers an older content, or that of another place, once', async () => {
  const newer = plantFile(image, '/f', Buffer.concat([fresh.subarray(0, 512), old.subarray(0, 512)]))
  const read = async (answers: NonNullable<Fault['answers']>) => {
    const disk = new SimulatedDisk(newer, { faults: on('read', { answers }) })
    const file = await disk.open('/f', { access: 'read' })
    const first = new Uint8Array(1)
    await file.read(first, 0)
    const second = new Uint8Array(1)
    await file.read(second, 0)
    return Buffer.concat([first, second]).toString()
  }
  assert.equal(await read(image), 'on')
  assert.equal(await read(512), 'on')
  assert.equal(await read(-512), 'nn')
})
