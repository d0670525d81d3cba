/** Real homes, whole and damaged in every way there is: what fsck says of them, and what it mends. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { basename, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { DiskError } from '../../src/host/disk.ts'
import { type Finding, Findings, findingsMax } from '../../src/state/fsck/findings.ts'
import { fsck, type Report } from '../../src/state/fsck.ts'
import { openHome } from '../../src/state/home.ts'
import { limits } from '../../src/state/limits.ts'
import { findingRows } from './fsck-page.ts'
import {
  bytesOf,
  coded,
  contents,
  copy,
  filesIn,
  flip,
  freshHome,
  freshHomeIn,
  meddled,
  type Place,
  scratch,
  segmentFiles,
  withStore,
  world,
} from './support.ts'

const slow = process.env.SLOW === '1'

const look = (home: string, options: { readonly repair?: boolean; readonly base?: string } = {}) =>
  fsck(world, home, { repair: options.repair ?? false, anchorBase: options.base })

/** `GROUP 00000001.seg 8192 3`: what was found, in short. */
function short({ findings }: Pick<Report, 'findings'>): string[] {
  return findings.map(({ code, file, offset, group, path }) =>
    [code.replace('fsck/', ''), file && basename(file), offset, group, path]
      .filter(part => part !== undefined)
      .join(' '),
  )
}

function names(findings: readonly Finding[]): string[] {
  return [...new Set(findings.map(({ code }) => code.replace('fsck/', '')))].sort()
}

async function found(home: string, outcome: Report['outcome'], ...codes: string[]): Promise<Report> {
  const report = await look(home)
  assert.equal(report.outcome, outcome, short(report).join('\n'))
  assert.deepEqual(names(report.findings), codes.sort(), short(report).join('\n'))
  return report
}

/** A closed home with three segments, a scope of its own, a scope that is gone, and something deleted. */
async function lived(t: TestContext): Promise<Place> {
  const shipped = { ...limits }
  Object.assign(limits, { segmentBytesMax: 7 * 4096, growBytes: 4096 })
  t.after(() => Object.assign(limits, shipped))
  const place = await freshHome(t)
  await withStore(place.home, async store => {
    await store.makeScope('second')
    await store.makeScope('gone')
    await store.putAtomic('/state/a', bytesOf('one'))
    await store.commit([
      { put: '/state/b', payload: bytesOf('two') },
      { delete: '/state/a' },
      { put: '/state/s', payload: bytesOf('three'), scope: 'second' },
      { put: '/state/g', payload: bytesOf('gone'), scope: 'gone' },
    ])
    await store.putAtomic('/state/c', world.entropy.bytes(5000))
    await store.shred('gone')
    for (let i = 0; i < 6; i++) await store.putAtomic(`/state/d${i % 4}`, bytesOf(`four ${i}`))
  })
  Object.assign(limits, shipped)
  assert.ok(segmentFiles(place.home).length >= 2)
  return place
}

/** Every file of home and anchor, its bytes, mode and times. */
function stateOf({ home, anchor }: Place): readonly unknown[] {
  return [home, anchor].flatMap(root =>
    [root, join(root, 'segments'), ...filesIn(root).map(name => join(root, name))]
      .filter(path => fs.existsSync(path))
      .map(path => {
        const { mode, mtimeNs, ctimeNs, size } = fs.lstatSync(path, { bigint: true })
        const bytes = fs.lstatSync(path).isFile() ? fs.readFileSync(path, 'latin1') : ''
        return { path, mode, mtimeNs, ctimeNs, size, bytes }
      }),
  )
}

/** Damages the slot of the mark file that does not hold the newest mark, as a torn write does. */
function tearMark(anchor: string): void {
  const file = join(anchor, 'mark')
  const bytes = fs.readFileSync(file)
  flip(file, bytes.readBigUInt64BE(40) < bytes.readBigUInt64BE(4096 + 40) ? 7 : 4096 + 7)
}

function restorer({ home, anchor }: Place): () => void {
  const kept = [home, anchor].flatMap(root =>
    filesIn(root).map(name => ({ path: join(root, name), bytes: fs.readFileSync(join(root, name)) })),
  )
  return () => {
    for (const root of [home, anchor])
      for (const name of filesIn(root))
        if (!kept.some(({ path }) => path === join(root, name))) fs.rmSync(join(root, name))
    for (const { path, bytes } of kept)
      if (!fs.existsSync(path) || !fs.readFileSync(path).equals(bytes))
        fs.writeFileSync(path, bytes, { mode: 0o600 })
  }
}

