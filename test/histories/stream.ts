/** Histories in mode `stream`: two homes, connections of which none outlives its process, messages both ways. */
import assert from 'node:assert/strict'
import { Connection } from '../../src/session/connection.ts'
import { StateError } from '../../src/state/error.ts'
import { openHome } from '../../src/state/home.ts'
import { recoverHome } from '../../src/state/recovery.ts'
import { isRollback } from '../session/exchange.ts'
import { type AtRest, anchors, entropy, home, IdleClock } from '../session/world.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import type { Image } from '../simulator/image.ts'
import { Random } from '../simulator/random.ts'
import { graft } from '../simulator/surgery.ts'
import { type Weather, type WireOptions, wirePair } from '../simulator/wire.ts'
import { type Death, type EndName, Life, otherEnd } from './homes.ts'
import { agree, Line, mustBeRefused } from './line.ts'
import { StreamEnd } from './stream-end.ts'
import type { Exchange, StreamStep } from './stream-steps.ts'
import type { Tally } from './tally.ts'

const weather: Weather = {
  split: 0.2,
  delay: 0.1,
  delayMsMax: 50,
  cut: 0.05,
  duplicate: 0.06,
  reorder: 0.12,
  truncate: 0.04,
  flip: 0.04,
}

/** One home in one line of its life: running, or at rest. */
type Copy = { readonly line: Line; site: AtRest; running: StreamEnd | undefined }

type Kept = { readonly line: Line; readonly image: Image; readonly mark: number }

/** What was copied at one instant, of one end or of both. */
type Keepsake = { readonly A?: Kept; readonly B?: Kept }

type Side = {
  current: Copy
  /** What was put aside for an older one. */
  newest: Copy | undefined
  /** A second one that runs at the same time. */
  twin: Copy | undefined
  readonly lines: Set<Line>
}

/** The bytes that each end wrote into one connection. */
type Recording = { readonly A: Uint8Array[]; readonly B: Uint8Array[] }

/** Nothing is waited for longer than this, of the time that passes only when all else waits. */
const stuckMs = 15 * 60_000

export class StreamHistory {
  readonly #clock = new IdleClock()
  readonly #tally: Tally
  readonly #sides: Readonly<Record<EndName, Side>>
  readonly #keepsakes: Keepsake[] = []
  readonly #recordings: Recording[] = []
  #worlds = 1
  #messages = 0

  constructor([a, b]: readonly [AtRest, AtRest], tally: Tally) {
    this.#tally = tally
    this.#sides = { A: sideOf('A', a), B: sideOf('B', b) }
  }

  async step(step: StreamStep): Promise<void> {
    this.#tally.add(step.do)
    await this.#do(step)
    for (const { current } of Object.values(this.#sides)) {
      current.running?.life.spare()
      this.#rest(current)
    }
    this.#assertAccepted()
  }

  /** Everything flows that nothing stands in the way of. */
  async end(): Promise<void> {
    await this.step({ do: 'exchange', seed: 1, weather: 0, puts: { A: 1, B: 1 }, rekeys: 0 })
    for (const { current, newest, twin } of Object.values(this.#sides))
      for (const copy of [current, newest, twin]) copy?.running?.life.end()
  }

  async #do(step: StreamStep): Promise<void> {
    switch (step.do) {
      case 'send':
        return this.#send(step.end, step.count, step.dies)
      case 'exchange':
        return this.#exchange(step)
      case 'crash':
        return this.#crash(this.#sides[step.end].current, step.power)
      case 'copy':
        return this.#keep(step.ends)
      case 'restore':
        return this.#restore(step.end, step.what, step.pick)
      case 'restore both':
        return this.#restoreBoth(step.pick)
      case 'newest':
        return this.#putNewestBack(step.end)
      case 'clone':
        return this.#clone(step.end)
      case 'duel':
        return this.#duel(step.end, step.seed)
      case 'replay':
        return this.#replay(step.end, step.pick)
    }
  }

  // ---- processes ----

  /** Starts it if it does not run. Whatever it died of, it opens. */
  async #start(end: EndName, copy: Copy, dies?: Death): Promise<StreamEnd | undefined> {
    this.#rest(copy)
    if (copy.running !== undefined) {
      if (dies !== undefined) copy.running.life.doom(dies)
      return copy.running
    }
    const life = new Life(copy.site, dies)
    copy.running = undefined
    const options = { end, line: copy.line, clock: this.#clock }
    const started = await this.#inTime(StreamEnd.start(life, copy.site, options))
    if (started === undefined) this.#bury(copy, life)
    else copy.running = started
    return started
  }

  async #running(end: EndName, copy: Copy): Promise<StreamEnd> {
    return (await this.#start(end, copy)) ?? assert.fail('nothing killed it')
  }

  /** What has died is at rest. */
  #rest(copy: Copy): void {
    const life = copy.running?.life
    if (life?.isOver === true) this.#bury(copy, life)
  }

  #bury(copy: Copy, life: Life): void {
    copy.site = life.end()
    copy.running = undefined
    this.#tally.add(life.byPowerCut ? 'power cuts' : 'processes killed')
  }

