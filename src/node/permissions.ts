import fs from 'node:fs'
import { join } from 'node:path'
import { errnoOf } from './errno.ts'
import { settled } from './file.ts'

export type Exposure = {
  readonly path: string
  /** What is wrong, in words. */
  readonly problem: string
  /** The command that mends it, or what to do where that takes a person. */
  readonly remedy: string
}

/**
 * Whether others can get at a home or an anchor (S2): it must be a directory of the caller's own, 0700, and so all
 * below it, with files 0600; narrower is as good. The first offender by path, or `undefined`. Sockets are guarded by
 * the directory they lie in. The path itself may be a symbolic link; below it none may be.
 */
export async function findExposure(directory: string): Promise<Exposure | undefined> {
  const stats = await settled<fs.Stats>('stat', directory, done => fs.stat(directory, done))
  if (!stats.isDirectory())
    return { path: directory, problem: 'not a directory', remedy: `ls -ld ${quoted(directory)}` }
  return judge(directory, stats) ?? (await findBelow(directory))
}

async function findBelow(directory: string): Promise<Exposure | undefined> {
  const names = await settled<string[]>('readdir', directory, done => fs.readdir(directory, done))
  for (const name of names.sort()) {
    const path = join(directory, name)
    const stats = await statIfThere(path)
    if (stats === undefined) continue // gone since it was listed
    const exposure = judge(path, stats) ?? (stats.isDirectory() ? await findBelow(path) : undefined)
    if (exposure !== undefined) return exposure
  }
  return undefined
}

function statIfThere(path: string): Promise<fs.Stats | undefined> {
  return settled<fs.Stats | undefined>('stat', path, done =>
    fs.lstat(path, (error, stats) =>
      errnoOf(error) === 'ENOENT' ? done(null, undefined) : done(error, stats),
    ),
  )
}

function judge(path: string, stats: fs.Stats): Exposure | undefined {
  const { uid } = stats
  const caller = process.geteuid?.()
  if (caller !== undefined && uid !== caller)
    return {
      path,
      problem: `belongs to user ${uid}, not ${caller}`,
      remedy: `chown ${caller} ${quoted(path)}`,
    }
  if (stats.isSocket()) return undefined
  // It may be the only way to what it leads to, so nobody is told to remove it.
  if (stats.isSymbolicLink())
    return { path, problem: 'is a symbolic link', remedy: `put the file itself there: ${quoted(path)}` }
  if ((stats.mode & 0o077) === 0) return undefined
  const mode = (stats.mode & 0o777).toString(8).padStart(4, '0')
  const wanted = stats.isDirectory() ? '700' : '600'
  return { path, problem: `mode ${mode} lets others in`, remedy: `chmod ${wanted} ${quoted(path)}` }
}

/** For a shell, whatever it has in it. */
export function quoted(path: string): string {
  return /^[\w./@%+=:,-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`
}

/** The user this process runs as. */
export function ownUid(): number {
  return process.getuid?.() ?? 0
}
