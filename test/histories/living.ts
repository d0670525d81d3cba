/** What histories of every mode share: homes that run, die, are copied and put back. */
import assert from 'node:assert/strict'
import { StateError } from '../../src/state/error.ts'
import { openHome } from '../../src/state/home.ts'
import { recoverHome } from '../../src/state/recovery.ts'
import { type AtRest, anchors, entropy, home, IdleClock, type Running } from '../session/world.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import type { Image } from '../simulator/image.ts'
import { graft } from '../simulator/surgery.ts'
import { type Death, type EndName, Life } from './homes.ts'
import type { Tally } from './tally.ts'

type Named<Line> = { readonly name: string; copy(): Line }

/** A process of an end, and the line of its life that it is in. */
export type Process<Line> = { readonly line: Line; readonly life: Life; readonly running: Running }

/** One home in one line of its life: running, or at rest. */
export type Copy<P extends Process<Line>, Line> = {
  readonly line: Line
  site: AtRest
  running: P | undefined
}

/** `isAmid`: while groups were in flight, which may be there beyond the mark. */
type Kept<Line> = {
  readonly line: Line
  readonly image: Image
  readonly mark: number
  readonly isAmid: boolean
}

/** What was copied at one instant, of one end or of both. */
type Keepsake<Line> = { readonly [end in EndName]?: Kept<Line> }

export type Side<P extends Process<Line>, Line> = {
  current: Copy<P, Line>
  /** What was put aside for an older one. */
  newest: Copy<P, Line> | undefined
  /** A second one that runs at the same time. */
  twin: Copy<P, Line> | undefined
  readonly lines: Set<Line>
}

/** How a line came to be: put back with all that promised anything, gone on from by an amendment, or a second copy. */
export type Origin = 'put back' | 'recovered' | 'copied'

/** Nothing is waited for longer than this, of the time that passes only when all else waits. */
const stuckMs = 15 * 60_000

export abstract class Living<P extends Process<Line>, Line extends Named<Line>> {
  protected readonly clock = new IdleClock()
  protected readonly tally: Tally
  protected readonly sides: Readonly<Record<EndName, Side<P, Line>>>
  readonly #keepsakes: Keepsake<Line>[] = []

  protected constructor(
    sites: Readonly<Record<EndName, AtRest>>,
    tally: Tally,
    first: (end: EndName) => Line,
  ) {
    const sideOf = (end: EndName): Side<P, Line> => {
      const line = first(end)
      const current = { line, site: sites[end], running: undefined }
      return { current, newest: undefined, twin: undefined, lines: new Set([line]) }
    }
    this.tally = tally
    this.sides = { A: sideOf('A'), B: sideOf('B') }
  }

  /** Starts a process on what is at rest; nothing, if it dies on the way. */
  protected abstract boot(life: Life, copy: Copy<P, Line>, end: EndName): Promise<P | undefined>

  /** Another line of this end's life, from where that one was. */
  protected abstract branch(name: string, from: Line, origin: Origin): Line

  /** Starts it if it does not run. Whatever it died of, it opens. */
  protected async start(end: EndName, copy: Copy<P, Line>, dies?: Death): Promise<P | undefined> {
    this.#rest(copy)
    if (copy.running !== undefined) {
      if (dies !== undefined) copy.running.life.doom(dies)
      return copy.running
    }
    const life = new Life(copy.site, dies)
    const started = await this.inTime(this.boot(life, copy, end))
    if (started === undefined) this.#bury(copy, life)
    else copy.running = started
    return started
  }

  protected async running(end: EndName, copy: Copy<P, Line>): Promise<P> {
    return (await this.start(end, copy)) ?? assert.fail('nothing killed it')
  }

  /** Nothing that a step has set is left for the next one. */
  protected settle(): void {
    for (const { current } of Object.values(this.sides)) {
      current.running?.life.spare()
      this.#rest(current)
    }
  }

  protected killAll(): void {
    for (const { current, newest, twin } of Object.values(this.sides))
      for (const copy of [current, newest, twin]) copy?.running?.life.end()
  }

