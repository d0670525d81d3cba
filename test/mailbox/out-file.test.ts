import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { asCount, decodeCborMap } from '../../src/bytes/cbor.ts'
import type { Disk, OpenOptions } from '../../src/host/disk.ts'
import { limits } from '../../src/mailbox/limits.ts'
import { OutFile } from '../../src/mailbox/out-file.ts'
import { firstPosition } from '../../src/mailbox/position.ts'
import { realDisk } from '../../src/node/disk.ts'
import { recoverHome } from '../../src/state/recovery.ts'
import type { Store } from '../../src/state/store.ts'
import { type AtRest, entropy, home, noNonceTwice, run } from '../session/world.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import { bytesAt, type Image } from '../simulator/image.ts'
import { plantDirectory, plantFile, remove } from '../simulator/surgery.ts'
import { bytesOf, clock, coded, deliverAll, freshHome, openInbox, peer, withStore } from './support.ts'

noNonceTwice()

const out = '/out/got.txt'

async function homeWithOut(): Promise<AtRest> {
  const site = await freshHome()
  return { ...site, image: plantDirectory(site.image, '/out') }
}

/** One run of a receiver: takes these messages in and appends them, a batch for each list. */
async function receive(
  store: Store,
  disk: Disk,
  ...batches: readonly (readonly string[])[]
): Promise<OutFile> {
  const file = await OutFile.open(disk, store, peer, out)
  const inbox = await openInbox(store)
  let position = inbox.accepted
  for (const batch of batches) {
    position = await deliverAll(inbox, batch.map(bytesOf), position)
    for await (const taken of inbox.batches()) {
      await file.append(taken)
      break
    }
  }
  return file
}

async function received(site: AtRest, ...batches: readonly (readonly string[])[]): Promise<AtRest> {
  const { endpoint, disk, close } = await run(site, clock)
  const file = await receive(endpoint.store, disk, ...batches)
  await file.close()
  return close()
}

async function refusedToOpen(site: AtRest, code: 'EINTEGRITY' | 'EINVAL', ...words: string[]): Promise<void> {
  const { endpoint, disk, close } = await run(site, clock)
  await assert.rejects(OutFile.open(disk, endpoint.store, peer, out), coded(code, ...words))
  await close()
}

const contentOf = (image: Image) => Buffer.from(bytesAt(image, out) ?? []).toString()
const changed = (site: AtRest, change: (image: Image) => Image): AtRest => ({
  ...site,
  image: change(site.image),
})
const withContent = (site: AtRest, bytes: Uint8Array) => changed(site, image => plantFile(image, out, bytes))

/** Rewrites the file in place, as a program beside us would. */
async function rewritten(
  site: AtRest,
  length: number,
  append: Uint8Array = new Uint8Array(),
): Promise<AtRest> {
  const disk = new SimulatedDisk(site.image)
  const file = await disk.open(out, { access: 'write' })
  await file.truncate(length)
  await file.write(append, length)
  await file.sync()
  return { ...site, image: disk.killState() }
}

/** Whether the second message is. */
async function accepted(site: AtRest): Promise<boolean> {
  const { endpoint, close } = await run(site, clock)
  const { next } = (await openInbox(endpoint.store)).accepted
  await close()
  return next > 2
}

/** What the store says of the file. */
async function recorded(store: Store): Promise<{ device: number; inode: number; length: number }> {
  const [path = ''] = store.list('/pawl/receive/')
  const { device, inode, length } = decodeCborMap((await store.get(path)).payload, recordKeys)
  return { device: asCount(device), inode: asCount(inode), length: asCount(length) }
}

const recordKeys = ['format', 'path', 'peer', 'device', 'inode', 'length', 'reserve'] as const

/** The same disk, whose files say that they are on another device, as they may after a reboot. */
function onDevice(disk: Disk, device: number): Disk {
  const open = async (path: string, options: OpenOptions) => {
    const file = await disk.open(path, options)
    return bound(file, { stat: async () => ({ ...(await file.stat()), device }) })
  }
  const stat = async (path: string) => {
    const found = await disk.stat(path)
    return found === undefined ? undefined : { ...found, device }
  }
  return bound(disk, { open, stat })
}