test('the page lists every finding, word for word', () => {
  const page = fs.readFileSync(new URL('../../docs/guides/fsck.md', import.meta.url), 'utf8')
  assert.ok(page.endsWith(findingRows()), 'make it again with test/state/fsck-page.ts')
})

test('a whole home is clean, and a look writes nothing: not a byte, not a time', async t => {
  const place = await lived(t)
  const before = stateOf(place)
  const report = await found(place.home, 'clean')
  assert.deepEqual(stateOf(place), before)
  assert.equal(report.segments, segmentFiles(place.home).length)
  await withStore(place.home, async store => {
    assert.equal(report.groups, store.mark.number)
    assert.equal(report.records, store.figures().records)
  })
  const dirty = await lived(t)
  fs.writeFileSync(join(dirty.home, 'segments', '00000009.seg.new'), 'half', { mode: 0o600 })
  tearMark(dirty.anchor)
  const dirtyBefore = stateOf(dirty)
  await found(dirty.home, 'clean', 'LEFTOVER', 'MARK_SLOT')
  assert.deepEqual(stateOf(dirty), dirtyBefore)
})

test('a byte flipped anywhere in home or anchor: what opening refuses is never called clean, and what is, is harmless', async t => {
  const place = await lived(t)
  const { home, anchor } = place
  const restore = restorer(place)
  const whole = await withStore(home, contents)
  restore()
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
  t.diagnostic(`seed ${seed}`)
  let refusals = 0
  let clean = 0
  const fine = slow ? 1 : 20
  const steps = new Map([
    ['key', 211 * fine],
    ['lock', 1],
    ['home.cbor', 3],
    ['mark', 113 * fine],
    ['slots', 9973 * fine],
    ['segments/reserve', 99_991],
  ])
  const step = (name: string) => steps.get(name) ?? 149 * fine
  for (const root of [home, anchor])
    for (const name of filesIn(root)) {
      const file = join(root, name)
      const { size } = fs.statSync(file)
      const places = new Set<number>()
      for (let at = seed % step(name); at < size; at += step(name)) places.add(at)
      if (name === 'key') for (let at = 0; at < 56; at++) places.add(at)
      if (name === 'slots') for (const slot of [0, 1, 2, 3]) places.add((slot + 1) * 4096 + (seed % 32))
      for (const at of places) {
        const what = `${name} byte ${at}`
        flip(file, at, 1 << (at % 8))
        const report = await look(home)
        if (report.outcome !== 'clean')
          assert.ok(report.findings.some(({ kind }) => kind === 'unrecoverable'))
        let opens = false
        try {
          const records = await withStore(home, contents)
          assert.deepEqual(records, whole, what)
          opens = true
        } catch (error) {
          if (error instanceof assert.AssertionError) throw error
        }
        if (opens) clean++
        else refusals++
        assert.equal(
          report.outcome,
          opens ? 'clean' : 'unrecoverable',
          `${what}: ${short(report).join('; ')}`,
        )
        restore()
      }
    }
  t.diagnostic(`${refusals} refused, ${clean} harmless`)
  assert.ok(refusals > 80 && clean > 3, `${refusals} and ${clean}`)
  await found(home, 'clean')
})

test('every damage is found, not only the first', async t => {
  const { home, anchor } = await lived(t)
  const [one, two] = segmentFiles(home)
  assert.ok(one !== undefined && two !== undefined)
  flip(one, 4096 + 150) // group 1: its MAC
  flip(one, 3 * 4096 + 4000) // padding
  flip(two, 4096 + 20) // the CRC of a header
  fs.writeFileSync(join(home, 'segments', 'notes.txt'), 'x', { mode: 0o600 })
  flip(join(anchor, 'slots'), 2 * 4096)
  flip(join(anchor, 'mark'), 50)
  const report = await look(home)
  assert.equal(report.outcome, 'unrecoverable')
  const said = short(report)
  for (const expected of [
    'GROUP 00000001.seg 4096 1',
    /^GROUP 00000001\.seg 12288 3$/,
    /^GROUP 00000002\.seg 4096 \d+$/,
    'STRANGER notes.txt',
    'MARK_SLOT mark 0',
  ])
    assert.ok(
      said.some(line => (typeof expected === 'string' ? line === expected : expected.test(line))),
      `${expected}\n${said.join('\n')}`,
    )
  for (const { means, next } of report.findings) assert.ok(means.length > 10 && next.length > 5)
})

