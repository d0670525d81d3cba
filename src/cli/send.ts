import { realClock } from '../node/clock.ts'
import { realDisk } from '../node/disk.ts'
import { keepFreedMemory } from '../node/memory.ts'
import { realPath } from '../node/path.ts'
import { placeOf } from '../node/wire.ts'
import { StateError } from '../state/error.ts'
import type { Store } from '../state/store.ts'
import { type Given, type Run, UsageError } from './command.ts'
import { type Entered, enterHome, serveControl } from './control.ts'
import type { Exit } from './exits.ts'
import type { SendOrder } from './holder.ts'
import { notEmpty, refuseOwnFiles } from './home.ts'
import { onInterruption } from './interruption.ts'
import { logOf } from './log.ts'
import { answer, answerJson, count, say } from './output.ts'
import { parsePlace } from './place.ts'
import { type Figures, Progress } from './progress.ts'
import { sendThrough } from './remote-sending.ts'

const giveUpSecondsDefault = 60
const giveUpSecondsMax = 1_000_000

/** How long a process that ends may take to let go of the home. */
const handoverMsMax = 10_000
const lookAgainMs = 50

export const send: Run = async given => {
  keepFreedMemory()
  const to = parsePlace(given.needed('--to'), '--to')
  const giveUpMs = giveUpSeconds(given) * 1000
  const path = await inputPath(given, given.word(0))
  const peer = given.needed('--peer')
  const [again, lost] = [given.has('--again'), given.has('--lost')]
  if (again && lost)
    throw new UsageError('--again sends all of FILE, --lost only what never arrives', 'choose one of them')
  return new Errand(given, { peer, path, to, giveUpMs, again, lost }).run()
}

/** One run of `pawl send`: in this process, or in the one that holds the home, and on from there when that one ends. */
class Errand {
  readonly #given: Given
  #order: SendOrder
  readonly #progress: Progress
  #figures: () => Figures = () => ({ queued: 0, acknowledged: 0 })
  #queuedBefore = 0
  #isStopped = false
  #stop: () => void = () => undefined

  constructor(given: Given, order: SendOrder) {
    this.#given = given
    this.#order = order
    this.#progress = new Progress(realClock, given.json, () => this.#figures())
  }

  async run(): Promise<Exit> {
    let entered = await enterHome(this.#given)
    for (;;) {
      const exit = 'store' in entered ? await this.#here(entered.store) : await this.#there(entered)
      if (exit !== 'handed over') return exit
      if (this.#isStopped) return 'interrupted'
      entered = await this.#enterAgain()
    }
  }

  async #here(store: Store): Promise<Exit> {
    const log = logOf(this.#given)
    let end = async (): Promise<void> => {}
    try {
      const control = await serveControl(this.#given, store, log, { handsOver: true })
      end = control.end
      let alreadyDelivered = () => false
      let queued = () => 0
      const exit = await control.holder
        .send(this.#order, {
          log,
          unreached: leftMs => this.#unreached(leftMs),
          begun: sending => {
            this.#begin(
              () => sending.figures,
              () => sending.stop(),
            )
            alreadyDelivered = () => sending.alreadyDelivered
            queued = () => sending.queued
          },
        })
        .finally(() => this.#progress.end())
      if (exit === 'done') await this.#report(this.#figures().queued, queued(), alreadyDelivered())
      return exit
    } finally {
      await end()
      await store.close()
    }
  }

  async #there({ client }: Extract<Entered, { client: unknown }>): Promise<Exit | 'handed over'> {
    const log = logOf(this.#given)
    try {
      const { end, figures, newlyQueued } = await sendThrough(client, this.#order, {
        log,
        waitMs: this.#progress.everyMs,
        unreached: leftMs => this.#unreached(leftMs),
        begun: (figures, stop) => this.#begin(figures, stop),
      }).finally(() => this.#progress.end())
      if (end.kind === 'handed over') {
        // What is queued anew is not to be queued anew again.
        this.#queuedBefore += newlyQueued
        this.#order = { ...this.#order, again: this.#order.again && newlyQueued === 0 }
        return 'handed over'
      }
      if (end.exit === 'done') await this.#report(figures.queued, newlyQueued, end.alreadyDelivered)
      return end.exit
    } finally {
      client.close()
    }
  }

  /** The process that held the home lets go of it, and the first of those who want it has it then. */
  async #enterAgain(): Promise<Entered> {
    const until = realClock.monotonic() + handoverMsMax
    for (;;) {
      try {
        return await enterHome(this.#given)
      } catch (error) {
        const isPassing =
          error instanceof StateError && (error.code === 'ELOCKED' || error.code === 'EDAEMON')
        if (!isPassing || this.#isStopped || realClock.monotonic() > until) throw error
      }
      await new Promise<void>(resolve => realClock.after(lookAgainMs, resolve))
    }
  }

  #interrupt(): void {
    this.#isStopped = true
    this.#stop()
  }

  #begin(figures: () => Figures, stop: () => void): void {
    this.#figures = figures
    this.#stop = stop
    if (this.#isStopped) stop()
    else onInterruption(() => this.#interrupt())
    this.#progress.start()
  }

  #unreached(leftMs: number): void {
    if (this.#given.json || this.#given.has('--log')) return // there it is an event
    this.#progress.wipe()
    const { host, port } = this.#order.to
    say(`no answer from ${placeOf(host, port)}, trying again for ${Math.ceil(leftMs / 1000)} s`)
  }

  async #report(lines: number, newlyQueued: number, wasDelivered: boolean): Promise<void> {
    const { peer, path } = this.#order
    const queued = this.#queuedBefore + newlyQueued
    const alreadyDelivered = wasDelivered && queued === 0
    const all = `${lines === 1 ? 'the one line' : `all ${count(lines)} lines`} of ${path}`
    if (this.#given.json)
      await answerJson({ type: 'done', peer, file: path, lines, queued, alreadyDelivered })
    else if (lines === 0) await answer(`nothing to send: ${path} is empty`)
    else if (alreadyDelivered)
      await answer(`nothing to send: ${peer} has acknowledged ${all} before; no contact was made`)
    else await answer(`${peer} has acknowledged ${all}; ${count(queued)} new in this run`)
  }
}

function giveUpSeconds(given: Given): number {
  const text = given.text('--give-up')
  if (text === undefined) return giveUpSecondsDefault
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN
  if (!(seconds <= giveUpSecondsMax))
    throw new UsageError(`--give-up takes seconds, not ${JSON.stringify(text)}`, 'for example --give-up 60')
  return seconds
}

/** The real path: a job is known by it. Only what can be read again can be resumed. */
async function inputPath(given: Given, name: string): Promise<string> {
  const hint = 'a file can be read again after a crash; write what you have to one'
  if (name === '-') throw new UsageError('standard input cannot be resumed', hint)
  const path = await realPath(notEmpty('FILE', name))
  await refuseOwnFiles(given, path)
  const found = await realDisk.stat(path)
  if (found === undefined) throw new UsageError(`no file ${path}`, 'name one that exists')
  if (found.kind !== 'file') throw new UsageError(`${path} is no regular file`, hint)
  return path
}
