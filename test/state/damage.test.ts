/** A home that is not what it was: files gone, cut short, flipped, exchanged. Never started empty, never wrong data. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { basename, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { StateCode } from '../../src/state/error.ts'
import { openHome } from '../../src/state/home.ts'
import { limits } from '../../src/state/limits.ts'
import { readHome } from '../../src/state/reader.ts'
import {
  bytesOf,
  coded,
  contents,
  copy,
  filesIn,
  flip,
  freshHome,
  freshHomeIn,
  type Place,
  refused,
  scratch,
  segmentFiles,
  textOf,
  withStore,
  world,
} from './support.ts'

/** Neither to write nor to read: whoever opens this home is refused, and the lock is free afterwards. */
async function refusedBoth(home: string, what: string, codes: readonly StateCode[] = refused): Promise<void> {
  const check = coded(codes)
  const named = (error: unknown) => {
    try {
      return check(error)
    } catch (other) {
      throw new Error(`${what}: ${String(other)}`)
    }
  }
  await assert.rejects(openHome(world, home), named, `${what}: opened`)
  await assert.rejects(readHome(world, home), named, `${what}: opened to read`)
}

/** A closed home with two segments, a few groups in each, and a batch with a delete and a second scope. */
async function twoSegments(t: TestContext): Promise<Place> {
  const shipped = { ...limits }
  Object.assign(limits, { segmentBytesMax: 7 * 4096, growBytes: 4096 })
  t.after(() => Object.assign(limits, shipped))
  const place = await freshHome(t)
  await withStore(place.home, async store => {
    await store.makeScope('second')
    await store.putAtomic('/state/a', bytesOf('one'))
    await store.commit([
      { put: '/state/b', payload: bytesOf('two') },
      { delete: '/state/a' },
      { put: '/state/s', payload: bytesOf('three'), scope: 'second' },
    ])
    await store.putAtomic('/state/c', world.entropy.bytes(5000))
    await store.putAtomic('/state/d', bytesOf('four'))
  })
  Object.assign(limits, shipped)
  const sizes = segmentFiles(place.home).map(path => fs.statSync(path).size)
  assert.equal(sizes.length, 2, sizes.join())
  return place
}

test('any one file of a closed home deleted, cut short or emptied is refused', async t => {
  const { root, home } = await twoSegments(t)
  const whole = copy(home, join(root, 'whole'))
  // The reserve holds nothing.
  const names = filesIn(whole).filter(name => name !== 'segments/reserve')
  assert.deepEqual(names, ['home.cbor', 'segments/00000001.seg', 'segments/00000002.seg'])
  for (const name of names) {
    const file = join(home, name)
    const { size } = fs.statSync(file)
    fs.rmSync(file)
    await refusedBoth(home, `${name} deleted`)
    for (const length of [0, 1, size / 2, size - 4096, size - 1].filter(length => length >= 0)) {
      fs.copyFileSync(join(whole, name), file)
      fs.truncateSync(file, Math.floor(length))
      await refusedBoth(home, `${name} cut to ${length} of ${size}`)
    }
    fs.copyFileSync(join(whole, name), file)
  }
  fs.rmSync(join(home, 'segments'), { recursive: true })
  await refusedBoth(home, 'no segments')
  copy(whole, home)
  await withStore(home, async store => assert.equal((await contents(store))['/state/d'], 'four'))
})

test('a segment cut at any sector is refused', async t => {
  const { root, home } = await twoSegments(t)
  const whole = copy(home, join(root, 'whole'))
  for (const file of segmentFiles(home)) {
    const { size } = fs.statSync(file)
    for (let length = 0; length < size; length += 4096) {
      fs.truncateSync(file, length)
      await refusedBoth(home, `${basename(file)} cut to ${length}`)
      fs.copyFileSync(join(whole, 'segments', basename(file)), file)
    }
  }
})

test('every byte of the home file counts', async t => {
  const { home } = await freshHome(t)
  const file = join(home, 'home.cbor')
  for (let at = 0; at < fs.statSync(file).size; at++) {
    flip(file, at, 1 << (at % 8))
    await refusedBoth(home, `byte ${at}`)
    flip(file, at, 1 << (at % 8))
  }
  fs.appendFileSync(file, '\0')
  await refusedBoth(home, 'a byte more')
})

test('a byte flipped anywhere in a segment is refused', async t => {
  const { home } = await twoSegments(t)
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
  t.diagnostic(`seed ${seed}`)
  for (const file of segmentFiles(home)) {
    const { size } = fs.statSync(file)
    // Every byte of the fields that are parsed, and a sample of all the rest.
    const places = new Set<number>()
    for (let at = 0; at < 120; at++) places.add(at).add(4096 + at)
    let state = seed
    while (places.size < 340) {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31
      places.add(state % size)
    }
    for (const at of places) {
      const mask = 1 << (at % 8)
      flip(file, at, mask)
      await assert.rejects(openHome(world, home), coded(refused), `${basename(file)} byte ${at}`)
      flip(file, at, mask)
    }
  }
  await withStore(home, async store => assert.equal((await contents(store))['/state/d'], 'four'))
})

