import assert from 'node:assert/strict'
import test from 'node:test'
import { SimulatedDisk } from './disk.ts'
import type { Call, FaultRule } from './fault.ts'
import { bytesAt, emptyImage, type Image, imageKey, nodeAt } from './image.ts'
import type { ProfileName } from './profile.ts'
import { statesOf } from './states.ts'
import { plantDirectory, plantFile } from './surgery.ts'

type Program = (disk: SimulatedDisk) => Promise<void>

const empty = emptyImage()
const a = new Uint8Array(512).fill(0x61)
const b = new Uint8Array(512).fill(0x62)

async function count(profile: ProfileName, image: Image, program: Program): Promise<number> {
  const disk = new SimulatedDisk(image, { profile })
  await program(disk)
  return [...disk.crashStates()].length
}

const write =
  (...writes: readonly (readonly [Uint8Array, number])[]): Program =>
  async disk => {
    const file = await disk.open('/f', { access: 'write' })
    for (const [bytes, position] of writes) await file.write(bytes, position)
  }

async function create(disk: SimulatedDisk, path: string): Promise<void> {
  await disk.open(path, { access: 'exclusive' })
}

test('C2: each sector takes a prefix of its writes', async () => {
  const image = plantFile(empty, '/f', new Uint8Array(2048))
  const threeSectors = new Uint8Array(1536).fill(1)
  assert.equal(await count('posix', image, write([threeSectors, 0])), 8)
  assert.equal(await count('posix', image, write([a, 0], [b, 0])), 3)
  assert.equal(await count('posix', image, write([a, 0], [b, 0], [a, 512])), 6)
  assert.equal(await count('posix', image, write([a.subarray(0, 10), 0], [b.subarray(0, 10), 505])), 6)
})

test('C3: length and data of an extending write land apart', async () => {
  const image = plantFile(empty, '/f', new Uint8Array(0))
  assert.equal(await count('posix', image, write([new Uint8Array(1024).fill(1), 0])), 1 + 4)
  // Two appends: no length; the first, with or without its data; the second, with any of both.
  assert.equal(await count('posix', image, write([a, 0], [b, 512])), 1 + 2 + 4)
  // Inside one sector a length without data shows zeros, and data without length nothing.
  const short = plantFile(empty, '/f', new Uint8Array(100).fill(1))
  assert.equal(await count('posix', short, write([new Uint8Array(50).fill(2), 100])), 1 + 2)
})

test('C3: a length without data may show garbage in profile writeback, not over what was allocated', async () => {
  const fresh = plantFile(empty, '/f', new Uint8Array(0))
  assert.equal(await count('writeback', fresh, write([a, 0])), 1 + 3)
  const allocated = plantFile(empty, '/f', new Uint8Array(512))
  assert.equal(await count('writeback', allocated, write([a, 0])), 2)
})

test('C3: a length that lands alone takes nothing from what was there, however long the file is', async () => {
  const image = plantFile(empty, '/f', new Uint8Array(60 * 512).fill(7))
  const disk = new SimulatedDisk(image, { profile: 'posix' })
  const file = await disk.open('/f', { access: 'write' })
  await file.write(new Uint8Array(8 * 512), 60 * 512)
  for (const state of disk.crashStates())
    assert.ok(
      bytesAt(state, '/f')
        ?.subarray(0, 60 * 512)
        .every(byte => byte === 7),
    )
})

test('C3: entries land per name, or in the order of the journal', async () => {
  const both: Program = async disk => {
    await create(disk, '/x')
    await create(disk, '/y')
  }
  assert.equal(await count('posix', empty, both), 4)
  assert.equal(await count('journaled', empty, both), 3)
  const replaced: Program = async disk => {
    await create(disk, '/x')
    await disk.unlink('/x')
    await disk.makeDirectory('/x')
  }
  assert.equal(await count('posix', empty, replaced), 3)
})

test('C3: a new file: no name; a name; a length; the data', async () => {
  const program: Program = async disk => {
    const file = await disk.open('/f', { access: 'exclusive' })
    await file.write(a, 0)
  }
  for (const profile of ['posix', 'journaled', 'ext4'] as const)
    assert.equal(await count(profile, empty, program), 4)
  const synced: Program = async disk => {
    const file = await disk.open('/f', { access: 'exclusive' })
    await file.write(a, 0)
    await file.sync()
  }
  assert.equal(await count('posix', empty, synced), 2)
  // The length is in the journal after the name, so a durable length brings the name.
  assert.equal(await count('journaled', empty, synced), 1)
})

