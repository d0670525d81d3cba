import type { Entropy } from '../../src/host/entropy.ts'
import { Random } from './random.ts'

/** The same seed, the same bytes: two boots from it are a cloned memory. Never for real keys. */
export class SeededEntropy implements Entropy {
  readonly #random: Random

  constructor(seed: number) {
    this.#random = new Random(seed)
  }

  bytes(length: number): Uint8Array {
    return this.#random.bytes(length)
  }
}

/**
 * Boots of one world: each `boot()` draws from a stream of its own, as a healthy machine does, and the world as a
 * whole is a function of the seed.
 */
export class EntropyOfBoots {
  readonly #seeds: Random

  constructor(seed: number) {
    this.#seeds = new Random(seed)
  }

  boot(): Entropy {
    return new SeededEntropy(this.#seeds.word() + this.#seeds.below(0x10_0000) * 0x1_0000_0000)
  }
}
