import fs from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { DiskError } from '../host/disk.ts'
import { diskError, errnoOf } from './errno.ts'
import { settled } from './file.ts'

/** Absolute and without symbolic links, as far as the path exists; what does not exist yet is appended as written. */
export async function realPath(path: string): Promise<string> {
  const place = absolute(path)
  const found = await settled<string | undefined>('realpath', place, done =>
    fs.realpath.native(place, (error, real) =>
      errnoOf(error) === 'ENOENT' ? done(null, undefined) : done(error, real),
    ),
  )
  // What is not UTF-8, in the working directory or behind a link, comes as U+FFFD: it would be another path.
  if ((found ?? place).includes('\ufffd')) throw new DiskError('unfit', `realpath ${place}: not UTF-8`)
  if (found !== undefined) return found
  const parent = dirname(place)
  return parent === place ? place : join(await realPath(parent), basename(place))
}

/** The real path of the directory that a file lies in, and the file's own name: a link of that name stays one. */
export async function realName(path: string): Promise<string> {
  const place = absolute(path)
  return join(await realPath(dirname(place)), basename(place))
}

function absolute(path: string): string {
  try {
    return resolve(path)
  } catch (error) {
    throw diskError('getcwd for', path, error) // the working directory was removed
  }
}
