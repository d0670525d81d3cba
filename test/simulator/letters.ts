/**
 * Seeded histories of letters: two ends exchange them over a net that loses, keeps, doubles and reorders, and are
 * killed at every point of a step, put back, given a new session, copied. The shipped sessions are what is driven; their
 * stores are in memory, under marks that lie apart. Every step is held against what S8 promises.
 */
import assert from 'node:assert/strict'
import { hex, utf8 } from '../../src/bytes/bytes.ts'
import type { Role } from '../../src/channel/state.ts'
import { ActorStore, type Contents, type Marks, marksInMemory } from '../../src/cli/actor/store.ts'
import { recordSealings } from '../../src/crypto/aead.ts'
import { type SessionMark, sessionMarkPrefix } from '../../src/keeper/session-marks.ts'
import type { Mark } from '../../src/mark/mark.ts'
import { SessionError } from '../../src/session/error.ts'
import type { LetterPoint } from '../../src/session/letter-endpoint.ts'
import { type LetterOptions, type LetterParty, LetterSession } from '../../src/session/letters.ts'
import { newIdentity } from '../../src/signature/identity.ts'
import { StateError } from '../../src/state/error.ts'
import { parametersOf } from '../../src/state/parameters.ts'
import { settled } from './clock.ts'
import { Random } from './random.ts'

export type Name = 'a' | 'b'

/** An end at rest: its state, and the marks that lie apart from it. */
export type Rest = { readonly contents: Contents; readonly marks: ReadonlyMap<string, Mark> }

export type Meeting = { readonly [name in Name]: Rest }

type Flying = { readonly to: Name; readonly bytes: Uint8Array; readonly body: string }

const roles: { readonly [name in Name]: Role } = { a: 'client', b: 'server' }
const owns = { a: newIdentity('hybrid'), b: newIdentity('hybrid') }
const parameters = parametersOf('dev')
const clock = { now: () => 0, monotonic: () => 0, after: () => () => undefined }
/** Also on either side of the writing of the session's mark. */
type Point = LetterPoint | 'mark/before' | 'mark/after'

const points: readonly Point[] = [
  'mark/before',
  'mark/after',
  'letter/parsed',
  'letter/decrypting',
  'letter/opened',
  'letter/committing',
  'letter/marking',
  'letter/committed',
]

/** One end: a process with a session, on a state of its own. */
export class LetterEnd {
  readonly name: Name
  readonly marks: Map<string, Mark>
  readonly #random: Random
  store: ActorStore
  letters: LetterSession
  /** Where the process dies next. */
  diesAt: Point | undefined

  private constructor(
    name: Name,
    marks: Map<string, Mark>,
    random: Random,
    store: ActorStore,
    letters: LetterSession,
  ) {
    this.name = name
    this.marks = marks
    this.#random = random
    this.store = store
    this.letters = letters
  }

  static async start(
    name: Name,
    rest: Rest,
    random: Random,
    options: LetterOptions = {},
  ): Promise<LetterEnd> {
    const marks = new Map(rest.marks)
    const end: { current?: LetterEnd } = {}
    const crashAt = (point: Point) => {
      if (end.current?.diesAt === point) throw new Died(point)
    }
    const store = await ActorStore.restore(dying(marksInMemory(marks), crashAt), rest.contents)
    const letters = await openAt(name, store, random, options, crashAt)
    end.current = new LetterEnd(name, marks, random, store, letters)
    return end.current
  }

  /** What a process after this one finds. */
  rest(): Rest {
    return { contents: this.store.contents, marks: new Map(this.marks) }
  }

