import { type Disk, DiskError, type File } from '../host/disk.ts'

/** Beside the segments; docs/spec/journal.md, "Reserve". */
export const reserveName = 'reserve'

/** A file of zeros whose room is handed out on a full disk to what frees space. */
export class Reserve {
  readonly #disk: Disk
  readonly #path: string
  #length: number
  #turn: Promise<void> = Promise.resolve()

  private constructor(disk: Disk, path: string, length: number) {
    this.#disk = disk
    this.#path = path
    this.#length = length
  }

  static async find(disk: Disk, directory: string): Promise<Reserve> {
    const path = `${directory}/${reserveName}`
    return new Reserve(disk, path, (await disk.stat(path))?.size ?? 0)
  }

  get length(): number {
    return this.#length
  }

  /** Makes it at least so long. @throws DiskError `full` */
  ensure(bytes: number): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#length >= bytes) return
      await this.#withFile(async file => {
        try {
          await file.write(new Uint8Array(bytes - this.#length), this.#length)
        } catch (error) {
          // A part of it would be in nobody's hand. After any other failure nothing is written any more.
          if (error instanceof DiskError && error.code === 'full') await file.truncate(this.#length)
          throw error
        }
        await file.sync()
      })
      this.#length = bytes
    })
  }

  /** Gives up to `bytes` back to the disk, but keeps `kept`; whether there was anything to give. */
  give(bytes: number, kept: number): Promise<boolean> {
    return this.#inTurn(async () => {
      const left = Math.max(this.#length - bytes, kept, 0)
      if (left >= this.#length) return false
      await this.#withFile(async file => {
        await file.truncate(left)
        await file.sync()
      })
      this.#length = left
      return true
    })
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(act)
    this.#turn = done.then(
      () => {},
      () => {},
    )
    return done
  }

  async #withFile(use: (file: File) => Promise<void>): Promise<void> {
    const file = await this.#opened()
    try {
      await use(file)
    } finally {
      await file.close()
    }
  }

  async #opened(): Promise<File> {
    try {
      return await this.#disk.open(this.#path, { access: 'write' })
    } catch (error) {
      if (!(error instanceof DiskError && error.code === 'missing')) throw error
    }
    this.#length = 0
    return this.#disk.open(this.#path, { access: 'exclusive' })
  }
}
