import fs from 'node:fs'
import path from 'node:path'
import { realClock } from '../src/node/clock.ts'
import { realDisk } from '../src/node/disk.ts'
import { openEntropy } from '../src/node/entropy.ts'
import { firstIdentity } from '../src/session/own-identity.ts'
import { createHome } from '../src/state/create.ts'
import { openHome, type World } from '../src/state/home.ts'
import type { Store } from '../src/state/store.ts'

export const world: World = { disk: realDisk, clock: realClock, entropy: openEntropy() }

/** A fresh home with an identity, on the disk under test. */
export async function makeHome(
  directory: string,
  name: string,
  keeper: 'file' | 'none' = 'file',
): Promise<string> {
  const home = path.join(directory, name)
  const anchorBase = path.join(directory, 'anchors')
  fs.mkdirSync(anchorBase, { recursive: true, mode: 0o700 })
  const config = { keeper, profile: 'dev' } as const
  await createHome(world, { home, anchorBase, config, first: firstIdentity().records })
  return home
}

export async function withStore<T>(home: string, work: (store: Store) => Promise<T>): Promise<T> {
  const store = await openHome(world, home)
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}
