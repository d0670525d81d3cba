/** Two who take turns at one shared home, on one simulated disk, each of whom can be stopped at any change it makes. */
import assert from 'node:assert/strict'
import { asCount, asText, decodeCborMap } from '../../src/bytes/cbor.ts'
import type { Clock } from '../../src/host/clock.ts'
import type { Disk } from '../../src/host/disk.ts'
import type { Register, RemoteKeeper } from '../../src/keeper/remote.ts'
import type { Claim } from '../../src/keeper/signed-mark.ts'
import { createHome } from '../../src/state/create.ts'
import { StateError } from '../../src/state/error.ts'
import type { World } from '../../src/state/home.ts'
import type { Store } from '../../src/state/store.ts'
import { takeOver } from '../../src/state/takeover.ts'
import { beginShared, makeWhole, type Term } from '../../src/state/terms.ts'
import { MemoryServer, memoryKeeper } from '../keeper/memory.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import { SeededEntropy } from '../simulator/entropy.ts'
import { emptyImage } from '../simulator/image.ts'
import { plantDirectory } from '../simulator/surgery.ts'
import { meddled } from './support.ts'

export const shared = '/shared'

/** Time passes as fast as it is waited for; what is waited for longer than a glance never comes: no sign of life but the first. */
function swiftClock(): Clock {
  let now = 0
  return {
    now: () => now,
    monotonic: () => now,
    after(ms, then) {
      let isOff = ms > 250
      if (!isOff)
        setImmediate(() => {
          now += ms
          if (!isOff) then()
        })
      return () => {
        isOff = true
      }
    },
  }
}

/** Lets so many changes through and stops before the next, until it is let go. Readings pass. */
export class Gate {
  passed = 0
  #left: number
  #before: RegExp | undefined
  #opened = Promise.withResolvers<void>()
  #reached = Promise.withResolvers<void>()

  /** How many changes pass, or before which one it stops: the first of a path that matches. */
  constructor(left: number | RegExp = Number.POSITIVE_INFINITY) {
    this.#left = typeof left === 'number' ? left : Number.POSITIVE_INFINITY
    this.#before = left instanceof RegExp ? left : undefined
  }

  async pass<T>(change: () => Promise<T>, path = ''): Promise<T> {
    if (this.#before?.test(path)) this.#left = this.passed
    if (this.#left <= this.passed) {
      this.#reached.resolve()
      await this.#opened.promise
    }
    this.passed++
    return change()
  }

  /** Somebody stands before it, or nobody ever will. */
  get reached(): Promise<void> {
    return this.#reached.promise
  }

  open(): void {
    this.#left = Number.POSITIVE_INFINITY
    this.#before = undefined
    this.#reached.resolve()
    this.#opened.resolve()
  }
}

function gatedRegister(register: Register, gate: Gate): Register {
  return {
    read: ms => register.read(ms),
    create: (value, ms) => gate.pass(() => register.create(value, ms)),
    swap: (held, value, ms) => gate.pass(() => register.swap(held, value, ms)),
    close: () => register.close(),
  }
}

/** What is wrong with how an owner asks its keeper. */
export type Planted = {
  readonly register?: (register: Register) => Register
  readonly claim?: (claim: Claim) => Claim
  readonly keeper?: (keeper: RemoteKeeper) => RemoteKeeper
}

export function worldOf(
  disk: Disk,
  server: MemoryServer,
  seed: number,
  gate = new Gate(),
  planted: Planted = {},
): World {
  const gated = meddled(async (call, proceed) => {
    if (call.kind === 'open' && call.access !== 'exclusive') return proceed()
    if (call.path.endsWith('/pulse')) return proceed()
    await gate.pass(proceed, call.path)
  }, disk)
  const clock = swiftClock()
  return {
    disk: gated,
    clock,
    entropy: new SeededEntropy(seed),
    openKeeper: async (_, { domain, signer, claim }) => {
      const { register = (real: Register) => real, claim: seenAs = (real: Claim) => real } = planted
      const { keeper = (real: RemoteKeeper) => real } = planted
      const through = { register: (name: string) => gatedRegister(register(server.register(name)), gate) }
      return keeper(memoryKeeper(through, domain, signer, { claim: claim && seenAs(claim), clock }))
    },
  }
}

export async function freshShared(): Promise<{
  readonly disk: SimulatedDisk
  readonly server: MemoryServer
}> {
  const image = plantDirectory(emptyImage({ sectorSize: 4096 }), shared)
  const disk = new SimulatedDisk(image, { profile: 'posix' })
  const server = new MemoryServer()
  const world = worldOf(disk, server, 1)
  const first = await beginShared(disk, shared)
  const config = { keeper: 'etcd', place: 'http://127.0.0.1:1', profile: 'dev' } as const
  await createHome(world, { home: first.home, anchorBase: first.anchorBase, config, slots: 8, first: [] })
  await makeWhole(disk, first)
  return { disk, server }
}

export function own(world: World, node: string, more: Partial<Parameters<typeof takeOver>[2]> = {}) {
  return takeOver(world, shared, { node, ...more })
}

/** What somebody was told yes to: what a path holds, and what a file has. */
export class Told {
  readonly values = new Map<string, string>()
  /** What was put last, told of or not. */
  readonly tried = new Map<string, string>()
  readonly #before: Told | undefined
  readonly shredded = new Set<string>()
  lines = 0

