import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { equal } from '../../src/bytes/bytes.ts'
import { DiskError } from '../../src/host/disk.ts'
import { sameMark } from '../../src/mark/mark.ts'
import { amendmentPath, amendments, signAmendment } from '../../src/state/amendments.ts'
import { openBackup, openChunksKey, readBackup } from '../../src/state/backup/file.ts'
import { verifyBackup } from '../../src/state/backup/restore.ts'
import { fsck } from '../../src/state/fsck.ts'
import { openHome } from '../../src/state/home.ts'
import { readHome } from '../../src/state/reader.ts'
import { recoveryPath } from '../../src/state/recovery-record.ts'
import { newSigner, openSigner, signerKeysPath, signerPath } from '../../src/state/signer.ts'
import type { Store } from '../../src/state/store.ts'
import { backedUp, movedAside, recovery, restoredTo } from './backup-support.ts'
import {
  bytesOf,
  coded,
  copy,
  filesIn,
  filesWith,
  freshHome,
  meddled,
  type Place,
  refused,
  textOf,
  withStore,
  world,
} from './support.ts'

/** Small and large records, overwritten and deleted ones, one in a recoverable scope of its own, two that are not. */
async function fill(store: Store): Promise<void> {
  await store.makeScope('kept', { recoverable: true })
  await store.makeScope('empty', { recoverable: true })
  await store.makeScope('secret')
  for (let i = 0; i < 30; i++) await store.putAtomic(`/state/a/${i}`, bytesOf(`a${i}`), { subject: 'me' })
  await store.putAtomic('/state/a/3', bytesOf('again'), { purpose: 'twice' })
  await store.delete('/state/a/4')
  await store.putAtomic('/state/large', world.entropy.bytes(1024 * 1024))
  for (let i = 0; i < 5; i++) await store.putAtomic(`/state/middle/${i}`, world.entropy.bytes(100_000))
  await store.commit([
    { put: '/state/k', payload: bytesOf('kept with others'), scope: 'kept' },
    { put: '/state/s', payload: bytesOf('not for any backup'), scope: 'secret' },
  ])
}

type Seen = {
  readonly [path: string]: { readonly text: string; readonly generation: number; readonly meta: unknown }
}

/** Everything there is but what a restore makes of its own, with its generation and envelope. */
async function seen(store: Pick<Store, 'list' | 'get'>): Promise<Seen> {
  const found: { [path: string]: Seen[string] } = {}
  for (const path of store.list('/')) {
    if (/^\/pawl\/(scope\/|journal$|amendment\/)/.test(path)) continue
    const { payload, envelope, generation } = await store.get(path)
    found[path] = { text: Buffer.from(payload).toString('latin1'), generation, meta: envelope }
  }
  return found
}

async function filled(t: Parameters<typeof freshHome>[0], keeper: 'file' | 'none' = 'file'): Promise<Place> {
  const place = await freshHome(t, keeper, 2)
  await withStore(place.home, fill)
  return place
}

for (const keeper of ['file', 'none'] as const)
  test(`keeper ${keeper}: what is recoverable is restored byte for byte, and the store goes on`, async t => {
    const place = await filled(t, keeper)
    const before = await withStore(place.home, seen)
    const mark = await withStore(place.home, async store => store.mark)
    const file = await backedUp(place)
    movedAside(place)
    const restored = await restoredTo(place, { file })
    assert.ok(restored !== undefined && sameMark(restored.backup.mark, mark) && !restored.carriedOn)
    await withStore(place.home, async store => {
      assert.ok(equal(store.storeId, mark.domain))
      assert.ok(store.mark.number > mark.number)
      const after = await seen(store)
      const audit = Object.keys(after).filter(path => path.startsWith('/pawl/audit/'))
      const { '/state/s': lost, ...expected } = before
      assert.equal(textOf(bytesOf(lost?.text ?? '')), 'not for any backup')
      const newest = audit.at(-1) ?? ''
      const { [newest]: entry, [recoveryPath]: recovery, ...others } = after
      assert.ok(recovery !== undefined, 'what peers are told of it')
      assert.match(entry?.text ?? '', /"action":"restore"/)
      assert.deepEqual(others, expected)
      await store.putAtomic('/state/new', bytesOf('it goes on'))
      await store.commit([{ put: '/state/k2', payload: bytesOf('k2'), scope: 'kept' }])
      await store.commit([{ put: '/state/e', payload: bytesOf('e'), scope: 'empty' }])
      await assert.rejects(
        store.commit([{ put: '/state/s', payload: bytesOf('s'), scope: 'secret' }]),
        coded('ENOENT'),
      )
      await store.makeScope('secret')
      await store.compact()
    })
    const report = await fsck(world, place.home, { repair: false })
    assert.deepEqual(
      [report.outcome, report.findings.filter(({ code }) => code !== 'fsck/UNKNOWN_RECORD')],
      ['clean', []],
    )
    assert.deepEqual(filesIn(place.base).length, 4, 'one anchor, and nothing beside it')
  })