test('files that are gone, cut short, emptied, exchanged, or no files', async t => {
  const place = await lived(t)
  const { home, anchor } = place
  const restore = restorer(place)
  const other = await freshHomeIn(scratch(t))
  for (const root of [home, anchor])
    for (const name of filesIn(root).filter(name => name !== 'segments/reserve')) {
      const file = join(root, name)
      const { size } = fs.statSync(file)
      const damages: (readonly [string, () => void])[] = [
        ['gone', () => fs.rmSync(file)],
        ['longer', () => fs.appendFileSync(file, 'x'.repeat(4096))],
        ['a directory', () => [fs.rmSync(file), fs.mkdirSync(file, { mode: 0o700 })]],
        ['a link', () => [fs.renameSync(file, `${file}.aside`), fs.symlinkSync(`${file}.aside`, file)]],
      ]
      for (const length of [0, 1, size / 2, size - 4096, size - 1])
        if (length >= 0 && length < size)
          damages.push([`cut to ${length}`, () => fs.truncateSync(file, Math.floor(length))])
      for (const [what, act] of damages) {
        act()
        const report = await look(home)
        const opening = await openHome(world, home).then(
          store => store.close().then(() => 'clean'),
          () => 'unrecoverable',
        )
        assert.equal(report.outcome, opening, `${name} ${what}: ${short(report).join('; ')}`)
        if (opening === 'clean') assert.match(`${name} ${what}`, /longer/)
        fs.rmSync(file, { recursive: true, force: true })
        restore()
      }
    }
  const [one, two] = segmentFiles(home)
  assert.ok(one !== undefined && two !== undefined)
  fs.renameSync(one, `${one}.aside`)
  fs.renameSync(two, one)
  fs.renameSync(`${one}.aside`, two)
  assert.ok((await found(home, 'unrecoverable', 'SEGMENT_HEADER')).findings.length >= 2)
  restore()
  fs.copyFileSync(segmentFiles(other.home)[0] ?? '', one)
  assert.ok((await look(home)).outcome === 'unrecoverable')
  restore()
  fs.copyFileSync(join(other.anchor, 'key'), join(anchor, 'key'))
  await found(home, 'unrecoverable', 'MARK_FILE', 'SEGMENT_HEADER')
  restore()
  fs.rmSync(anchor, { recursive: true })
  await found(home, 'unrecoverable', 'ANCHOR_MISSING')
  fs.rmSync(home, { recursive: true })
  await found(home, 'unrecoverable', 'NO_HOME')
})

test('a home put back, an anchor put back, a fork and slots put back each have words of their own', async t => {
  const { root, home, anchor } = await freshHome(t)
  await withStore(home, async store => {
    await store.makeScope('s')
    await store.putAtomic('/state/a', bytesOf('old'))
  })
  const oldHome = copy(home, join(root, 'old-home'))
  const oldAnchor = copy(anchor, join(root, 'old-anchor'))
  await withStore(home, async store => {
    for (let i = 0; i < 4; i++) await store.putAtomic('/state/a', bytesOf(`new ${i}`))
    await store.shred('s')
  })
  const newHome = copy(home, join(root, 'new-home'))
  const newAnchor = copy(anchor, join(root, 'new-anchor'))
  copy(oldHome, home)
  const older = await found(home, 'unrecoverable', 'HOME_WENT_BACK', 'SLOT')
  assert.match(
    older.findings.find(({ code }) => code === 'fsck/HOME_WENT_BACK')?.next ?? '',
    /put the newer home back/,
  )
  copy(newHome, home)
  fs.copyFileSync(join(oldAnchor, 'mark'), join(anchor, 'mark'))
  const [keeper] = (await found(home, 'unrecoverable', 'ANCHOR_WENT_BACK')).findings
  assert.match(keeper?.next ?? '', /put the newer anchor back/)
  copy(newAnchor, anchor)
  fs.copyFileSync(join(oldAnchor, 'slots'), join(anchor, 'slots'))
  await found(home, 'unrecoverable', 'SLOT')
  copy(newAnchor, anchor)
  // The same history, gone on with twice.
  copy(oldHome, home)
  copy(oldAnchor, anchor)
  await withStore(home, async store => {
    for (let i = 0; i < 12; i++) await store.putAtomic('/state/a', bytesOf(`other ${i}`))
  })
  fs.copyFileSync(join(newAnchor, 'mark'), join(anchor, 'mark'))
  const fork = await look(home)
  assert.ok(names(fork.findings).some(name => name === 'HOME_FORKED' || name === 'ANCHOR_WENT_BACK'))
  copy(newHome, home)
  copy(newAnchor, anchor)
  await found(home, 'clean')
})

