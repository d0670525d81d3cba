import { strict as assert } from 'node:assert'
import fs from 'node:fs'
import { DiskError } from '../host/disk.ts'
import type { Entropy } from '../host/entropy.ts'
import { diskError } from './errno.ts'

const requestBytesMax = 65_536 // of getRandomValues

/**
 * Two sources XORed, so that either suffices: the generator inside the process, and the kernel's, which a clone of
 * the process's memory does not share. Throws `DiskError` if the kernel's cannot be read; there is no fallback.
 */
export function openEntropy(device = '/dev/urandom'): Entropy {
  const fd = openDevice(device)
  return {
    bytes(length) {
      assert(Number.isSafeInteger(length) && length >= 0, 'a length is a whole number of bytes')
      const bytes = fromKernel(fd, device, length)
      const mask = fromProcess(length)
      for (let i = 0; i < length; i++) bytes[i] = (bytes[i] ?? 0) ^ (mask[i] ?? 0)
      mask.fill(0)
      return bytes
    },
  }
}

function openDevice(device: string): number {
  let fd: number
  try {
    fd = fs.openSync(device, fs.constants.O_RDONLY)
  } catch (error) {
    throw diskError('open', device, error)
  }
  // A plain file in its place, as in a careless chroot, would give the same bytes every time.
  if (fs.fstatSync(fd).isCharacterDevice()) return fd
  fs.closeSync(fd)
  throw new DiskError('failed', `open ${device}: not a character device`)
}

function fromKernel(fd: number, device: string, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let offset = 0
  while (offset < length) {
    const count = readSome(fd, device, bytes, offset)
    if (count === 0) throw new DiskError('failed', `read ${device}: ended`)
    offset += count
  }
  return bytes
}

function readSome(fd: number, device: string, bytes: Uint8Array, offset: number): number {
  try {
    return fs.readSync(fd, bytes, offset, bytes.length - offset, null)
  } catch (error) {
    throw diskError('read', device, error)
  }
}

function fromProcess(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let offset = 0; offset < length; offset += requestBytesMax)
    globalThis.crypto.getRandomValues(bytes.subarray(offset, offset + requestBytesMax))
  return bytes
}