/** Path, envelope and payload of each record, and the name of each scope, copied. */
async function itemsOf(path: string): Promise<Buffer[][]> {
  const file = await world.disk.open(path, { access: 'read' })
  const backup = await openBackup(file)
  using key = openChunksKey(backup, recovery)
  const found: Buffer[][] = []
  await readBackup(backup, key, items => {
    for (const item of items)
      found.push(
        item.kind === 'record'
          ? [Buffer.from(item.path), Buffer.from(item.envelope), Buffer.from(item.payload)]
          : [Buffer.from(item.kind === 'scope' ? item.name : item.anchor)],
      )
  })
  await file.close()
  return found
}

test('after a rotation, whichever slot each scope has then, what is backed up can be restored', async t => {
  const place = await filled(t)
  await withStore(place.home, async store => {
    await store.rotate({ scopes: ['default'] })
    const slots = [...store.list('/pawl/scope/')]
    assert.ok(slots.length > 1)
    await store.rotate()
  })
  const file = await backedUp(place)
  const before = await withStore(place.home, async store => store.list('/state/'))
  movedAside(place)
  await restoredTo(place, { file })
  await withStore(place.home, async store => {
    assert.ok(store.list('/state/').length > 0)
    for (const path of store.list('/state/')) assert.ok(before.includes(path))
    await store.rotate()
  })
})

test('the amendment says what was given up, signed by the store, and the audit trail tells of it', async t => {
  const place = await filled(t)
  const file = await backedUp(place)
  const taken = await withStore(place.home, async store => store.mark)
  await withStore(place.home, store => store.putAtomic('/state/later', bytesOf('later')))
  const given = await withStore(place.home, async store => store.mark)
  movedAside(place)
  const asked: unknown[] = []
  await restoredTo(place, {
    file,
    by: 'root',
    async confirm({ abandoned, backup }) {
      asked.push(abandoned?.number, backup.mark.number)
      return true
    },
  })
  assert.deepEqual(asked, [given.number, taken.number])
  await withStore(place.home, async store => {
    const [only, ...more] = await amendments(store)
    assert.equal(more.length, 0)
    assert.ok(only !== undefined && only.number === 1)
    const { abandoned, adopted, reason, by } = only.amendment
    assert.ok(sameMark(abandoned, given) && sameMark(adopted, taken))
    assert.deepEqual([reason, by], ['recovery', 'root'])
    const lines: string[] = []
    for await (const line of store.audit()) lines.push(line)
    const entry = JSON.parse(lines.at(-1) ?? '')
    assert.deepEqual(
      [entry.action, entry.path, entry.reason, entry.subject, entry.generation],
      ['restore', '/pawl/amendment/1', 'recovery', 'root', taken.number + 1],
    )
    assert.equal(lines.filter(line => line.includes('"/state/a/3"')).length, 2, 'the trail came along')
    await assert.rejects(store.get('/state/later'), coded('ENOENT'))
  })
})

test('nothing of a scope that is not recoverable is in a backup: not its bytes, not its records', async t => {
  const place = await filled(t)
  const file = await backedUp(place)
  const segments = filesWith(place.home, bytesOf('/state/s'))
  assert.equal(segments.length, 1, 'the scan finds what is there')
  assert.equal(fs.readFileSync(file).includes('/state/'), false, 'paths are sealed')
  const items = await itemsOf(file)
  const found = (what: string) => items.filter(item => item.some(bytes => bytes.includes(what)))
  assert.equal(found('kept with others').length, 1, 'the scan finds what is there')
  assert.deepEqual(found('not for any backup'), [])
  assert.deepEqual(
    items.filter(([path]) => path?.includes('/state/s')),
    [],
  )
  movedAside(place)
  await restoredTo(place, { file })
  await withStore(place.home, async store => {
    assert.deepEqual(store.list('/state/s'), [])
    const scopes = await Promise.all(
      store.list('/pawl/scope/').map(async path => (await store.get(path)).payload),
    )
    assert.equal(scopes.filter(bytes => Buffer.from(bytes).includes('secret')).length, 0)
  })
})