  again(options?: LetterOptions): Promise<LetterEnd> {
    return LetterEnd.start(this.name, this.rest(), this.#random, options)
  }
}

class Died extends Error {}

/** Marks of sessions that are written, or not, when the process dies. */
function dying(marks: Marks, crashAt: (point: Point) => void): Marks {
  const over = (name: string, mark: SessionMark): SessionMark => {
    if (!name.startsWith(sessionMarkPrefix)) return mark
    return {
      kind: mark.kind,
      read: () => mark.read(),
      close: () => mark.close(),
      async advance(expected, next) {
        crashAt('mark/before')
        await mark.advance(expected, next)
        crashAt('mark/after')
      },
    }
  }
  return {
    begin: async (name, key, first) => over(name, await marks.begin(name, key, first)),
    open: async (name, key, domain) => over(name, await marks.open(name, key, domain)),
    remove: name => marks.remove(name),
  }
}

function openAt(
  name: Name,
  store: ActorStore,
  random: Random,
  options: LetterOptions,
  crashAt: (point: LetterPoint) => void,
): Promise<LetterSession> {
  const anyone = new Uint8Array(32)
  const party: LetterParty = {
    key: 'peer',
    calls: anyone,
    calledAs: anyone,
    meet: async () => 'known',
  }
  const entropy = { bytes: (length: number) => random.bytes(length) }
  return LetterSession.open(
    { store, own: owns[name], clock, entropy, parameters, crashAt },
    party,
    roles[name],
    options,
  )
}

/** Two ends that have a session in which a letter went each way. */
export async function meeting(): Promise<Meeting> {
  const random = new Random(0)
  const begin = async (name: Name) => {
    const marks = new Map<string, Mark>()
    const store = await ActorStore.begin(marksInMemory(marks), random.bytes(32), random.bytes(32))
    return { marks, store, letters: await openAt(name, store, random, {}, () => undefined) }
  }
  const [a, b] = [await begin('a'), await begin('b')]
  await a.letters.finish(await b.letters.answer(await a.letters.begin()))
  await b.letters.open(await a.letters.seal(utf8('first')))
  await a.letters.open(await b.letters.seal(utf8('second')))
  return {
    a: { contents: a.store.contents, marks: a.marks },
    b: { contents: b.store.contents, marks: b.marks },
  }
}

export type Tally = Record<'steps' | 'opened' | 'refused' | 'deaths' | 'restores' | 'sessions', number>

/** What may happen besides sending and losing. `lies`: marks go back too, and there are copies. */
export type Weather = { readonly steps: number; readonly lies: boolean }

/** One history. @throws AssertionError, naming what did not hold */
export class LetterHistory {
  readonly random: Random
  readonly tally: Tally = { steps: 0, opened: 0, refused: 0, deaths: 0, restores: 0, sessions: 0 }
  readonly #ends: { a: LetterEnd; b: LetterEnd }
  readonly #flying: Flying[] = []
  readonly #accepted = new Set<string>()
  readonly #snapshots: { readonly [name in Name]: Rest[] } = { a: [], b: [] }
  /** Of each reader that was put back: the epochs that it had entered, by session. */
  readonly #closed = new Map<string, number>()
  readonly #weather: Weather
  readonly #toldBack = new Set<Name>()
  #bodies = 0

  private constructor(random: Random, weather: Weather, ends: { a: LetterEnd; b: LetterEnd }) {
    this.random = random
    this.#weather = weather
    this.#ends = ends
  }

  static async begin(start: Meeting, seed: number, weather: Weather): Promise<LetterHistory> {
    const random = new Random(seed)
    const [a, b] = [await LetterEnd.start('a', start.a, random), await LetterEnd.start('b', start.b, random)]
    return new LetterHistory(random, weather, { a, b })
  }

