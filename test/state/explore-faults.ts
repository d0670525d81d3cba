import { strict as assert } from 'node:assert'
import type { Disk } from '../../src/host/disk.ts'
import { StateError } from '../../src/state/error.ts'
import { openHome } from '../../src/state/home.ts'
import type { Store } from '../../src/state/store.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import { SeededEntropy } from '../simulator/entropy.ts'
import type { Call, Fault, FaultRule } from '../simulator/fault.ts'
import { type Image, imageKey } from '../simulator/image.ts'
import { wholeImage } from '../simulator/machine.ts'
import { Random } from '../simulator/random.ts'
import { anchorBase, doomedSecret, home, isDestroyed, type Plant, slotsOf, world } from './explore.ts'
import {
  type Acks,
  codeOf,
  judge,
  look,
  type Model,
  modelsOf,
  noAcks,
  perform,
  put,
  putRecovered,
  type Step,
} from './oracle.ts'

/**
 * Each call that a history makes of the disk goes wrong once, in each way that it can; then the process dies, or the
 * power goes, or the one after the other, and the home is opened on a disk that is well again.
 *
 * A call that failed and said so (`honest`) may cost what was not acknowledged, and nothing else: it is never the cause
 * of a refusal later. A call that lied may: what was acknowledged is there or is refused with a code, and nothing older
 * is ever shown.
 */
export type Kind = 'honest' | 'lying'
/** Every later call that changes something goes wrong like it: of the whole machine, or of the same device. */
type Onwards = 'machine' | 'device'
export type Wrong = {
  readonly name: string
  readonly kind: Kind
  readonly fault: Fault
  readonly onwards?: Onwards
}

const refusals = ['EINTEGRITY', 'EROLLBACK']
const sector = 4096
const syncLosses = ['kept', 'dropped', 'reverted', 'partial'] as const
const changing = new Set<Call['operation']>([
  'create',
  'makeDirectory',
  'rename',
  'unlink',
  'removeDirectory',
  'write',
  'truncate',
  'sync',
  'syncDirectory',
])

/** Everything that can go wrong with this call. `older` is what a stale read answers. */
export function wrongsOf(call: Call, older: Image): readonly Wrong[] {
  const wrongs: Wrong[] = []
  const add = (kind: Kind, name: string, fault: Fault) => wrongs.push({ kind, name, fault })
  const { length = 0, durable = false } = call
  if (call.operation === 'write') {
    add('honest', 'EIO, nothing written', { fails: 'failed' })
    add('honest', 'EIO, half written', { fails: 'failed', applied: length / 2 })
    add('honest', 'ENOSPC, half written', { fails: 'full', applied: length / 2 })
    const losses = durable ? syncLosses : (['kept'] as const)
    for (const after of losses)
      add('honest', `EIO, all written, ${after}`, { fails: 'failed', applied: length, after })
    add('lying', 'lost', { lands: 'nowhere' })
    add('lying', 'landed a sector further on', { lands: sector })
    add('lying', 'landed a sector before', { lands: -sector })
    if (durable) add('lying', 'not flushed', { lies: true })
  } else if (call.operation === 'sync' || call.operation === 'syncDirectory') {
    for (const after of syncLosses) add('honest', `EIO, ${after}`, { fails: 'failed', after })
    add('lying', 'not flushed', { lies: true })
  } else if (call.operation === 'read') {
    add('honest', 'EIO', { fails: 'failed' })
    add('lying', 'stale', { answers: older })
    add('lying', 'of the next sector', { answers: sector })
    add('lying', 'of the sector before', { answers: -sector })
  } else {
    add('honest', 'EIO', { fails: 'failed' })
    if (call.operation === 'open' || call.operation === 'create') add('honest', 'EACCES', { fails: 'denied' })
    if (call.operation === 'create' || call.operation === 'makeDirectory')
      add('honest', 'ENOSPC', { fails: 'full' })
  }
  if (call.operation === 'sync' || call.operation === 'syncDirectory' || durable)
    wrongs.push({
      kind: 'lying',
      name: 'not flushed, nor anything on this device from here on',
      fault: { lies: true },
      onwards: 'device',
    })
  if (changing.has(call.operation))
    wrongs.push({
      kind: 'honest',
      name: 'EROFS from here on',
      fault: { fails: 'denied' },
      onwards: 'machine',
    })
  return wrongs
}

