import { mock } from 'node:test'
import type { Disk } from '../../src/host/disk.ts'
import { Slots } from '../../src/keeper/slots.ts'
import { AuditTrail } from '../../src/state/audit-trail.ts'
import { type Batch, Committer } from '../../src/state/committer.ts'
import { Journal } from '../../src/state/journal.ts'
import { limits } from '../../src/state/limits.ts'
import { journalPath } from '../../src/state/path.ts'
import { Records } from '../../src/state/records.ts'
import { Reserve } from '../../src/state/reserve.ts'
import { ScopeChanges } from '../../src/state/scope-changes.ts'
import { Scopes } from '../../src/state/scopes.ts'
import { markFirst, over, overFile, overFiles, twice } from './disks.ts'
import { exploreTwice, historyOf, home, otherSteps, type Plant, restingHome } from './explore.ts'
import { exploreDamage, exploreShown } from './explore-damage.ts'
import type { Edit } from './explore-job.ts'
import {
  type Found,
  foundIn,
  inCrashes,
  inFaults,
  inRot,
  inTwoProcesses,
  onFullDisk,
  posix,
} from './finders.ts'
import { put } from './oracle.ts'

/**
 * Mistakes that a store could make. Each must be found, or the exploration proves nothing; and what finds it must find
 * nothing in the store as it is.
 */
export type Bug = {
  readonly name: string
  /** What does not hold any more. */
  readonly broken: string
  /** Changes of the source, for what neither the disk nor a replaced method can imitate. */
  readonly edits?: readonly Edit[]
  readonly find: (isPlanted: boolean) => Promise<Found | undefined>
}

const never = async () => {}

const withoutDirectorySync: Plant = disk => over(disk, { syncDirectory: never })

function unlessPlanted(isPlanted: boolean, plant: Plant): Plant {
  return isPlanted ? plant : disk => disk
}

const [beside, fill] = otherSteps

