/** A guest that writes and is counted along with: boot after boot on the same disks, which are cut off and put back. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Disks, freshDisks, Guest, type Machine } from './guest.ts'
import { actOf, laneCount } from './plan.ts'

/** A home in a machine of its own, and who keeps its mark. */
export type Subject = {
  readonly machine: Machine
  readonly directory: string
  readonly disks: Disks
  readonly keeper: string
  readonly seed: number
}

export async function freshSubject(parts: Omit<Subject, 'disks'>): Promise<Subject> {
  return { ...parts, disks: await freshDisks(parts.directory) }
}

/** Copies of both disks. */
export function copied({ directory, disks }: Subject, name: string): Disks {
  const copies = { home: join(directory, `${name}-home`), anchor: join(directory, `${name}-anchor`) }
  fs.copyFileSync(disks.home, copies.home)
  fs.copyFileSync(disks.anchor, copies.anchor)
  return copies
}

/** A boot that judges and goes on to write: it was told of so many acts of each lane. */
export class Round {
  readonly guest: Guest
  readonly told: number[]
  readonly #seed: number
  /** Lanes that wait to be told to go on. */
  readonly #waiting = new Set<number>()

  private constructor(guest: Guest, told: readonly number[], seed: number) {
    this.guest = guest
    this.told = [...told]
    this.#seed = seed
  }

  /** What the guest says of a home that it refuses, instead. */
  static async begin(subject: Subject, told: readonly number[]): Promise<Round | string> {
    const { machine, directory, disks, keeper, seed } = subject
    const script = '/app/test/disks/guest-round.js'
    const guest = await Guest.boot(machine, directory, disks, [
      'node',
      '--jitless', // in a guest to compile takes longer than it saves
      script,
      String(seed),
      told.join(','),
      keeper,
    ])
    const verdict = await guest.line()
    const [word, reached = ''] = verdict.split(' ')
    if (word !== 'reached') {
      assert.equal(await guest.ended, 4)
      return verdict
    }
    assert.equal(await guest.line(), 'open')
    return new Round(guest, reached.split(',').map(Number), seed)
  }

  /** After a plain crash, which is never refused. */
  static async survive(subject: Subject, told: readonly number[]): Promise<Round> {
    const round = await Round.begin(subject, told)
    assert.ok(round instanceof Round, `a plain crash was not survived: ${round}`)
    return round
  }

  /** So many acts, after which every lane waits. */
  async act(count: number): Promise<void> {
    this.#release()
    for (let left = count; left > 0 || this.#waiting.size < laneCount; left--) {
      const line = await this.guest.line()
      assert.ok(this.#isAcknowledged(line), line)
      if (left > 1) this.#release()
    }
  }

  /** Goes on for so long, and then the power is cut. */
  async actUntilCut(ms: number): Promise<void> {
    let isCut = false
    const late = sleep(ms).then(() => {
      isCut = true
      return this.guest.cut()
    })
    await this.act(Number.POSITIVE_INFINITY).catch(error => {
      if (!isCut) throw error
    })
    await late
  }

  /** Memory and disks are kept. Answers how many acts of each lane are acknowledged in them. */
  async keep(): Promise<readonly number[]> {
    // A compaction that finds nothing to do changes nothing, and needs nobody's word.
    const isNextCommit = (n: number, lane: number) => actOf(this.#seed, lane, n + 1).kind === 'commit'
    do await this.act(1)
    while (!this.told.every(isNextCommit))
    assert.doesNotMatch(await this.guest.command('savevm kept'), /Error/)
    return [...this.told]
  }

  /**
   * They are put back; then each lane, which cannot know of that, is told to go on with what it takes for its next act.
   * Answers what each says: `LANE N`, or `failed LANE CODE`.
   */
  async putBack(kept: readonly number[]): Promise<readonly string[]> {
    assert.equal(this.#waiting.size, laneCount)
    assert.doesNotMatch(await this.guest.command('loadvm kept'), /Error/)
    this.told.splice(0, laneCount, ...kept)
    this.#release()
    const answers: string[] = []
    while (answers.length < laneCount) {
      const line = await this.guest.line()
      if (this.#isAcknowledged(line) || line.startsWith('failed ')) answers.push(line)
      else assert.equal(line, 'stopped')
    }
    return answers.sort()
  }

  #isAcknowledged(line: string): boolean {
    const [, lane, n] = (/^(\d) (\d+)$/.exec(line) ?? []).map(Number)
    if (lane === undefined || n === undefined) return false
    this.told[lane] = n
    this.#waiting.add(lane)
    return true
  }

  #release(): void {
    for (const lane of this.#waiting) this.guest.say(String(lane))
    this.#waiting.clear()
  }
}

/** What a boot makes of the disks that are there: `opened`, or what the guest says of them. */
export async function verdictOf(subject: Subject, told: readonly number[]): Promise<string> {
  const round = await Round.begin(subject, told)
  if (!(round instanceof Round)) return round
  await round.guest.cut()
  return 'opened'
}

/** Memory and disks are put back by nine acts: how many lanes acknowledge again what they had acknowledged. */
export async function goBack(round: Round, before: () => void = () => {}) {
  const kept = await round.keep()
  await round.act(9)
  const once = [...round.told]
  before()
  const answers = await round.putBack(kept)
  const anew = once.filter(
    (n, lane) => n > (kept[lane] ?? 0) && answers.includes(`${lane} ${(kept[lane] ?? 0) + 1}`),
  )
  return { kept, once, answers, lanesThatAcknowledgedAnew: anew.length }
}