test('after a restore no old copy of the home opens, whichever is put back, and nothing of the old key is left', async t => {
  const place = await filled(t)
  const early = copy(place.home, `${place.root}/early`)
  const anchorCopy = copy(place.anchor, `${place.root}/anchor copy`)
  const file = await backedUp(place)
  await withStore(place.home, store => store.putAtomic('/state/later', bytesOf('later')))
  const key = fs.readFileSync(join(place.anchor, 'key')).subarray(12, 44)
  const old = movedAside(place)
  await restoredTo(place, { file })
  assert.deepEqual(filesWith(place.base, key), [])
  for (const home of [old, early]) {
    await assert.rejects(openHome(world, home), coded(refused), home)
    await assert.rejects(readHome(world, home), coded(refused), home)
  }
  fs.renameSync(place.home, `${place.home}.restored`)
  await copy(old, place.home)
  await assert.rejects(openHome(world, place.home), coded(refused))
  // Nor does the new home open with a copy of the anchor that was.
  copy(anchorCopy, place.anchor)
  await assert.rejects(openHome(world, `${place.home}.restored`), coded(refused))
})

test('a restore over a home is refused; over an anchor it asks, and is an amendment of its own', async t => {
  const place = await filled(t)
  const file = await backedUp(place)
  await assert.rejects(restoredTo(place, { file }), coded('EINVAL', 'a home stands'))
  movedAside(place, 'first')
  await restoredTo(place, { file })
  await withStore(place.home, store => store.putAtomic('/state/second', bytesOf('2')))
  await assert.rejects(restoredTo(place, { file }), coded('EINVAL', 'a home stands'))
  const second = await backedUp(place, 'second')
  const aside = movedAside(place, 'second')
  assert.equal(await restoredTo(place, { file: second, confirm: async () => false }), undefined)
  await withStore(aside, async store => assert.ok(store.has('/state/second')), { base: place.base })
  const again = await restoredTo(place, { file: second })
  assert.equal(again?.amendment.number, 2)
  await withStore(place.home, async store => {
    const all = await amendments(store)
    assert.deepEqual(
      all.map(({ number, amendment }) => [number, amendment.reason]),
      [
        [1, 'recovery'],
        [2, 'recovery'],
      ],
    )
  })
})

test('without an anchor the mark that is given up is not known: keeper-lost, and nobody is asked', async t => {
  const place = await filled(t)
  const file = await backedUp(place)
  fs.rmSync(place.home, { recursive: true })
  fs.rmSync(place.anchor, { recursive: true })
  const confirm = () => assert.fail('nobody is asked')
  const restored = await restoredTo(place, { file, confirm })
  const { amendment } = restored?.amendment ?? assert.fail('not restored')
  assert.equal(amendment.reason, 'keeper-lost')
  assert.ok(sameMark(amendment.abandoned, amendment.adopted))
  await withStore(place.home, async store =>
    assert.equal(textOf((await store.get('/state/k')).payload), 'kept with others'),
  )
})

test('an anchor that is held, or damaged, is not replaced', async t => {
  const place = await filled(t)
  const file = await backedUp(place)
  const old = movedAside(place)
  const store = await openHome(world, old)
  await assert.rejects(restoredTo(place, { file }), coded('ELOCKED'))
  await store.close()
  const mark = join(place.anchor, 'mark')
  const whole = fs.readFileSync(mark)
  fs.writeFileSync(mark, new Uint8Array(8192))
  await assert.rejects(restoredTo(place, { file }), coded('EINTEGRITY', 'move it aside'))
  fs.writeFileSync(mark, whole)
  assert.deepEqual(fs.readdirSync(place.root).sort(), ['anchors', 'backup', 'home.old'])
  await withStore(old, async store => assert.ok(store.has('/state/k')))
})

test('what a restore that was cut short left of an anchor stands as one: nothing is restored elsewhere', async t => {
  const place = await filled(t)
  const file = await backedUp(place)
  const old = movedAside(place)
  const elsewhere = join(place.root, 'elsewhere')
  fs.mkdirSync(elsewhere)
  for (const left of ['retired', 'restoring']) {
    fs.renameSync(place.anchor, `${place.anchor}.${left}`)
    await assert.rejects(
      restoredTo(place, { file, anchorBase: elsewhere }),
      coded('EINVAL', 'cut short'),
      left,
    )
    fs.renameSync(`${place.anchor}.${left}`, place.anchor)
  }
  assert.deepEqual(fs.readdirSync(elsewhere), [])
  // Nor while one comes to its end elsewhere meanwhile.
  fs.renameSync(place.anchor, join(place.root, 'anchor'))
  const disk = meddled(async (call, proceed) => {
    if (call.kind === 'write' && call.path.endsWith('restoring.cbor'))
      fs.renameSync(join(place.root, 'anchor'), place.anchor)
    await proceed()
  })
  await assert.rejects(
    restoredTo(place, { file, anchorBase: elsewhere }, { ...world, disk }),
    coded('EINVAL', 'stands'),
  )
  assert.deepEqual(fs.readdirSync(elsewhere), [])
  await withStore(old, async store => assert.ok(store.has('/state/k')))
  // By another name for the same place it is the same place.
  fs.symlinkSync(place.base, join(place.root, 'link'))
  await restoredTo(place, { file, anchorBase: join(place.root, 'link') })
})

