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
type Point = { readonly snapshot: Snapshot; readonly acks: Buffer; readonly trail: string }

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
    const { image, acks, run, disk, depth } = this.#exploration
    for (const choice of this.#exploration.profiles ?? profileNames) {
      this.#profile = profileOf(choice)
      this.#salt++
      const booted = new SimulatedDisk(image ?? emptyImage(), { ...disk, profile: this.#profile })
      const points = await this.#record(booted, acks(), `${this.#profile.name}, run`, run)
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
  ): Promise<Point[]> {
    const points: Point[] = []
    const note = (snapshot: Snapshot) =>
      points.push({ snapshot, acks: serialize(acks), trail: `${trail}, crash at call ${snapshot.call}` })
    disk.observe(note)
    await program(disk, acks)
    disk.observe(undefined)
    note(disk.snapshot())
    return points
  }

  async #crash(point: Point, depth: number): Promise<void> {
    const { bound, samples, seed, kills } = this.#exploration
    this.#points++
    const salt = this.#saltOf(point, depth)
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

  /** Whether a state must be explored to this depth; notes that it will be. */
  #isNew(key: number, salt: number, depth: number): boolean {
    const salted = withLanes(Math.floor(key / 0x1_0000_0000) ^ scramble(salt), (key >>> 0) ^ salt)
    const known = this.#seen.get(salted)
    if (known === undefined) this.#distinct++
    else if (known >= depth) return false
    this.#seen.set(salted, depth)
    return true
  }

  /** States are the same only with the same promises; and the profile decides what a crash of recovery leaves. */
  #saltOf(point: Point, depth: number): number {
    const key = point.acks.toString('latin1')
    const number = this.#acks.get(key) ?? this.#acks.size + 1
    this.#acks.set(key, number)
    const isProfileSeen = depth > 1 || (this.#exploration.depth ?? 1) > 1
    return scramble(number * 0x9e37 + (isProfileSeen ? this.#salt : 0))
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

function withLanes(high: number, low: number): number {
  return (high & 0x1f_ffff) * 0x1_0000_0000 + (low >>> 0)
}
