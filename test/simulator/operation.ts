import type { Profile } from './profile.ts'
import type { Sector } from './sector.ts'

/** A micro-operation: what a call changes, in the smallest pieces that can be lost apart from each other. */
export type Operation = EntryOperation | LengthOperation | SectorOperation

export type EntryOperation = Common & {
  readonly kind: 'addEntry' | 'delEntry' | 'swapEntry'
  readonly from?: Name
  readonly to?: Name
  /** The inode that `to` named before. */
  readonly replaces?: number
  /** A rename between directories is durable once both are synced; this one has been. */
  readonly synced?: number
}

export type LengthOperation = Common & {
  readonly kind: 'setLen'
  readonly length: number
  /** It made the file shorter when issued: bytes written before and above are gone. */
  readonly cuts: boolean
}

/** The sector's whole new image, earlier writes to it included. */
export type SectorOperation = Common & {
  readonly kind: 'setSector'
  readonly index: number
  readonly sector: Sector
}

export type Name = { readonly directory: number; readonly name: string }

type Common = {
  readonly order: number
  readonly call: number
  readonly inode: number
  readonly device: number
}

export function isEntry(operation: Operation): operation is EntryOperation {
  return operation.kind !== 'setSector' && operation.kind !== 'setLen'
}

export function namesOf(operation: EntryOperation): string[] {
  const keys = []
  if (operation.from !== undefined) keys.push(keyOfName(operation.from))
  if (operation.to !== undefined) keys.push(keyOfName(operation.to))
  return keys
}

/** The smallest lawful set that holds every covered operation: each pulls in the earlier ones it rests on. */
export function closeUp(
  pending: readonly Operation[],
  profile: Profile,
  covered: (operation: Operation) => boolean,
): boolean[] {
  const taken = new Array<boolean>(pending.length).fill(false)
  const names = new Set<string>()
  const devices = new Set<number>()
  const sectors = new Set<number>()
  const flushed = new Set<number>()
  for (let i = pending.length - 1; i >= 0; i--) {
    const operation = pending[i]
    if (operation === undefined) continue
    const pulled =
      operation.kind === 'setSector'
        ? sectors.has(sectorKey(operation.inode, operation.index)) || flushed.has(operation.inode) // C2, C4
        : profile.metadata === 'journal'
          ? devices.has(operation.device) // C3
          : isEntry(operation)
            ? namesOf(operation).some(key => names.has(key)) // C3
            : flushed.has(operation.inode)
    if (!pulled && !covered(operation)) continue
    taken[i] = true
    if (operation.kind === 'setSector') sectors.add(sectorKey(operation.inode, operation.index))
    else devices.add(operation.device)
    if (!isEntry(operation)) continue
    for (const key of namesOf(operation)) names.add(key)
    if (flushes(operation, profile)) flushed.add(operation.inode)
  }
  return taken
}

/** The largest lawful set within what is wanted: an operation goes if one it rests on is missing. */
export function clipDown(
  pending: readonly Operation[],
  profile: Profile,
  wanted: (operation: Operation, i: number) => boolean,
): boolean[] {
  const names = new Set<string>()
  const devices = new Set<number>()
  const sectors = new Set<number>()
  const incomplete = new Set<number>()
  return pending.map((operation, i) => {
    const blocked =
      operation.kind === 'setSector'
        ? sectors.has(sectorKey(operation.inode, operation.index)) // C2
        : (profile.metadata === 'journal' && devices.has(operation.device)) || // C3
          (isEntry(operation) &&
            (namesOf(operation).some(key => names.has(key)) || // C3
              (flushes(operation, profile) && incomplete.has(operation.inode)))) // C4
    if (!blocked && wanted(operation, i)) return true
    if (operation.kind === 'setSector') sectors.add(sectorKey(operation.inode, operation.index))
    else devices.add(operation.device)
    if (isEntry(operation)) for (const key of namesOf(operation)) names.add(key)
    else incomplete.add(operation.inode)
    return false
  })
}

/** (C4) the rename replaced a file, and waits for the data of the one it renames. */
export function flushes(operation: EntryOperation, profile: Profile): boolean {
  return profile.renameFlushes && operation.kind === 'swapEntry' && operation.replaces !== undefined
}

function keyOfName(name: Name): string {
  return `${name.directory}/${name.name}`
}

export function sectorKey(inode: number, index: number): number {
  return inode * 0x1_0000_0000 + index
}
