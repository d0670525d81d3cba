import { equal, isZero, utf8 } from '../bytes/bytes.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { sha256 } from '../crypto/hash.ts'
import { Secret } from '../crypto/secret.ts'
import type { Disk, File } from '../host/disk.ts'
import { MarkError } from '../mark/mark.ts'

/**
 * docs/spec/anchor.md, "key": the store key, and while it is being rotated the one before it. Two sectors, of which
 * the numbers of the keys take turns, so that a new key never overwrites the one that everything hangs on.
 */
const sectorBytes = 4096
const magic = utf8('PAWLKEY1')
const keyBytes = 32
const checkBytes = 8

export async function createStoreKeys(disk: Disk, path: string, first: Secret): Promise<void> {
  const file = await disk.open(path, { access: 'exclusive' })
  try {
    const sector = encodeSector(1, first)
    await file.write(sector, 0)
    await file.write(new Uint8Array(sectorBytes), sectorBytes)
    await file.sync()
    sector.fill(0)
  } finally {
    await file.close()
  }
}

type Held = { readonly number: number; readonly key: Secret }

export class StoreKeys {
  readonly #file: File | undefined
  #held: readonly Held[]
  #current: number
  #isSettled: boolean

  private constructor(file: File | undefined, held: readonly Held[], current: number, isSettled: boolean) {
    this.#file = file
    this.#held = held
    this.#current = current
    this.#isSettled = isSettled
  }

  /** @throws MarkError EINTEGRITY if no sector of it holds a whole key; DiskError */
  static async open(disk: Disk, path: string, access: 'read' | 'write'): Promise<StoreKeys> {
    const file = await disk.open(path, access === 'write' ? { access, durable: true } : { access })
    const bytes = new Uint8Array(2 * sectorBytes)
    try {
      const isWhole =
        (await file.stat()).size === bytes.length && (await file.read(bytes, 0)) === bytes.length
      const sectors = [bytes.subarray(0, sectorBytes), bytes.subarray(sectorBytes)]
      const found = isWhole ? sectors.flatMap(decodeSector) : []
      const held = found.sort((a, b) => a.number - b.number)
      const oldest = held[0]
      if (oldest === undefined) throw new MarkError('EINTEGRITY', `the store key in ${path} is damaged`)
      // A sector that holds part of a key is a crash's doing: it was being written, or being erased.
      const isSettled = sectors.some(isZero)
      if (access === 'write') return new StoreKeys(file, held, oldest.number, isSettled)
      await file.close()
      return new StoreKeys(undefined, held, oldest.number, isSettled)
    } catch (error) {
      await file.close()
      throw error
    } finally {
      bytes.fill(0)
    }
  }

  /** The number of the key that everything new is made under: after opening the oldest, since it is durable. */
  get current(): number {
    return this.#current
  }

  /** Oldest first. */
  get numbers(): readonly number[] {
    return this.#held.map(({ number }) => number)
  }

  /** There is one key and nothing left of any other. */
  get isSettled(): boolean {
    return this.#isSettled
  }

  /** Still owned here: wiped with these keys. */
  get(number: number): Secret | undefined {
    return this.#held.find(held => held.number === number)?.key
  }

  goOnWith(number: number): void {
    if (this.get(number) === undefined) throw new TypeError(`there is no store key ${number}`)
    this.#current = number
  }

  /** Writes the next key beside the current one, which stays that; durable when it returns. Answers with its number. */
  async add(key: Secret): Promise<number> {
    if (!this.#isSettled) throw new TypeError('the store key is being rotated already')
    const number = this.#current + 1
    this.#isSettled = false
    await this.#overwrite(place(number), encodeSector(number, key))
    this.#held = [...this.#held, { number, key }]
    return number
  }

  /** Overwrites in place whatever there is besides the current key. Nothing may hang on it. */
  async eraseOthers(): Promise<void> {
    await this.#overwrite(place(this.#current + 1), new Uint8Array(sectorBytes))
    for (const { number, key } of this.#held) if (number !== this.#current) key[Symbol.dispose]()
    this.#held = this.#held.filter(({ number }) => number === this.#current)
    this.#isSettled = true
  }

  async close(): Promise<void> {
    for (const { key } of this.#held) key[Symbol.dispose]()
    await this.#file?.close()
  }

  /** Synced, then read back: after this the old bytes are not in the file. */
  async #overwrite(at: number, sector: Uint8Array): Promise<void> {
    if (this.#file === undefined) throw new TypeError('the store key was opened to be read')
    const back = new Uint8Array(sectorBytes)
    await this.#file.write(sector, at * sectorBytes)
    await this.#file.read(back, at * sectorBytes)
    const isSame = equal(back, sector)
    back.fill(0)
    sector.fill(0)
    if (!isSame) throw new MarkError('EINTEGRITY', 'the store key does not read back as written')
  }
}

/** Which sector a key of that number lies in. */
function place(number: number): number {
  return (number - 1) % 2
}

function encodeSector(number: number, key: Secret): Uint8Array {
  const sector = new Writer(sectorBytes)
    .bytes(magic)
    .u32(number)
    .bytes(key.bytes)
    .bytes(check(number, key.bytes))
  return sector.zeros(sectorBytes - sector.length).done()
}

/** None in a sector that is empty, or not wholly what was written there. */
function decodeSector(sector: Uint8Array, at: number): Held[] {
  const reader = new Reader(sector)
  if (!equal(reader.bytes(magic.length), magic)) return []
  const number = reader.u32()
  const key = Uint8Array.from(reader.bytes(keyBytes))
  const isWhole =
    number >= 1 &&
    place(number) === at &&
    equal(reader.bytes(checkBytes), check(number, key)) &&
    isZero(reader.rest())
  if (isWhole) return [{ number, key: new Secret(key) }]
  key.fill(0)
  return []
}

/** Tells damage from a key that merely does not fit; reveals nothing that the file does not hold anyway. */
function check(number: number, key: Uint8Array): Uint8Array {
  const input = new Writer(64).bytes(utf8('pawl v1 store key check')).u32(number).bytes(key).done()
  const digest = sha256(input).subarray(0, checkBytes)
  input.fill(0)
  return digest
}
