import type { Secret } from '../crypto/secret.ts'
import type { Disk } from '../host/disk.ts'
import { type Keeper, type Mark, MarkError } from '../mark/mark.ts'
import { join } from './anchor.ts'
import { createMarkFile, FileKeeper, readMarkFile } from './mark-file.ts'

/** What names of session marks begin with. */
export const sessionMarkPrefix = 'letter-'

/** A keeper of one session's mark; who opened it closes it. */
export type SessionMark = Keeper & { close(): Promise<void> }

/**
 * The marks of what a store's records are about and that goes forward by itself: letter sessions (docs/spec/anchor.md,
 * "Session marks"). A mark file each, in the anchor, under a key that its session has. Names are file names.
 */
export class SessionMarks {
  readonly #disk: Disk
  readonly #directory: string

  /** For the holder of the anchor's lock. */
  constructor(disk: Disk, directory: string) {
    this.#disk = disk
    this.#directory = directory
  }

  /**
   * Begins at `first`. What lies there of another session is replaced; a mark of this very domain is kept, and what it
   * holds says that the session was here before.
   */
  async begin(name: string, key: Secret, first: Mark): Promise<SessionMark> {
    const path = join(this.#directory, name)
    if ((await this.#disk.stat(path)) !== undefined) {
      if (await this.#isOf(path, key, first.domain)) return this.open(name, key, first.domain)
      await this.#disk.unlink(path)
    }
    await createMarkFile(this.#disk, path, key, first)
    await this.#disk.syncDirectory(this.#directory)
    return this.open(name, key, first.domain)
  }

  /** @throws MarkError EINTEGRITY: it is missing, damaged, or of another session */
  async open(name: string, key: Secret, domain: Uint8Array): Promise<SessionMark> {
    const path = join(this.#directory, name)
    if ((await this.#disk.stat(path)) === undefined)
      throw new MarkError('EINTEGRITY', `the mark of the session is gone: ${path}`)
    return FileKeeper.open(this.#disk, path, [key.copy()], domain)
  }

  async remove(name: string): Promise<void> {
    const path = join(this.#directory, name)
    if ((await this.#disk.stat(path)) === undefined) return
    await this.#disk.unlink(path)
    await this.#disk.syncDirectory(this.#directory)
  }

  async #isOf(path: string, key: Secret, domain: Uint8Array): Promise<boolean> {
    try {
      await readMarkFile(this.#disk, path, [key], domain)
      return true
    } catch (error) {
      if (error instanceof MarkError && error.code === 'EINTEGRITY') return false
      throw error
    }
  }
}
