import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { settled } from './file.ts'

/** A directory for the time being, for its owner alone. It goes with the process, unless that is killed. */
export type Scratch = {
  readonly path: string
  /** Safe to call twice. */
  remove(): Promise<void>
  /** It stays. */
  keep(): void
}

const removal = { recursive: true, force: true, maxRetries: 5 } as const

export async function makeScratch(name: string): Promise<Scratch> {
  const prefix = join(fs.realpathSync.native(tmpdir()), `${name}-`)
  const path = await settled<string>('mkdtemp', prefix, done => fs.mkdtemp(prefix, done))
  const removeNow = (): void => fs.rmSync(path, removal)
  process.on('exit', removeNow)
  return {
    path,
    async remove() {
      await removeTree(path)
      process.off('exit', removeNow)
    },
    keep: () => void process.off('exit', removeNow),
  }
}

/** What is below `from`, modes included, as the new directory `to`. A socket is no part of a copy. */
export function copyTree(from: string, to: string): Promise<void> {
  const filter = (path: string): boolean => !fs.lstatSync(path).isSocket()
  const options = { recursive: true, errorOnExist: true, force: false, filter }
  return settled<void>(`copy ${from} to`, to, done =>
    fs.cp(from, to, options, error => done(error, undefined)),
  )
}

export function removeTree(path: string): Promise<void> {
  return settled<void>('remove', path, done => fs.rm(path, removal, error => done(error, undefined)))
}

export function readWhole(path: string): Promise<Uint8Array> {
  return settled<Uint8Array>('read', path, done => fs.readFile(path, done))
}

/** Replaces what was there. */
export function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  return settled<void>('write', path, done => fs.writeFile(path, bytes, error => done(error, undefined)))
}

/** Every file below a directory, by its path. */
export async function filesBelow(path: string): Promise<string[]> {
  const entries = await settled<fs.Dirent[]>('readdir', path, done =>
    fs.readdir(path, { recursive: true, withFileTypes: true }, done),
  )
  return entries
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
    .sort()
}
