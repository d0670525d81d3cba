import assert from 'node:assert/strict'
import test from 'node:test'
import type { File } from '../../src/host/disk.ts'
import { SimulatedDisk } from './disk.ts'
import { bytesAt, emptyImage, type Image, pathsOf } from './image.ts'
import { type Profile, profiles } from './profile.ts'
import { Random } from './random.ts'

/**
 * The model once more, as plainly as it can be said: a list of everything ever done, marks on what a barrier has
 * forced, and all subsets tried against the rules. The disk folds, shares, counts and skips; this does not. Random
 * short histories must leave the same set of images in both.
 */
type Done =
  | { kind: 'entry'; file: string; from?: string; to?: string; replaces: boolean; forced: boolean }
  | { kind: 'length'; file: string; length: number; cuts: boolean; forced: boolean }
  | { kind: 'sector'; file: string; index: number; bytes: Uint8Array; forced: boolean }

const size = 8
type Contents = Map<number, Uint8Array>

class Reference {
  readonly done: Done[] = []
  readonly names = new Map<string, string>()
  readonly lengths = new Map<string, number>()
  readonly #sectors = new Map<string, Contents>()
  readonly #profile: Profile

  constructor(profile: Profile) {
    this.#profile = profile
  }

  create(name: string, file: string): void {
    this.done.push({ kind: 'entry', file, to: name, replaces: false, forced: false })
    this.names.set(name, file)
    this.lengths.set(file, 0)
    this.#sectors.set(file, new Map())
  }

  rename(from: string, to: string): void {
    const file = this.names.get(from) ?? ''
    this.done.push({ kind: 'entry', file, from, to, replaces: this.names.has(to), forced: false })
    this.names.delete(from)
    this.names.set(to, file)
  }

  unlink(name: string): void {
    this.done.push({
      kind: 'entry',
      file: this.names.get(name) ?? '',
      from: name,
      replaces: false,
      forced: false,
    })
    this.names.delete(name)
  }

