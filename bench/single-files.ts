import path from 'node:path'
import writeFileAtomic from 'write-file-atomic'
import { compare, rate } from './harness.ts'
import { makeHome, withStore } from './homes.ts'

const warmup = 200
const count = 500

/**
 * One value put over and over, against one file replaced over and over: a temporary file, its fsync, its rename. Theirs
 * syncs no directory, so a crash may still bring back an older file; nothing tells an older copy of it from the newest.
 */
export async function singleFiles(directory: string): Promise<void> {
  for (const [size, bytes] of [
    ['1 KiB', 1024],
    ['64 KiB', 65_536],
  ] as const) {
    const payload = new Uint8Array(bytes).fill(7)
    const ours = async () => {
      const home = await makeHome(directory, `file-${bytes}-${Math.random()}`)
      return withStore(home, store => measured(() => store.putAtomic('/state/file', payload)))
    }
    const theirs = () => {
      const file = path.join(directory, `file-${bytes}`)
      return measured(() => writeFileAtomic(file, Buffer.from(payload)))
    }
    const against = 'write-file-atomic, with fsync'
    await compare({ bench: 'store', name: `one file, ${size}`, against, unit: 'puts/s', ours, theirs })
  }
}

async function measured(put: () => Promise<unknown>): Promise<number> {
  const puts = async (many: number) => {
    for (let i = 0; i < many; i++) await put()
  }
  await puts(warmup)
  return rate(count, () => puts(count))
}
