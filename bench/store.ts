import { spawnSync } from 'node:child_process'
import { createCipheriv, createHash, createHmac } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { open as openLmdb } from 'lmdb'
import type { Change } from '../src/state/change.ts'
import { openHome } from '../src/state/home.ts'
import type { Store } from '../src/state/store.ts'
import { compare, isWanted, rate, scratch } from './harness.ts'
import { makeHome, withStore, world } from './homes.ts'
import { singleFiles } from './single-files.ts'
import { putAsSubject } from './subject.ts'

/**
 * Every put is sealed, told to the audit trail, hashed into the tree, MACed, durable and marked before it is
 * acknowledged; where it says so, a policy is asked of each. Both sides have written for a while before they are timed:
 * a file that is still growing is not what a service lives with.
 */
const writers = 64
const payload = new Uint8Array(1024).fill(7)
const warmup = 1500

export async function run(): Promise<void> {
  const { directory, remove } = scratch()
  try {
    console.error('# store, audit on; every put durable and marked before it is acknowledged')
    await oneWriter(directory)
    await manyWriters(directory)
    await singleFiles(directory)
    await opening(directory)
  } finally {
    remove()
  }
}

type Putter = (store: Store) => (path: string, payload: Uint8Array) => Promise<unknown>

const putAsOwner: Putter = store => (path, payload) => store.putAtomic(path, payload)

async function oneWriter(directory: string): Promise<void> {
  const count = 1000
  const bench = { bench: 'store', unit: 'puts/s' } as const
  const ours =
    (keeper: 'file' | 'none', putter = putAsOwner) =>
    async (round: number) => {
      const home = await makeHome(directory, `one-${keeper}-${round}-${Math.random()}`, keeper)
      return withStore(home, async store => {
        const putOne = putter(store)
        const put = async (many: number) => {
          for (let i = 0; i < many; i++) await putOne(`/state/${i % 100}`, payload)
        }
        await put(warmup)
        return rate(count, () => put(count))
      })
    }
  const sqlite = (elsewhere: boolean) => async () => {
    const { insert, close } = openSqlite(directory)
    for (let i = 0; i < warmup; i++) insert(`/state/${i % 100}`, payload)
    const other = fs.openSync(path.join(directory, 'elsewhere'), 'w')
    const block = Buffer.alloc(4096)
    const figure = await rate(count, () => {
      for (let i = 0; i < count; i++) {
        insert(`/state/${i % 100}`, payload)
        if (!elsewhere) continue
        fs.writeSync(other, block, 0, block.length, (i % 2) * 4096)
        fs.fdatasyncSync(other)
      }
    })
    fs.closeSync(other)
    close()
    return figure
  }
  const name = '1 writer, 1 KiB'
  await compare({
    ...bench,
    name,
    against: 'node:sqlite WAL FULL',
    ours: ours('file'),
    theirs: sqlite(false),
  })
  const judged = ours('file', putAsSubject)
  const asked = `${name}, a policy asked`
  await compare({
    ...bench,
    name: asked,
    against: 'node:sqlite WAL FULL',
    ours: judged,
    theirs: sqlite(false),
  })
  await compare({
    ...bench,
    name: asked,
    against: 'the same by the owner',
    ours: judged,
    theirs: ours('file'),
  })
  const twice = 'node:sqlite WAL FULL and a second fdatasync elsewhere'
  await compare({ ...bench, name, against: twice, ours: ours('file'), theirs: sqlite(true) })
  const none = '1 writer, 1 KiB, keeper none'
  await compare({
    ...bench,
    name: none,
    against: 'node:sqlite WAL FULL',
    ours: ours('none'),
    theirs: sqlite(false),
  })
  // What is left when all of our own work takes no time at all.
  const bare = (count: number) => () => bareWrites(directory, count)
  const floor = 'the same durable writes and nothing else'
  await compare({ ...bench, name, against: floor, ours: ours('file'), theirs: bare(2) })
  await compare({ ...bench, name: none, against: floor, ours: ours('none'), theirs: bare(1) })
}