/** An object with some methods replaced; the others stay its own. */
function bound<T extends object>(object: T, replaced: Partial<T>): T {
  return new Proxy(object, {
    get(target, name) {
      const value = Reflect.get(name in replaced ? replaced : target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

suite('the out file', () => {
  test('holds what was accepted, one message after another as they are, over restarts', async () => {
    let site = await homeWithOut()
    site = await received(site, ['one\n', '', 'two\n'], ['three'])
    assert.equal(contentOf(site.image), 'one\ntwo\nthree')
    site = await received(site, [' more\n'])
    site = await received(site)
    assert.equal(contentOf(site.image), 'one\ntwo\nthree more\n')
  })

  test('is new, or empty, and a regular file', async () => {
    const site = await homeWithOut()
    const empty = withContent(site, new Uint8Array())
    assert.equal(contentOf((await received(empty, ['a'])).image), 'a')
    await refusedToOpen(withContent(site, bytesOf('x')), 'EINVAL', out, 'empty')
    await refusedToOpen(
      changed(site, image => plantDirectory(image, out)),
      'EINVAL',
      out,
    )
  })

  test('holds the messages of one peer', async () => {
    const site = await received(await homeWithOut(), ['a'])
    const { endpoint, disk, close } = await run(site, clock)
    const other = new Uint8Array(32).fill(9)
    const refused = coded('EINVAL', 'another peer', 'name another file')
    await assert.rejects(OutFile.open(disk, endpoint.store, other, out), refused)
    await close()
  })

  test('goes to another peer as long as nothing has come, not even what a crash left', async () => {
    const other = new Uint8Array(32).fill(9)
    const empty = await received(await homeWithOut())
    const again = await run(empty, clock)
    await (await OutFile.open(again.disk, again.endpoint.store, other, out)).close()
    const taken = await rewritten(await again.close(), 0, bytesOf('x'))
    await refusedToOpen(taken, 'EINVAL', 'another peer')
    const left = await run(await rewritten(empty, 0, bytesOf('half a li')), clock)
    await assert.rejects(OutFile.open(left.disk, left.endpoint.store, other, out), coded('EINVAL'))
    await left.close()
    const gone = await run(
      changed(empty, image => remove(image, out)),
      clock,
    )
    await assert.rejects(OutFile.open(gone.disk, gone.endpoint.store, other, out), coded('EINTEGRITY'))
    await gone.close()
  })

  test('what is acknowledged is in the file and in the store, whatever a power cut leaves', async () => {
    const start = await homeWithOut()
    const running = await run(start, clock)
    const images: { readonly image: Image; readonly appended: number }[] = []
    const batches = [['one\n', 'two\n'], ['three\n'], ['', 'four\n']]
    const whole = batches.flat().join('')
    let appended = 0
    const file = await OutFile.open(running.disk, running.endpoint.store, peer, out)
    const inbox = await openInbox(running.endpoint.store)
    running.disk.observe(snapshot => {
      for (const image of new SimulatedDisk(snapshot).crashStates({ bound: 64, samples: 24 }))
        images.push({ image, appended })
    })
    let position = firstPosition
    for (const batch of batches) {
      position = await deliverAll(inbox, batch.map(bytesOf), position)
      for await (const taken of inbox.batches()) {
        await file.append(taken)
        break
      }
      appended += batch.join('').length
    }
    running.disk.observe(undefined)
    assert.ok(images.length >= 20, `${images.length} images`)
    for (const { image, appended } of images) {
      const again = await run({ ...start, image }, clock)
      const reopened = await OutFile.open(again.disk, again.endpoint.store, peer, out)
      const next = (await openInbox(again.endpoint.store)).accepted.next
      assert.ok(reopened.length >= appended, `${reopened.length} where ${appended} were acknowledged`)
      // The rest comes again from where the inbox stands, and the file ends up right.
      const rest = batches.flat().slice(next - 1)
      await reopened.close()
      const site = await received(await again.close(), ...(rest.length > 0 ? [rest] : []))
      assert.ok(contentOf(site.image).startsWith(whole), JSON.stringify(contentOf(site.image)))
      if (rest.length > 0) assert.equal(contentOf(site.image), whole)
    }
  })

  test('the name is synced before anything in the file is acknowledged', async () => {
    const site = await homeWithOut()
    const { endpoint, disk } = await run(site, clock)
    await receive(endpoint.store, disk, ['a'])
    for (const image of disk.crashStates()) assert.equal(contentOf(image), 'a')
  })

  test('an excess that is not what comes again is kept beside the file, and one that is, is not', async () => {
    const after = async (excess: string) => {
      const site = await received(await homeWithOut(), ['one\n'])
      const next = await received(await rewritten(site, 4, bytesOf(excess)), ['two\n'])
      assert.equal(contentOf(next.image), 'one\ntwo\n')
      return new SimulatedDisk(next.image).list('/out')
    }
    assert.deepEqual(await after('tw'), ['got.txt'])
    assert.deepEqual(await after('t\0\0'), ['got.txt'], 'what a power cut took reads as zeros')
    const names = await after('acknowledged once\n')
    assert.equal(names.length, 2)
    assert.match(names[1] ?? '', /^got\.txt\.cut-4-[\w-]{8}$/)
  })

  test('whatever a power cut leaves, what is cut is whole in the file or beside it, and the next start goes on', async () => {
    const excess = 'acknowledged once\n'
    const start = await rewritten(await received(await homeWithOut(), ['one\n']), 4, bytesOf(excess))
    const running = await run(start, clock)
    const file = await OutFile.open(running.disk, running.endpoint.store, peer, out)
    const inbox = await openInbox(running.endpoint.store)
    await deliverAll(inbox, [bytesOf('two\n')])
    const images: Image[] = []
    running.disk.observe(snapshot =>
      images.push(...new SimulatedDisk(snapshot).crashStates({ bound: 64, samples: 24 })),
    )
    for await (const batch of inbox.batches()) {
      await file.append(batch)
      break
    }
    running.disk.observe(undefined)
    images.push(...running.disk.crashStates({ bound: 64, samples: 24 }))
    assert.ok(images.length >= 20, `${images.length} images`)
    const keptIn = (image: Image) => {
      const names = new SimulatedDisk(image).list('/out')
      return names.then(all =>
        all
          .filter(name => name.startsWith('got.txt.cut-4-'))
          .map(name => Buffer.from(bytesAt(image, `/out/${name}`) ?? []).toString()),
      )
    }
    for (const image of images) {
      const kept = await keptIn(image)
      assert.ok(
        contentOf(image) === `one\n${excess}` || kept.includes(excess),
        JSON.stringify(contentOf(image)),
      )
      const isAccepted = await accepted({ ...start, image })
      const next = await received({ ...start, image }, ...(isAccepted ? [] : [['two\n']]))
      assert.equal(contentOf(next.image), 'one\ntwo\n')
      assert.ok((await keptIn(next.image)).includes(excess))
    }
  })

  test('goes on under another device number, and records it with the next batch', async () => {
    const first = await received(await homeWithOut(), ['one\n'])
    const { endpoint, disk, close } = await run(first, clock)
    const { store } = endpoint
    const before = await recorded(store)
    const moved = onDevice(disk, before.device + 1)
    const reopened = await OutFile.open(moved, store, peer, out)
    assert.equal(reopened.length, 4)
    assert.deepEqual(await recorded(store), before)
    await reopened.close()
    await (await receive(store, moved, ['two\n'])).close()
    assert.deepEqual(await recorded(store), { ...before, device: before.device + 1, length: 8 })
    const site = await close()
    assert.equal(contentOf(site.image), 'one\ntwo\n')
  })

  test('an excess of a crash is cut back once the next batch comes, and not before', async () => {
    const site = await rewritten(await received(await homeWithOut(), ['one\n']), 4, bytesOf('half of a li'))
    const opened = await received(site)
    assert.equal(contentOf(opened.image), 'one\nhalf of a li')
    const { endpoint, disk, close } = await run(opened, clock)
    const file = await OutFile.open(disk, endpoint.store, peer, out)
    assert.equal(file.length, 4)
    assert.equal(file.excess, 'half of a li'.length)
    await close()
    assert.equal(contentOf((await received(opened, ['two\n'])).image), 'one\ntwo\n')
    assert.equal(contentOf((await received(opened, [''])).image), 'one\n')
  })

  test('the reserve is the most a batch may append, and one byte more is refused', async t => {
    const site = scratchSite(t)
    const reserve = limits.inboxBytesMax + limits.messageBytesMax
    await site.receive('one\n')
    fs.truncateSync(site.path, 4 + reserve)
    await site.receive('two\n')
    assert.equal(fs.readFileSync(site.path, 'utf8'), 'one\ntwo\n')
    fs.truncateSync(site.path, 8 + reserve + 1)
    await assert.rejects(site.receive('three\n'), coded('EINTEGRITY', 'more bytes'))
    assert.equal(fs.statSync(site.path).size, 8 + reserve + 1, 'nothing is cut')
  })

  test('what was accepted before the home was put back is told apart from what a crash left, and never destroyed', async () => {
    const older = await received(await homeWithOut(), ['one\n'])
    const putBack = await rewritten(older, 4, bytesOf('two\n'))
    const disk = new SimulatedDisk(putBack.image)
    await recoverHome({ disk, clock, entropy }, home, { by: 'tester', forget: [] })
    const recovered = { ...putBack, image: disk.killState() }
    for (const next of ['two\n', 'three\n']) {
      const running = await run(recovered, clock)
      const opened = await OutFile.open(running.disk, running.endpoint.store, peer, out)
      assert.deepEqual([opened.excess, opened.isExcessGivenUp], [4, true])
      await opened.close()
      const appended = await receive(running.endpoint.store, running.disk, [next])
      assert.equal(appended.isExcessGivenUp, false)
      const kept = (await running.disk.list('/out')).filter(name => name.includes('.cut-'))
      assert.equal(kept.length, 1, 'also where what comes begins with the same bytes')
      assert.ok(`/out/${kept[0]}`.startsWith(`${out}.cut-4-`))
      const { image } = await running.close()
      assert.equal(contentOf(image), `one\n${next}`)
      assert.equal(Buffer.from(bytesAt(image, `/out/${kept[0]}`) ?? []).toString(), 'two\n')
    }
  })

  test('shorter, gone, replaced or irregular is refused, and nothing is changed', async () => {
    const site = await received(await homeWithOut(), ['one\n', 'two\n'])
    const copy = bytesAt(site.image, out) ?? new Uint8Array()
    await refusedToOpen(await rewritten(site, 7), 'EINTEGRITY', '7 bytes where 8')
    await refusedToOpen(await rewritten(site, 0), 'EINTEGRITY')
    await refusedToOpen(
      changed(site, image => remove(image, out)),
      'EINTEGRITY',
      'is gone',
    )
    const replaced = changed(site, image => plantFile(remove(image, out), out, copy))
    await refusedToOpen(replaced, 'EINTEGRITY', 'another file')
    const directory = changed(site, image => plantDirectory(remove(image, out), out))
    await refusedToOpen(directory, 'EINTEGRITY', 'no regular file')
    assert.equal(contentOf(site.image), 'one\ntwo\n')
  })

  test('a symbolic link in its place is refused', async t => {
    const site = scratchSite(t)
    await site.receive('one\n')
    fs.renameSync(site.path, `${site.path}.moved`)
    fs.symlinkSync(`${site.path}.moved`, site.path)
    await assert.rejects(site.receive('two\n'), coded('EINTEGRITY', 'no regular file'))
    const link = `${site.path}.link`
    fs.symlinkSync('/dev/null', link)
    const { endpoint, close } = await run(await freshHome(), clock)
    await assert.rejects(OutFile.open(realDisk, endpoint.store, peer, link), coded('EINVAL'))
    await close()
  })

  test('a batch that cannot be written is not accepted', async () => {
    const site = await homeWithOut()
    const running = await run(site, clock, {
      faults: call => (call.operation === 'write' && call.path === out ? { fails: 'full' } : undefined),
    })
    const { store } = running.endpoint
    const file = await OutFile.open(running.disk, store, peer, out)
    const inbox = await openInbox(store)
    await deliverAll(inbox, [bytesOf('a')])
    for await (const batch of inbox.batches()) {
      await assert.rejects(file.append(batch), { code: 'full' })
      break
    }
    assert.equal(inbox.accepted.next, 1)
    assert.equal(file.length, 0)
  })

  test('a sync that fails is no yes', async () => {
    const site = await homeWithOut()
    let failing = false
    const running = await run(site, clock, {
      faults: call =>
        failing && call.operation === 'sync' && call.path === out ? { fails: 'failed' } : undefined,
    })
    const file = await OutFile.open(running.disk, running.endpoint.store, peer, out)
    const inbox = await openInbox(running.endpoint.store)
    await deliverAll(inbox, [bytesOf('a')])
    failing = true
    for await (const batch of inbox.batches()) {
      await assert.rejects(file.append(batch))
      break
    }
    await withStore(running.kill(), async store => assert.equal((await openInbox(store)).accepted.next, 1))
  })
})

/** A receiver whose file is a real one. */
function scratchSite(t: TestContext): { readonly path: string; receive(text: string): Promise<void> } {
  const root = fs.mkdtempSync(join(os.tmpdir(), 'pawl-out-'))
  t.after(() => fs.rmSync(root, { recursive: true, force: true }))
  const path = join(root, 'got.txt')
  let site: AtRest | undefined
  return {
    path,
    async receive(text) {
      const { endpoint, close } = await run(site ?? (await freshHome()), clock)
      try {
        const file = await OutFile.open(realDisk, endpoint.store, peer, path)
        const inbox = await openInbox(endpoint.store)
        await deliverAll(inbox, [bytesOf(text)])
        for await (const batch of inbox.batches()) {
          await file.append(batch)
          break
        }
        await file.close()
      } finally {
        site = await close()
      }
    },
  }
}