test('C3: each device has a journal of its own', async () => {
  const image = plantDirectory(plantDirectory(empty, '/home'), '/anchor', { device: 2 })
  const program: Program = async disk => {
    await create(disk, '/home/x')
    await create(disk, '/anchor/y')
    assert.equal((await disk.stat('/anchor/y'))?.device, 2)
    await assert.rejects(disk.rename('/home/x', '/anchor/x'), { code: 'failed' })
  }
  assert.equal(await count('journaled', image, program), 4)
})

test('C4: a rename over a file brings the data of the file renamed in ext4 only', async () => {
  const image = plantFile(empty, '/f', a)
  const program: Program = async disk => {
    const file = await disk.open('/g', { access: 'exclusive' })
    await file.write(b, 0)
    await disk.rename('/g', '/f')
  }
  // Nothing; the name g; its length, with and without data; the rename, with and without data.
  assert.equal(await count('journaled', image, program), 6)
  assert.equal(await count('ext4', image, program), 5)
  // Per name: the old f alone, or with g in 3 forms; or f renamed, in 3 forms.
  assert.equal(await count('posix', image, program), 1 + 3 + 3)
})

test('C5: a sector in flight may be mixed or garbage in profile no-psow, its committed bytes with it', async () => {
  const image = plantFile(empty, '/f', a)
  const program = write([b.subarray(0, 100), 0])
  assert.equal(await count('posix', image, program), 2)
  const disk = new SimulatedDisk(image, { profile: 'no-psow' })
  await program(disk)
  const states = [...disk.crashStates()].map(state => bytesAt(state, '/f') ?? new Uint8Array(0))
  assert.equal(states.length, 5)
  assert.ok(states.some(bytes => bytes[511] !== 0x61))
  assert.ok(states.some(bytes => bytes[0] === 0x62 && bytes[99] === 0x61))
  assert.ok(states.some(bytes => bytes[0] === 0x61 && bytes[99] === 0x62))
})

test('C1: what a returned barrier covers is in every state', async () => {
  const image = plantFile(empty, '/f', new Uint8Array(0))
  assert.equal(
    await count('posix', image, async disk => {
      const file = await disk.open('/f', { access: 'write' })
      await file.write(a, 0)
      await file.sync()
    }),
    1,
  )
  assert.equal(
    await count('posix', image, async disk => {
      const file = await disk.open('/f', { access: 'write', durable: true })
      await file.write(a, 0)
      await file.write(b, 512)
      await file.close()
    }),
    1,
  )
  assert.equal(
    await count('posix', image, async disk => {
      await create(disk, '/x')
      await disk.syncDirectory('/')
      await disk.rename('/x', '/y')
      await disk.syncDirectory('/')
    }),
    1,
  )
})

test('C1: a durable write covers its own range, not what was written beside it', async () => {
  const image = plantFile(empty, '/f', new Uint8Array(2048))
  assert.equal(
    await count('posix', image, async disk => {
      await write([a, 1024])(disk)
      const file = await disk.open('/f', { access: 'write', durable: true })
      await file.write(b, 0)
    }),
    2,
  )
})

test('C1: a rename between directories needs both synced', async () => {
  const image = plantFile(plantDirectory(plantDirectory(empty, '/p'), '/q'), '/p/f', a)
  const synced = (...paths: readonly string[]) =>
    count('posix', image, async disk => {
      await disk.rename('/p/f', '/q/f')
      for (const path of paths) await disk.syncDirectory(path)
    })
  assert.equal(await synced(), 2)
  assert.equal(await synced('/p'), 2)
  assert.equal(await synced('/q', '/q'), 2)
  assert.equal(await synced('/q', '/p'), 1)
})

test('a barrier under way has promised nothing; when it has returned, everything', async () => {
  const disk = new SimulatedDisk(plantFile(empty, '/f', new Uint8Array(512)))
  const counts: number[] = []
  disk.observe(snapshot => counts.push([...new SimulatedDisk(snapshot).crashStates()].length))
  const file = await disk.open('/f', { access: 'write', durable: true })
  await file.write(a, 0)
  counts.push([...disk.crashStates()].length)
  assert.deepEqual(counts, [1, 2, 1])
})

test('work issued after a barrier began is not covered by it', async () => {
  const gate = Promise.withResolvers<void>()
  const isSync = (call: Call) => call.operation === 'sync' || call.operation === 'syncDirectory'
  const faults: FaultRule = call => (isSync(call) ? { waits: gate.promise } : undefined)
  const disk = new SimulatedDisk(plantFile(empty, '/f', new Uint8Array(1024)), { faults })
  const file = await disk.open('/f', { access: 'write' })
  await file.write(a, 0)
  await create(disk, '/x')
  const syncing = [file.sync(), disk.syncDirectory('/')]
  await file.write(b, 512)
  await create(disk, '/y')
  gate.resolve()
  await Promise.all(syncing)
  assert.equal([...disk.crashStates()].length, 4)
})

