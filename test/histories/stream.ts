/** Histories in mode `stream`: two homes, connections of which none outlives its process, messages both ways. */
import assert from 'node:assert/strict'
import { Connection } from '../../src/session/connection.ts'
import { isRollback } from '../session/exchange.ts'
import type { AtRest } from '../session/world.ts'
import { Random } from '../simulator/random.ts'
import { type Weather, type WireOptions, wirePair } from '../simulator/wire.ts'
import { type Death, type EndName, type Life, otherEnd } from './homes.ts'
import { agree, Line, mustBeRefused } from './line.ts'
import { type Copy, Living, pickOf } from './living.ts'
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

/** The bytes that each end wrote into one connection. */
type Recording = { readonly A: Uint8Array[]; readonly B: Uint8Array[] }

export class StreamHistory extends Living<StreamEnd, Line> {
  readonly #recordings: Recording[] = []
  #worlds = 1
  #messages = 0

  constructor([a, b]: readonly [AtRest, AtRest], tally: Tally) {
    super({ A: a, B: b }, tally, end => new Line(`${end}0`, 0))
  }

  async step(step: StreamStep): Promise<void> {
    this.tally.add(step.do)
    await this.#do(step)
    this.settle()
    this.#assertAccepted()
  }

  /** Everything flows that nothing stands in the way of. */
  async end(): Promise<void> {
    await this.step({ do: 'exchange', seed: 1, weather: 0, puts: { A: 1, B: 1 } })
    this.killAll()
  }