/** A sector into zeros that are there, as a group is written, and with `files` 2 one over another file's, as a mark is. */
async function bareWrites(directory: string, files: number): Promise<number> {
  const count = 1000
  const { O_RDWR, O_CREAT, O_DSYNC } = fs.constants
  const open = (name: string) => fs.openSync(path.join(directory, name), O_RDWR | O_CREAT | O_DSYNC)
  const sector = new Uint8Array(4096).fill(1)
  const [journal, mark] = [open(`bare-${Math.random()}`), open('bare-mark')]
  fs.writeSync(journal, new Uint8Array(count * sector.length), 0, count * sector.length, 0)
  fs.writeSync(mark, new Uint8Array(2 * sector.length), 0, 2 * sector.length, 0)
  const figure = await rate(count, () => {
    for (let i = 0; i < count; i++) {
      fs.writeSync(journal, sector, 0, sector.length, i * sector.length)
      if (files === 2) fs.writeSync(mark, sector, 0, sector.length, (i % 2) * sector.length)
    }
  })
  fs.closeSync(journal)
  fs.closeSync(mark)
  return figure
}

async function manyWriters(directory: string): Promise<void> {
  const each = 100
  const count = writers * each
  const bench = { bench: 'store', name: '64 writers, 1 KiB', unit: 'puts/s' } as const
  const by = (putter: Putter) => async (round: number) => {
    const home = await makeHome(directory, `many-${round}-${Math.random()}`)
    return withStore(home, async store => {
      const putOne = putter(store)
      const put = (many: number) =>
        inParallel(async writer => {
          for (let i = 0; i < many; i++) await putOne(`/state/${writer}/${i % 10}`, payload)
        })
      await put(each)
      return rate(count, () => put(each))
    })
  }
  const ours = by(putAsOwner)
  const judged = by(putAsSubject)
  const sqlite = async () => {
    const { database, insert, close } = openSqlite(directory)
    const audit = database.prepare('insert into audit(path, digest, chain) values (?, ?, ?)')
    let chain = Buffer.alloc(32)
    const put = () => {
      for (let i = 0; i < each; i++) {
        database.exec('begin')
        for (let writer = 0; writer < writers; writer++) {
          const key = `/state/${writer}/${i % 10}`
          const digest = createHash('sha256').update(payload).digest()
          chain = createHash('sha256').update(chain).update(digest).digest()
          insert(key, payload)
          audit.run(key, digest, chain)
        }
        database.exec('commit')
      }
    }
    put()
    const figure = await rate(count, put)
    close()
    return figure
  }
  const lmdb = async (round: number) => {
    const database = openLmdb({ path: path.join(directory, `lmdb-${round}-${Math.random()}`) })
    const put = () =>
      inParallel(async writer => {
        for (let i = 0; i < each; i++) {
          await database.put(`/state/${writer}/${i % 10}`, payload)
          await database.flushed
        }
      })
    await put()
    const figure = await rate(count, put)
    await database.close()
    return figure
  }
  const against = 'node:sqlite, transactions of 64 with SHA-256, chain hash and audit row'
  await compare({ ...bench, against, ours, theirs: sqlite })
  await compare({ ...bench, against: 'lmdb, flushed, bare', ours, theirs: lmdb })
  const asked = `${bench.name}, a policy asked`
  await compare({ ...bench, name: asked, against, ours: judged, theirs: sqlite })
  await compare({ ...bench, name: asked, against: 'the same by the owner', ours: judged, theirs: ours })
  const floor = async () => bareGroups(directory, each)
  const against64 = 'the same hashing, sealing and durable writes and nothing else'
  await compare({ ...bench, against: against64, ours, theirs: floor })
}

