import fs from 'node:fs'
import path from 'node:path'
import { createHome } from '../src/state/create.ts'
import { takeOver } from '../src/state/takeover.ts'
import { beginShared, makeWhole } from '../src/state/terms.ts'
import { MemoryServer, memoryKeeper } from '../test/keeper/memory.ts'
import { compare } from './harness.ts'
import { world } from './homes.ts'

const outBytes = 64 * 1024 * 1024
const records = 8000

/** Taking over a home whose owner has ended, its keeper in memory, against a copy of the same files, synced. */
export async function takeovers(directory: string): Promise<void> {
  const server = new MemoryServer()
  const openKeeper = async (
    _: string,
    { domain, signer, claim }: Parameters<NonNullable<typeof world.openKeeper>>[1],
  ) => memoryKeeper(server, domain, signer, { claim })
  const own = { ...world, openKeeper }
  const shared = path.join(directory, 'shared')
  fs.mkdirSync(shared, { mode: 0o700 })
  const first = await beginShared(world.disk, shared)
  const config = { keeper: 'etcd', place: 'http://127.0.0.1:1', profile: 'dev' } as const
  await createHome(own, { home: first.home, anchorBase: first.anchorBase, config, first: [] })
  await makeWhole(world.disk, first)
  let owned = await takeOver(own, shared, { node: 'a' })
  const payload = new Uint8Array(1024)
  for (let i = 0; i < records; i += 100)
    await Promise.all(
      Array.from({ length: 100 }, (_, j) => owned.store.putAtomic(`/state/${i + j}`, payload)),
    )
  fs.writeFileSync(path.join(owned.term.out, 'lines'), new Uint8Array(outBytes))
  const megabytes = () => {
    const files = fs.readdirSync(owned.term.path, { recursive: true, withFileTypes: true })
    const sizes = files
      .filter(file => file.isFile())
      .map(file => fs.statSync(path.join(file.parentPath, file.name)).size)
    return sizes.reduce((sum, size) => sum + size, 0) / 1_000_000
  }
  await compare({
    ...{ bench: 'keepers', name: 'takeover, home and 64 MiB received', unit: 'MB/s' },
    against: 'a copy of the same files, synced',
    ours: async () => {
      await owned.store.close()
      const size = megabytes()
      const begun = performance.now()
      owned = await takeOver(own, shared, { node: 'b' })
      return (size * 1000) / (performance.now() - begun)
    },
    theirs: async round => {
      const size = megabytes()
      const to = path.join(directory, `copy-${round}`)
      const begun = performance.now()
      fs.cpSync(owned.term.path, to, { recursive: true })
      for (const file of fs.readdirSync(to, { recursive: true, withFileTypes: true }))
        if (file.isFile()) {
          const fd = fs.openSync(path.join(file.parentPath, file.name), 'r+')
          fs.fdatasyncSync(fd)
          fs.closeSync(fd)
        }
      const figure = (size * 1000) / (performance.now() - begun)
      fs.rmSync(to, { recursive: true })
      return figure
    },
  })
  await owned.store.close()
}