export type FaultOptions = {
  /** Only calls that the last step makes, and closing after it. */
  readonly lastStepOnly?: boolean
  readonly plant?: Plant
  readonly wanted?: (wrong: Wrong, call: Call) => boolean
  readonly seed?: number
  readonly deadline?: number
  /** What the image is from: a process that died in a history of which so much was acknowledged. */
  readonly begun?: Candidate
  /** The key that is to be gone once it was destroyed; else what lies in its slot in the image. */
  readonly secret?: Buffer
}

export type FaultReport = {
  readonly calls: number
  readonly injected: number
  /** Homes opened after it. */
  readonly opens: number
  readonly refused: number
  readonly isComplete: boolean
}

/** A broken promise, with the fault that led to it. */
export class FaultFound extends Error {
  override readonly name = 'FaultFound'
}

/** What the process was doing, and what it was told: more than one if it went on after something of unknown outcome. */
export type Candidate = { readonly models: readonly Model[]; readonly acks: Acks }

export async function exploreFaults(
  history: readonly Step[],
  image: Image,
  options: FaultOptions = {},
): Promise<FaultReport> {
  const drill = new FaultDrill(history, image, options)
  return drill.explore()
}

class FaultDrill {
  readonly #history: readonly Step[]
  readonly #image: Image
  readonly #options: FaultOptions
  readonly #secret: Buffer
  readonly #entropy: SeededEntropy
  #injected = 0
  #opens = 0
  #refused = 0

  constructor(history: readonly Step[], image: Image, options: FaultOptions) {
    this.#history = history
    this.#image = image
    this.#options = options
    this.#secret = options.secret ?? doomedSecret(image)
    this.#entropy = new SeededEntropy(1000 + (options.seed ?? 0))
  }

