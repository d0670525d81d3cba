/** Histories in mode `letter`: two homes, and letters that come in any order, late, again, or never. */
import assert from 'node:assert/strict'
import type { AtRest } from '../session/world.ts'
import { type Death, type EndName, type Life, otherEnd } from './homes.ts'
import { LetterEnd } from './letter-end.ts'
import { type Bounds, type Letter, LetterLine } from './letter-line.ts'
import type { LetterStep } from './letter-steps.ts'
import { type Copy, Living, type Origin, pickOf } from './living.ts'
import type { Tally } from './tally.ts'

export class LetterHistory extends Living<LetterEnd, LetterLine> {
  #bounds: Bounds = { lateMax: 64, followMax: 64, digestsMax: undefined }
  readonly #letters: Letter[] = []
  #sealed = 0
  #handshakes = 0
  #worlds = 1

  constructor([a, b]: readonly [AtRest, AtRest], tally: Tally) {
    super({ A: a, B: b }, tally, end => new LetterLine(`${end}0`, 0, end === 'A' ? 0 : 1))
  }

  async step(step: LetterStep): Promise<void> {
    this.tally.add(step.do)
    await this.#do(step)
    this.settle()
  }

  /** Letters open in both directions: at once, or after a word of the one who was put back; else after a handshake. */
  async end(): Promise<void> {
    const [a, b] = [this.sides.A.current.line, this.sides.B.current.line]
    await this.running('A', this.sides.A.current)
    await this.running('B', this.sides.B.current)
    // With narrow bounds a session comes to an end, as it should.
    const { followMax, digestsMax } = this.#bounds
    const isWide = followMax === 64 && digestsMax === undefined
    const isOneSession = a.session !== undefined && a.session === b.session
    if (isWide && isOneSession && a.world === b.world && isUntouched(a) && isUntouched(b)) {
      this.tally.add('ends without a handshake')
      const isHeard = await this.#passes('A')
      assert.ok((await this.#passes('B')) !== 'refused', 'nothing opens at either end')
      if (isHeard === 'refused') assert.notEqual(await this.#passes('A'), 'refused', 'nothing opens any more')
    }
    await this.step({ do: 'handshake' })
    for (const end of ['A', 'B', 'A'] as const)
      assert.equal(await this.#passes(end), 'opened', `a letter of ${end} does not open after a handshake`)
    this.killAll()
  }

  protected boot(life: Life, { site, line }: Copy<LetterEnd, LetterLine>, end: EndName) {
    return LetterEnd.start(life, site, { end, line, clock: this.clock, bounds: this.#bounds })
  }

  protected branch(name: string, from: LetterLine, origin: Origin): LetterLine {
    const isRecovered = origin === 'recovered'
    const world = isRecovered ? from.world : this.#worlds++
    // What was put back with its marks, or copied, promises by itself from here on.
    const line = new LetterLine(name, world, isRecovered ? 0 : this.#worlds++, from)
    const end = name.startsWith('A') ? 'A' : 'B'
    if (isRecovered) line.recoverUnder(this.sides[end].current.line)
    return line
  }

  async #do(step: LetterStep): Promise<void> {
    switch (step.do) {
      case 'bounds':
        this.#bounds = { lateMax: step.late, followMax: step.follow, digestsMax: step.digests }
        return
      case 'handshake':
        return this.#handshake(step.dies)
      case 'seal':
        return this.#seal(step.end, step.count, step.dies)
      case 'open':
        return this.#open(step)
      case 'close':
        return this.#close(step.end)
      case 'crash':
        return void this.sides[step.end].current.running?.life.end(step.power)
      case 'copy':
        return this.keep(step.ends)
      case 'restore':
        return this.restore(step.end, step.what, step.pick, true)
      case 'restore both':
        return void (await this.restoreBoth(step.pick, step.what))
      case 'newest':
        return this.putNewestBack(step.end)
      case 'clone':
        return void (await this.clone(step.end))
      case 'other copy':
        return this.exchangeTwins(step.end)
    }
  }

  async #handshake(dies: Readonly<Partial<Record<EndName, Death | undefined>>> = {}): Promise<void> {
    const a = await this.start('A', this.sides.A.current, dies.A)
    const b = await this.start('B', this.sides.B.current, dies.B)
    if (a === undefined || b === undefined) return
    const handshake = ++this.#handshakes
    const hello = await this.#while(a, a.begin())
    const answer = hello && (await this.#while(b, b.answer(handshake, hello)))
    if (answer === undefined) return
    await this.#while(a, a.finish(handshake, answer))
  }

  /** What comes of it, if its process lives to tell. */
  #while<T>({ life }: LetterEnd, work: Promise<T>): Promise<T | undefined> {
    return this.inTime(Promise.race([work, life.died.then(() => undefined)]))
  }

  async #seal(end: EndName, count: number, dies?: Death): Promise<void> {
    const writer = await this.start(end, this.sides[end].current, dies)
    if (writer?.line.session === undefined) return
    for (let i = 0; i < count; i++) {
      const letter = await this.#while(writer, writer.seal(++this.#sealed))
      if (letter === undefined) return
      this.tally.add('letters sealed')
      this.#letters.push(letter)
    }
  }

  async #close(end: EndName): Promise<void> {
    const closer = await this.start(end, this.sides[end].current)
    if (closer?.line.session === undefined) return
    const letter = await this.#while(closer, closer.close(++this.#sealed))
    if (letter === undefined) return
    this.tally.add('sessions closed')
    this.#letters.push(letter)
  }

  async #open({ end, picks, dies, keeps }: LetterStep & { readonly do: 'open' }): Promise<void> {
    const reader = await this.start(end, this.sides[end].current, dies)
    if (reader === undefined) return
    if (keeps !== undefined && dies === undefined) this.keepAtCall(reader, end, keeps)
    // The newest as likely as all others: a letter is late now and then, and not always.
    const toIt = this.#letters.filter(({ from }) => from !== end)
    for (const pick of picks) {
      const letter = pickOf(pick % 2 === 0 ? toIt : toIt.slice(-6), pick >> 1)
      if (letter === undefined || !(await this.#opens(reader, letter))) return
    }
  }

  /** Opens one, and holds what comes of it against the rules. Nothing, if the process died of it. */
  async #opens(reader: LetterEnd, letter: Letter): Promise<'opened' | 'closed' | 'refused' | undefined> {
    const { line } = reader
    const expected = line.verdictOn(letter, this.#bounds)
    const wasThere = line.got.has(letter.number)
    const found = await this.#while(reader, reader.open(letter))
    if (found === undefined || reader.life.isOver) return undefined
    this.tally.add(told[found] ?? `refused, ${found}`)
    const { number, epoch, seq } = letter
    const what = `${line.name} is given letter ${number} of ${letter.from} (epoch ${epoch}, seq ${seq}): ${found}`
    assert.ok(codes[expected].has(found), `${what}, and by the rules: ${expected}`)
    assert.ok(found !== 'opened' || !wasThere, `${what}, again`)
    if (found === 'session/ROLLBACK') await this.#isTold(reader, letter)
    return found === 'opened' || found === 'closed' ? found : 'refused'
  }

  /** It was turned back, and knows it now: it does nothing more until somebody chooses how it goes on. */
  async #isTold(reader: LetterEnd, letter: Letter): Promise<void> {
    const { letters, line, life } = reader
    await assert.rejects(letters.seal(new Uint8Array(0)), { code: 'session/ROLLBACK' })
    life.end()
    line.stands(letter.session)
    line.turnBack(letter, letter.number % 2 === 0 ? 'continue' : 'discard')
  }

  /** One new letter of this end, sealed and given to the other. */
  async #passes(end: EndName): Promise<'opened' | 'closed' | 'refused'> {
    const writer = await this.running(end, this.sides[end].current)
    if (writer.line.session === undefined) return 'refused'
    const letter = await writer.seal(++this.#sealed)
    this.#letters.push(letter)
    const reader = await this.running(otherEnd(end), this.sides[otherEnd(end)].current)
    return (await this.#opens(reader, letter)) ?? assert.fail('nothing killed it')
  }
}

const told: Readonly<Record<string, string>> = { opened: 'letters opened', closed: 'closes opened' }

const codes = {
  opens: new Set(['opened']),
  closes: new Set(['closed']),
  // Opened before, another session, another run, an epoch that is closed or too far away; no session at all.
  refused: new Set(['channel/REPLAY', 'channel/PROTOCOL', 'channel/TAMPERED', 'channel/CLOSED']),
  'turned back': new Set(['session/ROLLBACK']),
  full: new Set(['channel/OVERLOADED']),
  either: new Set([
    'opened',
    'closed',
    'channel/REPLAY',
    'channel/PROTOCOL',
    'channel/TAMPERED',
    'channel/CLOSED',
    'session/ROLLBACK',
    'channel/OVERLOADED',
  ]),
} as const

function isUntouched({ met, world }: LetterLine): boolean {
  return [...met].every(other => other === world)
}
