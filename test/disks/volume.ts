import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Devices } from './nbd.ts'
import { type FileSystem, makeFileSystem, mountImage, run, unmount } from './place.ts'

/** A mounted file system whose device is served by this process: `base` is a file with what the device held at first. */
export type Volume = {
  readonly base: string
  readonly at: string
  /** The same file system mounted anew, after it was unmounted or shut itself down. */
  readonly mountAgain: () => Promise<void>
  readonly stop: () => Promise<void>
}

/** Makes a file system, serves its device, and mounts it: NBD, FUSE, loop, file system. */
export async function serveVolume(
  devices: Devices,
  directory: string,
  i: number,
  kind: FileSystem,
): Promise<Volume> {
  const [base, socket, bus] = [`base${i}`, `socket${i}`, `bus${i}`].map(name => join(directory, name))
  assert.ok(base !== undefined && socket !== undefined && bus !== undefined)
  await makeFileSystem(kind, base)
  await devices.serve(base, socket)
  fs.mkdirSync(bus)
  const file = join(bus, 'device')
  const fuse = spawn('nbdfuse', [file, '--unix', socket], { stdio: ['ignore', 'ignore', 'inherit'] })
  const at = join(directory, `volume${i}`)
  for (let left = 200; !fs.existsSync(file); left--) {
    assert.ok(left > 0 && fuse.exitCode === null, 'nbdfuse serves nothing')
    await sleep(25)
  }
  await mountImage(file, at)
  return {
    base,
    at,
    async mountAgain() {
      await unmount(at)
      await mountImage(file, at)
    },
    async stop() {
      await unmount(at)
      const ended = new Promise(resolve => fuse.on('close', resolve))
      await run('umount', [bus])
      await ended
    },
  }
}