test('a whole slots file of fewer slots than the journal names is damage, to fsck and to whoever opens', async t => {
  const { home, anchor } = await freshHome(t)
  await withStore(home, store => store.makeScope('s'))
  const file = join(anchor, 'slots')
  const bytes = fs.readFileSync(file).subarray(0, 2 * 4096)
  bytes.writeUInt32BE(1, 8)
  fs.writeFileSync(file, bytes)
  await found(home, 'unrecoverable', 'SLOT')
  await assert.rejects(openHome(world, home), coded('EINTEGRITY'))
})

test('what a crash leaves is mendable, exits clean, and is mended', async t => {
  const place = await lived(t)
  const { home, anchor } = place
  const whole = await withStore(home, contents)
  const last = segmentFiles(home).at(-1) ?? ''
  const number = Number(basename(last).slice(0, 8))
  fs.appendFileSync(last, world.entropy.bytes(5000))
  fs.writeFileSync(join(home, 'segments', `0000000${number + 1}.seg.new`), 'half', { mode: 0o600 })
  fs.writeFileSync(join(home, 'segments', `0000000${number + 5}.seg.new`), 'half', { mode: 0o600 })
  tearMark(anchor)
  const report = await found(home, 'clean', 'TORN_TAIL', 'LEFTOVER', 'MARK_SLOT')
  assert.ok(report.findings.every(({ kind }) => kind === 'mendable'))
  const repaired = await look(home, { repair: true })
  assert.equal(repaired.outcome, 'repaired', short(repaired).join('\n'))
  assert.deepEqual(names(repaired.mended), ['LEFTOVER', 'MARK_SLOT', 'TORN_TAIL'])
  assert.deepEqual(repaired.findings, [])
  assert.equal((await look(home, { repair: true })).outcome, 'clean')
  assert.deepEqual(await withStore(home, contents), whole)
})

/** Runs `act` on a store whose disk dies at the call that `isDeath` names. */
async function crashed(
  home: string,
  isDeath: (call: { readonly kind: string; readonly path: string }) => boolean,
  act: (store: Awaited<ReturnType<typeof openHome>>) => Promise<unknown>,
): Promise<void> {
  let dead = false
  let begun = false
  const disk = meddled(async (call, proceed) => {
    dead ||= begun && isDeath(call)
    if (dead) throw new Error('the power is off')
    await proceed()
  })
  const store = await openHome({ ...world, disk }, home)
  begun = true
  await assert.rejects(act(store))
  assert.ok(dead)
  await store.close().catch(() => {})
}

test('a group that was not marked, a shred that was not completed, a segment that was being given up', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await store.makeScope('s')
    await store.commit([{ put: '/state/s', payload: bytesOf('x'), scope: 's' }])
  })
  await crashed(
    home,
    ({ kind, path }) => kind === 'write' && path.endsWith('/mark'),
    store => store.putAtomic('/state/a', bytesOf('unmarked')),
  )
  await found(home, 'clean', 'UNMARKED')
  assert.equal((await look(home, { repair: true })).outcome, 'repaired')

  await crashed(
    home,
    ({ kind, path }) => kind === 'write' && path.endsWith('/slots'),
    store => store.shred('s'),
  )
  await found(home, 'clean', 'SHRED_UNFINISHED')
  assert.equal((await look(home, { repair: true })).outcome, 'repaired')

  await crashed(
    home,
    ({ kind, path }) => kind === 'unlink' && path.endsWith('.seg'),
    store => store.compact(),
  )
  await found(home, 'clean', 'GIVEN_UP')
  assert.equal((await look(home, { repair: true })).outcome, 'repaired')
  await found(home, 'clean')
})