/** What 64 puts at once cannot do without: a digest of each payload, one MAC, seal, digest and write of all, a mark. */
async function bareGroups(directory: string, groups: number): Promise<number> {
  const { O_RDWR, O_CREAT, O_DSYNC } = fs.constants
  const open = (name: string) => fs.openSync(path.join(directory, name), O_RDWR | O_CREAT | O_DSYNC)
  const [journal, mark] = [open(`bare-groups-${Math.random()}`), open('bare-groups-mark')]
  const plain = new Uint8Array(writers * 1300)
  const size = Math.ceil(plain.length / 4096) * 4096
  fs.writeSync(journal, new Uint8Array(groups * size), 0, groups * size, 0)
  fs.writeSync(mark, new Uint8Array(8192), 0, 8192, 0)
  const key = new Uint8Array(32)
  const figure = await rate(groups * writers, () => {
    for (let i = 0; i < groups; i++) {
      for (let writer = 0; writer < writers; writer++) createHash('sha256').update(payload).digest()
      const tag = createHmac('sha256', key).update(plain).digest()
      const cipher = createCipheriv('aes-256-gcm', tag, tag.subarray(0, 12))
      const group = Buffer.alloc(size)
      cipher.update(plain).copy(group)
      cipher.final()
      createHash('sha256').update(group).digest()
      fs.writeSync(journal, group, 0, size, i * size)
      fs.writeSync(mark, group, 0, 4096, (i % 2) * 4096)
    }
  })
  fs.closeSync(journal)
  fs.closeSync(mark)
  return figure
}

async function opening(directory: string): Promise<void> {
  for (const { name, size, count } of [
    { name: 'open, 100 B records', size: 100, count: 400_000 },
    { name: 'open, 1 KiB records', size: 1024, count: 100_000 },
  ]) {
    if (!isWanted(name)) continue
    const home = await makeHome(directory, `open-${size}`)
    await withStore(home, async store => {
      const body = new Uint8Array(size).fill(1)
      const batch = 1000
      for (let at = 0; at < count; at += batch) {
        const changes: Change[] = []
        for (let i = at; i < at + batch; i++) changes.push({ put: `/state/${i % 200_000}`, payload: body })
        await store.commit(changes)
      }
    })
    const segments = path.join(home, 'segments')
    const bytes = fs
      .readdirSync(segments)
      .reduce((sum, file) => sum + fs.statSync(path.join(segments, file)).size, 0)
    const ours = async () => rate(count, async () => (await openHome(world, home)).close())
    const theirs = async () =>
      rate(count, () => {
        for (const file of fs.readdirSync(segments))
          createHash('sha256')
            .update(fs.readFileSync(path.join(segments, file)))
            .digest()
      })
    const bench = { bench: 'store', unit: 'records/s', rounds: 3 } as const
    await compare({
      ...bench,
      name,
      against: `SHA-256 of its own ${Math.round(bytes / 1e6)} MB`,
      ours,
      theirs,
    })
    const killed = async () => {
      const child = spawnSync(process.execPath, [new URL('./killed.ts', import.meta.url).pathname, home])
      if (child.signal !== 'SIGKILL') throw new Error(child.stderr.toString())
      return ours()
    }
    await compare({
      ...bench,
      name: `${name}, after kill -9`,
      against: 'the same after a clean close',
      ours: killed,
      theirs: ours,
    })
  }
}

function openSqlite(directory: string) {
  const file = path.join(directory, `${Math.random()}.db`)
  const database = new DatabaseSync(file)
  database.exec('pragma journal_mode = wal; pragma synchronous = full')
  database.exec('create table data(path text primary key, payload blob)')
  database.exec('create table audit(id integer primary key, path text, digest blob, chain blob)')
  const statement = database.prepare('insert or replace into data(path, payload) values (?, ?)')
  return {
    database,
    insert: (key: string, value: Uint8Array) => void statement.run(key, value),
    close: () => database.close(),
  }
}

async function inParallel(work: (writer: number) => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: writers }, (_, writer) => work(writer)))
}