  async #do(step: StreamStep): Promise<void> {
    switch (step.do) {
      case 'send':
        return this.#send(step.end, step.count, step.dies)
      case 'exchange':
        return this.#exchange(step)
      case 'crash':
        return void this.sides[step.end].current.running?.life.end(step.power)
      case 'copy':
        return this.keep(step.ends)
      case 'restore':
        return this.restore(step.end, step.what, step.pick, step.pick % 2 === 0)
      case 'restore both':
        return this.#restoreBoth(step.pick)
      case 'newest':
        return this.putNewestBack(step.end)
      case 'clone':
        return void (await this.clone(step.end))
      case 'duel':
        return this.#duel(step.end, step.seed)
      case 'replay':
        return this.#replay(step.end, step.pick)
    }
  }

  protected boot(life: Life, { site, line }: Copy<StreamEnd, Line>, end: EndName) {
    return StreamEnd.start(life, site, { end, line, clock: this.clock })
  }

  protected branch(name: string, from: Line): Line {
    return new Line(name, this.#worlds++, from)
  }

  // ---- steps ----

  async #send(end: EndName, count: number, dies: Death | undefined): Promise<void> {
    const copy = this.sides[end].current
    const running = await this.start(end, copy, dies)
    if (running === undefined) return
    const queued = running.queue(this.#some(end, count))
    await this.inTime(Promise.race([queued, running.life.died]))
  }

  #some(end: EndName, count: number): Uint8Array[] {
    return Array.from({ length: count }, () => {
      const number = ++this.#messages
      // Now and then one of several frames.
      return Buffer.from(`${end} says ${number}\n`.padEnd(number % 13 === 0 ? 70_000 : 20))
    })
  }

  async #exchange(step: Exchange): Promise<void> {
    const [copyA, copyB] = [this.sides.A.current, this.sides.B.current]
    const a = await this.start('A', copyA, step.dies?.A)
    let b = await this.start('B', copyB, step.dies?.B)
    if (a === undefined) return
    b ??= await this.running('B', copyB)
    if (step.keeps !== undefined) {
      const { end, calls } = step.keeps
      this.keepAtCall(end === 'A' ? a : b, end, calls)
    }
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
    let { renews } = step
    const server = () => copyB.running ?? b
    const look = () => {
      const other = server()
      if (putsLeft > 0 || other === undefined || !a.isDelivered || !other.isDelivered) return
      const [live, others] = [a.mate.party.live, other.mate.party.live]
      if (renews === undefined || live === undefined || others === undefined) return stop.abort()
      const how = renews
      renews = undefined
      putsLeft += 2
      if (how === 'handshake') void live.close(0, 'a fresh handshake').finally(put)
      else {
        this.tally.add('rekeys')
        const [connection, { life }] = how.rekeyBy === 'A' ? [live, a] : [others, other]
        const rekeyed = () => {
          if (!life.isOver) this.tally.add('rekeys done')
          put()
        }
        void Promise.race([connection.rekey(), life.died]).then(rekeyed, put)
      }
      void queued(a, 'A', 1).then(put, put)
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
      this.tally.add('connections')
      return server()?.dial({ ...network, meddle: this.#recorder() }) ?? assert.fail()
    }
    const delivering = a.deliver(dial, { done: () => false, stop: stop.signal, giveUpMs: 90_000 }).then(
      () => 'done' as const,
      (error: unknown) => ({ error }),
    )
    let restarted = false
    for (;;) {
      const outcome = await this.inTime(
        Promise.race([
          delivering,
          a.life.died,
          ...(restarted ? [] : [b.life.died.then(() => 'B died' as const)]),
        ]),
      )
      if (outcome === 'B died') {
        restarted = true
        const again = await this.running('B', copyB)
        watches.push(again.outbox.watch(look))
        // What it was told and had not made durable it does not know any more.
        must = mustBeRefused(a.line, a.acknowledged, again.line, again.acknowledged)
        look()
        continue
      }
      for (const unwatch of watches) unwatch()
      const other = server()
      if (other !== undefined) await this.inTime(Promise.race([other.isIdle(), other.life.died]))
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
      this.tally.add('exchanges done')
      if (hasDied) return
      assert.deepEqual(b?.line.got, a.line.out, 'not all that A sent was accepted')
      assert.deepEqual(a.line.got, b?.line.out, 'not all that B sent was accepted')
    } else if (typeof outcome === 'object') {
      if (!isRollback(outcome.error)) throw outcome.error
      this.tally.add('sessions refused')
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

  /** Both ends go back to one moment: to them nothing has happened since. */
  async #restoreBoth(pick: number): Promise<void> {
    const back = await this.restoreBoth(pick, 'all')
    if (back === undefined || !agree(back.A.from, back.B.from)) return
    const world = this.#worlds++
    for (const { to } of Object.values(back)) {
      to.world = world
      to.met.clear()
    }
  }

  /** Two copies of one end, both running, and the other end: whoever of the two is heard first goes on. */
  async #duel(end: EndName, seed: number): Promise<void> {
    const side = this.sides[end]
    const twin = side.twin ?? (await this.clone(end))
    const other = otherEnd(end)
    const peer = await this.running(other, this.sides[other].current)
    const two = [await this.running(end, side.current), await this.running(end, twin)]
    const random = new Random(seed)
    const epochs = [peer, ...two].map(({ epoch }) => epoch)
    for (const each of [peer, ...two]) await each.queue(this.#some(each === peer ? other : end, 1))
    const clients = end === 'A' ? two : [peer]
    const servers = end === 'A' ? [peer] : two
    const dial = () => {
      this.tally.add('connections')
      const server = servers[random.below(servers.length)] ?? peer
      return server.dial({ meddle: this.#recorder() })
    }
    const outcomes = await this.inTime(
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
    for (const server of servers) await this.inTime(server.isIdle())
    for (const error of [...outcomes, ...servers.flatMap(({ errors }) => errors.splice(0))]) {
      if (error === undefined) continue
      assert.ok(error instanceof Error && 'code' in error, `an error without a code: ${String(error)}`)
      if (isRollback(error)) this.tally.add('copies refused')
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
    if (random.chance(0.5)) this.exchangeTwins(end)
  }

  /** All that was ever written to this end in some connection comes again: it opens nothing. */
  async #replay(end: EndName, pick: number): Promise<void> {
    const recording = pickOf(this.#recordings, pick)
    if (recording === undefined) return
    const running = await this.running(end, this.sides[end].current)
    const { epoch } = running
    const before = running.line.got.length
    const { running: process, mate } = running
    if (end === 'B') {
      const wire = running.dial({ windowBytes: 2 ** 30 })
      for (const chunk of recording.A) await wire.write(chunk).catch(() => undefined)
      wire.close()
      await this.inTime(running.isIdle())
      for (const error of running.errors.splice(0)) assert.ok(!isRollback(error), String(error))
    } else {
      const { left, right } = wirePair({ clock: process.endpoint.clock, windowBytes: 2 ** 30 })
      const connecting = Connection.connect(process.endpoint, left, mate.party)
      for (const chunk of recording.B) await right.write(chunk).catch(() => undefined)
      right.close()
      await this.inTime(assert.rejects(connecting, (error: unknown) => !isRollback(error)))
    }
    assert.equal(running.epoch, epoch, 'old bytes made a session')
    assert.equal(running.line.got.length, before, 'old bytes were accepted')
  }

  #assertAccepted(): void {
    for (const end of ['A', 'B'] as const) {
      const side = this.sides[end]
      const others = this.sides[otherEnd(end)].lines
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
