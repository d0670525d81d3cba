import { type Disk, DiskError, type File, type Lock } from '../../src/host/disk.ts'
import type { SimulatedDisk } from '../simulator/disk.ts'
import { pathsOf } from '../simulator/image.ts'

/** A disk with some of its calls changed. */
export function over(real: Disk, changed: Partial<Disk>): Disk {
  return {
    open: (path, options) => real.open(path, options),
    makeDirectory: path => real.makeDirectory(path),
    list: path => real.list(path),
    rename: (from, to) => real.rename(from, to),
    unlink: path => real.unlink(path),
    stat: path => real.stat(path),
    removeDirectory: path => real.removeDirectory(path),
    syncDirectory: path => real.syncDirectory(path),
    lock: (path): Promise<Lock> => real.lock(path),
    ...changed,
  }
}

export function overFile(real: File, changed: Partial<File>): File {
  return {
    read: (into, at) => real.read(into, at),
    write: (bytes, at) => real.write(bytes, at),
    truncate: length => real.truncate(length),
    sync: () => real.sync(),
    stat: () => real.stat(),
    close: () => real.close(),
    ...changed,
  }
}

/** Every file that is opened passes through `change`. */
export function overFiles(
  real: Disk,
  change: (
    file: File,
    path: string,
    options: { readonly access: string; readonly durable?: boolean },
  ) => File,
): Disk {
  return over(real, {
    open: async (path, options) => change(await real.open(path, options), path, options),
  })
}

/** What a call fails with once, it is tried for once more. */
export async function twice(act: () => Promise<void>): Promise<void> {
  try {
    await act()
  } catch (error) {
    if (!(error instanceof DiskError)) throw error
    await act()
  }
}

/** Room for so many bytes in the files below `directory`. */
export function bounded(disk: SimulatedDisk, directory: string, capacity: number): Disk {
  return overFiles(disk, (file, path) =>
    overFile(file, {
      async write(bytes, at) {
        const more = at + bytes.length - (await file.stat()).size
        let taken = 0
        for (const [name, node] of pathsOf(disk.killState()))
          if (node.kind === 'file' && name.startsWith(`${directory}/`)) taken += node.length
        if (more > 0 && taken + more > capacity) throw new DiskError('full', `write ${path}`)
        await file.write(bytes, at)
      },
    }),
  )
}

/** Holds every journal write back until a mark has been written over it. */
export function markFirst(real: Disk): Disk {
  let held: (() => Promise<void>) | undefined
  const release = async () => {
    await held?.()
    held = undefined
  }
  return overFiles(real, (file, path, options) => {
    if (path.endsWith('.seg') && options.durable === true)
      return overFile(file, {
        write: async (bytes, at) => {
          held = () => file.write(bytes, at)
        },
        truncate: async length => {
          await release()
          await file.truncate(length)
        },
      })
    if (!path.endsWith('/mark') || options.access !== 'write') return file
    return overFile(file, {
      write: async (bytes, at) => {
        await file.write(bytes, at)
        await release()
      },
    })
  })
}
