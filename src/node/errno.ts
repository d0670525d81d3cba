import { DiskError, type DiskFault } from '../host/disk.ts'

const faults: Readonly<Record<string, DiskFault>> = {
  ENOENT: 'missing',
  EEXIST: 'exists',
  ENOTEMPTY: 'exists',
  ENOSPC: 'full',
  EDQUOT: 'full',
  EFBIG: 'full',
  EACCES: 'denied',
  EPERM: 'denied',
  EROFS: 'denied',
  ENOTDIR: 'unfit',
  EISDIR: 'unfit',
  ELOOP: 'unfit',
  ENAMETOOLONG: 'unfit',
  ENXIO: 'unfit', // a socket, when it is opened
}

/** What the kernel said, as a `DiskError`: the message names the call, the path and the errno; the cause is kept. */
export function diskError(call: string, path: string, cause: unknown): DiskError {
  const errno = errnoOf(cause) ?? 'failed'
  return new DiskError(faults[errno] ?? 'failed', `${call} ${path}: ${errno}`, { cause })
}

/** `ENOENT` and so on; `undefined` for what carries no code. */
export function errnoOf(cause: unknown): string | undefined {
  if (!(cause instanceof Error) || !('code' in cause)) return undefined
  return typeof cause.code === 'string' ? cause.code : undefined
}