test('segments that are exchanged, renamed, doubled or taken from another store are refused', async t => {
  const { root, home } = await twoSegments(t)
  const whole = copy(home, join(root, 'whole'))
  const other = await freshHomeIn(scratch(t))
  const [one, two] = ['00000001.seg', '00000002.seg'].map(name => join(home, 'segments', name))
  assert.ok(one !== undefined && two !== undefined)
  const attempts: readonly (readonly [string, () => void])[] = [
    [
      'exchanged',
      () => {
        fs.renameSync(one, join(root, 'aside'))
        fs.renameSync(two, one)
        fs.renameSync(join(root, 'aside'), two)
      },
    ],
    ['renamed', () => fs.renameSync(two, join(home, 'segments', '00000003.seg'))],
    ['doubled', () => fs.copyFileSync(two, join(home, 'segments', '00000003.seg'))],
    ['the first of another store', () => fs.copyFileSync(segmentFiles(other.home)[0] ?? '', one)],
    ['all of another store', () => copy(join(other.home, 'segments'), join(home, 'segments'))],
    ['a stranger beside them', () => fs.writeFileSync(join(home, 'segments', 'notes.txt'), 'x')],
    ['a name of another width', () => fs.renameSync(two, join(home, 'segments', '2.seg'))],
  ]
  for (const [what, act] of attempts) {
    act()
    await refusedBoth(home, what, ['EINTEGRITY', 'EROLLBACK'])
    copy(whole, home)
  }
})

test('segments left unfinished by a crash are not part of the journal', async t => {
  const { home } = await twoSegments(t)
  fs.writeFileSync(join(home, 'segments', '00000003.seg.new'), 'half')
  await withStore(home, async store => {
    assert.equal((await contents(store))['/state/d'], 'four')
    await store.putAtomic('/state/e', bytesOf('five'))
  })
  await (await readHome(world, home)).close()
})

test('formats of another number are refused, not guessed at', async t => {
  const { home } = await freshHome(t)
  await withStore(home, store => store.putAtomic('/state/a', bytesOf('x')))
  const [segment] = segmentFiles(home)
  assert.ok(segment !== undefined)
  const { crc32 } = await import('node:zlib')
  const bytes = fs.readFileSync(segment)
  const group = 2 * 4096
  for (const at of [8, 10]) {
    const later = Buffer.from(bytes)
    later.writeUInt16BE(2, group + at)
    later.writeUInt32BE(crc32(later.subarray(group, group + 132)), group + 132)
    fs.writeFileSync(segment, later)
    await refusedBoth(home, 'a later group', ['EINTEGRITY'])
  }
  fs.writeFileSync(segment, bytes)
  const { encodeCbor } = await import('../../src/bytes/cbor.ts')
  const { sha256 } = await import('../../src/crypto/hash.ts')
  const map = { format: 2, store: new Uint8Array(32), anchor: '/x' }
  fs.writeFileSync(join(home, 'home.cbor'), encodeCbor({ ...map, check: sha256(encodeCbor(map)) }))
  await refusedBoth(home, 'a later home', ['EINTEGRITY'])
})

test('a home whose anchor is not there, or not whole, is refused, and says where the anchor may be named', async t => {
  const { home, anchor, base, root } = await freshHome(t)
  fs.renameSync(base, join(root, 'moved'))
  await assert.rejects(openHome(world, home), coded('EINTEGRITY', '--anchor'))
  await assert.rejects(readHome(world, home), coded('EINTEGRITY', '--anchor'))
  await withStore(home, async store => assert.equal(store.mark.number, 1), { base: join(root, 'moved') })
  fs.renameSync(join(root, 'moved'), base)
  for (const name of ['key', 'slots', 'mark']) {
    const file = join(anchor, name)
    fs.renameSync(file, `${file}.aside`)
    await refusedBoth(home, `no ${name}`, ['EINTEGRITY'])
    assert.ok(!fs.existsSync(file), 'and is not made anew')
    fs.renameSync(`${file}.aside`, file)
  }
  await withStore(home, async store => assert.equal(store.mark.number, 1))
})

test('a segment that vanishes or is damaged under an open store is damage, never an absent record', async t => {
  const { home } = await freshHome(t)
  await withStore(home, store => store.putAtomic('/state/a', bytesOf('x')))
  const [segment] = segmentFiles(home)
  assert.ok(segment !== undefined)
  const reader = await readHome(world, home)
  await withStore(home, async store => {
    assert.equal(textOf((await store.get('/state/a')).payload), 'x')
    const bytes = fs.readFileSync(segment)
    flip(segment, 2 * 4096 + 300)
    await assert.rejects(store.get('/state/a'), coded('EINTEGRITY'))
    await assert.rejects(store.getSecret('/state/a'), coded('EINTEGRITY'))
    fs.truncateSync(segment, 4096)
    await assert.rejects(store.get('/state/a'), coded('EINTEGRITY'))
    fs.writeFileSync(segment, bytes)
    assert.equal(textOf((await store.get('/state/a')).payload), 'x')
  })
  await reader.close()
  const late = await readHome(world, home)
  await late.close()
})