test('what lies where the new home is made is taken away only if a restore left it', async t => {
  const place = await filled(t)
  const file = await backedUp(place)
  await withStore(place.home, store => store.putAtomic('/state/later', bytesOf('later')))
  const inTheWay = `${place.home}.restoring`
  const full = meddled(async (call, proceed) => {
    if (call.kind === 'write' && call.path.includes('restoring')) throw new DiskError('full', 'no space left')
    await proceed()
  })
  const isRefused = async (what: string): Promise<void> => {
    const before = filesIn(place.root)
    for (const disk of [world.disk, full])
      await assert.rejects(
        restoredTo(place, { file, confirm: () => assert.fail('asked') }, { ...world, disk }),
        coded('EINVAL', `${inTheWay} is in the way`),
        what,
      )
    assert.deepEqual(filesIn(place.root), before, what)
  }
  fs.renameSync(place.home, inTheWay)
  await isRefused('the newest home')
  await withStore(inTheWay, async store => assert.ok(store.has('/state/later')))
  fs.renameSync(inTheWay, `${place.home}.old`)
  fs.writeFileSync(inTheWay, 'mine')
  await isRefused('a file')
  fs.rmSync(inTheWay)
  fs.symlinkSync(`${place.home}.old`, inTheWay)
  await isRefused('a link')
  fs.rmSync(inTheWay)
  fs.mkdirSync(inTheWay)
  fs.writeFileSync(join(inTheWay, 'notes'), 'mine')
  await isRefused('a directory of somebody')
  fs.rmSync(inTheWay, { recursive: true })

  // One that was cut short: whatever else is in it, or if it is of another anchor or store.
  const cutShort = async (): Promise<void> => {
    const left = join(place.root, 'left')
    const stop = new Error('killed')
    const disk = meddled(async (call, proceed) => {
      if (
        call.kind === 'syncDirectory' &&
        call.path === place.root &&
        fs.existsSync(join(inTheWay, 'segments'))
      ) {
        fs.cpSync(inTheWay, left, { recursive: true })
        throw stop
      }
      await proceed()
    })
    await assert.rejects(restoredTo(place, { file }, { ...world, disk }), stop)
    fs.renameSync(left, inTheWay)
  }
  for (const [what, add] of [
    ['a file in it', 'notes'],
    ['a file among its segments', 'segments/notes'],
    ['a home', 'home.cbor'],
  ] as const) {
    await cutShort()
    fs.writeFileSync(join(inTheWay, add), 'mine')
    await isRefused(what)
    fs.rmSync(inTheWay, { recursive: true })
  }
  await cutShort()
  const elsewhere = join(place.root, 'elsewhere')
  fs.mkdirSync(elsewhere)
  fs.renameSync(place.anchor, join(elsewhere, 'aside'))
  await assert.rejects(
    restoredTo(place, { file, anchorBase: elsewhere }),
    coded('EINVAL', `its anchor at ${place.anchor}`),
  )
  const other = await filled(t)
  const othersFile = await backedUp(other)
  movedAside(other)
  await assert.rejects(
    restoredTo({ ...other, home: place.home }, { file: othersFile }),
    coded('EINVAL', 'another store'),
  )
  fs.renameSync(join(elsewhere, 'aside'), place.anchor)
  await restoredTo(place, { file })
  await withStore(place.home, async store => assert.ok(!store.has('/state/later')))
})

test('taken in the process that holds the home, a backup leaves its lock alone', async t => {
  const place = await filled(t)
  await withStore(place.home, async store => {
    await store.putAtomic('/state/open', bytesOf('while open'))
    const file = await backedUp(place)
    const { spawnSync } = await import('node:child_process')
    const script = `import { openHome } from '${new URL('../../src/state/home.ts', import.meta.url)}'
      import { world } from '${new URL('./support.ts', import.meta.url)}'
      await openHome(world, ${JSON.stringify(place.home)}).then(() => console.log('opened'), error => console.log(error.code))`
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
    })
    assert.equal(stdout.trim(), 'ELOCKED')
    const facts = await verifyBackup(world, { file, key: recovery })
    assert.ok(sameMark(facts.mark, store.mark))
  })
})

