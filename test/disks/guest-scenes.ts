/**
 * Run by guest.slow.ts: guest-scenes.ts DIRECTORY. The self-test in a machine of its own; then its power is cut again
 * and again, its disks are put back, and its memory. Each scene prints a line.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Random } from '../simulator/random.ts'
import { buildMachine, type Disks, freshDisks, Guest } from './guest.ts'
import { laneCount } from './plan.ts'

const [directory = ''] = process.argv.slice(2)
const seed = Number(process.env.SEED ?? 1)
const random = new Random(seed)
const machine = await buildMachine(directory)
const disks = await freshDisks(directory)
const boot = (words: readonly string[]) => Guest.boot(machine, directory, disks, words)
const tell = (scene: string, seen: object) => console.log(JSON.stringify({ scene, ...seen }))

/** A boot that judges and goes on to write: it was told of so many acts of each lane. */
class Round {
  readonly guest: Guest
  readonly told: number[]
  /** Lanes that wait to be told to go on. */
  readonly #waiting = new Set<number>()

  private constructor(guest: Guest, told: readonly number[]) {
    this.guest = guest
    this.told = [...told]
  }

  static async begin(told: readonly number[]): Promise<Round | string> {
    const guest = await boot(['node', '/app/test/disks/guest-round.js', String(seed), told.join(',')])
    const verdict = await guest.line()
    const [word, reached = ''] = verdict.split(' ')
    if (word !== 'reached') {
      assert.equal(await guest.ended, 4)
      return verdict
    }
    assert.equal(await guest.line(), 'open')
    return new Round(guest, reached.split(',').map(Number))
  }

  /** So many acts, after which every lane waits. */
  async act(count: number): Promise<void> {
    this.release()
    for (let left = count; left > 0 || this.#waiting.size < laneCount; left--) {
      const [lane = 0, n = 0] = (await this.guest.line()).split(' ').map(Number)
      this.told[lane] = n
      this.#waiting.add(lane)
      if (left > 1) this.release()
    }
  }

  release(): void {
    for (const lane of this.#waiting) this.guest.say(String(lane))
    this.#waiting.clear()
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
}

function begun(round: Round | string): Round {
  assert.ok(round instanceof Round, `a plain crash was not survived: ${round}`)
  return round
}

// The verdict is the self-test's own, out of the guest by a line that nothing else can write to.
const tested = await boot(['/app/bin/pawl', 'state', 'selftest'])
tell('selftest', { status: await tested.ended })

let told: readonly number[] = Array(laneCount).fill(0)
const cuts: number[] = []
for (let i = 0; i < 3; i++) {
  const round = begun(await Round.begin(told))
  await round.act(6)
  await round.actUntilCut(random.below(1500))
  told = round.told
  cuts.push(told.reduce((a, b) => a + b))
}
tell('power cut', { cuts: cuts.length, acts: cuts })

/** Copies of both disks. */
function kept(name: string): Disks {
  const copies = { home: join(directory, `${name}-home`), anchor: join(directory, `${name}-anchor`) }
  fs.copyFileSync(disks.home, copies.home)
  fs.copyFileSync(disks.anchor, copies.anchor)
  return copies
}

const older = kept('older')
const atOlder = told
const onwards = begun(await Round.begin(told))
await onwards.act(9)
await onwards.guest.cut()
told = onwards.told
fs.copyFileSync(older.home, disks.home)
const homeAlone = await Round.begin(told)
tell('home put back', { verdict: homeAlone instanceof Round ? 'opened' : homeAlone })

// The declared limit of the keeper `file`: home and anchor put back together are an older whole. A keeper outside the
// machine is to refuse here, and where the memory is put back below.
fs.copyFileSync(older.anchor, disks.anchor)
const both = await Round.begin(atOlder)
assert.ok(both instanceof Round, `the keeper file cannot tell, and did: ${both}`)
const lost = told.map((n, lane) => n - (both.told[lane] ?? 0))
tell('home and anchor put back', { verdict: 'opened', actsLost: lost.reduce((a, b) => a + b) })

await both.act(3)
const snapshot = [...both.told]
assert.doesNotMatch(await both.guest.command('savevm before'), /Error/)
await both.act(9)
const onceTold = [...both.told]
assert.doesNotMatch(await both.guest.command('loadvm before'), /Error/)
both.told.splice(0, laneCount, ...snapshot)
await both.act(6)
const again = both.told.filter(
  (n, lane) => n > (snapshot[lane] ?? 0) && (snapshot[lane] ?? 0) < (onceTold[lane] ?? 0),
)
tell('memory put back', { verdict: 'went on', snapshot, onceTold, lanesThatAcknowledgedAnew: again.length })
await both.guest.cut()
