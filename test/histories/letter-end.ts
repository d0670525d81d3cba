/** One process of an end in mode `letter`. */
import assert from 'node:assert/strict'
import { base64url, hex } from '../../src/bytes/bytes.ts'
import { parseLetter } from '../../src/channel/letter/index.ts'
import type { Clock } from '../../src/host/clock.ts'
import { SessionError } from '../../src/session/error.ts'
import { LetterSession } from '../../src/session/letters.ts'
import { StateError } from '../../src/state/error.ts'
import { type Parameters, parametersIn } from '../../src/state/parameters.ts'
import { type AtRest, type Running, run } from '../session/world.ts'
import type { EndName, Life } from './homes.ts'
import type { Bounds, Letter, LetterLine } from './letter-line.ts'

export class LetterEnd {
  readonly line: LetterLine
  readonly life: Life
  readonly running: Running
  readonly letters: LetterSession
  readonly #end: EndName
  #hasSealed = false

  private constructor(end: EndName, line: LetterLine, life: Life, running: Running, letters: LetterSession) {
    this.#end = end
    this.line = line
    this.life = life
    this.running = running
    this.letters = letters
    life.atEnd(() => running.kill())
  }

  static async start(life: Life, site: AtRest, options: Options): Promise<LetterEnd | undefined> {
    const { end, line, clock, bounds } = options
    const opening = async () => {
      const running = await run(site, clock, life)
      const letters = await openLetters(end, line, running, bounds)
      const started = new LetterEnd(end, line, life, running, letters)
      const got = running.endpoint.store.list('/state/got/').map(path => Number(path.slice(11)))
      const before = line.session
      line.isFound({ session: started.#session, epochs: letters.stands ? letters.epochs : undefined, got })
      // It died while it finished a handshake: another session than before is that handshake's.
      if (line.finishing !== undefined && line.session !== undefined && line.session !== before)
        line.handshake = line.finishing
      return started
    }
    const started = await Promise.race([opening(), life.died])
    return started === 'died' ? undefined : started
  }

  async begin(): Promise<Uint8Array> {
    return this.letters.begin()
  }

  async answer(handshake: number, hello: Uint8Array): Promise<Uint8Array> {
    this.line.waits = 'unknown'
    const answer = await this.letters.answer(hello)
    this.line.waits = handshake
    return answer
  }

  async finish(handshake: number, answer: Uint8Array): Promise<void> {
    this.line.finishing = handshake
    await this.letters.finish(answer)
    this.line.finishing = undefined
    this.line.handshake = handshake
    this.line.stands(this.#session)
  }

  async seal(number: number): Promise<Letter> {
    const heard = this.line.receive
    return this.#given(number, heard, false, await this.letters.seal(Buffer.from(`letter ${number}`)))
  }

  /** Its last letter in the session. */
  async close(number: number): Promise<Letter> {
    const { line } = this
    const heard = line.receive
    const bytes = (await this.letters.close()) ?? assert.fail('a session without a last letter')
    const letter = this.#given(number, heard, true, bytes)
    line.stands(undefined)
    line.waits = undefined
    return letter
  }

  #given(number: number, heard: number, closes: boolean, bytes: Uint8Array): Letter {
    const { line } = this
    const { proof, data } = parseLetter(bytes)
    const session = line.session ?? assert.fail('a letter without a session')
    const { epoch, seq } = data
    const letter: Letter = {
      number,
      from: this.#end,
      world: line.world,
      session,
      handshake: line.handshake,
      hasProof: proof !== undefined,
      closes,
      epoch,
      seq,
      salt: hex(data.salt),
      heard,
      bytes,
    }
    line.sealed(letter, !this.#hasSealed)
    this.#hasSealed = true
    return letter
  }

  /** Opens it and keeps the text with it; or answers with the code of the refusal. */
  async open(letter: Letter): Promise<SessionError['code'] | 'opened' | 'closed'> {
    const { line } = this
    line.opening = letter
    const path = `/state/got/${letter.number}`
    const { waits } = line
    if (letter.closes) {
      line.mayBeClosed = true
      if (letter.hasProof && waits !== undefined) line.waits = 'unknown'
    }
    try {
      const body = await this.letters.open(letter.bytes, payload => [{ put: path, payload }])
      line.waits = waits
      line.mayBeClosed = false
      if (letter.closes) {
        assert.equal(body, undefined, 'a close with a text')
        line.closed(letter)
        return 'closed'
      }
      assert.equal(
        String(body && Buffer.from(body)),
        `letter ${letter.number}`,
        'another text than was sealed',
      )
      this.#sync()
      line.opened(letter)
      return 'opened'
    } catch (error) {
      if (!(error instanceof SessionError)) throw error
      line.waits = waits
      line.mayBeClosed = false
      // One that was turned back does not say any more which session it is in.
      if (error.code !== 'session/ROLLBACK') this.#sync()
      return error.code
    } finally {
      line.opening = undefined
    }
  }

  get #session(): string | undefined {
    return this.letters.stands ? hex(this.letters.id) : undefined
  }

  /** A proof makes a session before the letter behind it is looked at. */
  #sync(): void {
    if (this.#session === this.line.session) return
    this.line.stands(this.#session)
    this.line.waits = undefined
  }
}

type Options = {
  readonly end: EndName
  readonly line: LetterLine
  readonly clock: Clock
  readonly bounds: Bounds
}

/** After a restore first as it comes: it is refused, if there is anything to refuse; then it goes on. */
async function openLetters(
  end: EndName,
  line: LetterLine,
  { endpoint, peer }: Running,
  bounds: Bounds,
): Promise<LetterSession> {
  const home = { ...endpoint, parameters: lowered(await parametersIn(endpoint.store), bounds) }
  const party = {
    key: base64url(peer.id),
    calls: peer.id,
    calledAs: endpoint.own.identity.id,
    meet: async ({ id }: { readonly id: Uint8Array }) =>
      Buffer.compare(id, peer.id) === 0 ? ('known' as const) : ('another' as const),
  }
  const role = end === 'A' ? 'client' : 'server'
  if (line.doubt === 'none') {
    const told = line.mayBeTold
    try {
      return await LetterSession.open(home, party, role)
    } catch (error) {
      if (told === undefined || !isRollbackError(error)) throw error
      line.turnBack(told, 'continue')
      line.opening = undefined
    }
  }
  let isRefused = false
  if (line.doubt === 'certain') {
    const asItIs = await LetterSession.open(home, party, role).catch((error: unknown) => error)
    isRefused =
      isRollbackError(asItIs) ||
      ((line.way === 'discard' || line.mayBeClosed) &&
        asItIs instanceof StateError &&
        asItIs.code === 'EINTEGRITY')
    // Its close was cut short: the mark is gone already.
    if (isRefused && !isRollbackError(asItIs)) line.way = 'discard'
    if (asItIs instanceof LetterSession) await asItIs.end()
    else if (!isRefused) throw asItIs
  }
  const wasCertain = line.doubt === 'certain'
  line.doubt = 'maybe'
  const letters = await LetterSession.open(home, party, role, { restored: line.way, by: 'a history' })
  if (wasCertain && line.way === 'continue')
    assert.equal(isRefused, letters.stands, 'a session that was put back is not refused as it is')
  return letters
}

function isRollbackError(error: unknown): boolean {
  return error instanceof SessionError && error.code === 'session/ROLLBACK'
}

function lowered(from: Parameters, { lateMax, followMax, digestsMax }: Bounds): Parameters {
  return {
    ...from,
    count(name) {
      if (name === 'dur.max_out_of_order_messages') return lateMax
      if (name === 'letter.epochs_followed') return followMax
      if (name === 'dur.replay_cache_max_entries' && digestsMax !== undefined) return digestsMax
      return from.count(name)
    },
    holds: name => (name === 'letter.replay_digests' ? digestsMax !== undefined : from.holds(name)),
  }
}
