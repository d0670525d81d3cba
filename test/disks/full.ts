/** Run by full.slow.ts: full.ts DIRECTORY FS. The scene of real-full-disk.ts on a file system that has 24 MiB left. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { imageBytes, isFileSystem, makeFileSystem, mountImage, run, unmount } from './place.ts'

const [directory = '', kind] = process.argv.slice(2)
assert.ok(isFileSystem(kind))
const [image, at] = [join(directory, 'image'), join(directory, 'volume')]
await makeFileSystem(kind, image, imageBytes[kind])
await mountImage(image, at)
const { bavail, bsize } = fs.statfsSync(at)
await run('fallocate', ['-l', String(bavail * bsize - 24 * 1024 * 1024), join(at, 'ballast')])
const script = join(import.meta.dirname, '../state/real-full-disk.ts')
process.stdout.write(await run(process.execPath, [script, at]))
await unmount(at)
