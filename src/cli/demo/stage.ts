import { count } from '../output.ts'
import { describeEnd, failureOf, numberOf, type Pawl, type Run, type Said } from './end.ts'
import type { MiddleBox } from './middlebox.ts'
import type { Check, Progress, Teller } from './telling.ts'
import type { Watch } from './watch.ts'
import { type Reason, reasonOf } from './why.ts'

/** Who is in the story: the branch sends its orders to the bank; the clone is a copy of the branch. */
export type Who = 'branch' | 'bank'

/** Where everything lies. */
export type Places = {
  readonly homes: Readonly<Record<Who | 'clone', string>>
  readonly anchors: Readonly<Record<Who | 'clone', string>>
  /** The bank's home as it was once. */
  readonly backup: string
  readonly orders: string
  readonly out: string
  readonly nonces: string
}

export type Script = {
  readonly orders: number
  /** Of each end. */
  readonly kills: number
  /** Between two frames of orders. */
  readonly paceMs: number
  /** Between two attacks, for whoever watches. */
  readonly restMs: number
}

/** What one end said of a connection that it refused. */
export type Refusal = { readonly by: Who; readonly reason: Reason; readonly message: string }

const stopMsMax = 15_000

/** The two ends, the line between them, and what is known of it all. */
export class Stage {
  readonly places: Places
  readonly script: Script
  readonly teller: Teller
  readonly watch: Watch
  readonly pawl: Pawl
  readonly box: MiddleBox
  readonly checks: Check[]
  readonly kills: Record<Who, number> = { branch: 0, bank: 0 }
  /** Whatever the two ends said, in the order in which it came. */
  readonly heard: { readonly who: Who; readonly said: Said }[] = []
  /** Orders that are in the bank's file and acknowledged, as the bank says. */
  delivered = 0
  readonly #runs: Partial<Record<Who, Run>> = {}
  #allowed = 0

  constructor(parts: Pick<Stage, 'places' | 'script' | 'teller' | 'watch' | 'pawl' | 'box' | 'checks'>) {
    this.places = parts.places
    this.script = parts.script
    this.teller = parts.teller
    this.watch = parts.watch
    this.pawl = parts.pawl
    this.box = parts.box
    this.checks = parts.checks
    this.box.paceMs = this.script.paceMs
    this.box.mayPass = () => this.delivered < this.#allowed
  }

  get progress(): Progress {
    const { delivered, kills } = this
    return { delivered, orders: this.script.orders, kills: kills.branch + kills.bank }
  }

  get left(): number {
    return this.script.orders - this.delivered
  }

  /** The line takes orders until this part of them has arrived, and then no more: later attacks need some, too. */
  allow(part: number): void {
    this.#allowed = Math.max(this.#allowed, Math.ceil(part * this.script.orders))
    this.watch.changed()
  }

  /** One frame of orders more, at least. */
  allowMore(): void {
    this.#allowed = Math.max(this.#allowed, this.delivered + 1)
    this.watch.changed()
  }

  check(claim: string, held: boolean, found: string): void {
    this.checks.push({ claim, held, found })
  }

  run(who: Who): Run {
    const run = this.#runs[who]
    if (run === undefined) throw new TypeError(`${who} was never started`)
    return run
  }

  /** The same command every time. Resolves once the bank listens; the branch is on its own from the start. */
  async start(who: Who): Promise<Run> {
    const run = this.begin(who)
    if (who === 'branch') return run
    const port = await this.watch.until('the bank listening', () => {
      if (run.ended !== undefined) throw new TypeError(`the bank ended with ${describeEnd(run.ended)}`)
      return run.said.find(({ type }) => type === 'listening')?.port
    })
    this.box.upstream = numberOf(port)
    return run
  }

