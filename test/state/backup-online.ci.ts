/** Backups beside a writer that overwrites, deletes, compacts and shreds all the while. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openBackup, openChunksKey, readBackup } from '../../src/state/backup/file.ts'
import { openHome } from '../../src/state/home.ts'
import { backedUp, recovery } from './backup-support.ts'
import { parts, turns, writeBusily } from './busy-writer.ts'
import { freshHome, type Place, withStore, world } from './support.ts'

const backups = process.env.SLOW === '1' ? 30 : 4

/** Of each record under `/state/` the number of the batch that put it, and the mark. */
async function batchesIn(path: string) {
  const file = await world.disk.open(path, { access: 'read' })
  const backup = await openBackup(file)
  using key = openChunksKey(backup, recovery)
  const batches = new Map<string, number>()
  await readBackup(backup, key, items => {
    for (const item of items)
      if (item.kind === 'record' && item.path.startsWith('/state/'))
        batches.set(item.path, Number.parseInt(Buffer.from(item.payload.subarray(0, 12)).toString(), 10))
  })
  await file.close()
  return { mark: backup.mark.number, batches }
}

/** Takes backups while `acknowledged` grows; answers with the files. */
async function takeAll(place: Place, acknowledged: ReadonlyMap<number, number>): Promise<string[]> {
  const files: string[] = []
  for (let i = 0; i < backups; i++) {
    const before = acknowledged.size
    files.push(await backedUp(place, `backup${i}`))
    while (acknowledged.size < before + 10) await new Promise(resolve => setTimeout(resolve, 5))
  }
  return files
}

/** Exactly the state at the mark that it names: the newest batch up to there, whole, and what older ones left. */
async function checkAll(files: readonly string[], batchOf: ReadonlyMap<number, number>): Promise<void> {
  for (const path of files) {
    const { mark, batches } = await batchesIn(path)
    let newest = 0
    for (const [generation, batch] of batchOf) if (generation <= mark) newest = Math.max(newest, batch)
    assert.ok(newest > 0)
    const expected = new Map<string, number>(parts.map(part => [part, newest]))
    if (newest % 2 === 0) expected.set('/state/extra', newest)
    for (let turn = 0; turn < turns; turn++) {
      const last = newest - ((((newest - turn) % turns) + turns) % turns)
      if (last > 0) expected.set(`/state/turn/${turn}`, last)
    }
    assert.deepEqual(new Map([...batches].sort()), new Map([...expected].sort()), path)
    fs.rmSync(path)
  }
}

async function smallHome(t: TestContext): Promise<Place> {
  const place = await freshHome(t)
  await withStore(place.home, store => store.putAtomic('/state/first', new Uint8Array(1)))
  await withStore(place.home, store => store.delete('/state/first'))
  return place
}

test('beside a busy writer in this process a backup is exactly the state at its mark', async t => {
  const place = await smallHome(t)
  const batchOf = new Map<number, number>()
  const store = await openHome(world, place.home)
  let over = false
  const writing = writeBusily(
    store,
    () => over,
    (generation, batch) => batchOf.set(generation, batch),
  )
  while (batchOf.size < 30) await new Promise(resolve => setTimeout(resolve, 5))
  const files = await takeAll(place, batchOf).finally(() => (over = true))
  await writing
  const given = store.figures()
  await store.close()
  await checkAll(files, batchOf)
  assert.ok(given.journalBytes < 200 * 1024 * 1024)
  const [oldest = ''] = fs.readdirSync(`${place.home}/segments`).filter(name => name.endsWith('.seg'))
  assert.notEqual(oldest, '00000001.seg', 'segments were given up meanwhile')
})

test('beside a busy writer in another process, too', async t => {
  const place = await smallHome(t)
  const script = fileURLToPath(new URL('./busy-writer.ts', import.meta.url))
  const writer = spawn(process.execPath, [script, place.home], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => writer.kill('SIGKILL'))
  const batchOf = new Map<number, number>()
  let line = ''
  writer.stdout.on('data', chunk => {
    line += chunk
    const lines = line.split('\n')
    line = lines.pop() ?? ''
    for (const told of lines) {
      const [generation = 0, batch = 0] = told.split(' ').map(Number)
      batchOf.set(generation, batch)
    }
  })
  const ended = once(writer, 'close')
  while (batchOf.size < 30) await new Promise(resolve => setTimeout(resolve, 5))
  const files = await takeAll(place, batchOf).finally(() => writer.stdin.end())
  assert.deepEqual(await ended, [0, null])
  await checkAll(files, batchOf)
})
