import { deserialize, serialize } from 'node:v8'
import { type DiskOptions, SimulatedDisk } from './disk.ts'
import { describeImage, emptyImage, type Image, imageKey } from './image.ts'
import { type Snapshot, wholeImage } from './machine.ts'
import { type Profile, type ProfileName, profileNames, profileOf } from './profile.ts'
import { scramble } from './sector.ts'
import { type StateOptions, statesOf } from './states.ts'

export type Exploration<Acks> = StateOptions & {
  /** Where `run` starts; empty by default. */
  readonly image?: Image
  /** All by default. Each is explored on its own. */
  readonly profiles?: readonly (ProfileName | Profile)[]
  /** What nothing has been promised looks like. Plain data: it is copied at every crash point. */
  readonly acks: () => Acks
  /** The code under test. Writes into `acks`, at once, what it has been promised. */
  readonly run: (disk: SimulatedDisk, acks: Acks) => Promise<void>
  /** Crashes in `run` count once this holds: those before are another exploration's. Always, if absent. */
  readonly isArmed?: (acks: Acks) => boolean
  /** What of the acks decides what `check` demands; by default all. States that differ in nothing else are one. */
  readonly promise?: (acks: Acks) => unknown
  /** Recovers and judges: throws if a promise is broken. May promise more, which holds at deeper levels. */
  readonly check: (disk: SimulatedDisk, acks: Acks) => Promise<void>
  /** 1 (default): crashes in `run`. 2: also in `check` after each of these. And so on. */
  readonly depth?: number
  /** Also the death of the process alone, at every point, with work still pending. Default true. */
  readonly kills?: boolean
  readonly budget?: { readonly checks?: number; readonly ms?: number }
  /** For the disk of `run`. */
  readonly disk?: Omit<DiskOptions, 'profile'>
}

export type Explored = {
  /** Instants at which a crash leaves something else than before. */
  readonly points: number
  /** Crash states enumerated. */
  readonly images: number
  /** Of these, how many differ in image or promises. */
  readonly distinct: number
  readonly checks: number
  /** Every state the model allows was checked: nothing was sampled, no budget ran out. */
  readonly complete: boolean
  readonly ms: number
}

/** A crash that the code under test does not survive. `image` and `acks` replay it. */
export class CrashFound extends Error {
  override readonly name = 'CrashFound'
  readonly image: Image
  readonly acks: unknown

  constructor(message: string, image: Image, acks: unknown, cause: unknown) {
    super(message, { cause })
    this.image = image
    this.acks = acks
  }
}

/** Crashes `run` everywhere and checks what each crash leaves. Throws `CrashFound` at the first broken promise. */
export async function explore<Acks>(exploration: Exploration<Acks>): Promise<Explored> {
  const explorer = new Explorer(exploration)
  return explorer.explore()
}

/** An instant at which to crash: the machine, and what had been promised by then. */
type Point = {
  readonly snapshot: Snapshot
  readonly acks: Buffer
  readonly promise: string
  readonly trail: string
}

class Explorer<Acks> {
  readonly #exploration: Exploration<Acks>
  readonly #started = performance.now()
  /** The depth to which a state is explored already. */
  readonly #seen = new Map<number, number>()
  readonly #acks = new Map<string, number>()
  #profile: Profile = profileOf('posix')
  #salt = 0
  #points = 0
  #images = 0
  #distinct = 0
  #checks = 0
  #isComplete = true

  constructor(exploration: Exploration<Acks>) {
    this.#exploration = exploration
  }