  #crash(copy: Copy, power: number | undefined): void {
    copy.running?.life.end(power)
  }

  /** Lays it to rest for a restore: it was stopped as whoever restores would stop it. */
  #stop(copy: Copy): void {
    if (copy.running !== undefined) copy.site = copy.running.life.end()
    copy.running = undefined
  }

  async #inTime<T>(work: Promise<T>): Promise<T> {
    let isOver = false
    const stuck = new Promise<never>((_, reject) => {
      const cancel = this.#clock.after(stuckMs, () => isOver || reject(new Error('stuck')))
      work.then(cancel, cancel)
    })
    try {
      return await Promise.race([work, stuck])
    } finally {
      isOver = true
    }
  }

  // ---- steps ----

  async #send(end: EndName, count: number, dies: Death | undefined): Promise<void> {
    const copy = this.#sides[end].current
    const running = await this.#start(end, copy, dies)
    if (running === undefined) return
    const queued = running.queue(this.#some(end, count))
    await this.#inTime(Promise.race([queued, running.life.died]))
  }

  #some(end: EndName, count: number): Uint8Array[] {
    return Array.from({ length: count }, () => {
      const number = ++this.#messages
      // Now and then one of several frames.
      return Buffer.from(`${end} says ${number}\n`.padEnd(number % 13 === 0 ? 70_000 : 20))
    })
  }

  async #exchange(step: Exchange): Promise<void> {
    const [copyA, copyB] = [this.#sides.A.current, this.#sides.B.current]
    const a = await this.#start('A', copyA, step.dies?.A)
    let b = await this.#start('B', copyB, step.dies?.B)
    if (a === undefined) return
    b ??= await this.#running('B', copyB)
    if (step.keeps !== undefined) this.#keepAtCall(step.keeps.end === 'A' ? a : b, step.keeps)
    let must = mustBeRefused(a.line, a.acknowledged, b.line, b.acknowledged)
    const may = must || !agree(a.line, b.line)
    const before = [a.line.got.length, b.line.got.length]
    const epochs = [a.epoch, b.epoch]

    const random = new Random(step.seed)
    const stop = new AbortController()
    const queued = (running: StreamEnd, end: EndName, count: number) =>
      Promise.race([running.queue(this.#some(end, count)), running.life.died])
    const puts = [queued(a, 'A', step.puts.A), queued(b, 'B', step.puts.B)]
    let putsLeft = puts.length
    let rekeys = step.rekeys
    const server = () => copyB.running ?? b
    const look = () => {
      const other = server()
      if (putsLeft > 0 || other === undefined || !a.isDelivered || !other.isDelivered) return
      const live = a.mate.party.live
      if (rekeys > 0 && live !== undefined) {
        rekeys--
        putsLeft++
        void live.close(0, 'a fresh handshake')
        void queued(a, 'A', 1).then(put, put)
      } else stop.abort()
    }
    const put = () => {
      putsLeft--
      look()
    }
    for (const each of puts) each.then(put, put)
    const watches = [a.outbox.watch(look), b.outbox.watch(look)]
    let dials = 0
    const dial = () => {
      const network: WireOptions =
        dials++ < step.weather
          ? { seed: random.word(), weather, cutReadsAs: random.chance(0.5) ? 'end' : 'error' }
          : {}
      this.#tally.add('connections')
      return server()?.dial({ ...network, meddle: this.#recorder() }) ?? assert.fail()
    }
    const delivering = a.deliver(dial, { done: () => false, stop: stop.signal, giveUpMs: 90_000 }).then(
      () => 'done' as const,
      (error: unknown) => ({ error }),
    )
    let restarted = false
    for (;;) {
      const outcome = await this.#inTime(
        Promise.race([
          delivering,
          a.life.died,
          ...(restarted ? [] : [b.life.died.then(() => 'B died' as const)]),
        ]),
      )
      if (outcome === 'B died') {
        restarted = true
        const again = await this.#running('B', copyB)
        watches.push(again.outbox.watch(look))
        // What it was told and had not made durable it does not know any more.
        must = mustBeRefused(a.line, a.acknowledged, again.line, again.acknowledged)
        look()
        continue
      }
      for (const unwatch of watches) unwatch()
      const other = server()
      if (other !== undefined && outcome !== 'died')
        await this.#inTime(Promise.race([other.isIdle(), other.life.died]))
      const hasDied = outcome === 'died' || restarted || other?.life.isOver === true
      if (outcome === 'died' || a.epoch !== epochs[0] || restarted || other?.epoch !== epochs[1]) {
        a.line.met.add(b.line.world)
        b.line.met.add(a.line.world)
      }
      const errors = [
        ...(other?.errors.splice(0) ?? []),
        ...(typeof outcome === 'object' ? [outcome.error] : []),
      ]
      this.#judge({ outcome, errors, must, may, hasDied, a, b: other, before })
      return
    }
  }

  #judge(end: {
    readonly outcome: 'done' | 'died' | { readonly error: unknown }
    readonly errors: readonly unknown[]
    readonly must: boolean
    readonly may: boolean
    readonly hasDied: boolean
    readonly a: StreamEnd
    readonly b: StreamEnd | undefined
    readonly before: readonly number[]
  }): void {
    const { outcome, errors, must, may, hasDied, a, b, before } = end
    for (const error of errors) {
      assert.ok(error instanceof Error && 'code' in error, `an error without a code: ${String(error)}`)
      if (!may) assert.ok(!isRollback(error), `refused, and nobody was turned back: ${error.message}`)
    }
    if (must) {
      const isRefused = typeof outcome === 'object' && isRollback(outcome.error)
      assert.ok(isRefused || outcome === 'died', 'somebody was turned back, and nobody noticed')
      assert.deepEqual([a.line.got.length, b?.line.got.length ?? before[1]], before, 'accepted all the same')
    }
    if (outcome === 'done') {
      this.#tally.add('exchanges done')
      if (hasDied) return
      assert.deepEqual(b?.line.got, a.line.out, 'not all that A sent was accepted')
      assert.deepEqual(a.line.got, b?.line.out, 'not all that B sent was accepted')
    } else if (typeof outcome === 'object') {
      if (!isRollback(outcome.error)) throw outcome.error
      this.#tally.add('sessions refused')
    }
  }

  #recorder(): NonNullable<WireOptions['meddle']> {
    const recording: Recording = { A: [], B: [] }
    this.#recordings.push(recording)
    return (chunk, from) => {
      recording[from === 'left' ? 'A' : 'B'].push(Uint8Array.from(chunk))
      return [chunk]
    }
  }

  #keepAtCall(running: StreamEnd, { end, calls }: { readonly end: EndName; readonly calls: number }): void {
    const { life, line } = running
    life.atCall(calls, () => {
      this.#tally.add('copies in a session')
      const kept = { line: line.copy(), image: life.image, mark: running.running.endpoint.store.mark.number }
      this.#keepsakes.push(end === 'A' ? { A: kept } : { B: kept })
    })
  }

  async #keep(ends: readonly EndName[]): Promise<void> {
    const kept: { A?: Kept; B?: Kept } = {}
    for (const end of ends) {
      const running = await this.#running(end, this.#sides[end].current)
      const { mark } = running.running.endpoint.store
      kept[end] = { line: running.line.copy(), image: running.life.image, mark: mark.number }
    }
    this.#keepsakes.push(kept)
  }

  /** Puts back the home alone, its anchor alone, or both. */
  async #restore(end: EndName, what: 'home' | 'anchor' | 'all', pick: number): Promise<void> {
    const kept = pickOf(
      this.#keepsakes.flatMap(each => each[end] ?? []),
      pick,
    )
    const side = this.#sides[end]
    if (kept === undefined) return
    const running = await this.#running(end, side.current)
    const { number } = running.running.endpoint.store.mark
    this.#stop(side.current)
    this.#tally.add(`restores, ${what}`)
    const { site } = side.current
    if (what === 'all') return this.#goOnAs(end, { ...site, image: kept.image }, kept.line, this.#worlds++)
    // All that is not the anchor: a mark that lay there would go back, too.
    const path = what === 'home' ? '/disk' : anchors
    const back = { ...site, image: graft(site.image, path, kept.image) }
    const lost = number - kept.mark
    const refused = await this.#isRefused(back)
    // Up to two groups may be in flight when a keeper is asked, so an anchor that is as little behind is none put back.
    if (lost > (what === 'home' ? 0 : 2)) assert.ok(refused, `the ${what} alone was put back, and it opened`)
    if (lost === 0) assert.ok(!refused, `the ${what} was put back where it was, and is refused`)
    if (!refused) return
    this.#tally.add('homes refused')
    if (what === 'home' && pick % 2 === 0) return this.#recover(end, back, kept.line)
  }

  async #isRefused(site: AtRest): Promise<boolean> {
    try {
      await openHome({ disk: new SimulatedDisk(site.image), clock: this.#clock, entropy }, home)
      return false
    } catch (error) {
      assert.ok(error instanceof StateError && error.code === 'EROLLBACK', String(error))
      return true
    }
  }

  /** It goes on by an amendment: a home that knows that it was turned back, and a peer that finds out. */
  async #recover(end: EndName, site: AtRest, line: Line): Promise<void> {
    const disk = new SimulatedDisk(site.image)
    await recoverHome({ disk, clock: this.#clock, entropy }, home, { by: 'a history' })
    this.#tally.add('recoveries')
    this.#goOnAs(end, { ...site, image: disk.killState() }, line, this.#worlds++)
  }

  /** The older one takes the place of what there is, which is put aside. */
  #goOnAs(end: EndName, site: AtRest, kept: Line, world: number, met?: 'nobody'): void {
    const side = this.#sides[end]
    side.newest ??= side.current
    this.#retire(side.twin)
    side.twin = undefined
    const line = new Line(`${end}${side.lines.size}`, world, kept)
    if (met === 'nobody') line.met.clear()
    side.lines.add(line)
    side.current = { line, site, running: undefined }
  }

  /** Both ends go back to one moment between two steps: to them nothing has happened since. */
  async #restoreBoth(pick: number): Promise<void> {
    const { A, B } =
      pickOf(
        this.#keepsakes.filter(each => each.A && each.B),
        pick,
      ) ?? {}
    if (A === undefined || B === undefined) return
    this.#tally.add('restores, both ends')
    const isWhole = agree(A.line, B.line)
    const [worldA, worldB] = [this.#worlds, isWhole ? this.#worlds : this.#worlds + 1]
    this.#worlds += 2
    for (const [end, kept, world] of [
      ['A', A, worldA],
      ['B', B, worldB],
    ] as const) {
      this.#stop(this.#sides[end].current)
      const site = { ...this.#sides[end].current.site, image: kept.image }
      this.#goOnAs(end, site, kept.line, world, isWhole ? 'nobody' : undefined)
    }
  }

  #putNewestBack(end: EndName): void {
    const side = this.#sides[end]
    if (side.newest === undefined) return
    this.#retire(side.current)
    this.#tally.add('newest put back')
    side.current = side.newest
    side.newest = undefined
  }

  async #clone(end: EndName): Promise<void> {
    const side = this.#sides[end]
    const original = await this.#running(end, side.current)
    this.#retire(side.twin)
    const line = new Line(`${end}${side.lines.size}`, this.#worlds++, original.line)
    side.lines.add(line)
    side.twin = { line, site: { ...side.current.site, image: original.life.image }, running: undefined }
  }

  #retire(copy: Copy | undefined): void {
    if (copy?.running !== undefined) this.#stop(copy)
  }

  /** Two copies of one end, both running, and the other end: whoever of the two is heard first goes on. */
  async #duel(end: EndName, seed: number): Promise<void> {
    const side = this.#sides[end]
    if (side.twin === undefined) await this.#clone(end)
    const { twin } = side
    if (twin === undefined) return
    const other = otherEnd(end)
    const peer = await this.#running(other, this.#sides[other].current)
    const two = [await this.#running(end, side.current), await this.#running(end, twin)]
    const random = new Random(seed)
    const epochs = [peer, ...two].map(({ epoch }) => epoch)
    for (const each of [peer, ...two]) await each.queue(this.#some(each === peer ? other : end, 1))
    const clients = end === 'A' ? two : [peer]
    const servers = end === 'A' ? [peer] : two
    const dial = () => {
      this.#tally.add('connections')
      const server = servers[random.below(servers.length)] ?? peer
      return server.dial({ meddle: this.#recorder() })
    }
    const outcomes = await this.#inTime(
      Promise.all(
        clients.map(client =>
          client
            .deliver(dial, {
              done: () => client.isDelivered,
              stop: new AbortController().signal,
              giveUpMs: 15_000,
            })
            .then(
              () => undefined,
              (error: unknown) => error,
            ),
        ),
      ),
    )
    for (const server of servers) await this.#inTime(server.isIdle())
    for (const error of [...outcomes, ...servers.flatMap(({ errors }) => errors.splice(0))]) {
      if (error === undefined) continue
      assert.ok(error instanceof Error && 'code' in error, `an error without a code: ${String(error)}`)
      if (isRollback(error)) this.#tally.add('copies refused')
    }
    ;[peer, ...two].forEach((each, i) => {
      if (each.epoch === epochs[i]) return
      const partners = each === peer ? two : [peer]
      for (const { line } of partners) {
        each.line.met.add(line.world)
        line.met.add(each.line.world)
      }
    })
    // From now on either may be the one: the rest of the history finds out.
    if (random.chance(0.5)) [side.current, side.twin] = [twin, side.current]
  }

  /** All that was ever written to this end in some connection comes again: it opens nothing. */
  async #replay(end: EndName, pick: number): Promise<void> {
    const recording = pickOf(this.#recordings, pick)
    if (recording === undefined) return
    const running = await this.#running(end, this.#sides[end].current)
    const { epoch } = running
    const before = running.line.got.length
    const { running: process, mate } = running
    if (end === 'B') {
      const wire = running.dial({ windowBytes: 2 ** 30 })
      for (const chunk of recording.A) await wire.write(chunk).catch(() => undefined)
      wire.close()
      await this.#inTime(running.isIdle())
      for (const error of running.errors.splice(0)) assert.ok(!isRollback(error), String(error))
    } else {
      const { left, right } = wirePair({ clock: process.endpoint.clock, windowBytes: 2 ** 30 })
      const connecting = Connection.connect(process.endpoint, left, mate.party)
      for (const chunk of recording.B) await right.write(chunk).catch(() => undefined)
      right.close()
      await this.#inTime(assert.rejects(connecting, (error: unknown) => !isRollback(error)))
    }
    assert.equal(running.epoch, epoch, 'old bytes made a session')
    assert.equal(running.line.got.length, before, 'old bytes were accepted')
  }

  #assertAccepted(): void {
    for (const end of ['A', 'B'] as const) {
      const side = this.#sides[end]
      const others = this.#sides[otherEnd(end)].lines
      for (const line of side.lines) line.assertFrom(others)
      for (const copy of [side.current, side.twin]) {
        if (copy?.running === undefined) continue
        const told = copy.running.acknowledged
        const sent = copy.line.out.slice(0, told).join()
        const isThere = [...others].some(({ got }) => got.slice(0, told).join() === sent)
        assert.ok(isThere, `${copy.line.name} was told of what nobody accepted`)
      }
    }
  }
}

function sideOf(end: EndName, site: AtRest): Side {
  const line = new Line(`${end}0`, 0)
  return {
    current: { line, site, running: undefined },
    newest: undefined,
    twin: undefined,
    lines: new Set([line]),
  }
}

function pickOf<T>(of: readonly T[], pick: number): T | undefined {
  return of[pick % Math.max(1, of.length)]
}
