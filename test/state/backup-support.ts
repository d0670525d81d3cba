import fs from 'node:fs'
import { join } from 'node:path'
import { newRecoverySecret, type RecoveryKey, recoveryKeyOf } from '../../src/state/backup/recovery-key.ts'
import { type Restored, type RestoreOptions, restoreHome } from '../../src/state/backup/restore.ts'
import { backupHome } from '../../src/state/backup/take.ts'
import type { World } from '../../src/state/home.ts'
import { type Place, world } from './support.ts'

export function newRecoveryKey(): RecoveryKey {
  using secret = newRecoverySecret(world)
  return recoveryKeyOf(secret)
}

/** One for all tests that do not look at it. */
export const recovery = newRecoveryKey()

export function publicHalf({ pair, id }: RecoveryKey) {
  return { publicKey: pair.publicKey, id }
}

/** A backup of the home as it stands, at `root/NAME`. */
export async function backedUp({ root, home }: Place, name = 'backup', in_: World = world): Promise<string> {
  const file = join(root, name)
  await backupHome(in_, { home, file, to: publicHalf(recovery) })
  return file
}

type Given = Pick<RestoreOptions, 'file'> & Partial<RestoreOptions>

/** Restores to where the home was, its anchor's base the same; whoever asks is told yes. */
export function restoredTo(place: Place, given: Given, in_: World = world): Promise<Restored | undefined> {
  return restoreHome(in_, {
    key: recovery,
    home: place.home,
    anchorBase: place.base,
    by: 'the test',
    confirm: async () => true,
    ...given,
  })
}

/** The home moved aside, as an operator would before a restore. */
export function movedAside({ home }: Place, name = 'old'): string {
  const to = `${home}.${name}`
  fs.renameSync(home, to)
  return to
}