  async explore(): Promise<Explored> {
    const { image, acks, run, disk, depth, isArmed } = this.#exploration
    for (const choice of this.#exploration.profiles ?? profileNames) {
      this.#profile = profileOf(choice)
      this.#salt++
      const booted = new SimulatedDisk(image ?? emptyImage(), { ...disk, profile: this.#profile })
      const points = await this.#record(booted, acks(), `${this.#profile.name}, run`, run, isArmed)
      for (const point of points) await this.#crash(point, depth ?? 1)
    }
    return {
      points: this.#points,
      images: this.#images,
      distinct: this.#distinct,
      checks: this.#checks,
      complete: this.#isComplete,
      ms: Math.round(performance.now() - this.#started),
    }
  }

  async #record(
    disk: SimulatedDisk,
    acks: Acks,
    trail: string,
    program: (disk: SimulatedDisk, acks: Acks) => Promise<void>,
    isArmed: (acks: Acks) => boolean = () => true,
  ): Promise<Point[]> {
    const points: Point[] = []
    const note = (snapshot: Snapshot) => {
      if (!isArmed(acks)) return
      const copied = serialize(acks)
      const promise = this.#exploration.promise
      points.push({
        snapshot,
        acks: copied,
        promise: promise === undefined ? copied.toString('latin1') : JSON.stringify(promise(acks)),
        trail: `${trail}, crash at call ${snapshot.call}`,
      })
    }
    disk.observe(note)
    await program(disk, acks)
    disk.observe(undefined)
    note(disk.snapshot())
    return points
  }

  async #crash(point: Point, depth: number): Promise<void> {
    const { bound, samples, seed, kills } = this.#exploration
    this.#points++
    const salt = this.#saltOf(point)
    const states = statesOf(point.snapshot, this.#profile, {
      ...(bound === undefined ? {} : { bound }),
      ...(samples === undefined ? {} : { samples }),
      ...(seed === undefined ? {} : { seed }),
    })
    if (!states.complete) this.#isComplete = false
    for (const state of states) {
      this.#images++
      if (!this.#isNew(state.key, salt, depth)) continue
      if (this.#isSpent()) return
      const image = state.image()
      await this.#check(image, image, point, depth)
    }
    if (kills === false || this.#isSpent()) return
    const live = wholeImage(point.snapshot)
    // Pending work matters only if another crash follows: else the kill is the state in which all landed.
    if (depth === 1 && !this.#isNew(imageKey(live), salt, depth)) return
    await this.#check(point.snapshot, live, { ...point, trail: `${point.trail} (kill)` }, depth)
  }

  async #check(from: Image | Snapshot, image: Image, point: Point, depth: number): Promise<void> {
    const { check } = this.#exploration
    this.#checks++
    const disk = new SimulatedDisk(from, { profile: this.#profile })
    const acks: Acks = deserialize(point.acks)
    const points: Point[] = []
    try {
      if (depth > 1) points.push(...(await this.#record(disk, acks, `${point.trail}, recovery`, check)))
      else await check(disk, acks)
    } catch (cause) {
      if (cause instanceof CrashFound) throw cause
      const reason = cause instanceof Error ? cause.message : String(cause)
      const message = `${point.trail}: ${reason}\n${describeImage(image)}`
      throw new CrashFound(message, image, deserialize(point.acks), cause)
    }
    for (const inner of points) await this.#crash(inner, depth - 1)
  }

  /**
   * Whether a state must be explored to this depth; notes that it will be. That it opens is known whatever the
   * profile; what a crash of its recovery leaves is known for the profile in which it was explored.
   */
  #isNew(key: number, salt: number, depth: number): boolean {
    const whatever = salted(key, salt)
    const known = this.#seen.get(whatever)
    if (known === undefined) {
      this.#distinct++
      this.#seen.set(whatever, 1)
    }
    if (depth === 1) return known === undefined
    const here = salted(key, scramble(salt + this.#salt))
    if ((this.#seen.get(here) ?? 0) >= depth) return false
    this.#seen.set(here, depth)
    return true
  }

  /** States are the same only with the same promises. */
  #saltOf({ promise }: Point): number {
    const number = this.#acks.get(promise) ?? this.#acks.size + 1
    this.#acks.set(promise, number)
    return scramble(number * 0x9e37)
  }

  #isSpent(): boolean {
    const { budget } = this.#exploration
    const isSpent =
      this.#checks >= (budget?.checks ?? Number.POSITIVE_INFINITY) ||
      performance.now() - this.#started > (budget?.ms ?? Number.POSITIVE_INFINITY)
    if (isSpent) this.#isComplete = false
    return isSpent
  }
}

function salted(key: number, salt: number): number {
  return withLanes(Math.floor(key / 0x1_0000_0000) ^ scramble(salt), (key >>> 0) ^ salt)
}

function withLanes(high: number, low: number): number {
  return (high & 0x1f_ffff) * 0x1_0000_0000 + (low >>> 0)
}
