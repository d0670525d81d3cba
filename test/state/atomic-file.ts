/** Run by atomic-file.test.ts on a file system of 24 MiB: what is left of an old value when the new one does not fit. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import writeFileAtomic from 'write-file-atomic'
import { freshHomeIn, withStore } from './support.ts'

const [directory = ''] = process.argv.slice(2)
const valueBytes = 200_000
const leftBytes = 64 * 1024
const value = (version: number) => Buffer.alloc(valueBytes, `version ${version}, `)

const file = `${directory}/file`
await writeFileAtomic(file, value(1))
const { home } = await freshHomeIn(directory)

let kept = 0
await withStore(home, async store => {
  const put = () => settled(store.putAtomic('/state/file', value(kept + 1)))
  assert.equal(await put(), 'done')
  kept++
  // Another program takes what is left, and then the store uses up what it had made ready ahead.
  takeAllBut(leftBytes)
  let answer = await put()
  for (; answer === 'done' && kept < 200; answer = await put()) kept++
  assert.equal(answer, 'ENOSPC')
  takeAllBut(leftBytes)
  const theirs = await settled(writeFileAtomic(file, value(2)))
  const ours = await put()
  const { payload } = await store.get('/state/file')
  assert.deepEqual(Buffer.from(payload), value(kept), 'the value that was answered for is there, whole')

  const left = fs.readFileSync(file)
  console.log(
    JSON.stringify({
      ours,
      theirs,
      theirOldIsThere: left.equals(value(1)),
      theirNewIsThere: left.equals(value(2)),
      theirBytes: left.length,
    }),
  )
})
fs.rmSync(`${directory}/other`)
await withStore(home, async store => {
  const { payload } = await store.get('/state/file')
  assert.deepEqual(Buffer.from(payload), value(kept), 'and after opening again')
  await store.putAtomic('/state/file', value(kept + 1))
})

async function settled(answer: Promise<unknown>): Promise<string> {
  try {
    await answer
    return 'done'
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  }
}

/** Leaves so much room on the disk, and fills the rest. */
function takeAllBut(bytes: number): void {
  const { bavail, bsize } = fs.statfsSync(directory)
  const other = `${directory}/other`
  const has = fs.existsSync(other) ? fs.statSync(other).size : 0
  const more = bavail * bsize - bytes
  if (more > 0) fs.appendFileSync(other, new Uint8Array(more))
  else fs.truncateSync(other, has + more)
}