  begin(who: Who): Run {
    const { homes, orders, out } = this.places
    const words =
      who === 'bank'
        ? ['receive', '--home', homes.bank, '--listen', '127.0.0.1:0', '--from', 'branch', '--out', out]
        : ['send', '--home', homes.branch, '--to', this.box.place, '--peer', 'bank', orders]
    const run = this.pawl.start(words, said => this.#hear(who, said))
    this.#runs[who] = run
    return run
  }

  async kill(who: Who): Promise<Run> {
    const run = this.run(who)
    if (who === 'bank') this.box.upstream = undefined
    run.child.kill('SIGKILL')
    const { signal } = await this.pawl.ended(run, `the ${who}`)
    if (signal === 'SIGKILL') this.kills[who]++
    return run
  }

  /** The bank ends in its own time: the line is cut first, so that nothing is in its hand. */
  async stopBank(): Promise<Run> {
    const run = this.run('bank')
    this.box.upstream = undefined
    this.box.cut()
    run.child.kill('SIGTERM')
    await this.watch.until('the bank stopping', () => run.ended, stopMsMax)
    return run
  }

  /** A place in what was heard, to look on from. */
  get now(): number {
    return this.heard.length
  }

  since(place: number, who: Who, holds: (said: Said) => boolean): Said | undefined {
    return this.heard.slice(place).find(heard => heard.who === who && holds(heard.said))?.said
  }

  connected(since: number): Promise<unknown> {
    return this.watch.until('the branch reaching the bank', () =>
      this.since(since, 'bank', ({ event }) => event === 'receive/connected'),
    )
  }

  /** More orders arrive than had when it was asked. */
  async progressed(): Promise<number> {
    const before = this.delivered
    this.allowMore()
    await this.watch.until('more orders arriving', () => (this.delivered > before ? true : undefined))
    return this.delivered - before
  }

  /** The first connection that either end has refused since then. */
  refusal(since: number, what: string): Promise<Refusal> {
    return this.watch.until(`a refusal of ${what}`, () => {
      const at = this.heard.findIndex(({ said }, i) => i >= since && isRefusal(said))
      const found = this.heard[at]
      if (found === undefined) return undefined
      const { who } = found
      const { message } = this.since(at, who, said => said.message !== undefined) ?? {}
      if (message === undefined) return undefined
      return { by: who, reason: reasonOf(numberOf(found.said.reason)), message: String(message) }
    })
  }

  async showRefusal({ by, reason, message }: Refusal): Promise<void> {
    const { number, name, code, meaning } = reason
    const text = `the ${by} refuses it: ${code}, reason ${number} ${name}: ${message}`
    await this.teller.event('held', text, { event: 'refused', by, code, reason: number, message })
    if (meaning !== '') await this.teller.event('why', `why: ${meaning}`, { event: 'why', reason: number })
  }

  /** How a process ended that was refused by itself or by the other end, in its own words. */
  async showFailure(who: string, run: Run): Promise<void> {
    const { code, message, hint } = failureOf(run) ?? { code: 'no code', message: '', hint: '' }
    const end = run.ended === undefined ? 'still running' : describeEnd(run.ended)
    const fields = { event: 'ended', who, code, exit: run.ended?.code }
    await this.teller.event('held', `the ${who} ends with ${end}, ${code}: ${message}`, fields)
    if (hint !== '') await this.teller.event('why', `it says what to do: ${hint}`, { event: 'hint', who })
  }

  showDelivered(): Promise<void> {
    const text = `orders go on: ${count(this.delivered)} of ${count(this.script.orders)} are in the bank's file`
    return this.teller.event('plain', text, { event: 'delivered', delivered: this.delivered })
  }

  #hear(who: Who, said: Said): void {
    this.heard.push({ who, said })
    if (said.type !== 'received') return
    this.delivered = Math.max(this.delivered, numberOf(said.first) + numberOf(said.messages) - 1)
  }
}

/** The end itself refused what came: it did not merely end, or hear of an end. */
function isRefusal({ event, by, reason }: Said): boolean {
  return event === 'session/ended' && by === 'us' && numberOf(reason) !== 0
}