test('a backup is never written over anything, and a full disk leaves nothing behind', async t => {
  const place = await filled(t)
  const file = await backedUp(place)
  const before = fs.readFileSync(file)
  await assert.rejects(backedUp(place), coded('EINVAL', 'never written over'))
  assert.ok(equal(fs.readFileSync(file), before))
  fs.writeFileSync(`${file}2.new`, 'x')
  await assert.rejects(backedUp(place, 'backup2'), coded('EINVAL', '.new'))
  assert.equal(fs.readFileSync(`${file}2.new`, 'utf8'), 'x')
})

test('fsck says when the signer is another, or an amendment is not signed by its store', async t => {
  const place = await freshHome(t)
  const other = newSigner(world.entropy)
  const [signer] = other.records
  const mark = { domain: other.storeId, number: 1, head: new Uint8Array(32) }
  const forged = { abandoned: mark, adopted: mark, reason: 'recovery', by: 'me', at: 1 } as const
  await withStore(place.home, async store => {
    const { signer, keys } = await openSigner(store)
    using _ = keys
    const amendment = { ...forged, adopted: store.mark, abandoned: store.mark }
    const good = await signAmendment(amendment, signer, keys)
    const bad = Uint8Array.from(good)
    bad[bad.length - 1] = (bad.at(-1) ?? 0) ^ 1
    await store.commit([
      { put: amendmentPath(1), payload: good },
      { put: amendmentPath(2), payload: bad },
      { put: amendmentPath(3), payload: await signAmendment(forged, signer, keys) },
    ])
  })
  const told = async () => {
    const { findings, outcome } = await fsck(world, place.home, { repair: false })
    return {
      outcome,
      paths: findings.flatMap(({ code, path }) => (code === 'fsck/OWN_RECORD' ? [path] : [])).sort(),
    }
  }
  assert.deepEqual(await told(), {
    outcome: 'unrecoverable',
    paths: ['/pawl/amendment/2', '/pawl/amendment/3'],
  })
  await withStore(place.home, store =>
    store.commit([{ put: signerPath, payload: signer?.payload ?? bytesOf('') }]),
  )
  assert.deepEqual(
    (await told()).paths.filter(path => path?.startsWith('/pawl/signer')),
    [signerPath, signerKeysPath],
  )
})

test('a full disk: neither a backup nor a restore leaves anything behind, and the old home still opens', async t => {
  const place = await filled(t)
  const full = (when: (path: string) => boolean) =>
    meddled(async (call, proceed) => {
      if (call.kind === 'write' && when(call.path)) throw new DiskError('full', 'no space left')
      await proceed()
    })
  const noBackup = full(path => path.endsWith('backup.new'))
  await assert.rejects(backedUp(place, 'backup', { ...world, disk: noBackup }), coded('ENOSPC'))
  assert.deepEqual(fs.readdirSync(place.root).sort(), ['anchors', 'home'])
  const file = await backedUp(place)
  const old = movedAside(place)
  for (const part of ['/key', '/slots', '.seg', 'restoring.cbor', '/mark', '.restoring/mark']) {
    const disk = full(path => path.includes('.restoring') && path.endsWith(part))
    await assert.rejects(restoredTo(place, { file }, { ...world, disk }), coded('ENOSPC'), part)
    assert.deepEqual(fs.readdirSync(place.root).sort(), ['anchors', 'backup', 'home.old'], part)
    assert.equal(fs.readdirSync(place.base).length, 1, part)
    await withStore(old, async store => assert.ok(store.has('/state/k')))
  }
})

test('two restores of one store at once: one is told that the other is at work, or that a home stands', async t => {
  const place = await filled(t)
  const file = await backedUp(place)
  for (const anchor of ['stands', 'lost'] as const) {
    if (anchor === 'lost') fs.rmSync(place.anchor, { recursive: true })
    fs.rmSync(place.home, { recursive: true })
    const both = await Promise.allSettled([restoredTo(place, { file }), restoredTo(place, { file })])
    const failed = both.flatMap(outcome => (outcome.status === 'rejected' ? [outcome.reason] : []))
    assert.equal(failed.length, 1, anchor)
    assert.match(String(failed[0]), /held by|at work|stands|has just put/, anchor)
    await withStore(place.home, async store => assert.ok(store.has('/state/k')))
    assert.equal(fs.readdirSync(place.base).length, 1)
  }
})
