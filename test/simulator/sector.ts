/**
 * A sector: the unit a device writes whole. Never changed once made, so images share it. Its digest is two
 * 32-bit lanes, computed once; digests of files and images are sums of these, so a change costs one subtraction
 * and one addition. All-zero sectors count nothing: a hole and written zeros read alike.
 */
export type Sector = {
  readonly bytes: Uint8Array
  readonly low: number
  readonly high: number
  readonly zero: boolean
}

/** Takes ownership of `bytes`, whose length is a multiple of four. */
export function makeSector(bytes: Uint8Array): Sector {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)
  let low = 0x2545f491
  let high = 0x3c6ef372
  let any = 0
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? 0
    any |= word
    low = Math.imul(((low << 5) | (low >>> 27)) ^ word, 0x9e3779b1)
    high = Math.imul(((high << 7) | (high >>> 25)) + word, 0x85ebca77)
  }
  if (any === 0) return zeroSector(bytes.length)
  return { bytes, low: scramble(low), high: scramble(high), zero: false }
}

const zeroSectors = new Map<number, Sector>()

export function zeroSector(size: number): Sector {
  const known = zeroSectors.get(size)
  if (known !== undefined) return known
  const made: Sector = { bytes: new Uint8Array(size), low: 0, high: 0, zero: true }
  zeroSectors.set(size, made)
  return made
}

/** The sector with everything from `length` on made zero. */
export function trimSector(sector: Sector, length: number): Sector {
  if (sector.zero || length >= sector.bytes.length) return sector
  const bytes = new Uint8Array(sector.bytes)
  bytes.fill(0, length)
  return makeSector(bytes)
}

export function sameSector(a: Sector, b: Sector): boolean {
  return a === b || (a.low === b.low && a.high === b.high && a.zero === b.zero)
}

/** What the sector adds to the low lane of its file's digest. */
export function lowAt(sector: Sector | undefined, index: number): number {
  if (sector === undefined || sector.zero) return 0
  return scramble(sector.low + Math.imul(index + 1, 0x27d4eb2f))
}

export function highAt(sector: Sector | undefined, index: number): number {
  if (sector === undefined || sector.zero) return 0
  return scramble(sector.high ^ Math.imul(index + 1, 0x165667b1))
}

/** Spreads every bit over all 32 (the finalizer of MurmurHash3). */
export function scramble(word: number): number {
  let x = word ^ (word >>> 16)
  x = Math.imul(x, 0x85ebca6b)
  x ^= x >>> 13
  x = Math.imul(x, 0xc2b2ae35)
  return x ^ (x >>> 16)
}
