import fs from 'node:fs'
import module from 'node:module'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'

/**
 * Keeps compiled code between runs, which takes most of the time to start. Not in the place that Node takes by itself:
 * that lies under /tmp, and whoever makes it first could put code there. Without a directory of our own it does without.
 */
export function cacheCode(): void {
  const directory = ownDirectory()
  if (directory !== undefined) module.enableCompileCache(directory)
}

function ownDirectory(): string | undefined {
  const { XDG_CACHE_HOME } = process.env
  try {
    const base = XDG_CACHE_HOME && isAbsolute(XDG_CACHE_HOME) ? XDG_CACHE_HOME : join(homedir(), '.cache')
    const directory = join(base, 'pawl')
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 })
    const { uid, mode } = fs.lstatSync(directory)
    const own = uid === process.geteuid?.() && (mode & 0o022) === 0
    return own && fs.statSync(base).uid === uid ? directory : undefined
  } catch {
    return undefined
  }
}
