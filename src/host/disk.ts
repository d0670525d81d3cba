/**
 * What a disk offers, as the durability argument needs it. Two implementers: `node/` (real files) and the
 * simulator in `test/`. Nothing is durable before the call that says so has returned:
 * `write` on a file opened with `durable` (O_DSYNC), `sync` (fdatasync), `syncDirectory` (fsync of a directory).
 */
export interface Disk {
  /**
   * `exclusive` creates and fails with `exists` if the name is taken. Files are made 0600, unless they are `forAll`. Only a regular file is
   * opened, and no link followed to one; anything else is `unfit`, and nothing waits for it.
   */
  open(path: string, options: OpenOptions): Promise<File>
  /** Mode 0700. Fails with `exists`; parents must exist. */
  makeDirectory(path: string): Promise<void>
  /** Names in byte order, without `.` and `..`. */
  list(path: string): Promise<readonly string[]>
  /** Replaces `to` if it exists: a file by a file, an empty directory by a directory. */
  rename(from: string, to: string): Promise<void>
  unlink(path: string): Promise<void>
  /** Only an empty one. */
  removeDirectory(path: string): Promise<void>
  /** `undefined` if there is no such name. Does not follow a symbolic link at the end. */
  stat(path: string): Promise<Stat | undefined>
  /** Without it a new, renamed or removed name can be lost in a power cut. */
  syncDirectory(path: string): Promise<void>
  /** One holder among all processes of the machine, freed by the kernel when its process dies; else `locked`. */
  lock(path: string): Promise<Lock>
}

export type OpenOptions = {
  readonly access: 'read' | 'write' | 'exclusive'
  /** Each write is on stable storage when it returns. */
  readonly durable?: boolean
  /** `exclusive` makes it 0644: nothing in it is secret, and other users read it. */
  readonly forAll?: boolean
}

export interface File {
  /** Fills `into` from `position`; returns the bytes read, fewer only at the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>
  /** All of it or an error: a short write is an error, never a silent success. */
  write(bytes: Uint8Array, position: number): Promise<void>
  truncate(length: number): Promise<void>
  sync(): Promise<void>
  stat(): Promise<Stat>
  close(): Promise<void>
}

export interface Lock {
  release(): Promise<void>
}

export type Stat = {
  readonly kind: 'file' | 'directory' | 'other'
  readonly size: number
  /** Permission bits, 0o600 and so on. */
  readonly mode: number
  readonly device: number
  readonly inode: number
}

export type DiskFault = 'missing' | 'exists' | 'locked' | 'full' | 'denied' | 'unfit' | 'failed'

/**
 * `full` is ENOSPC, EDQUOT or EFBIG; `denied` EACCES, EPERM or EROFS; `unfit` what has that name, or the name itself, is
 * of another kind than asked for; `failed` all else.
 */
export class DiskError extends Error {
  override readonly name = 'DiskError'
  readonly code: DiskFault

  constructor(code: DiskFault, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
