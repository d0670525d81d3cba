import { text } from '../bytes/bytes.ts'
import { DiskError, type File } from '../host/disk.ts'
import { realDisk } from '../node/disk.ts'
import { realPath } from '../node/path.ts'
import { isStandardInputDirectory } from '../node/standard-input.ts'
import { limits } from '../state/limits.ts'
import { checkStatePath, statePrefix } from '../state/path.ts'
import { type Given, type Run, UsageError } from './command.ts'
import { notEmpty, openHomeToRead, openOwnHome, outputPath, refuseOwnFiles } from './home.ts'
import { answer, answerBytes, answerJson, size } from './output.ts'

export const put: Run = async given => {
  const path = checkStatePath(given.word(0))
  const payload = await payloadOf(given, given.word(1))
  const store = await openOwnHome(given)
  try {
    const generation = await store.putAtomic(path, payload)
    if (given.json) await answerJson({ path, bytes: payload.length, generation })
    else await answer(`${path}: ${size(payload.length)}, generation ${generation}`)
  } finally {
    await store.close()
  }
  return 'done'
}

export const get: Run = async given => {
  const path = checkStatePath(given.word(0))
  const out = notEmpty('--out', given.text('--out'))
  const home = await openHomeToRead(given)
  const { payload, envelope, generation } = await home.get(path).finally(() => home.close())
  if (out !== undefined) await writeNew(await outputPath(given, out), payload)
  if (given.json) {
    const { at, subject, purpose } = envelope
    const time = new Date(at).toISOString()
    const bytes = payload.length
    const written = out === undefined ? { payload: Buffer.from(payload).toString('base64') } : { out }
    await answerJson({ path, bytes, generation, at: time, subject, purpose, ...written })
  } else if (out !== undefined) await answer(`${out}: ${size(payload.length)}`)
  else {
    if (process.stdout.isTTY && !isText(payload))
      throw new UsageError(
        `${path} holds bytes that are no text`,
        'send them to a file with --out FILE, or to a pipe',
      )
    await answerBytes(payload)
  }
  return 'done'
}

export const list: Run = async given => {
  const prefix = given.words[0] ?? statePrefix
  if (!prefix.startsWith(statePrefix))
    throw new UsageError(
      `paths begin with ${statePrefix}: ${prefix}`,
      `for example pawl state list ${statePrefix}`,
    )
  const home = await openHomeToRead(given)
  const paths = home.list(prefix)
  await home.close()
  if (given.json) await answerJson({ paths })
  else for (const path of paths) await answer(path)
  return 'done'
}

async function payloadOf(given: Given, name: string): Promise<Uint8Array> {
  const bytes = name === '-' ? await standardInput() : await contents(given, name)
  if (bytes.length > limits.payloadBytesMax)
    throw new UsageError(
      `${name} is over ${size(limits.payloadBytesMax)}`,
      'a record is at most that; put it in parts',
    )
  return bytes
}

/** One byte more than allowed is enough to refuse it. */
async function standardInput(): Promise<Uint8Array> {
  if (isStandardInputDirectory())
    throw new UsageError('standard input is a directory', 'give it a file or a pipe')
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of process.stdin) {
    const bytes: Uint8Array = Buffer.from(chunk)
    chunks.push(bytes)
    length += bytes.length
    if (length > limits.payloadBytesMax) break
  }
  return Buffer.concat(chunks)
}

async function contents(given: Given, name: string): Promise<Uint8Array> {
  const file = await openInput(given, name)
  try {
    const bytes = new Uint8Array(limits.payloadBytesMax + 1)
    return bytes.subarray(0, await file.read(bytes, 0))
  } finally {
    await file.close()
  }
}

async function openInput(given: Given, name: string): Promise<File> {
  try {
    const path = await realPath(notEmpty('FILE', name))
    await refuseOwnFiles(given, path)
    const kind = (await realDisk.stat(path))?.kind ?? 'file'
    if (kind !== 'file') throw new UsageError(`${name} is no regular file`, 'use - for standard input')
    return await realDisk.open(path, { access: 'read' })
  } catch (error) {
    if (error instanceof DiskError && error.code === 'missing')
      throw new UsageError(`no file ${name}`, 'name one that exists, or - for standard input')
    throw error
  }
}

async function writeNew(path: string, bytes: Uint8Array): Promise<void> {
  try {
    const file = await realDisk.open(path, { access: 'exclusive' })
    await file.write(bytes, 0)
    await file.sync()
    await file.close()
  } catch (error) {
    if (error instanceof DiskError && error.code === 'exists')
      throw new UsageError(`${path} exists already`, 'name a new file')
    throw error
  }
}

function isText(bytes: Uint8Array): boolean {
  try {
    // Control characters other than tab and line ends would act on the terminal.
    return !/[^\P{Cc}\t\n\r]/u.test(text(bytes))
  } catch {
    return false
  }
}
