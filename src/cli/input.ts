import { DiskError, type File } from '../host/disk.ts'
import { realDisk } from '../node/disk.ts'
import { realPath } from '../node/path.ts'
import { isStandardInputDirectory } from '../node/standard-input.ts'
import { StateError } from '../state/error.ts'
import { type Given, UsageError } from './command.ts'
import { notEmpty, openForeign } from './home.ts'
import { size } from './output.ts'

/**
 * The bytes of a file that was named, `-` being standard input. `hint` is for one that is over `max`, without it that is
 * E2BIG; `missing` for one that is not there.
 */
export async function inputBytes(
  given: Given,
  name: string,
  { max, hint, missing }: { readonly max: number; readonly hint?: string; readonly missing?: string },
): Promise<Uint8Array> {
  // One byte more than allowed is enough to refuse it.
  const bytes = name === '-' ? await standardInput(max) : await contents(given, name, max, missing)
  if (bytes.length <= max) return bytes
  const message = `${name === '-' ? 'standard input' : name} is over ${size(max)}`
  throw hint === undefined ? new StateError('E2BIG', message) : new UsageError(message, hint)
}

async function standardInput(max: number): Promise<Uint8Array> {
  if (isStandardInputDirectory())
    throw new UsageError('standard input is a directory', 'give it a file or a pipe')
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of process.stdin) {
    const bytes: Uint8Array = Buffer.from(chunk)
    chunks.push(bytes)
    length += bytes.length
    if (length > max) break
  }
  return Buffer.concat(chunks)
}

async function contents(
  given: Given,
  name: string,
  max: number,
  missing: string | undefined,
): Promise<Uint8Array> {
  const file = await openInput(given, name, missing)
  try {
    const bytes = new Uint8Array(max + 1)
    return bytes.subarray(0, await file.read(bytes, 0))
  } finally {
    await file.close()
  }
}

async function openInput(
  given: Given,
  name: string,
  missing = 'name one that exists, or - for standard input',
): Promise<File> {
  try {
    const path = await realPath(notEmpty('FILE', name))
    const kind = (await realDisk.stat(path))?.kind ?? 'file'
    if (kind !== 'file') throw new UsageError(`${name} is no regular file`, 'use - for standard input')
    return await openForeign(given, path)
  } catch (error) {
    if (error instanceof DiskError && error.code === 'missing')
      throw new UsageError(`no file ${name}`, missing)
    throw error
  }
}
