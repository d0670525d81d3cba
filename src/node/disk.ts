import fs from 'node:fs'
import { text } from '../bytes/bytes.ts'
import { type Disk, DiskError, type Stat } from '../host/disk.ts'
import { diskError, errnoOf } from './errno.ts'
import { openFile, settled, statOf } from './file.ts'
import { lockFile } from './lock.ts'

const { O_RDONLY, O_DIRECTORY } = fs.constants

const directoryMode = 0o700

/** Real files. */
export const realDisk: Disk = {
  open: openFile,
  makeDirectory,
  list,
  rename,
  unlink,
  removeDirectory,
  stat,
  syncDirectory,
  lock: lockFile,
}

async function makeDirectory(path: string): Promise<void> {
  await settled<void>('mkdir', path, done => fs.mkdir(path, directoryMode, done))
  await settled<void>('chmod', path, done => fs.chmod(path, directoryMode, done)) // the umask again
}

async function list(path: string): Promise<readonly string[]> {
  const names = await settled<Buffer[]>('readdir', path, done =>
    fs.readdir(path, { encoding: 'buffer' }, done),
  )
  return names.sort(Buffer.compare).map(name => nameIn(path, name))
}

// A name that is not UTF-8 could be listed but never opened: better to say so than to hand out another one.
function nameIn(path: string, name: Uint8Array): string {
  try {
    return text(name)
  } catch (error) {
    throw new DiskError('unfit', `readdir ${path}: a name that is not UTF-8`, { cause: error })
  }
}

function rename(from: string, to: string): Promise<void> {
  return settled(`rename ${from} to`, to, done => fs.rename(from, to, done))
}

function unlink(path: string): Promise<void> {
  return settled('unlink', path, done => fs.unlink(path, done))
}

function removeDirectory(path: string): Promise<void> {
  return settled('rmdir', path, done => fs.rmdir(path, done))
}

function stat(path: string): Promise<Stat | undefined> {
  return new Promise((resolve, reject) => {
    fs.lstat(path, (error, stats) => {
      if (error === null) resolve(statOf(stats))
      else if (errnoOf(error) === 'ENOENT') resolve(undefined)
      else reject(diskError('stat', path, error))
    })
  })
}

async function syncDirectory(path: string): Promise<void> {
  const fd = await settled<number>('open', path, done => fs.open(path, O_RDONLY | O_DIRECTORY, done))
  try {
    await settled<void>('fsync', path, done => fs.fsync(fd, done))
  } finally {
    await settled<void>('close', path, done => fs.close(fd, done))
  }
}