  /** `before` was told of what lies there, and may be told more. */
  constructor(before?: Told) {
    this.#before = before
  }

  async put(store: Store, path: string, value: string, scope = 'default'): Promise<void> {
    this.tried.set(path, value)
    await store.commit([{ put: path, payload: Buffer.from(value), scope }])
    this.values.set(path, value)
  }

  /** As `pawl receive` does: the file, its sync, then its length with the state. */
  async line(store: Store, disk: Disk, { out }: Term): Promise<void> {
    const number = this.lines + 1
    const path = `${out}/lines`
    const isNew = (await disk.stat(path)) === undefined
    const file = await disk.open(path, { access: isNew ? 'exclusive' : 'write' })
    await file.write(Buffer.from(lineOf(number)), (number - 1) * lineOf(1).length)
    await file.sync()
    await file.close()
    if (isNew) await disk.syncDirectory(out)
    await store.putAtomic('/state/lines', Buffer.from(String(number)))
    this.lines = number
  }

  /** Everything that was acknowledged is there, whole and once. */
  async check(store: Store, disk: Disk, term: Term): Promise<void> {
    for (const [path, value] of this.values) {
      if (this.shredded.has(path)) continue
      const found = Buffer.from((await store.get(path)).payload).toString()
      const late = this.tried.has(path) ? [] : [this.#before?.tried.get(path), this.#before?.values.get(path)]
      if (!late.includes(found)) assert.equal(found, value, path)
    }
    for (const path of this.shredded) assert.ok(!store.has(path), `${path} was shredded`)
    if (this.lines === 0) return
    const told = Number(Buffer.from((await store.get('/state/lines')).payload).toString())
    assert.ok(told >= this.lines, `${told} lines of ${this.lines}`)
    const file = await disk.open(`${term.out}/lines`, { access: 'read' })
    const bytes = new Uint8Array(this.lines * lineOf(1).length)
    assert.equal(await file.read(bytes, 0), bytes.length)
    await file.close()
    const wanted = Array.from({ length: this.lines }, (_, i) => lineOf(i + 1)).join('')
    assert.equal(Buffer.from(bytes).toString(), wanted)
  }
}

function lineOf(number: number): string {
  return `line ${String(number).padStart(6, '0')}\n`
}

/** Every file below, with what it holds. */
export async function filesBelow(disk: Disk, path: string): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>()
  for (const name of await disk.list(path)) {
    const below = `${path}/${name}`
    const stat = await disk.stat(below)
    if (stat?.kind === 'directory')
      for (const [at, bytes] of await filesBelow(disk, below)) found.set(at, bytes)
    else if (stat !== undefined) {
      const file = await disk.open(below, { access: 'read' })
      const bytes = Buffer.alloc(stat.size)
      await file.read(bytes, 0)
      await file.close()
      found.set(below, bytes)
    }
  }
  return found
}

export function codeOf(error: unknown): string {
  return error instanceof StateError ? error.code : String(error)
}

/** Whom the keeper holds for the owner. */
export function claimIn(server: MemoryServer): Claim | undefined {
  const [name = ''] = server.names
  const held = server.get(name)
  if (held === undefined) return undefined
  const { term, owner } = decodeCborMap(held.value, [
    ...['format', 'domain', 'number', 'head', 'instance', 'signature'],
    ...['term?', 'owner?'],
  ])
  return term === undefined ? undefined : { term: asCount(term), owner: asText(owner) }
}
