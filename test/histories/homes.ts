/** Two homes that know each other, made once, and what can befall the processes that run them. */
import { encodeCbor } from '../../src/bytes/cbor.ts'
import { chainPath, type firstIdentity, keysPath } from '../../src/session/own-identity.ts'
import { newIdentity } from '../../src/signature/identity.ts'
import type { AtRest } from '../session/world.ts'
import type { SimulatedDisk } from '../simulator/disk.ts'
import type { Fault } from '../simulator/fault.ts'
import type { Image } from '../simulator/image.ts'
import { Random } from '../simulator/random.ts'

export type EndName = 'A' | 'B'

export function otherEnd(end: EndName): EndName {
  return end === 'A' ? 'B' : 'A'
}

/** Ed25519 alone: what a history is about does not depend on signatures, and it costs a third. */
export function cheapIdentity(): ReturnType<typeof firstIdentity> {
  const { identity, keys } = newIdentity('classical')
  const chain = encodeCbor({ format: 1, records: identity.records })
  const records = [
    { path: chainPath, payload: chain, purpose: 'identity' },
    { path: keysPath, payload: keys.encode().bytes, purpose: 'identity' },
  ]
  return { identity, records }
}

/** At which call into its disk a process dies, and whether the power goes with it (any way that this seed says). */
export type Death = { readonly calls: number; readonly power?: number | undefined }

/** One process, from before its first call into its disk to its death. */
export class Life {
  readonly died: Promise<'died'>
  readonly #site: AtRest
  readonly #resolve: (died: 'died') => void
  readonly #mourners: (() => void)[] = []
  byPowerCut = false
  #disk: SimulatedDisk | undefined
  #left: AtRest | undefined
  #callsLeft = Number.POSITIVE_INFINITY
  #then = () => {}

  constructor(site: AtRest, death?: Death) {
    this.#site = site
    const { promise, resolve } = Promise.withResolvers<'died'>()
    this.died = promise
    this.#resolve = resolve
    if (death !== undefined) this.doom(death)
  }

  readonly booted = (disk: SimulatedDisk): void => {
    this.#disk = disk
  }

  readonly faults = (): Fault | undefined => {
    if (--this.#callsLeft === 0) this.#then()
    return this.#left === undefined ? undefined : { waits: new Promise<never>(() => {}) }
  }

  get isOver(): boolean {
    return this.#left !== undefined
  }

  /** What its disk holds now. */
  get image(): Image {
    return this.#disk?.killState() ?? this.#site.image
  }

  doom({ calls, power }: Death): void {
    this.atCall(calls, () => this.end(power))
  }

  atCall(calls: number, then: () => void): void {
    this.#callsLeft = calls
    this.#then = then
  }

  /** What it was fated to has not come, and will not. */
  spare(): void {
    this.#callsLeft = Number.POSITIVE_INFINITY
  }

  atEnd(then: () => void): void {
    this.#mourners.push(then)
  }

  /** It dies here and now, if it has not; what is left. */
  end(power?: number): AtRest {
    if (this.#left !== undefined) return this.#left
    const disk = this.#disk
    const image = disk === undefined || power === undefined ? this.image : powerCut(disk, power)
    this.#left = { ...this.#site, image }
    this.byPowerCut = power !== undefined
    disk?.kill()
    for (const mourner of this.#mourners) mourner()
    this.#resolve('died')
    return this.#left
  }
}

/** What the power going now leaves, one of the ways. */
function powerCut(disk: SimulatedDisk, seed: number): Image {
  const random = new Random(seed)
  let image = disk.killState()
  let left = random.below(8)
  for (const state of disk.crashStates({ bound: 32, samples: 8, seed })) {
    image = state
    if (left-- === 0) break
  }
  return image
}
