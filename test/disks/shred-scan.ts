/**
 * Run by shred-scan.slow.ts: shred-scan.ts DIRECTORY FS PLANT. Shreds a scope on a real file system, unmounts it, and
 * looks through every byte of the image under it.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { concat, utf8 } from '../../src/bytes/bytes.ts'
import { hkdfSha256 } from '../../src/crypto/kdf.ts'
import type { Disk, File } from '../../src/host/disk.ts'
import { realDisk } from '../../src/node/disk.ts'
import { decodeScope, scopePath } from '../../src/state/scopes.ts'
import { bytesOf, freshHomeIn, withStore } from '../state/support.ts'
import { isFileSystem, makeFileSystem, mountImage, run, unmount } from './place.ts'

const [directory = '', kind, plant = 'none'] = process.argv.slice(2)
assert.ok(isFileSystem(kind))
const [image, at] = [join(directory, 'image'), join(directory, 'volume')]
const slotBytes = 4096

/** The bug to be found: what is to be overwritten in place is written to a new file that takes its name. */
function renaming(): Disk {
  return {
    ...realDisk,
    async open(path, options) {
      const file = await realDisk.open(path, options)
      return path.endsWith('/slots') ? replacedByWrites(path, file) : file
    },
  }
}

function replacedByWrites(path: string, first: File): File {
  let file = first
  return {
    read: (into, position) => file.read(into, position),
    async write(bytes, position) {
      const whole = await fs.promises.readFile(path)
      whole.set(bytes, position)
      const made = await realDisk.open(`${path}.new`, { access: 'exclusive' })
      await made.write(whole, 0)
      await made.sync()
      await made.close()
      await realDisk.rename(`${path}.new`, path)
      await realDisk.syncDirectory(join(path, '..'))
      await file.close()
      file = await realDisk.open(path, { access: 'write', durable: true })
    },
    truncate: length => file.truncate(length),
    sync: () => file.sync(),
    stat: () => file.stat(),
    close: () => file.close(),
  }
}

const disk = plant === 'renamed' ? renaming() : realDisk
const content = bytesOf('what nobody may ever find on the disk: 4711 0815 '.repeat(3))
const control = bytesOf('what lies there in the clear, so that the search is seen to find')
const path = '/state/session/secret'

await makeFileSystem(kind, image)
await mountImage(image, at)
const { home, anchor } = await freshHomeIn(at)
const names = { slots: join(anchor, 'slots'), key: join(anchor, 'key') }
let slot = 0
let id = new Uint8Array(0)
await withStore(home, async store => {
  await store.makeScope('session')
  for (let n = 1; n < 4; n++) {
    const found = decodeScope((await store.get(scopePath(n))).payload)
    if (found.name !== 'session') continue
    slot = n
    id = Uint8Array.from(found.id)
    break
  }
  assert.ok(slot > 0)
  await store.commit([{ put: path, payload: content, scope: 'session' }])
})
fs.writeFileSync(join(at, 'control'), control)
const place = (slot + 1) * slotBytes
const old = fs.readFileSync(names.slots).subarray(place, place + 32)
using extracted = hkdfSha256.extract(old, fs.readFileSync(names.key).subarray(12, 44))
using scopeKey = hkdfSha256.expand(extracted, concat(utf8('pawl v1 scope key'), id), 32)

/** How many times each of them lies anywhere in the image, with nothing of it mounted. */
async function scanned(): Promise<{ readonly [name: string]: number }> {
  await run('sync', ['-f', at])
  await unmount(at)
  const bytes = fs.readFileSync(image)
  const needles = { control, path: bytesOf(path), slot: old, scopeKey: scopeKey.bytes, content }
  const counts = Object.entries(needles).map(([name, needle]) => [name, occurrences(bytes, needle)])
  await mountImage(image, at)
  return Object.fromEntries(counts)
}

function occurrences(bytes: Buffer, needle: Uint8Array): number {
  let count = 0
  for (let from = bytes.indexOf(needle); from >= 0; from = bytes.indexOf(needle, from + 1)) count++
  return count
}

const before = await scanned()
await withStore(home, store => store.shred('session'), { disk })
assert.notDeepEqual(fs.readFileSync(names.slots).subarray(place, place + 32), old)
const after = await scanned()
await unmount(at)
console.log(JSON.stringify({ kind, plant, bytes: fs.statSync(image).size, before, after }))
