import { strict as assert } from 'node:assert'
import fs from 'node:fs'
import { DiskError, type File, type OpenOptions, type Stat } from '../host/disk.ts'
import { diskError } from './errno.ts'

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_DSYNC, O_NOFOLLOW, O_NOCTTY, O_NONBLOCK } = fs.constants

// O_NONBLOCK means nothing to a regular file; without it, opening a FIFO would hold a pool thread for ever.
const always = O_NOFOLLOW | O_NOCTTY | O_NONBLOCK

export const fileMode = 0o600
const fileModeForAll = 0o644

/** Durable writes that take longer than this, on average of late, go to the thread pool. */
const blockingMsMax = 0.4
/** And larger ones always: what a segment grows by. */
const blockingBytesMax = 256 * 1024
/** So many in one turn of the event loop, then the others have theirs: timers and sockets are not held up. */
const blockingStreakMax = 8

let streak = 0
let turn: Promise<void> | undefined

/** Returns when a durable write may block: at once, or in the next turn of the event loop. */
function mayBlock(): Promise<void> | undefined {
  if (streak++ === 0)
    turn = new Promise(resolve =>
      setImmediate(() => {
        streak = 0
        resolve()
      }),
    )
  return streak > blockingStreakMax ? turn : undefined
}

export async function openFile(path: string, options: OpenOptions): Promise<File> {
  const fd = await opened(path, flagsFor(options))
  try {
    if (options.access === 'exclusive')
      await modeSet(fd, path, options.forAll === true ? fileModeForAll : fileMode) // a umask may have taken the owner's own bits
    else await refuseIrregular(fd, path)
  } catch (error) {
    fs.closeSync(fd)
    throw error
  }
  return new RealFile(fd, path, options.durable === true)
}

/** Refers to a file without opening it (open(2)); the same number on every architecture of Linux that Node has. */
const O_PATH = 0o10000000

/**
 * Opens, to read, a file that somebody else named. `refuse` judges the file itself, which is opened afterwards whatever
 * its name means by then. Until then it is only referred to: closing what was never opened frees no lock.
 */
export async function openNamed(path: string, refuse: (stat: Stat) => Promise<void>): Promise<File> {
  const isLinux = process.platform === 'linux'
  const seen = await opened(path, isLinux ? O_PATH | O_NOFOLLOW : always | O_RDONLY)
  try {
    const stat = statOf(await settled<fs.Stats>('fstat', path, done => fs.fstat(seen, done)))
    if (stat.kind !== 'file') throw new DiskError('unfit', `open ${path}: not a regular file`)
    await refuse(stat)
    const again = isLinux ? `/proc/self/fd/${seen}` : path
    const fd = await settled<number>('open', path, done => fs.open(again, O_RDONLY | O_NOCTTY, done))
    return new RealFile(fd, path, false)
  } finally {
    fs.closeSync(seen)
  }
}

function flagsFor({ access, durable }: OpenOptions): number {
  const barrier = durable ? O_DSYNC : 0
  switch (access) {
    case 'read':
      return always | O_RDONLY
    case 'write':
      return always | barrier | O_RDWR
    case 'exclusive':
      return always | barrier | O_RDWR | O_CREAT | O_EXCL
  }
}

/**
 * An open descriptor. The bytes passed to `read` and `write` are on loan until the promise settles. `close` waits
 * for what is under way, because the kernel gives the number of a closed descriptor to the next file opened.
 */
class RealFile implements File {
  readonly #fd: number
  readonly #path: string
  readonly #durable: boolean
  /** How long durable writes took of late. */
  #recentMs = 0
  #underWay = 0
  #closing: Promise<void> | undefined
  #idle: (() => void) | undefined

