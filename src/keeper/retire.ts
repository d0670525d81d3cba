import type { Disk } from '../host/disk.ts'
import type { Entropy } from '../host/entropy.ts'
import { anchorNames, join } from './anchor.ts'

/**
 * Destroys an anchor that nobody holds, or its holder alone: what lies under key, slots and mark is overwritten in
 * place with random bytes and synced, then all of it is unlinked. Cut short anywhere, it is simply begun again.
 */
export async function destroyAnchor(disk: Disk, entropy: Entropy, path: string): Promise<void> {
  for (const name of [anchorNames.key, anchorNames.slots, anchorNames.mark]) {
    const place = join(path, name)
    if ((await disk.stat(place))?.kind !== 'file') continue
    const file = await disk.open(place, { access: 'write' })
    try {
      const { size } = await file.stat()
      for (let at = 0; at < size; at += pieceBytes)
        await file.write(entropy.bytes(Math.min(pieceBytes, size - at)), at)
      await file.sync()
    } finally {
      await file.close()
    }
  }
  for (const name of await disk.list(path)) await disk.unlink(join(path, name))
  await disk.removeDirectory(path)
}

const pieceBytes = 1024 * 1024
