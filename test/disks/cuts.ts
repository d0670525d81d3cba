import fs from 'node:fs'
import type { Random } from '../simulator/random.ts'
import { type Entry, sectorBytes } from './nbd.ts'

/** Which sectors written since the last flush a power cut leaves: each with this probability. */
export type Kept = 'all' | 'none' | number

const chunkBytes = 64 * 1024

/** What devices that share a log hold when their power is cut. */
export class PowerCuts {
  readonly #log: readonly Entry[]
  /** What is durable on each device at `#position`. */
  readonly #durable: readonly Buffer[]
  /** Writes since the device's last flush, in order. */
  readonly #open: Extract<Entry, { kind: 'write' }>[][]
  /** Chunks of each device that were ever anything but zeros. */
  readonly #used: readonly Set<number>[]
  #position = 0

  constructor(bases: readonly Buffer[], log: readonly Entry[]) {
    this.#log = log
    this.#durable = bases
    this.#open = bases.map(() => [])
    const zeros = Buffer.alloc(chunkBytes)
    this.#used = bases.map(base => {
      const used = new Set<number>()
      for (let at = 0; at < base.length; at += chunkBytes)
        if (zeros.compare(base, at, Math.min(at + chunkBytes, base.length)) !== 0) used.add(at)
      return used
    })
  }

  /** Sectors that a cut now may or may not leave. */
  get openSectors(): number {
    return this.#open.flat().reduce((sum, { bytes }) => sum + bytes.length / sectorBytes, 0)
  }

  /** To just before the entry at this place of the log is done. */
  advance(position: number): void {
    for (; this.#position < position; this.#position++) {
      const entry = this.#log[this.#position]
      if (entry === undefined) throw new RangeError('the log is shorter')
      const open = this.#open[entry.device] ?? []
      if (entry.kind === 'write') open.push(entry)
      else {
        for (const { offset, bytes } of open.splice(0)) {
          bytes.copy(this.#durable[entry.device] ?? Buffer.alloc(0), offset)
          this.#mark(entry.device, offset, bytes.length)
        }
      }
    }
  }

  /** Writes the device to a file. Of the writes to one sector a cut leaves the first few, since each has those before it. */
  write(device: number, path: string, kept: Kept, random: Random): void {
    const durable = this.#durable[device]
    if (durable === undefined) throw new RangeError('no such device')
    fs.rmSync(path, { force: true })
    const fd = fs.openSync(path, 'w')
    try {
      fs.ftruncateSync(fd, durable.length)
      for (const at of this.#used[device] ?? []) {
        const chunk = durable.subarray(at, at + chunkBytes)
        fs.writeSync(fd, chunk, 0, chunk.length, at)
      }
      const lost = new Set<number>()
      for (const { offset, bytes } of this.#open[device] ?? [])
        for (let at = 0; at < bytes.length; at += sectorBytes) {
          const sector = offset + at
          const isKept = kept === 'all' || (kept !== 'none' && !lost.has(sector) && random.chance(kept))
          if (isKept) fs.writeSync(fd, bytes, at, sectorBytes, sector)
          else lost.add(sector)
        }
    } finally {
      fs.closeSync(fd)
    }
  }

  #mark(device: number, offset: number, length: number): void {
    for (let at = offset - (offset % chunkBytes); at < offset + length; at += chunkBytes)
      this.#used[device]?.add(at)
  }
}