export const bugs: readonly Bug[] = [
  {
    name: 'no directory sync',
    broken: 'the name of a new segment is not synced',
    find: isPlanted => inCrashes([fill, fill], unlessPlanted(isPlanted, withoutDirectorySync)),
  },
  {
    name: 'no data sync',
    broken: 'neither writes nor syncs wait for the disk',
    find: isPlanted =>
      inCrashes(
        historyOf(['put a']),
        unlessPlanted(isPlanted, disk =>
          over(disk, {
            open: async (path, { access }) => overFile(await disk.open(path, { access }), { sync: never }),
          }),
        ),
      ),
  },
  {
    name: 'name before content',
    broken: 'a new segment gets its name before it is synced',
    find: isPlanted =>
      inCrashes(
        historyOf(['compact']),
        unlessPlanted(isPlanted, disk =>
          overFiles(disk, (file, path) => (path.endsWith('.new') ? overFile(file, { sync: never }) : file)),
        ),
      ),
  },
  {
    name: 'mark before state',
    broken: 'the mark is advanced before the group is written',
    find: isPlanted => inCrashes(historyOf(['put a']), unlessPlanted(isPlanted, markFirst)),
  },
  {
    name: 'index before mark',
    broken: 'readers see a change before the mark is advanced over it',
    edits: [
      {
        file: 'src/state/committer.ts',
        from: 'await this.#parts.keeper.advance(this.#mark, next)',
        to: 'this.#parts.records.apply(generation, group.placed, at); await this.#parts.keeper.advance(this.#mark, next)',
      },
    ],
    find: async () => {
      const history = historyOf(['put b'])
      const image = await restingHome(posix)
      return foundIn(history, () => exploreShown(history, image))
    },
  },
  {
    name: 'early answer',
    broken: 'the answer is given before the write has returned',
    find: isPlanted =>
      inCrashes(
        historyOf(['put a']),
        unlessPlanted(isPlanted, disk =>
          overFiles(disk, (file, path, { durable }) =>
            durable === true && path.endsWith('.seg')
              ? overFile(file, { write: async (bytes, at) => void file.write(bytes, at) })
              : file,
          ),
        ),
      ),
  },
  {
    name: 'doubtful groups trusted',
    broken: 'groups that no returned sync vouches for are not written again at open',
    find: isPlanted => {
      const resume = Journal.resume
      if (isPlanted)
        mock.method(
          Journal,
          'resume',
          (...[disk, path, keys, replayed, , reads]: Parameters<typeof resume>) => {
            const end = { ...replayed.end, clean: true }
            return resume.call(Journal, disk, path, keys, { ...replayed, end }, [], reads)
          },
        )
      return inCrashes(historyOf(['put a']), undefined, { depth: 2 })
    },
  },
  {
    name: 'cached mark trusted',
    broken: 'a mark read from the page cache is not made durable at open',
    find: isPlanted =>
      inCrashes(
        historyOf(['put a']),
        unlessPlanted(isPlanted, disk =>
          overFiles(disk, (file, path, { access }) => {
            let writes = 0
            const write = async (bytes: Uint8Array, at: number) =>
              writes++ === 0 ? undefined : file.write(bytes, at)
            return path.endsWith('/mark') && access === 'write'
              ? overFile(file, { write, sync: never })
              : file
          }),
        ),
        { depth: 2 },
      ),
  },
  {
    name: 'one mark slot',
    broken: 'the mark is written over the slot that holds the newest one',
    edits: [
      {
        file: 'src/keeper/mark-file.ts',
        from: 'const slot = this.#slot === 0 ? 1 : 0',
        to: 'const slot = this.#slot',
      },
    ],
    find: () => inCrashes(historyOf(['put a']), undefined, { profiles: ['no-psow'] }),
  },
  {
    name: 'groups not padded',
    broken: 'a group shares a sector with the one before it',
    find: isPlanted => {
      if (isPlanted) Object.assign(limits, { sectorBytes: 512 })
      return inCrashes(historyOf(['put a']), undefined, { profiles: ['no-psow'] })
    },
  },
  {
    name: 'watermark not written',
    broken: 'groups do not name what was confirmed when they were built',
    edits: [{ file: 'src/state/committer.ts', from: 'confirmed: this.#mark.number,', to: 'confirmed: 0,' }],
    find: () => inCrashes(historyOf(['put a']), undefined, { keeper: 'none' }),
  },
  {
    name: 'tail dropped below the watermark',
    broken: 'what does not parse at the end is dropped, though a later group confirms it',
    edits: [{ file: 'src/state/replay.ts', from: 'if (missing > known) return\n', to: 'return\n' }],
    find: inRot,
  },
  {
    name: 'mark not compared',
    broken: 'a journal that ends below the mark is taken as it is',
    edits: [
      { file: 'src/state/replay.ts', from: 'if (missing > known) return\n', to: 'return\n' },
      {
        file: 'src/mark/mark.ts',
        from: 'if (size < mark.number || rootAtMark === undefined) return',
        to: "if (rootAtMark === undefined) return 'go on'; if (size < 0) return",
      },
    ],
    find: async () => {
      const history = historyOf(['put a'])
      const image = await restingHome(posix)
      const wanted = (name: string) => name.startsWith(`${home} as it was`)
      return foundIn(history, () => exploreDamage(history, image, { wanted }))
    },
  },
  {
    name: 'fsync retried',
    broken: 'a sync that failed is tried once more and then believed',
    find: isPlanted =>
      inFaults(historyOf(['compact']), {
        plant: unlessPlanted(isPlanted, disk =>
          overFiles(disk, file => overFile(file, { sync: () => twice(() => file.sync()) })),
        ),
        wanted: ({ name }, { operation }) => operation === 'sync' && name === 'EIO, dropped',
      }),
  },
  {
    name: 'on after a failed write',
    broken: 'a store whose write failed goes on',
    edits: [{ file: 'src/state/committer.ts', from: 'this.#poison ??= error', to: 'void error' }],
    find: () => inFaults(historyOf(['put a']), { wanted: (_, { operation }) => operation === 'write' }),
  },
  {
    name: 'short write believed',
    broken: 'a write that ended at a full disk counts as written',
    find: isPlanted =>
      inFaults(historyOf(['put a']), {
        plant: unlessPlanted(isPlanted, disk =>
          overFiles(disk, file =>
            overFile(file, { write: (bytes, at) => file.write(bytes, at).catch(() => {}) }),
          ),
        ),
        wanted: ({ name }) => name === 'ENOSPC, half written',
      }),
  },
  {
    name: 'slot not read back',
    broken: 'a destroyed slot is not read again after it was overwritten',
    edits: [
      {
        file: 'src/keeper/slots.ts',
        from: 'if (!fresh.every((byte, i) => written.bytes[i] === byte))',
        to: 'if (fresh.length === 0)',
      },
    ],
    find: () =>
      inFaults(historyOf(['shred']), {
        wanted: (_, { path, operation }) => operation === 'write' && path.endsWith('/slots'),
      }),
  },
  {
    name: 'slots not checked at open',
    broken: 'a slot that is not the one the journal names is taken for it',
    find: async isPlanted => {
      if (isPlanted) mock.method(Scopes.prototype, 'misfits', async () => [])
      const history = historyOf(['shred'])
      const image = await restingHome(posix)
      const wanted = (name: string) => name.includes('/slots, sector')
      return foundIn(history, () => exploreDamage(history, image, { wanted }))
    },
  },
  {
    name: 'slot before intent',
    broken: 'a slot is overwritten before its destruction is committed',
    find: isPlanted =>
      inCrashes(historyOf(['shred']), undefined, {}, () => {
        if (isPlanted) overwriteFirst()
      }),
  },
  {
    name: 'slot not overwritten',
    broken: 'a shred is acknowledged, and the slot is as it was',
    find: isPlanted =>
      inCrashes(historyOf(['shred']), undefined, {}, () => {
        if (isPlanted) mock.method(Slots.prototype, 'overwrite', never)
      }),
  },
  {
    name: 'lock not held',
    broken: 'a second process may open the home',
    find: isPlanted =>
      inTwoProcesses(
        unlessPlanted(isPlanted, disk => over(disk, { lock: async () => ({ release: never }) })),
      ),
  },
  {
    name: 'reserve not kept',
    broken: 'puts may take the room that deletes and compaction need',
    find: isPlanted => {
      const fits = Journal.prototype.fits
      if (isPlanted) {
        mock.method(Reserve.prototype, 'ensure', never)
        mock.method(Journal.prototype, 'fits', function (this: Journal, bytes: number) {
          return fits.call(this, bytes, 'some')
        })
      }
      return onFullDisk()
    },
  },
  {
    name: 'change without audit',
    broken: 'a change is committed and its entry is not',
    find: isPlanted => {
      return inCrashes(historyOf(['put a']), undefined, {}, () => {
        if (isPlanted) mock.method(AuditTrail.prototype, 'chunk', () => undefined)
      })
    },
  },
  {
    name: 'live left behind',
    broken: 'a segment is given up with records that are live in it',
    find: isPlanted => {
      return inCrashes(historyOf(['compact']), undefined, {}, () => {
        if (!isPlanted) return
        mock.method(Records.prototype, 'isLive', () => false)
        mock.method(Records.prototype, 'liveIn', () => 0)
      })
    },
  },
  {
    name: 'older carried over newer',
    broken: 'a record that was overwritten meanwhile is carried all the same',
    find: async isPlanted => {
      const submit = Committer.prototype.submit
      if (isPlanted)
        mock.method(Committer.prototype, 'submit', function (this: Committer, batch: Batch) {
          const { isWanted, ...rest } = batch
          return submit.call(this, isWanted === undefined ? batch : rest)
        })
      // The put has to come while the record is being opened: somewhere among the first few.
      for (let before = 0; before < 8; before++) {
        const others = Array.from({ length: before }, (_, i) => [put('/state/b', `${i}`)])
        const step = { ...beside, beside: [...others, [put('/state/a', 'new')]] }
        const found = await inCrashes([step], undefined)
        if (found !== undefined) return found
      }
      return undefined
    },
  },
  {
    name: 'beginning not told',
    broken: 'a segment is given up before the journal says where it begins',
    find: isPlanted => {
      const submit = Committer.prototype.submit
      if (isPlanted)
        mock.method(Committer.prototype, 'submit', function (this: Committer, batch: Batch) {
          const operations = batch.operations.filter(({ path }) => path !== journalPath)
          return submit.call(this, { ...batch, operations })
        })
      return inCrashes(historyOf(['compact']), undefined)
    },
  },
  {
    name: 'unlink without sync',
    broken: 'the next segment is unlinked before the last one is durably gone',
    find: isPlanted =>
      inCrashes(
        historyOf(['put a', 'put a', 'put a', 'put a', 'compact']),
        unlessPlanted(isPlanted, unsyncedUnlinks),
      ),
  },
  {
    name: 'superseded left behind',
    broken: 'a segment is begun behind an empty one, and the one it supersedes is left there at open',
    edits: [
      {
        file: 'src/state/journal.ts',
        from: 'if (!this.#leaving && this.#newest.length === segmentHeaderBytes) return\n',
        to: '\n',
      },
      { file: 'src/state/journal.ts', from: 'if (read === undefined) gone.push(old.number)', to: '' },
    ],
    find: async () => {
      const history = historyOf(['compact'])
      const image = await restingHome(posix)
      return foundIn(history, () => exploreTwice(history, image, posix))
    },
  },
]

function overwriteFirst(): void {
  const { find } = Scopes.prototype
  const { shred } = ScopeChanges.prototype
  let scopes: Scopes | undefined
  mock.method(Scopes.prototype, 'find', function (this: Scopes, name: string) {
    scopes = this
    return find.call(this, name)
  })
  mock.method(ScopeChanges.prototype, 'shred', async function (this: ScopeChanges, name: string) {
    const scope = scopes?.find(name)
    if (scope !== undefined) await scopes?.overwriteSlot(scope.slot, new Uint8Array(32))
    return shred.call(this, name)
  })
}

function unsyncedUnlinks(real: Disk): Disk {
  let unlinked = false
  return over(real, {
    unlink: async path => {
      unlinked = path.endsWith('.seg')
      await real.unlink(path)
    },
    syncDirectory: async path => {
      if (!unlinked) await real.syncDirectory(path)
      unlinked = false
    },
  })
}

/** Plants one bug, unless only its finder is to be tried, and looks for it. In a thread of its own: it stays planted. */
export async function findBug(name: string, isPlanted: boolean): Promise<Found | undefined> {
  const bug = bugs.find(each => each.name === name)
  if (bug === undefined) throw new RangeError(`no bug ${name}`)
  return bug.find(isPlanted)
}
