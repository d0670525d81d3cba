import fs from 'node:fs'

/** Node reads a directory there as if nothing had been given. */
export function isStandardInputDirectory(): boolean {
  try {
    return fs.fstatSync(0).isDirectory()
  } catch {
    return false
  }
}
