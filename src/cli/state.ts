import { text } from '../bytes/bytes.ts'
import { DiskError } from '../host/disk.ts'
import { realDisk } from '../node/disk.ts'
import { limits } from '../state/limits.ts'
import { checkStatePath, statePrefix } from '../state/path.ts'
import { type Run, UsageError } from './command.ts'
import { changeHome } from './control.ts'
import { notEmpty, openHomeToRead, outputPath } from './home.ts'
import { inputBytes } from './input.ts'
import { answer, answerBytes, answerJson, size } from './output.ts'

export const put: Run = async given => {
  const path = checkStatePath(given.word(0))
  const payload = await inputBytes(given, given.word(1), { max: limits.payloadBytesMax })
  const generation = await changeHome(given, home => home.putAtomic(path, payload))
  if (given.json) await answerJson({ path, bytes: payload.length, generation })
  else await answer(`${path}: ${size(payload.length)}, generation ${generation}`)
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

async function writeNew(path: string, bytes: Uint8Array): Promise<void> {
  try {
    const file = await realDisk.open(path, { access: 'exclusive' })
    try {
      await file.write(bytes, 0)
      await file.sync()
    } catch (error) {
      await realDisk.unlink(path).catch(() => {}) // what went wrong first counts
      throw error
    } finally {
      await file.close()
    }
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
