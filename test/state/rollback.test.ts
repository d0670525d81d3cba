/** Homes and anchors put back to older copies, clones, and what each keeper catches of them. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { recordSealings } from '../../src/crypto/aead.ts'
import { openHome } from '../../src/state/home.ts'
import { readHome } from '../../src/state/reader.ts'
import { bytesOf, coded, contents, copy, freshHome, refused, withStore, world } from './support.ts'

test('a home put back to any older copy is refused while the anchor stays, and the newest opens again', async t => {
  const { root, home } = await freshHome(t)
  const copies: string[] = []
  for (let i = 0; i < 6; i++) {
    await withStore(home, store => store.putAtomic('/state/n', bytesOf(String(i))))
    copies.push(copy(home, join(root, `copy${i}`)))
  }
  const newest = copies.pop()
  assert.ok(newest !== undefined)
  for (const [i, older] of copies.entries()) {
    copy(older, home)
    await assert.rejects(openHome(world, home), coded('EROLLBACK', `group ${i + 2}`, 'group 7'))
    await assert.rejects(readHome(world, home), coded('EROLLBACK'))
  }
  copy(newest, home)
  await withStore(home, async store => assert.deepEqual(await contents(store), { '/state/n': '5' }))
})

test('a copy taken while the store is being written is refused once more was acknowledged', async t => {
  const { root, home } = await freshHome(t)
  const copies: string[] = []
  await withStore(home, async store => {
    for (let i = 0; i < 5; i++) {
      const puts = Array.from({ length: 200 }, (_, n) => store.putAtomic(`/state/${n}`, bytesOf(`${i}`)))
      const to = join(root, `running${i}`)
      execFileSync('cp', ['-a', home, to])
      copies.push(to)
      await Promise.all(puts)
    }
    await store.putAtomic('/state/last', bytesOf('x'))
    await store.putAtomic('/state/last', bytesOf('y'))
    await store.putAtomic('/state/last', bytesOf('z'))
  })
  const newest = copy(home, join(root, 'newest'))
  for (const older of copies) {
    copy(older, home)
    await assert.rejects(openHome(world, home), coded(refused))
  }
  copy(newest, home)
  await withStore(home, async store => assert.equal((await contents(store))['/state/last'], 'z'))
})

test('of a home and its clone, only one is ever answered again', async t => {
  const { root, home } = await freshHome(t)
  await withStore(home, store => store.putAtomic('/state/a', bytesOf('both')))
  const clone = copy(home, join(root, 'clone'))
  const store = await openHome(world, home)
  await assert.rejects(openHome(world, clone), coded('ELOCKED'), 'they meet at the lock')
  await store.close()
  // Nothing was acknowledged since: either may go on, and then the other may not.
  await withStore(clone, opened => opened.putAtomic('/state/a', bytesOf('clone')))
  await assert.rejects(openHome(world, home), coded('EROLLBACK'))
  await withStore(clone, async opened => assert.deepEqual(await contents(opened), { '/state/a': 'clone' }))
})

test('clones that ran under two copies of the anchor part for good: each is a fork to the other', async t => {
  const { root, home, base } = await freshHome(t)
  await withStore(home, store => store.putAtomic('/state/a', bytesOf('both')))
  const other = { home: copy(home, join(root, 'other')), base: copy(base, join(root, 'other-anchors')) }
  for (let i = 0; i < 2; i++) {
    await withStore(home, store => store.putAtomic('/state/a', bytesOf('same')))
    await withStore(other.home, store => store.putAtomic('/state/a', bytesOf('same')), { base: other.base })
  }
  // The very same puts, and yet another head: what they sealed was salted apart.
  await assert.rejects(openHome(world, other.home), coded('EROLLBACK', 'forked'))
  await assert.rejects(openHome(world, home, other.base), coded('EROLLBACK', 'forked'))
  await withStore(home, async store => assert.equal(store.mark.number, 4))
})

test('an anchor that was put back alone is told from a store that was', async t => {
  const { home, anchor } = await freshHome(t)
  await withStore(home, store => store.putAtomic('/state/a', bytesOf('1')))
  const older = fs.readFileSync(join(anchor, 'mark'))
  await withStore(home, async store => {
    for (let i = 0; i < 3; i++) await store.putAtomic('/state/a', bytesOf(`later ${i}`))
  })
  const newest = fs.readFileSync(join(anchor, 'mark'))
  fs.writeFileSync(join(anchor, 'mark'), older)
  await assert.rejects(openHome(world, home), coded('EROLLBACK', 'the keeper went back'))
  await assert.rejects(openHome(world, home), coded('EROLLBACK', 'the keeper went back'), 'and stays refused')
  await assert.rejects(readHome(world, home), coded('EROLLBACK', 'the keeper went back'), 'to a reader, too')
  fs.writeFileSync(join(anchor, 'mark'), newest)
  await withStore(home, async store => assert.deepEqual(await contents(store), { '/state/a': 'later 2' }))
})

test('a mark that is behind by what may have been in flight is moved on, and no further', async t => {
  const { home, anchor } = await freshHome(t)
  const marks: Buffer[] = []
  await withStore(home, async store => {
    for (let i = 0; i < 4; i++) {
      marks.push(fs.readFileSync(join(anchor, 'mark')))
      await store.putAtomic('/state/a', bytesOf(`${i}`))
    }
  })
  for (const [behind, lawful] of [
    [1, true],
    [2, false],
    [3, false],
  ] as const) {
    const mark = marks.at(-behind)
    assert.ok(mark !== undefined)
    fs.writeFileSync(join(anchor, 'mark'), mark)
    if (lawful) await withStore(home, async store => assert.equal(store.mark.number, 5))
    else {
      await assert.rejects(readHome(world, home), coded('EROLLBACK', 'the keeper went back'))
      await assert.rejects(openHome(world, home), coded('EROLLBACK', 'the keeper went back'))
    }
  }
})

test('the whole anchor of another moment, with the home of now, is refused', async t => {
  const { root, home, base } = await freshHome(t)
  await withStore(home, store => store.makeScope('s'))
  const older = copy(base, join(root, 'older'))
  await withStore(home, async store => {
    for (let i = 0; i < 3; i++) await store.putAtomic('/state/a', bytesOf(`${i}`))
  })
  await assert.rejects(openHome(world, home, older), coded('EROLLBACK', 'the keeper went back'))
})

test('home and anchor put back together open: the keeper file does not claim to catch it', async t => {
  const { root, home, base } = await freshHome(t)
  await withStore(home, store => store.putAtomic('/state/a', bytesOf('old')))
  const [olderHome, olderBase] = [copy(home, join(root, 'h')), copy(base, join(root, 'b'))]
  await withStore(home, store => store.putAtomic('/state/a', bytesOf('new')))
  copy(olderHome, home)
  copy(olderBase, base)
  await withStore(home, async store => assert.deepEqual(await contents(store), { '/state/a': 'old' }))
})

test('with the keeper none every open works, an older copy too, and the store says which keeper it has', async t => {
  const { root, home } = await freshHome(t, 'none')
  const copies: string[] = []
  for (let i = 0; i < 4; i++) {
    await withStore(home, async store => {
      assert.equal(store.config.keeper, 'none')
      for (let n = 0; n <= i; n++) await store.putAtomic('/state/n', bytesOf(`${i}/${n}`))
    })
    copies.push(copy(home, join(root, `copy${i}`)))
  }
  for (const [i, older] of copies.entries()) {
    copy(older, home)
    const reader = await readHome(world, home)
    assert.deepEqual(await contents(reader), { '/state/n': `${i}/${i}` })
    await reader.close()
    await withStore(home, async store => assert.deepEqual(await contents(store), { '/state/n': `${i}/${i}` }))
  }
})

test('with the keeper none what a sync has covered may still not be lost: the watermark says so', async t => {
  const { home } = await freshHome(t, 'none')
  await withStore(home, async store => {
    for (let i = 0; i < 3; i++) await store.putAtomic('/state/n', bytesOf(`${i}`))
  })
  const names = fs.readdirSync(join(home, 'segments')).sort()
  const last = join(home, 'segments', names.at(-1) ?? '')
  const whole = fs.readFileSync(last)
  assert.equal(whole.length, 5 * 4096)
  const damaged = Buffer.from(whole)
  damaged[2 * 4096 + 200] = (damaged[2 * 4096 + 200] ?? 0) ^ 1
  fs.writeFileSync(last, damaged)
  await assert.rejects(openHome(world, home), coded('EINTEGRITY'), 'a later group names it as synced')
  fs.writeFileSync(last, whole.subarray(0, 4 * 4096))
  await withStore(home, async store => assert.deepEqual(await contents(store), { '/state/n': '1' }), {})
})

test('no key meets a nonce twice: the same content again, after restarts, rollbacks and in clones', async t => {
  const seen = new Map<string, number>()
  recordSealings(({ keyFingerprint, nonce }) => {
    const pair = `${Buffer.from(keyFingerprint).toString('hex')} ${Buffer.from(nonce).toString('hex')}`
    seen.set(pair, (seen.get(pair) ?? 0) + 1)
  })
  t.after(() => recordSealings(undefined))
  const { root, home, base } = await freshHome(t)
  const older = { home: copy(home, join(root, 'h')), base: copy(base, join(root, 'b')) }
  const same = async (at: string, anchors: string) =>
    withStore(
      at,
      async store => {
        for (let i = 0; i < 3; i++)
          await Promise.all([
            store.putAtomic('/state/a', bytesOf('the same'), { at: 1 }),
            store.putAtomic('/state/b', bytesOf('the same'), { at: 1 }),
            store.delete('/state/c'),
          ])
      },
      { base: anchors },
    )
  for (let run = 0; run < 3; run++) await same(home, base)
  for (let clone = 0; clone < 5; clone++) {
    const anchors = copy(older.base, join(root, 'clone', 'anchors'))
    await same(copy(older.home, join(root, 'clone', 'home')), anchors)
  }
  assert.ok(seen.size >= 24, `${seen.size} sealings`)
  assert.deepEqual(
    [...seen.values()].filter(times => times > 1),
    [],
  )
})