test('C1: a durable write covers no write to its sector that came after it', async () => {
  const disk = new SimulatedDisk(plantFile(empty, '/f', new Uint8Array(512)))
  const durable = await disk.open('/f', { access: 'write', durable: true })
  const plain = await disk.open('/f', { access: 'write' })
  await Promise.all([durable.write(a, 0), plain.write(b, 0)])
  const firsts = [...disk.crashStates()].map(state => bytesAt(state, '/f')?.[0])
  assert.deepEqual(firsts, [0x61, 0x62])
})

test('C3: a synced name brings every earlier change of that name, also from another directory', async () => {
  const image = plantFile(plantDirectory(plantDirectory(empty, '/p'), '/q'), '/p/f', a)
  const program: Program = async disk => {
    await disk.rename('/p/f', '/q/f')
    await create(disk, '/p/f')
    await disk.syncDirectory('/p')
  }
  assert.equal(await count('posix', image, program), 1)
})

test('the digest of a state is that of its image, and zeros count as a hole', async () => {
  for (const profile of ['posix', 'no-psow', 'writeback'] as const) {
    const disk = new SimulatedDisk(plantFile(empty, '/f', a), { profile })
    await write([b, 100], [a, 900])(disk)
    const states = statesOf(disk.snapshot(), disk.profile)
    for (const state of states) assert.equal(imageKey(state.image()), state.key)
  }
  assert.equal(imageKey(plantFile(empty, '/f', a)), imageKey(plantFile(plantFile(empty, '/f', b), '/f', a)))
  assert.notEqual(imageKey(plantFile(empty, '/f', a)), imageKey(plantFile(empty, '/g', a)))
  assert.notEqual(imageKey(plantFile(empty, '/f', a)), imageKey(plantFile(empty, '/f', b)))
})

test('above the bound a choice is made: every edge case, the same for the same seed', async () => {
  const disk = new SimulatedDisk(plantFile(empty, '/f', new Uint8Array(512 * 40)))
  const whole = new Uint8Array(512 * 40).fill(7)
  await write([whole, 0])(disk)
  assert.equal(statesOf(disk.snapshot(), disk.profile).complete, false)
  const states = [...disk.crashStates({ seed: 3, samples: 50 })]
  const landed = states.map(
    state =>
      bytesAt(state, '/f')
        ?.filter((_, i) => i % 512 === 0)
        .join('') ?? '',
  )
  const line = (isLanded: (i: number) => boolean) =>
    Array.from({ length: 40 }, (_, i) => (isLanded(i) ? 7 : 0)).join('')
  for (let n = 0; n <= 40; n++) assert.ok(landed.includes(line(i => i < n)), `prefix ${n}`)
  for (let n = 0; n < 40; n++) assert.ok(landed.includes(line(i => i !== n)), `without ${n}`)
  for (let n = 0; n < 40; n++) assert.ok(landed.includes(line(i => i === n)), `only ${n}`)
  assert.ok(states.length > 41 + 39 + 38 + 40)
  assert.deepEqual([...disk.crashStates({ seed: 3, samples: 50 })].map(imageKey), states.map(imageKey))
  assert.notDeepEqual([...disk.crashStates({ seed: 4, samples: 50 })].map(imageKey), states.map(imageKey))
})

test('above the bound torn sectors are tried one by one', async () => {
  const disk = new SimulatedDisk(plantFile(empty, '/f', new Uint8Array(512 * 10)), { profile: 'no-psow' })
  await write([new Uint8Array(512 * 10).fill(7), 0])(disk)
  const states = [...disk.crashStates({ samples: 0 })].map(state => bytesAt(state, '/f') ?? new Uint8Array(0))
  for (let i = 0; i < 10; i++)
    assert.ok(
      states.some(bytes => bytes[i * 512] === 7 && bytes[i * 512 + 511] === 0),
      `front of ${i}`,
    )
})

test('zeros written over zeros are no choice, so a segment made ahead costs nothing', async () => {
  const disk = new SimulatedDisk(empty)
  const file = await disk.open('/s', { access: 'exclusive' })
  await file.write(new Uint8Array(1 << 20), 0)
  assert.equal([...disk.crashStates()].length, 3)
  await file.sync()
  await disk.syncDirectory('/')
  assert.equal(nodeAt([...disk.crashStates()][0] ?? empty, '/s')?.kind, 'file')
})