  async play(): Promise<Tally> {
    for (let i = 0; i < this.#weather.steps; i++) {
      this.tally.steps++
      await this.#step()
    }
    if (!this.#weather.lies) await this.#goesOn()
    return this.tally
  }

  async #step(): Promise<void> {
    const name = this.random.below(2) === 0 ? 'a' : 'b'
    const roll = this.random.below(100)
    if (roll < 34) await this.send(name)
    else if (roll < 72) await this.deliver()
    else if (roll < 80) await this.dies(name)
    else if (roll < 86) this.#snapshots[name].push(this.#ends[name].rest())
    else if (roll < 91) await this.restart(name)
    else if (roll < 97) await this.putBack(name, this.#weather.lies && roll < 94)
    else if (roll < 98) await this.newSession()
    else if (this.#weather.lies) await this.copy(name)
  }

  async send(name: Name): Promise<void> {
    // A server that waits for the proof has nothing to seal with.
    if (!this.#ends[name].letters.stands) return
    const body = `${name}${++this.#bodies}`
    const sealed = await this.#orDeath(name, end => end.letters.seal(utf8(body)))
    if (sealed !== undefined) this.#flying.push({ to: name === 'a' ? 'b' : 'a', bytes: sealed, body })
  }

  /** Any letter that ever flew, in any order, again and again. */
  async deliver(): Promise<void> {
    const newest = this.random.below(3) === 0
    const at = newest ? this.#flying.length - 1 : this.random.below(Math.max(1, this.#flying.length))
    const letter = this.#flying[at]
    if (letter !== undefined) await this.arrives(letter)
  }

  async arrives(letter: Flying): Promise<boolean> {
    const end = this.#ends[letter.to]
    const body = await this.#orDeath(letter.to, () =>
      end.letters.open(letter.bytes).catch((error: unknown) => {
        if (!(error instanceof SessionError)) throw error
        if (error.code === 'session/ROLLBACK') this.#toldBack.add(letter.to)
        return null
      }),
    )
    if (body === undefined) return false
    if (body === null) {
      this.tally.refused++
      if (this.#toldBack.delete(letter.to)) await this.#refused(letter.to)
      return false
    }
    this.tally.opened++
    assert.deepEqual(body, utf8(letter.body))
    const { epoch, session } = dataOf(letter.bytes)
    const closed = this.#closed.get(`${letter.to} ${session}`) ?? 0
    if (!this.#weather.lies) {
      assert.ok(!this.#accepted.has(letter.body), `${letter.body} was opened twice`)
      assert.ok(epoch > closed, `of epoch ${epoch}, and ${closed} had been entered before the restore`)
    }
    this.#accepted.add(letter.body)
    return true
  }

  /** Turned back, by the word of its peer: it is refused, and goes on by choice. */
  async #refused(name: Name): Promise<void> {
    assert.ok(this.#weather.lies, 'nobody was turned back with its marks')
    await assert.rejects(this.#ends[name].letters.seal(utf8('no')), isRefusal, 'it seals on')
    await assert.rejects(this.#ends[name].again(), isRefusal, 'it was opened as if nothing had been')
    this.#ends[name] = await this.#ends[name].again({ restored: 'continue', by: 'x' })
  }

  /** It dies at a point of its next step, and is started again. */
  async dies(name: Name): Promise<void> {
    const end = this.#ends[name]
    end.diesAt = points[this.random.below(points.length)]
    if (this.random.below(3) === 0) await this.send(name)
    else {
      const letters = this.#flying.filter(({ to }) => to === name)
      const letter = letters[this.random.below(Math.max(1, letters.length))]
      if (letter !== undefined) await this.arrives(letter)
    }
    end.diesAt = undefined
  }

  async restart(name: Name): Promise<void> {
    this.#ends[name] = await this.#ends[name].again()
  }

  /** To an older state, its marks as they are; or, if they lie, as they were. */
  async putBack(name: Name, withMarks: boolean): Promise<void> {
    const older = this.#snapshots[name]
    const snapshot = older[this.random.below(Math.max(1, older.length))]
    if (snapshot === undefined) return
    this.tally.restores++
    if (withMarks) older.length = older.indexOf(snapshot) + 1 // what came after it never was
    const end = this.#ends[name]
    const isNewest = snapshot.contents.generation === end.store.contents.generation
    if (withMarks) {
      this.#ends[name] = await LetterEnd.start(name, snapshot, this.random)
      return
    }
    const rest = { contents: snapshot.contents, marks: end.marks }
    const hadSession = snapshot.contents.records.some(({ path }) => path.endsWith('/session'))
    if (!isNewest && hadSession)
      await assert.rejects(LetterEnd.start(name, rest, this.random), isRefusal, 'an older state was taken')
    this.#enteredNow(name)
    this.#ends[name] = await LetterEnd.start(name, rest, this.random, {
      restored: 'continue',
      by: 'x',
    }).catch(
      // Older than its newest handshake: its mark is another session's, and it cannot go on.
      () => LetterEnd.start(name, rest, this.random, { restored: 'discard' }),
    )
    if (isNewest) this.#closed.delete(this.#key(name))
    if (!this.#ends[name].letters.stands) await this.newSession()
  }

  async newSession(): Promise<void> {
    this.tally.sessions++
    const { a, b } = this.#ends
    await a.letters.finish(await b.letters.answer(await a.letters.begin()))
    // Snapshots of before are older than the last KEM exchange: nothing goes on from them.
    this.#snapshots.a.length = 0
    this.#snapshots.b.length = 0
  }

  /** A copy of it, marks and all, that seals as well. */
  async copy(name: Name): Promise<void> {
    if (!this.#ends[name].letters.stands) return
    const copy = await this.#ends[name].again()
    const body = `${name}${++this.#bodies}`
    this.#flying.push({ to: name === 'a' ? 'b' : 'a', bytes: await copy.letters.seal(utf8(body)), body })
  }

  /** After one letter each way both directions open. */
  async #goesOn(): Promise<void> {
    const exchange = async (from: Name): Promise<boolean> => {
      await this.send(from)
      const letter = this.#flying.at(-1)
      return letter !== undefined && (await this.arrives(letter))
    }
    if (this.#ends.a.letters.frameId?.join() !== this.#ends.b.letters.frameId?.join()) await this.newSession()
    await exchange('a')
    await exchange('b')
    assert.ok(await exchange('a'), 'from a to b nothing opens any more')
    assert.ok(await exchange('b'), 'from b to a nothing opens any more')
  }

  #key(name: Name): string {
    const { frameId } = this.#ends[name].letters
    return `${name} ${frameId === undefined ? '' : hex(frameId)}`
  }

  #enteredNow(name: Name): void {
    const { letters } = this.#ends[name]
    if (letters.stands) this.#closed.set(this.#key(name), letters.epochs.receive)
  }

  /** What comes of it; nothing if the process died, and then another one is there. A plain crash is never refused. */
  async #orDeath<T>(name: Name, act: (end: LetterEnd) => Promise<T>): Promise<T | undefined> {
    try {
      return await act(this.#ends[name])
    } catch (error) {
      if (!(error instanceof Died)) throw error
      this.tally.deaths++
      await settled() // what was under way is done, or is not
      const before = this.#ends[name]
      this.#ends[name] = await before.again().catch((error: unknown) => {
        // It may have died while it was being told that it was turned back.
        if (!this.#weather.lies || !isRefusal(error)) throw error
        return before.again({ restored: 'continue', by: 'x' })
      })
      return undefined
    }
  }
}

/** As a rollback; or, of a session that a newer one has taken the place of, for want of its mark. */
function isRefusal(error: unknown): boolean {
  const isRollback = error instanceof SessionError && error.code === 'session/ROLLBACK'
  return isRollback || (error instanceof StateError && error.code === 'EINTEGRITY')
}

function dataOf(letter: Uint8Array): { readonly epoch: number; readonly session: string } {
  const bytes = Buffer.from(letter)
  const data = bytes[0] === 1 ? bytes.subarray(22 + bytes.readUInt32BE(18)) : bytes
  return { epoch: data.readUInt32BE(10), session: data.subarray(2, 10).toString('hex') }
}

/** Plays histories of these seeds, and watches that no key and nonce come twice in any of them. */
export async function playLetters(
  start: Meeting,
  seeds: readonly number[],
  weather: Weather,
): Promise<Tally> {
  const total: Tally = { steps: 0, opened: 0, refused: 0, deaths: 0, restores: 0, sessions: 0 }
  for (const seed of seeds) {
    const seen = new Set<string>()
    let repeated = false
    recordSealings(({ keyFingerprint, nonce }) => {
      const pair = hex(keyFingerprint) + hex(nonce)
      repeated ||= seen.has(pair)
      seen.add(pair)
    })
    try {
      const history = await LetterHistory.begin(start, seed, weather)
      const tally = await history.play()
      for (const [name, count] of Object.entries(tally)) total[name as keyof Tally] += count
      assert.ok(!repeated, 'a (key, nonce) came twice')
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      })
    } finally {
      recordSealings(undefined)
    }
  }
  return total
}
