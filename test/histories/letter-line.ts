import assert from 'node:assert/strict'
import type { EndName } from './homes.ts'

/** One sealed letter, as anybody who sees it travel knows it, and what its writer knew. */
export type Letter = {
  readonly number: number
  readonly from: EndName
  readonly world: number
  /** The session's id, and which handshake made it. */
  readonly session: string
  readonly handshake: number | undefined
  readonly hasProof: boolean
  /** It is the last one of its session. */
  readonly closes: boolean
  readonly epoch: number
  readonly seq: number
  readonly salt: string
  /** The epoch of the other direction that its writer had entered. */
  readonly heard: number
  readonly bytes: Uint8Array
}

export type Bounds = {
  readonly lateMax: number
  readonly followMax: number
  /** How many digests are kept; nothing, if none are. */
  readonly digestsMax: number | undefined
}

/** What becomes of a letter. `either`: a crash has left open what this end has. */
export type Verdict = 'opens' | 'closes' | 'refused' | 'turned back' | 'full' | 'either'

/** What the marks of an end have promised, which no restore of its home takes back. */
type Promised = {
  readonly lineage: number
  session: string | undefined
  /** Epochs that were entered, and an answer given. */
  send: number
  receive: number
  readonly opened: Set<number>
  readonly sealed: Set<string>
}

/** One line of an end's life in mode `letter`, by the rules of docs/spec/letter.md and by nothing that the code says. */
export class LetterLine {
  readonly name: string
  world: number
  readonly met: Set<number>
  promised: Promised
  session: string | undefined
  /** The handshake that made the session; at a server the one whose answer it waits for. */
  handshake: number | undefined
  waits: number | 'unknown' | undefined
  /** The handshake that is being finished. */
  finishing: number | undefined
  /** Letters whose text is in the store. */
  readonly got: Set<number>
  /** The letter that is being opened. */
  opening: Letter | undefined
  /** It died while it opened a close: the session may be over. */
  mayBeClosed = false
  /** Of this session: the epoch entered as a reader, and below which nothing opens any more. */
  receive: number
  floor: number
  readonly #salts: Map<number, string>
  readonly #newest: Map<number, number>
  readonly #opened: Set<number>
  /** It was put back under newer marks, and is to go on from there. */
  doubt: 'none' | 'certain' | 'maybe' = 'none'
  /** What is then done with the session. Of another history than its mark, it cannot go on. */
  way: 'continue' | 'discard' = 'continue'

  constructor(name: string, world: number, lineage: number, from?: LetterLine) {
    this.name = name
    this.world = world
    this.met = new Set(from?.met)
    this.promised = {
      lineage,
      session: from?.promised.session,
      send: from?.promised.send ?? 0,
      receive: from?.promised.receive ?? 0,
      opened: new Set(from?.promised.opened),
      sealed: new Set(from?.promised.sealed),
    }
    this.session = from?.session
    this.handshake = from?.handshake
    this.waits = from?.waits
    this.finishing = from?.finishing
    this.got = new Set(from?.got)
    this.opening = from?.opening
    this.mayBeClosed = from?.mayBeClosed ?? false
    this.receive = from?.receive ?? 0
    this.floor = from?.floor ?? 0
    this.#salts = new Map(from === undefined ? [] : from.#salts)
    this.#newest = new Map(from === undefined ? [] : from.#newest)
    this.#opened = new Set(from === undefined ? [] : from.#opened)
    this.doubt = from?.doubt ?? 'none'
    this.way = from?.way ?? 'continue'
  }

  copy(): LetterLine {
    return new LetterLine(this.name, this.world, this.promised.lineage, this)
  }

  /** The peer has heard more of it than it knows: it goes on above that, or not at all. */
  turnBack({ heard, epoch }: Letter, way: LetterLine['way']): void {
    this.promised.send = Math.max(heard, this.promised.send)
    this.promised.receive = Math.max(epoch, this.promised.receive)
    this.doubt = 'certain'
    this.way = way
  }

  /** It died while it opened a letter that says so: whether it was told, is to be seen. */
  get mayBeTold(): Letter | undefined {
    const { opening } = this
    return opening?.session === this.session && (opening?.heard ?? 0) > this.promised.send
      ? opening
      : undefined
  }

  /** Put back without its marks: it goes on under those of `current`. */
  recoverUnder(current: LetterLine): void {
    this.way = this.promised.lineage === current.promised.lineage ? 'continue' : 'discard'
    this.promised = new LetterLine('', 0, current.promised.lineage, current).promised
    this.waits = undefined
    this.finishing = undefined
    this.mayBeClosed = current.mayBeClosed
    this.doubt = 'certain'
  }