  truncate(file: string, length: number): void {
    const cuts = length < (this.lengths.get(file) ?? 0)
    this.done.push({ kind: 'length', file, length, cuts, forced: false })
    this.lengths.set(file, length)
    if (cuts) cutAt(this.#contents(file), length)
  }

  write(file: string, bytes: Uint8Array, position: number, durable: boolean): void {
    const end = position + bytes.length
    if (end > (this.lengths.get(file) ?? 0)) this.truncate(file, end)
    for (let index = Math.floor(position / size); index * size < end; index++) {
      const image = new Uint8Array(this.#contents(file).get(index) ?? new Uint8Array(size))
      for (let i = 0; i < size; i++) {
        const at = index * size + i - position
        if (at >= 0 && at < bytes.length) image[i] = bytes[at] ?? 0
      }
      this.#contents(file).set(index, image)
      this.done.push({ kind: 'sector', file, index, bytes: image, forced: false })
    }
    if (!durable) return
    this.#force(
      op =>
        op.kind === 'sector' && op.file === file && op.index * size < end && (op.index + 1) * size > position,
    )
    // The length too, up to the first from which no state without a later one cuts the range off.
    const lengths = this.done.filter(op => op.kind === 'length').filter(op => op.file === file)
    const last = lengths.findLastIndex(op => !op.forced && op.length < end)
    const known = lengths.findLast(op => op.forced)?.length ?? 0
    const needed = last >= 0 ? last + 1 : known < end ? lengths.findIndex(op => !op.forced) : -1
    if (needed >= 0) this.#force(op => lengths.slice(0, needed + 1).includes(op as (typeof lengths)[number]))
  }

  sync(file: string): void {
    const names = this.#profile.renameFlushes
    this.#force(op => op.file === file && (op.kind !== 'entry' || (names && op.from === undefined)))
  }

  syncDirectory(): void {
    this.#force(op => op.kind === 'entry')
  }

  /** All lawful images, each as one line. */
  images(): Set<string> {
    const free = this.done.filter(op => !op.forced)
    const images = new Set<string>()
    for (let bits = 0; bits < 2 ** free.length; bits++) {
      const chosen = new Set(free.filter((_, i) => (bits >> i) & 1))
      const taken = this.done.map(op => op.forced || chosen.has(op))
      if (this.#isLawful(taken)) images.add(this.#after(taken))
    }
    return images
  }

  /** The least lawful set with what is forced, by going round until nothing changes. */
  #force(covered: (op: Done) => boolean): void {
    for (const op of this.done) op.forced ||= covered(op)
    for (let again = true; again; ) {
      again = false
      this.done.forEach((op, i) => {
        if (op.forced || !this.done.some((later, j) => j > i && later.forced && this.#restsOn(later, op)))
          return
        op.forced = true
        again = true
      })
    }
  }

  #isLawful(taken: readonly boolean[]): boolean {
    return this.done.every(
      (op, i) =>
        taken[i] !== true || this.done.every((before, j) => j >= i || taken[j] || !this.#restsOn(op, before)),
    )
  }

  #restsOn(later: Done, op: Done): boolean {
    if (later.kind === 'sector')
      return op.kind === 'sector' && op.file === later.file && op.index === later.index
    if (later.kind === 'entry' && later.replaces && this.#profile.renameFlushes)
      if (op.kind !== 'entry' && op.file === later.file) return true
    if (op.kind === 'sector') return false
    if (this.#profile.metadata === 'journal') return true
    if (later.kind !== 'entry' || op.kind !== 'entry') return false
    return [op.from, op.to].some(name => name !== undefined && (name === later.from || name === later.to))
  }

  #after(taken: readonly boolean[]): string {
    const names = new Map<string, string>()
    const lengths = new Map<string, number>()
    const sectors = new Map<string, Contents>()
    this.done.forEach((op, i) => {
      if (!taken[i]) return
      if (op.kind === 'entry') {
        if (op.from !== undefined) names.delete(op.from)
        if (op.to !== undefined) names.set(op.to, op.file)
        return
      }
      const contents = sectors.get(op.file) ?? new Map<number, Uint8Array>()
      sectors.set(op.file, contents)
      if (op.kind === 'sector') contents.set(op.index, op.bytes)
      else lengths.set(op.file, op.length)
      if (op.kind === 'length' && op.cuts) cutAt(contents, op.length)
    })
    const lines = [...names].map(([name, file]) => {
      const bytes = new Uint8Array(lengths.get(file) ?? 0)
      for (const [index, sector] of sectors.get(file) ?? [])
        if (index * size < bytes.length)
          bytes.set(sector.subarray(0, bytes.length - index * size), index * size)
      return `${name}=${Buffer.from(bytes).toString('hex')}`
    })
    return lines.sort().join(' ')
  }

  #contents(file: string): Contents {
    return this.#sectors.get(file) ?? new Map()
  }
}

function cutAt(contents: Contents, length: number): void {
  for (const [index, sector] of contents) {
    if (index * size >= length) contents.delete(index)
    else if ((index + 1) * size > length)
      contents.set(index, new Uint8Array(sector).fill(0, length - index * size))
  }
}

function lineOf(image: Image): string {
  const lines = [...pathsOf(image)].filter(([, node]) => node.kind === 'file')
  return lines
    .map(([path]) => `${path}=${Buffer.from(bytesAt(image, path) ?? []).toString('hex')}`)
    .sort()
    .join(' ')
}

async function compareHistory(seed: number, profile: Profile): Promise<number> {
  const random = new Random(seed)
  const disk = new SimulatedDisk(emptyImage({ sectorSize: size }), { profile })
  const reference = new Reference(profile)
  const handles = new Map<string, { plain: File; durable: File }>()
  const told: string[] = []
  for (let step = 0; step < 9 && reference.done.filter(op => !op.forced).length < 9; step++) {
    const names = ['/a', '/b']
    const name = names[random.below(2)] ?? '/a'
    const other = name === '/a' ? '/b' : '/a'
    const file = reference.names.get(name)
    if (file === undefined) {
      const plain = await disk.open(name, { access: 'exclusive' })
      const durable = await disk.open(name, { access: 'write', durable: true })
      handles.set(`#${step}`, { plain, durable })
      reference.create(name, `#${step}`)
      told.push(`create ${name}`)
      continue
    }
    const handle = handles.get(file)
    if (handle === undefined) throw new Error('lost a handle')
    const action = random.below(10)
    told.push(`${action} ${name}`)
    if (action < 5) {
      const bytes = random.bytes(1 + random.below(12))
      const position = random.below(12)
      const isDurable = action === 0
      await (isDurable ? handle.durable : handle.plain).write(bytes, position)
      reference.write(file, bytes, position, isDurable)
    } else if (action === 5) {
      const length = random.below(20)
      await handle.plain.truncate(length)
      if (length !== reference.lengths.get(file)) reference.truncate(file, length)
    } else if (action === 6) {
      await handle.plain.sync()
      reference.sync(file)
    } else if (action === 7) {
      await disk.syncDirectory('/')
      reference.syncDirectory()
    } else if (action === 8) {
      await disk.rename(name, other)
      reference.rename(name, other)
    } else {
      await disk.unlink(name)
      reference.unlink(name)
    }
  }
  const ours = [...disk.crashStates({ bound: 1_000_000 })].map(lineOf)
  assert.equal(new Set(ours).size, ours.length, `seed ${seed}: an image twice`)
  const story = `${profile.name}, seed ${seed}: ${told.join(', ')}`
  assert.deepEqual([...new Set(ours)].sort(), [...reference.images()].sort(), story)
  return ours.length
}

for (const profile of [profiles.posix, profiles.journaled, profiles.ext4])
  test(`random histories leave exactly the images that the rules allow: ${profile.name}`, async () => {
    let images = 0
    for (let seed = 1; seed <= 1000; seed++) images += await compareHistory(seed, profile)
    assert.ok(images > 1000, `${images} images compared`)
  })
