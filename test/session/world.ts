/** Two ends with real stores on simulated disks, and a network and a time that obey the test. */
import assert from 'node:assert/strict'
import { createHook } from 'node:async_hooks'
import { randomBytes } from 'node:crypto'
import { after, before } from 'node:test'
import { hex, utf8 } from '../../src/bytes/bytes.ts'
import { recordSealings } from '../../src/crypto/aead.ts'
import type { Clock } from '../../src/host/clock.ts'
import type { Entropy } from '../../src/host/entropy.ts'
import type { Endpoint } from '../../src/session/connection.ts'
import { firstIdentity, openIdentity } from '../../src/session/own-identity.ts'
import { addPeer, findPeer, type Peer } from '../../src/session/peers.ts'
import { createHome } from '../../src/state/create.ts'
import { openHome } from '../../src/state/home.ts'
import { limits } from '../../src/state/limits.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import type { FaultRule } from '../simulator/fault.ts'
import { emptyImage, type Image } from '../simulator/image.ts'
import { plantDirectory } from '../simulator/surgery.ts'

// The shipped sizes are for real disks: zeros written ahead cost the simulated one most of its time.
Object.assign(limits, { growBytes: 64 * 1024, segmentBytesMax: 8 * 1024 * 1024 })

/** Counts what the thread pool has in hand: signatures and secrets being opened. */
class InHand {
  readonly #ids = new Set<number>()

  constructor() {
    const pooled = /^(SIGN|VERIFY|CIPHER)REQUEST$/
    const options = {
      init: (id: number, type: string) => {
        if (pooled.test(type)) this.#ids.add(id)
      },
      before: (id: number) => {
        this.#ids.delete(id)
      },
      trackPromises: false,
    }
    createHook(options).enable()
  }

  get isEmpty(): boolean {
    return this.#ids.size === 0
  }
}

const inHand = new InHand()

type Timer = { readonly due: number; readonly order: number; readonly then: () => void }

/** Time that passes only when the whole process waits for it, however slow the machine. */
export class IdleClock implements Clock {
  readonly start = Date.UTC(2026, 0, 1)
  #monotonic = 0
  #order = 0
  #timers: Timer[] = []
  #isPumping = false

  now(): number {
    return this.start + this.#monotonic
  }

  monotonic(): number {
    return this.#monotonic
  }

  after(ms: number, then: () => void): () => void {
    const timer = { due: this.#monotonic + ms, order: this.#order++, then }
    this.#timers.push(timer)
    this.#timers.sort((a, b) => a.due - b.due || a.order - b.order)
    this.#pump(0)
    return () => {
      this.#timers = this.#timers.filter(other => other !== timer)
    }
  }

  #pump(idle: number): void {
    if (idle === 0 && this.#isPumping) return
    this.#isPumping = true
    setImmediate(() => {
      if (!inHand.isEmpty || idle < 2) return this.#pump(inHand.isEmpty ? idle + 1 : 1)
      this.#isPumping = false
      const [next] = this.#timers
      if (next === undefined) return
      this.#timers.shift()
      this.#monotonic = next.due
      next.then()
      if (this.#timers.length > 0) this.#pump(0)
    })
  }
}

export const entropy: Entropy = { bytes: length => new Uint8Array(randomBytes(length)) }

export const home = '/disk/home'
export const anchors = '/anchors'

/** A home of its own at rest, as a power cut after a clean close leaves it. */
export type AtRest = { readonly image: Image; readonly id: Uint8Array }

export async function restingHome(make: typeof firstIdentity = firstIdentity): Promise<AtRest> {
  const image = plantDirectory(plantDirectory(emptyImage({ sectorSize: 4096 }), '/disk'), anchors, {
    device: 2,
  })
  const disk = new SimulatedDisk(image)
  const { identity, records } = make()
  const config = { keeper: 'file', profile: 'dev' } as const
  const world = { disk, clock: new IdleClock(), entropy }
  await createHome(world, { home, anchorBase: anchors, config, slots: 8, first: records })
  return { image: disk.killState(), id: identity.id }
}

/** Introduces two homes to each other: each calls the other `peer`. */
export async function introduced(
  make: typeof firstIdentity = firstIdentity,
): Promise<readonly [AtRest, AtRest]> {
  const [a, b] = [await restingHome(make), await restingHome(make)]
  return [await knowing(a, b.id), await knowing(b, a.id)]
}

async function knowing(site: AtRest, peer: Uint8Array): Promise<AtRest> {
  const disk = new SimulatedDisk(site.image)
  const store = await openHome({ disk, clock: new IdleClock(), entropy }, home)
  await addPeer(store, site.id, 'peer', peer)
  await store.close()
  return { ...site, image: disk.killState() }
}

const endings = new Set<() => void>()

/** A home opened by a running process. */
export type Running = {
  readonly endpoint: Endpoint
  readonly peer: Peer
  readonly disk: SimulatedDisk
  readonly log: string[]
  /** The process dies here and now; what is left. */
  kill(): AtRest
  close(): Promise<AtRest>
}

export async function run(
  site: AtRest,
  clock: Clock,
  options: {
    readonly limits?: Endpoint['limits']
    readonly faults?: FaultRule
    /** Is told of the disk before anything is read of it. */
    readonly booted?: (disk: SimulatedDisk) => void
  } = {},
): Promise<Running> {
  const disk = new SimulatedDisk(site.image, options.faults === undefined ? {} : { faults: options.faults })
  options.booted?.(disk)
  let isDead = false
  endings.add(() => {
    isDead = true
  })
  const ownClock: Clock = {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    after: (ms, then) => (isDead ? () => {} : clock.after(ms, () => isDead || then())),
  }
  const store = await openHome({ disk, clock: ownClock, entropy }, home)
  const log: string[] = []
  const endpoint: Endpoint = {
    store,
    own: await openIdentity(store),
    clock: ownClock,
    entropy,
    log: { event: (name, fields) => log.push(`${name} ${JSON.stringify(fields)}`) },
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  }
  return {
    endpoint,
    peer: await findPeer(store, 'peer'),
    disk,
    log,
    kill() {
      const image = disk.killState()
      disk.kill()
      isDead = true
      return { ...site, image }
    },
    async close() {
      await store.close()
      isDead = true
      return { ...site, image: disk.killState() }
    },
  }
}

/** No (key, nonce) twice in all that this test file seals. */
export function noNonceTwice(): void {
  const seen = new Set<string>()
  const repeated: string[] = []
  before(() =>
    recordSealings(({ keyFingerprint, nonce }) => {
      const pair = hex(keyFingerprint) + hex(nonce)
      if (seen.has(pair)) repeated.push(pair)
      seen.add(pair)
    }),
  )
  after(() => {
    // Time stops for all that was started: a connection that is left open renews its keys for ever.
    for (const end of endings) end()
    recordSealings(undefined)
    assert.deepEqual(repeated, [], 'a (key, nonce) was used twice')
    assert.ok(seen.size > 0, 'the recorder saw nothing')
  })
}

export function lines(count: number, name = 'message'): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => utf8(`${name} ${i + 1}\n`))
}