  /** What has died is at rest. */
  #rest(copy: Copy<P, Line>): void {
    const life = copy.running?.life
    if (life?.isOver === true) this.#bury(copy, life)
  }

  #bury(copy: Copy<P, Line>, life: Life): void {
    copy.site = life.end()
    copy.running = undefined
    this.tally.add(life.byPowerCut ? 'power cuts' : 'processes killed')
  }

  /** Lays it to rest for a restore: it was stopped as whoever restores would stop it. */
  #stop(copy: Copy<P, Line> | undefined): void {
    if (copy?.running === undefined) return
    copy.site = copy.running.life.end()
    copy.running = undefined
  }

  protected async inTime<T>(work: Promise<T>): Promise<T> {
    let cancel = () => {}
    const stuck = new Promise<never>((_, reject) => {
      cancel = this.clock.after(stuckMs, () => reject(new Error('stuck')))
    })
    try {
      return await Promise.race([work, stuck])
    } finally {
      cancel()
    }
  }

  // ---- copies and restores ----

  protected async keep(ends: readonly EndName[]): Promise<void> {
    const kept: { [end in EndName]?: Kept<Line> } = {}
    for (const end of ends) kept[end] = keptOf(await this.running(end, this.sides[end].current), false)
    this.#keepsakes.push(kept)
  }

  /** A copy is taken at a call into its disk that is still to come. */
  protected keepAtCall(process: P, end: EndName, calls: number): void {
    process.life.atCall(calls, () => {
      this.tally.add('copies in the middle')
      this.#keepsakes.push({ [end]: keptOf(process, true) })
    })
  }

  /** Puts back the home alone, its anchor alone, or both; `goesOn`: by an amendment, if it is refused. */
  protected async restore(
    end: EndName,
    what: 'home' | 'anchor' | 'all',
    pick: number,
    goesOn: boolean,
  ): Promise<void> {
    const kept = pickOf(
      this.#keepsakes.flatMap(each => each[end] ?? []),
      pick,
    )
    if (kept === undefined) return
    const side = this.sides[end]
    const { number } = (await this.running(end, side.current)).running.endpoint.store.mark
    this.#stop(side.current)
    this.tally.add(`restores, ${what}`)
    const { site } = side.current
    if (what === 'all') return this.#goOnAs(end, { ...site, image: kept.image }, kept.line, 'put back')
    // All that is not the anchor: a mark that lay there would go back, too.
    const path = what === 'home' ? '/disk' : anchors
    const back = { ...site, image: graft(site.image, path, kept.image) }
    const lost = number - kept.mark
    const refused = await this.#isRefused(back)
    // Two groups may be in flight, beyond the mark: an anchor that is as little behind is none put back.
    if (lost > (what === 'home' && !kept.isAmid ? 0 : 2))
      assert.ok(refused, `the ${what} alone was put back, and it opened`)
    if (lost === 0 && kept.line.name === side.current.line.name)
      assert.ok(!refused, `the ${what} was put back where it was, and is refused`)
    if (!refused) return
    this.tally.add('homes refused')
    if (what === 'home' && goesOn) await this.#recover(end, back, kept.line)
  }

  async #isRefused(site: AtRest): Promise<boolean> {
    try {
      await openHome({ disk: new SimulatedDisk(site.image), clock: this.clock, entropy }, home)
      return false
    } catch (error) {
      assert.ok(error instanceof StateError && error.code === 'EROLLBACK', String(error))
      return true
    }
  }

  /** It goes on by an amendment: a home that knows that it was turned back. */
  async #recover(end: EndName, site: AtRest, line: Line): Promise<void> {
    const disk = new SimulatedDisk(site.image)
    await recoverHome({ disk, clock: this.clock, entropy }, home, { by: 'a history' })
    this.tally.add('recoveries')
    this.#goOnAs(end, { ...site, image: disk.killState() }, line, 'recovered')
  }

  /** The older one takes the place of what there is, which is put aside. */
  #goOnAs(end: EndName, site: AtRest, kept: Line, origin: Origin): void {
    const side = this.sides[end]
    side.newest ??= side.current
    this.#stop(side.twin)
    side.twin = undefined
    const line = this.branch(`${end}${side.lines.size}`, kept, origin)
    side.lines.add(line)
    side.current = { line, site, running: undefined }
  }

  /** Both ends go back to one moment between two steps; answers from and to which lines. */
  protected async restoreBoth(
    pick: number,
    what: 'home' | 'all',
  ): Promise<Readonly<Record<EndName, { from: Line; to: Line }>> | undefined> {
    const both = this.#keepsakes.flatMap(({ A, B }) => (A && B ? [{ A, B }] : []))
    const kept = pickOf(both, pick)
    if (kept === undefined) return undefined
    this.tally.add('restores, both ends')
    const back = async (end: EndName) => {
      const { current } = this.sides[end]
      await this.running(end, current)
      this.#stop(current)
      const { line: from, image } = kept[end]
      if (what === 'all') this.#goOnAs(end, { ...current.site, image }, from, 'put back')
      else {
        const site = { ...current.site, image: graft(current.site.image, '/disk', image) }
        if (!(await this.#isRefused(site))) return { from, to: current.line }
        await this.#recover(end, site, from)
      }
      return { from, to: this.sides[end].current.line }
    }
    return { A: await back('A'), B: await back('B') }
  }

  protected putNewestBack(end: EndName): void {
    const side = this.sides[end]
    if (side.newest === undefined) return
    this.#stop(side.current)
    this.tally.add('newest put back')
    side.current = side.newest
    side.newest = undefined
  }

  /** A second copy, of home and anchor, that runs beside the first. */
  protected async clone(end: EndName): Promise<Copy<P, Line>> {
    const side = this.sides[end]
    const original = await this.running(end, side.current)
    this.#stop(side.twin)
    const line = this.branch(`${end}${side.lines.size}`, original.line, 'copied')
    side.lines.add(line)
    side.twin = { line, site: { ...side.current.site, image: original.life.image }, running: undefined }
    return side.twin
  }

  protected exchangeTwins(end: EndName): void {
    const side = this.sides[end]
    if (side.twin !== undefined) [side.current, side.twin] = [side.twin, side.current]
  }
}

function keptOf<Line extends Named<Line>>(
  { line, life, running }: Process<Line>,
  isAmid: boolean,
): Kept<Line> {
  return { line: line.copy(), image: life.image, mark: running.endpoint.store.mark.number, isAmid }
}

export function pickOf<T>(of: readonly T[], pick: number): T | undefined {
  return of[pick % Math.max(1, of.length)]
}