  async explore(): Promise<FaultReport> {
    const calls = await this.#calls()
    let isComplete = true
    for (const call of calls)
      for (const wrong of wrongsOf(call, this.#image)) {
        if (this.#options.wanted?.(wrong, call) === false) continue
        if (performance.now() > (this.#options.deadline ?? Number.POSITIVE_INFINITY)) isComplete = false
        else await this.#inject(call, wrong)
      }
    const [injected, opens, refused] = [this.#injected, this.#opens, this.#refused]
    return { calls: calls.length, injected, opens, refused, isComplete }
  }

  /** The calls of an undisturbed run. */
  async #calls(): Promise<Call[]> {
    const calls: Call[] = []
    let last = 0
    const faults: FaultRule = call => void calls.push(call)
    const disk = new SimulatedDisk(this.#image, { faults })
    await this.#run(disk, 'honest', step => {
      if (step === this.#history.at(-1)) last = calls.length
    })
    return this.#options.lastStepOnly === true ? calls.slice(last) : calls
  }

  async #inject(call: Call, wrong: Wrong): Promise<void> {
    this.#injected++
    const isLater = ({ number, operation, path }: Call) =>
      wrong.onwards !== undefined &&
      number > call.number &&
      changing.has(operation) &&
      (wrong.onwards === 'machine' || isOfAnchor(path) === isOfAnchor(call.path))
    const faults: FaultRule = made => (made.number === call.number || isLater(made) ? wrong.fault : undefined)
    const disk = new SimulatedDisk(this.#image, { faults, seed: call.number })
    const trail = `call ${call.number}, ${call.operation} ${call.path}: ${wrong.name}`
    try {
      const candidates = await this.#run(disk, wrong.kind)
      disk.kill()
      await this.#aftermath(disk, candidates, wrong.kind)
    } catch (error) {
      if (error instanceof FaultFound)
        throw new FaultFound(`${trail}; ${error.message}`, { cause: error.cause })
      const what = error instanceof Error ? error.message : String(error)
      throw new FaultFound(`${trail}: ${what}`, { cause: error })
    }
  }

  /** Goes on as a caller would: what is refused is left, and one more put is tried. */
  async #run(
    disk: SimulatedDisk,
    kind: Kind,
    begins: (step: Step) => void = () => {},
  ): Promise<readonly Candidate[]> {
    const { begun = { models: modelsOf([]), acks: noAcks() } } = this.#options
    let candidates: readonly Candidate[] = [begun]
    let store: Store
    try {
      store = await this.#open(disk)
    } catch (error) {
      codeOf(error)
      return candidates
    }
    // What became of what was begun before is decided now.
    if (begun.acks.started > 0) candidates = decided(begun, await look(store))
    let isPoisoned = false
    for (const step of [...this.#history, { name: 'after', commits: [[put('/state/after', 'x')]] }]) {
      begins(step)
      const acks = noAcks()
      let failure: unknown
      const wasPoisoned = isPoisoned
      await perform(store, step, acks).catch(error => {
        failure = error
      })
      if (failure !== undefined) {
        const code = codeOf(failure)
        // The others of it may still be under way.
        await store.commit([]).catch(() => {})
        const isCertain =
          failure instanceof StateError && (failure.outcome === 'not applied' || code === 'ENOSPC')
        if (isCertain && acks.acknowledged === 0 && 'commits' in step && step.commits.length === 1)
          acks.started = 0
      }
      assert.ok(!wasPoisoned || acks.acknowledged === 0, 'a poisoned store acknowledged something')
      isPoisoned ||= failure !== undefined && codeOf(failure) === 'EPOISONED'
      if (wasPoisoned) acks.started = 0
      candidates = candidates.flatMap(before => follow(before, step, acks, failure !== undefined))
    }
    const seen = await look(store)
    if (kind === 'honest' && seen.refused.size > 0) this.#refused++
    this.#judge(seen, candidates)
    await store.close().catch(error => void codeOf(error))
    return candidates
  }

  /** The process is dead. Another one; a power cut; the one and then the other. */
  async #aftermath(disk: SimulatedDisk, candidates: readonly Candidate[], kind: Kind): Promise<void> {
    const opened = new Set<number>()
    const cut = async (from: SimulatedDisk, among: readonly Candidate[], trail: string) => {
      let left = 16
      for (const image of from.crashStates({ bound: 8, samples: 2 })) {
        const key = imageKey(image)
        if (opened.has(key)) continue
        opened.add(key)
        if (left-- === 0) return
        await this.#check(new SimulatedDisk(image), among, kind, trail)
      }
    }
    await cut(disk, candidates, 'power cut')
    const alive = new SimulatedDisk(disk.snapshot())
    const recovered = await this.#check(alive, candidates, kind, 'kill')
    opened.clear()
    await cut(alive, recovered, 'kill, recovery, power cut')
  }

  async #check(
    disk: SimulatedDisk,
    candidates: readonly Candidate[],
    kind: Kind,
    trail: string,
  ): Promise<readonly Candidate[]> {
    this.#opens++
    try {
      const store = await this.#open(disk)
      const seen = await look(store)
      if (seen.refused.size > 0) this.#refuse([...seen.refused.values()], kind)
      assert.ok(!seen.isUnfinished, 'a shred was left unfinished')
      const left = this.#judge(seen, candidates)
      for (const { models, acks } of left)
        if (isDestroyed(models[acks.acknowledged]))
          assert.ok(!slotsOf(disk.killState()).includes(this.#secret), 'a destroyed key is still there')
      await store.commit([])
      const own = noAcks()
      await putRecovered(store, own)
      for (const { acks } of left) acks.recovered = true
      await store.close()
      return left
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error)
      if (!(error instanceof StateError)) throw new FaultFound(`${trail}: ${what}`, { cause: error })
      if (kind === 'honest' || !refusals.includes(error.code))
        throw new FaultFound(`${trail}: ${error.code}: ${what}`, { cause: error })
      // Nothing was lost behind its back: what it was told is destroyed is so, also where it opens no more.
      const isGone = candidates.every(({ models, acks }) => isDestroyed(models[acks.acknowledged]))
      if (trail === 'kill' && isGone && slotsOf(disk.killState()).includes(this.#secret))
        throw new FaultFound(`${trail}: a destroyed key is still there`, { cause: error })
      this.#refused++
      return candidates
    }
  }

  #refuse(codes: readonly string[], kind: Kind): void {
    assert.equal(kind, 'lying', `what was not lied about is refused: ${codes}`)
    for (const code of codes) assert.ok(refusals.includes(code), code)
    this.#refused++
  }

  /** The candidates that fit what is seen, as they stand once it was. */
  #judge(seen: Awaited<ReturnType<typeof look>>, candidates: readonly Candidate[]): readonly Candidate[] {
    let failure: unknown
    const fitting: Candidate[] = []
    for (const { models, acks } of candidates)
      try {
        const reached = judge(seen, acks, models)
        fitting.push({ models, acks: { ...acks, acknowledged: reached, started: reached, shown: reached } })
      } catch (error) {
        failure = error
      }
    if (fitting.length === 0) throw failure
    return fitting
  }

  async #open(disk: Disk): Promise<Store> {
    return openHome(world(this.#options.plant?.(disk) ?? disk, this.#entropy), home)
  }
}

/** Each extent to which it may have taken effect, that fits what is seen. */
function decided({ models, acks }: Candidate, seen: Awaited<ReturnType<typeof look>>): readonly Candidate[] {
  const extents = range(acks.acknowledged, acks.started).map((n): Candidate => {
    return { models: models.slice(0, n + 1), acks: { ...acks, acknowledged: n, started: n, shown: n } }
  })
  const fitting = extents.filter(each => {
    try {
      judge(seen, each.acks, each.models)
      return true
    } catch {
      return false
    }
  })
  assert.ok(fitting.length > 0, `shown after it was begun: ${JSON.stringify([...seen.records])}`)
  return fitting
}

/** What may be after a step that came after these. A failed one may have come so far as it had begun. */
function follow(
  before: Candidate,
  step: Step,
  { acknowledged, started, generations }: Acks,
  failed: boolean,
) {
  const { models, acks } = before
  const last = models.slice(0, acks.started + 1)
  // What was begun before and not told of took effect to some extent if something after it did.
  const froms = acknowledged > 0 ? range(acks.acknowledged, acks.started) : [acks.started]
  return froms.map((from): Candidate => {
    const all = modelsOf([step], last[from]).slice(0, 1 + (failed ? started : Number.POSITIVE_INFINITY))
    const told = acknowledged > 0 ? from + acknowledged : acks.acknowledged
    const isWhole = acks.generations.length === from
    return {
      models: [...last.slice(0, from), ...all],
      acks: {
        ...acks,
        acknowledged: told,
        started: from + started,
        generations: isWhole ? [...acks.generations, ...generations] : acks.generations,
      },
    }
  })
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i)
}

function isOfAnchor(path: string): boolean {
  return path.startsWith(anchorBase)
}

/**
 * The process dies, or the power goes, anywhere in the history; and then calls go wrong while the home is opened again.
 * Of what a power cut may leave, a choice.
 */
export async function exploreRecoveryFaults(
  history: readonly Step[],
  image: Image,
  options: FaultOptions = {},
): Promise<FaultReport> {
  const disk = new SimulatedDisk(image, { profile: 'no-psow' })
  const acks = noAcks()
  const left = new Map<number, { readonly image: Image; readonly acks: Acks }>()
  const note = (state: Image) => {
    const key = imageKey(state)
    if (!left.has(key)) left.set(key, { image: state, acks: structuredClone(acks) })
  }
  disk.observe(snapshot => {
    note(wholeImage(snapshot))
    let count = 0
    for (const state of disk.crashStates({ bound: 2, samples: 4, seed: snapshot.call }))
      if (count++ % 5 === 1) note(state)
  })
  const store = await openHome(world(disk, new SeededEntropy(2000 + (options.seed ?? 0))), home)
  for (const step of history) await perform(store, step, acks)
  disk.observe(undefined)
  const secret = doomedSecret(image)
  const total = { calls: 0, injected: 0, opens: 0, refused: 0, isComplete: true }
  // In an order of the seed: a budget leaves out others each time.
  const random = new Random(options.seed ?? 0)
  const states = [...left.values()].map(state => ({ ...state, key: random.word() }))
  for (const [n, state] of states.sort((a, b) => a.key - b.key).entries()) {
    const begun = { models: modelsOf(history), acks: state.acks }
    const report = await exploreFaults([], state.image, {
      ...options,
      begun,
      secret,
      seed: n,
      lastStepOnly: false,
    })
    for (const key of ['calls', 'injected', 'opens', 'refused'] as const) total[key] += report[key]
    total.isComplete &&= report.isComplete
  }
  return total
}