test('a segment that a later one supersedes is left over, and taken away', async t => {
  const { home } = await freshHome(t)
  await withStore(home, store => store.putAtomic('/state/a', bytesOf('x')))
  const last = segmentFiles(home).at(-1) ?? ''
  fs.appendFileSync(last, world.entropy.bytes(5000))
  await withStore(home, async () => {}) // an empty segment behind the torn tail
  const empty = segmentFiles(home).at(-1) ?? ''
  assert.notEqual(empty, last)
  const kept = fs.readFileSync(empty)
  fs.appendFileSync(empty, world.entropy.bytes(5000))
  await withStore(home, async () => {})
  fs.writeFileSync(empty, kept, { mode: 0o600 })
  const report = await found(home, 'clean', 'LEFTOVER')
  assert.equal(report.findings[0]?.file, empty)
  assert.equal((await look(home, { repair: true })).outcome, 'repaired')
  assert.ok(!fs.existsSync(empty))
})

/** Puts for ever; says when it has begun. */
const writer = `
  const { realDisk } = await import('SRC/node/disk.ts')
  const { realClock } = await import('SRC/node/clock.ts')
  const { openEntropy } = await import('SRC/node/entropy.ts')
  const { openHome } = await import('SRC/state/home.ts')
  const store = await openHome({ disk: realDisk, clock: realClock, entropy: openEntropy() }, process.argv.at(-1))
  process.stdout.write('open')
  await store.makeScope('s')
  for (let n = 0; ; n++) {
    const payload = new Uint8Array((n * 7919) % 20000).fill(n)
    await Promise.all([
      store.putAtomic('/state/a', payload),
      store.commit([{ put: '/state/b', payload, scope: 's' }]),
    ])
    if (n % 7 === 0) await store.shred('s').then(() => store.makeScope('s'))
  }
`

function inProcess(script: string, ...args: string[]) {
  const source = new URL('../../src', import.meta.url).href
  const text = script.replaceAll('SRC', source)
  return spawn(process.execPath, ['--input-type=module', '-e', text, '--', ...args])
}

test('a writer that was killed: looked at while it lives, clean afterwards, and what it left is mended', async t => {
  const { home } = await freshHome(t)
  const left = new Set<string>()
  for (const ms of slow ? [0, 2, 5, 11, 23, 40, 70, 8, 16] : [0, 11, 40]) {
    const child = inProcess(writer, home)
    const ended = new Promise(resolve => child.on('close', resolve))
    await new Promise(resolve => child.stdout.once('data', resolve))
    const beside = await look(home)
    assert.equal(beside.outcome, 'clean', short(beside).join('; '))
    await new Promise(resolve => setTimeout(resolve, ms))
    child.kill('SIGKILL')
    await ended
    const report = await look(home)
    assert.equal(report.outcome, 'clean', short(report).join('; '))
    for (const name of names(report.findings)) left.add(name)
    const repaired = await look(home, { repair: true })
    assert.equal(repaired.outcome, report.counts.mendable > 0 ? 'repaired' : 'clean')
    assert.deepEqual(repaired.findings, [])
  }
  t.diagnostic(`left behind: ${[...left].join(', ') || 'nothing'}`)
})

const looker = `
  const { realDisk } = await import('SRC/node/disk.ts')
  const { realClock } = await import('SRC/node/clock.ts')
  const { openEntropy } = await import('SRC/node/entropy.ts')
  const { fsck } = await import('SRC/state/fsck.ts')
  const world = { disk: realDisk, clock: realClock, entropy: openEntropy() }
  let told = 0
  const { outcome, records } = await fsck(world, process.argv.at(-1), { repair: false, progress: () => told++ })
  console.log(JSON.stringify({ outcome, records, told, kibibytes: process.resourceUsage().maxRSS }))
`

const many = slow ? 100_000 : 30_000

