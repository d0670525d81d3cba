import assert from 'node:assert/strict'

/**
 * One line of an end's life, as the world outside sees it: what it queued and what it accepted. A restore or a copy
 * begins another line from a point of this one. What is past `outSure` or `gotSure` was asked for and not answered:
 * a crash decides.
 */
export class Line {
  readonly name: string
  /** Lines of both ends that belong together: nothing lies between them but what they said to each other. */
  world: number
  /** Worlds that it has made a session with. */
  readonly met: Set<number>
  out: string[]
  outSure: number
  got: string[]
  gotSure: number

  constructor(name: string, world: number, from?: Line) {
    this.name = name
    this.world = world
    this.met = new Set(from?.met)
    this.out = [...(from?.out ?? [])]
    this.outSure = from?.outSure ?? 0
    this.got = [...(from?.got ?? [])]
    this.gotSure = from?.gotSure ?? 0
  }

  copy(): Line {
    return new Line(this.name, this.world, this)
  }

  /** Asked to be queued. */
  queues(digests: readonly string[]): void {
    this.out.push(...digests)
  }

  queued(): void {
    this.outSure = this.out.length
  }

  /** Messages that are about to be accepted. */
  takes(first: number, digests: readonly string[]): void {
    assert.equal(first, this.gotSure + 1, `${this.name} is given message ${first} after ${this.gotSure}`)
    assert.equal(this.got.length, this.gotSure, `${this.name} is given messages before it has taken others`)
    for (const digest of digests)
      assert.ok(!this.got.includes(digest), `${this.name} is given ${first} twice`)
    this.got.push(...digests)
  }

  took(): void {
    this.gotSure = this.got.length
  }

  /** It was opened again: what the store holds decides of what was asked for. */
  isFound(queued: number, accepted: readonly string[]): void {
    const { name, out, outSure, got, gotSure } = this
    assert.ok(queued >= outSure && queued <= out.length, `${name} holds ${queued} queued, had ${outSure}`)
    assert.ok(accepted.length >= gotSure, `${name} holds ${accepted.length} accepted, had ${gotSure}`)
    assert.deepEqual(accepted, got.slice(0, accepted.length), `${name} holds others than it accepted`)
    this.out = out.slice(0, queued)
    this.outSure = queued
    this.got = [...accepted]
    this.gotSure = accepted.length
  }

  /** What it accepted is the beginning of what one line of the other end queued: in order, no gap, nothing twice. */
  assertFrom(others: Iterable<Line>): void {
    for (const { out } of others) if (isStartOf(this.got, out)) return
    assert.fail(`${this.name} accepted what is the start of no line of the other end: ${this.got.join()}`)
  }
}

function isStartOf(start: readonly string[], whole: readonly string[]): boolean {
  return start.length <= whole.length && start.every((each, i) => each === whole[i])
}

/** Nothing came between the two: they must go on. */
export function agree(a: Line, b: Line): boolean {
  const isUntouched = ({ met, world }: Line) => [...met].every(other => other === world)
  return a.world === b.world && isUntouched(a) && isUntouched(b)
}

/** One of them has accepted what the other has not, or not any more, queued: somebody was turned back. */
export function mustBeRefused(a: Line, aAcknowledged: number, b: Line, bAcknowledged: number): boolean {
  const isBack = (receiver: Line, sender: Line, acknowledged: number) =>
    !isStartOf(receiver.got, sender.out) || receiver.got.length < acknowledged
  return isBack(b, a, aAcknowledged) || isBack(a, b, bAcknowledged)
}