  constructor(fd: number, path: string, durable: boolean) {
    this.#fd = fd
    this.#path = path
    this.#durable = durable
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#begin(position)
      const fill = (offset: number): void => {
        const wanted = into.length - offset
        fs.read(this.#fd, into, offset, wanted, position + offset, (error, count) => {
          if (error === null && count > 0 && count < wanted) return fill(offset + count)
          this.#end()
          if (error) reject(diskError('read', this.#path, error))
          else resolve(offset + count)
        })
      }
      fill(0)
    })
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    if (!this.#durable) return this.#writeInPool(bytes, position)
    // A quick disk answers sooner than the thread pool hands over: measured, a third of a put's time. A slow one is
    // given to the pool, so that nothing else waits for it.
    const isQuick = this.#recentMs < blockingMsMax && bytes.length <= blockingBytesMax
    const took = await (isQuick ? this.#writeHere(bytes, position) : this.#timedInPool(bytes, position))
    this.#recentMs += (took - this.#recentMs) / 4
  }

  async #timedInPool(bytes: Uint8Array, position: number): Promise<number> {
    const start = performance.now()
    await this.#writeInPool(bytes, position)
    return performance.now() - start
  }

  /** Answers with how long it blocked, in milliseconds. */
  async #writeHere(bytes: Uint8Array, position: number): Promise<number> {
    this.#begin(position)
    try {
      await mayBlock()
      const start = performance.now()
      for (let offset = 0; offset < bytes.length; ) {
        const count = fs.writeSync(this.#fd, bytes, offset, bytes.length - offset, position + offset)
        if (count === 0) throw new DiskError('failed', `write ${this.#path}: no progress`)
        offset += count
      }
      return performance.now() - start
    } catch (error) {
      throw error instanceof DiskError ? error : diskError('write', this.#path, error)
    } finally {
      this.#end()
    }
  }

  #writeInPool(bytes: Uint8Array, position: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#begin(position)
      const put = (offset: number): void => {
        const left = bytes.length - offset
        fs.write(this.#fd, bytes, offset, left, position + offset, (error, count) => {
          // A short count hides the error that cut it short: the call for the rest brings it out.
          if (error === null && count > 0 && count < left) return put(offset + count)
          this.#end()
          if (error) reject(diskError('write', this.#path, error))
          else if (count < left) reject(new DiskError('failed', `write ${this.#path}: no progress`))
          else resolve()
        })
      }
      put(0)
    })
  }

  truncate(length: number): Promise<void> {
    return this.#call('truncate', done => fs.ftruncate(this.#fd, length, done))
  }

  sync(): Promise<void> {
    return this.#call('fdatasync', done => fs.fdatasync(this.#fd, done))
  }

  async stat(): Promise<Stat> {
    return statOf(await this.#call<fs.Stats>('fstat', done => fs.fstat(this.#fd, done)))
  }

  /** Safe to call twice. */
  close(): Promise<void> {
    this.#closing ??= this.#closed()
    return this.#closing
  }

  async #closed(): Promise<void> {
    if (this.#underWay > 0) await new Promise<void>(resolve => (this.#idle = resolve))
    await settled<void>('close', this.#path, done => fs.close(this.#fd, done))
  }

  async #call<T = void>(call: string, start: Start<T>): Promise<T> {
    this.#begin(0)
    try {
      return await settled(call, this.#path, start)
    } finally {
      this.#end()
    }
  }

  #begin(position: number): void {
    assert(this.#closing === undefined, `${this.#path} is closed`)
    assert(Number.isSafeInteger(position) && position >= 0, 'a position is a whole number of bytes')
    this.#underWay++
  }

  #end(): void {
    this.#underWay--
    if (this.#underWay === 0) this.#idle?.()
  }
}

export function statOf(stats: fs.Stats): Stat {
  const kind = stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'other'
  return { kind, size: stats.size, mode: stats.mode & 0o777, device: stats.dev, inode: stats.ino }
}

export type Start<T> = (done: (error: Error | null, value: T) => void) => void

/** The callback form of `node:fs` as a promise: its FileHandle form costs more a call. */
export function settled<T>(call: string, path: string, start: Start<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => (error ? reject(diskError(call, path, error)) : resolve(value)))
  })
}

function opened(path: string, flags: number): Promise<number> {
  return settled('open', path, done => fs.open(path, flags, fileMode, done))
}

async function refuseIrregular(fd: number, path: string): Promise<void> {
  const stats = await settled<fs.Stats>('fstat', path, done => fs.fstat(fd, done))
  if (!stats.isFile()) throw new DiskError('unfit', `open ${path}: not a regular file`)
}

function modeSet(fd: number, path: string, mode: number): Promise<void> {
  return settled('chmod', path, done => fs.fchmod(fd, mode, done))
}
