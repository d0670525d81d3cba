import fs from 'node:fs'
import { resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { DiskError, type DiskFault, type Lock } from '../host/disk.ts'
import { diskError, errnoOf } from './errno.ts'
import { fileMode } from './file.ts'

const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = fs.constants

// Two that start at once can each keep the other out for a moment; waiting settles who is first.
const contendMs = 250

// A lock that nobody refers to any more must not be collected, since SQLite would let go of it.
const held = new Set<DatabaseSync>()

/**
 * One holder among all processes of the machine: the write lock that SQLite takes with fcntl. The kernel frees it
 * when the process dies. Nothing is ever written. No other code of the process may open the file: closing any
 * descriptor of it would free the lock (fcntl(2)).
 */
export async function lockFile(path: string): Promise<Lock> {
  const place = resolve(path)
  makeIfMissing(place)
  refuseUnwritable(place)
  const database = exclusive(place)
  held.add(database)
  return {
    async release() {
      if (held.delete(database)) database.close()
    },
  }
}

function makeIfMissing(place: string): void {
  try {
    // Safe to close: a file that is new has no lock to lose.
    const fd = fs.openSync(place, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, fileMode)
    fs.fchmodSync(fd, fileMode)
    fs.closeSync(fd)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw diskError('lock', place, error)
    const stats = fs.lstatSync(place, { throwIfNoEntry: false })
    if (!stats?.isFile()) throw new DiskError('unfit', `lock ${place}: not a regular file`)
  }
}

/** SQLite opens what it may not write to for reading, and then says that it has begun, with no lock on anything. */
function refuseUnwritable(place: string): void {
  try {
    fs.accessSync(place, fs.constants.W_OK)
  } catch (error) {
    throw diskError('lock', place, error)
  }
}

function exclusive(place: string): DatabaseSync {
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(place, { timeout: 0 })
    // On this connection only. A journal file would be left behind by a kill, and could not be made on a full disk.
    database.exec('PRAGMA journal_mode = MEMORY')
    begin(database, place)
    return database
  } catch (error) {
    database?.close()
    throw lockError(place, error)
  }
}

function begin(database: DatabaseSync, place: string): void {
  try {
    database.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    if (faultOf(error) !== 'locked' || holderOf(place) !== undefined) throw error
    database.exec(`PRAGMA busy_timeout = ${contendMs}`)
    database.exec('BEGIN EXCLUSIVE')
  }
}

// SQLite's primary result codes.
const faults: Readonly<Record<number, DiskFault>> = {
  3: 'denied',
  5: 'locked',
  8: 'denied',
  13: 'full',
  14: 'denied',
}

function lockError(place: string, cause: unknown): DiskError {
  const fault = faultOf(cause)
  if (fault !== 'locked') return new DiskError(fault, `lock ${place}: ${String(cause)}`, { cause })
  const pid = holderOf(place)
  const whom = pid === undefined ? 'another process' : `process ${pid}`
  return new DiskError('locked', `lock ${place}: held by ${whom}`, { cause })
}

function faultOf(cause: unknown): DiskFault {
  if (!(cause instanceof Error) || !('errcode' in cause) || typeof cause.errcode !== 'number') return 'failed'
  return faults[cause.errcode & 0xff] ?? 'failed'
}

// The last byte of the range that SQLite locks; whoever has it for writing is in, and not merely trying.
const lastByte = '1073742335'

// A line of /proc/locks: `1: POSIX  ADVISORY  WRITE 5304 fe:00:2163293 1073741824 1073742335`.
function holderOf(place: string): number | undefined {
  try {
    const { dev, ino } = fs.statSync(place, { bigint: true })
    const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n)
    const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n)
    const file = `${hex2(major)}:${hex2(minor)}:${ino}`
    for (const line of fs.readFileSync('/proc/locks', 'latin1').split('\n')) {
      const [, , , access, pid, where, , last] = line.split(/\s+/)
      if (access === 'WRITE' && where === file && last === lastByte && Number(pid) > 0) return Number(pid)
    }
  } catch {
    // Only a courtesy: without /proc the refusal stands, unnamed.
  }
  return undefined
}

function hex2(value: bigint): string {
  return value.toString(16).padStart(2, '0')
}