  verdictOn(letter: Letter, bounds: Bounds): Verdict {
    if (letter.session !== this.session) {
      if (!letter.hasProof || letter.from === 'B') return 'refused'
      if (this.waits === 'unknown') return 'either'
      return this.waits === letter.handshake ? new LetterLine('', 0, 0).#verdictOn(letter, bounds) : 'refused'
    }
    return this.#verdictOn(letter, bounds)
  }

  #verdictOn({ number, epoch, seq, salt, heard, closes }: Letter, bounds: Bounds): Verdict {
    const { lateMax, followMax, digestsMax } = bounds
    // Whatever was put back: what was opened before never opens again.
    if (this.promised.opened.has(number) || this.#opened.has(number)) return 'refused'
    if (epoch <= this.floor || epoch < this.receive - 1 || epoch > this.receive + followMax) return 'refused'
    if (seq < (this.#newest.get(epoch) ?? 0) - lateMax) return 'refused'
    if ((this.#salts.get(epoch) ?? salt) !== salt) return 'refused'
    if (heard > this.promised.send) return 'turned back'
    if (closes) return 'closes'
    return this.#opened.size >= (digestsMax ?? Number.POSITIVE_INFINITY) ? 'full' : 'opens'
  }

  opened({ number, session, epoch, seq, salt, world }: Letter): void {
    assert.ok(!this.got.has(number), `${this.name} has letter ${number} twice`)
    this.got.add(number)
    this.met.add(world)
    this.promised.opened.add(number)
    if (session !== this.session) return
    this.#opened.add(number)
    this.#salts.set(epoch, salt)
    this.#newest.set(epoch, Math.max(seq, this.#newest.get(epoch) ?? 0))
    this.receive = Math.max(epoch, this.receive)
    this.promised.receive = Math.max(epoch, this.promised.receive)
  }

  /** A letter that it gave away. `isFirst`: of its process. */
  sealed(
    { session, epoch, seq, number }: Pick<Letter, 'session' | 'epoch' | 'seq' | 'number'>,
    isFirst: boolean,
  ): void {
    const { promised } = this
    const place = `${session} ${epoch} ${seq}`
    assert.ok(!promised.sealed.has(place), `${this.name} sealed letter ${number} where another was`)
    if (isFirst) assert.ok(epoch > promised.send, `${this.name} seals in epoch ${epoch} of an earlier run`)
    promised.sealed.add(place)
    promised.send = Math.max(promised.send, epoch)
  }

  /** The peer has ended the session. */
  closed({ session }: Letter): void {
    // It was made by the proof in front, and nothing waits any more.
    if (session !== this.session) this.waits = undefined
    this.stands(undefined)
  }

  /** Which session stands, as the end itself says. */
  stands(session: string | undefined): void {
    if (session === this.session) return
    this.session = session
    this.receive = 0
    this.floor = 0
    for (const known of [this.#salts, this.#newest, this.#opened]) known.clear()
    if (session === this.promised.session) return
    Object.assign(this.promised, { session, send: 0, receive: 0 })
  }

  /** It was opened, after whatever had befallen it: which session stands, how far it is, and which texts it has. */
  isFound(found: {
    readonly session: string | undefined
    readonly epochs: { readonly send: number; readonly receive: number } | undefined
    readonly got: readonly number[]
  }): void {
    const { name, promised, opening, doubt } = this
    if (doubt !== 'none') {
      const canStand = this.way === 'continue' && found.session === promised.session
      assert.ok(found.session === undefined || canStand, `${name} goes on in a session that was replaced`)
      this.stands(found.session)
      this.floor = promised.receive
      if (this.mayBeTold !== undefined) this.floor = Math.max(this.floor, found.epochs?.receive ?? 0)
      this.receive = this.floor
      for (const known of [this.#salts, this.#newest, this.#opened]) known.clear()
      this.doubt = 'none'
    } else this.stands(found.session)
    const more = found.got.filter(number => !this.got.has(number))
    assert.ok(found.got.length === this.got.size + more.length, `${name} has lost a text that it had`)
    assert.ok(
      more.every(number => number === opening?.number),
      `${name} has letters ${more.join()} that it was not given`,
    )
    this.opening = undefined
    this.mayBeClosed = false
    if (opening !== undefined && more.length > 0) this.opened(opening)
    if (found.epochs === undefined) return
    const { send, receive } = found.epochs
    assert.ok(send >= promised.send, `${name} has entered epoch ${send} and had promised ${promised.send}`)
    assert.equal(receive, this.receive, `${name} reads epoch ${receive}`)
    promised.send = send
  }
}