test(`${many} records are looked at within bounded memory`, { timeout: 150_000 }, async t => {
  const { home } = await freshHome(t)
  // With --slow the journal is larger than what it may take.
  const payload = world.entropy.bytes(slow ? 4000 : 1500)
  await withStore(home, async store => {
    for (let at = 0; at < many; at += 400)
      await store.commit(Array.from({ length: 400 }, (_, i) => ({ put: `/state/many/${at + i}`, payload })))
  })
  const bytes = segmentFiles(home).reduce((sum, file) => sum + fs.statSync(file).size, 0)
  const child = inProcess(looker, home)
  let out = ''
  for await (const chunk of child.stdout) out += String(chunk)
  const { outcome, records, told, kibibytes } = JSON.parse(out)
  assert.equal(outcome, 'clean')
  assert.ok(records > many && told > 20)
  t.diagnostic(`${Math.round(bytes / 1024 / 1024)} MiB of journal in ${Math.round(kibibytes / 1024)} MiB`)
  // What the records take, a few segments that are not collected yet, and Node itself.
  assert.ok(kibibytes / 1024 < 60 + many * 0.0012 + 100, `${kibibytes} KiB`)
})

test('with the keeper none nothing is said of marks', async t => {
  const { home } = await freshHome(t, 'none')
  await withStore(home, store => store.putAtomic('/state/a', bytesOf('x')))
  await found(home, 'clean')
  await withStore(home, store => store.putAtomic('/state/a', bytesOf('y')))
  await found(home, 'clean')
})

test('beside another process what lies beyond the mark is not judged; repairing needs the lock', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    await store.putAtomic('/state/a', bytesOf('x'))
    const last = segmentFiles(home).at(-1) ?? ''
    const zeros = fs.readFileSync(last).length - 8192
    const fd = fs.openSync(last, 'r+')
    fs.writeSync(fd, world.entropy.bytes(4096), 0, 4096, zeros)
    fs.closeSync(fd)
    await found(home, 'clean', 'IN_USE')
    await assert.rejects(look(home, { repair: true }), coded('ELOCKED'))
    await store.putAtomic('/state/b', bytesOf('goes on'))
  })
  await withStore(home, async store => {
    let done = false
    const writing = (async () => {
      for (let i = 0; !done; i++) {
        await store.putAtomic(`/state/w${i % 50}`, bytesOf(`${i}`.repeat(500)))
        await new Promise(resolve => setTimeout(resolve, 1)) // both are in this process: the look has its turns
      }
    })()
    for (let i = 0; i < 8; i++) await found(home, 'clean', 'IN_USE')
    done = true
    await writing
  })
})

test('where the lock cannot be tried, as on a read-only mount, the home is looked at up to its mark', async t => {
  const { home } = await freshHome(t)
  await withStore(home, store => store.putAtomic('/state/a', bytesOf('x')))
  fs.appendFileSync(segmentFiles(home).at(-1) ?? '', world.entropy.bytes(4096))
  const lock = async () => {
    throw new DiskError('denied', 'read-only file system')
  }
  const report = await fsck({ ...world, disk: { ...world.disk, lock } }, home, { repair: false })
  assert.equal(report.outcome, 'clean')
  assert.deepEqual(names(report.findings), ['NOT_LOCKABLE'])
  await found(home, 'clean', 'TORN_TAIL')
})

test('a record of the product that does not decode is named, and one that nobody knows', async t => {
  const { home } = await freshHome(t, 'file', 2)
  const own = [
    {
      prefix: '/pawl/first/',
      check(path: string) {
        if (path.endsWith('1')) throw new Error('it is odd')
      },
    },
  ]
  const report = await fsck(world, home, { repair: false, own })
  assert.deepEqual(short(report), ['OWN_RECORD 00000001.seg 4096 1 /pawl/first/1'])
  assert.equal(report.findings[0]?.detail, 'it is odd')
  await found(home, 'clean', 'UNKNOWN_RECORD')
})

test('a home damaged all over does not fill the memory with findings', () => {
  const findings = new Findings()
  for (let group = 1; group <= findingsMax + 7; group++) findings.tell('GROUP', { group })
  assert.equal(findings.list.length, findingsMax)
  assert.equal(findings.counts.unrecoverable, findingsMax + 7)
  assert.equal(findings.unlisted, 7)
})
