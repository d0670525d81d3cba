/**
 * IT-DUR-001 to 005 (S10), in both readings: what is put back goes on above what was promised, or is discarded. Each
 * takes two real actors; `who` is put back, to its newest state or to the one that the case is about.
 */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ActorProcess, type Reply } from './actor-process.ts'

export type Reading = 'continue' | 'discard'
export type Put = { readonly who: 'a' | 'b' | 'both'; readonly to: 'older' | 'newest' }

const forbidden = 'replay (durable)'

export class Pair {
  readonly directory = mkdtempSync(join(tmpdir(), 'pawl-durability-'))
  readonly a: ActorProcess
  readonly b: ActorProcess
  session = ''
  id = ''
  #asOfNow: { a: string; b: string } = { a: '', b: '' }
  readonly #accepted: string[] = []
  readonly #opened = new Set<string>()
  #texts = 0

  constructor(reading: Reading, ...more: readonly string[]) {
    const marks = join(this.directory, 'marks')
    mkdirSync(marks)
    const env = {
      ...process.env,
      QSL_TEST_HOOKS: '1',
      QSL_DUR_STORE_DIR: marks,
      PAWL_HOOK_NONCES: join(this.directory, 'nonces'),
    }
    const actor = (name: string) =>
      new ActorProcess(['--name', name, '--ci', '--on-rollback', reading, ...more], env)
    this.a = actor('impl_a')
    this.b = actor('impl_b')
  }

  /** Both reset, and the handshake of a new case. */
  async begin(id: string): Promise<void> {
    this.id = id
    this.#accepted.length = 0
    await this.a.told('reset')
    await this.b.told('reset')
    await this.shakeHands()
  }

  async shakeHands(): Promise<void> {
    const suite = 'Suite-1'
    const { msg1_b64 } = await this.a.told('handshake_init', { suite, options: {} })
    const { msg2_b64 } = await this.b.told('handshake_respond', { suite, msg1_b64, options: {} })
    const { session_id } = await this.a.told('handshake_finish', { suite, msg2_b64, options: {} })
    assert.match(String(session_id), /^[A-Za-z0-9_-]{22}$/)
    this.session = String(session_id)
  }

  async seal(
    from: ActorProcess,
    what: string,
  ): Promise<{ readonly letter: string; readonly plaintext: string }> {
    const text = `${this.id}:${what}${++this.#texts}`
    const plaintext = Buffer.from(text).toString('base64url')
    const { ciphertext_b64 } = await from.told('encrypt', {
      session_id: this.session,
      plaintext_b64: plaintext,
    })
    return { letter: String(ciphertext_b64), plaintext }
  }

  open(at: ActorProcess, letter: string): Promise<Reply> {
    return at.ask('decrypt', { session_id: this.session, ciphertext_b64: letter })
  }

  /** From A to B, and accepted with an equal plaintext. */
  async accepted(what: string): Promise<string> {
    const { letter, plaintext } = await this.seal(this.a, what)
    await this.accepts(letter, plaintext, what)
    return letter
  }

  async accepts(letter: string, plaintext: string, what: string): Promise<void> {
    const reply = await this.open(this.b, letter)
    assert.ok(reply.ok, `${what}: ${JSON.stringify(reply)}`)
    assert.equal(reply.result.plaintext_b64, plaintext, what)
    assert.ok(!this.#opened.has(plaintext), `${what} was accepted twice`)
    this.#opened.add(plaintext)
    this.#accepted.push(letter)
  }

  async rejected(letter: string, what: string): Promise<void> {
    const reply = await this.open(this.b, letter)
    const text = JSON.stringify(reply)
    assert.ok(!reply.ok, `${what} was accepted`)
    assert.ok(['CRYPTO', 'INVALID'].includes(reply.error.code), text)
    assert.ok(!text.includes(forbidden), text)
  }

  /** From B to A. */
  async ping(): Promise<void> {
    const { letter, plaintext } = await this.seal(this.b, 'ping')
    const reply = await this.open(this.a, letter)
    assert.ok(reply.ok, JSON.stringify(reply))
    assert.equal(reply.result.plaintext_b64, plaintext)
  }

  async snapshot(): Promise<{ readonly a: string; readonly b: string }> {
    const [a, b] = [await this.a.told('debug_snapshot'), await this.b.told('debug_snapshot')]
    return { a: String(a.snapshot_b64), b: String(b.snapshot_b64) }
  }

  /** Ends and starts whoever is put back, and gives it the state; answers how each session came out. */
  async putBack(
    put: Put,
    older: { readonly a: string; readonly b: string },
    more: object = {},
  ): Promise<string[]> {
    this.#asOfNow = await this.snapshot()
    const ends = put.who === 'both' ? (['a', 'b'] as const) : [put.who]
    const outcomes = await Promise.all(
      ends.map(async end => {
        await this[end].restart()
        const snapshot_b64 = (put.to === 'older' ? older : this.#asOfNow)[end]
        const { sessions } = await this[end].told('debug_restore', { snapshot_b64, ...more })
        assert.ok(Array.isArray(sessions) && sessions.length === 1)
        return String(sessions[0].outcome)
      }),
    )
    return outcomes
  }

  /** Nothing that was accepted is accepted again. */
  async allRejected(): Promise<void> {
    for (const letter of this.#accepted) await this.rejected(letter, 'a letter that was accepted')
  }

  async end(): Promise<void> {
    await this.a.end()
    await this.b.end()
    rmSync(this.directory, { recursive: true })
  }

  /** In all that the two have sealed. */
  nothingTwice(): void {
    const sealings = readFileSync(join(this.directory, 'nonces'), 'utf8').trimEnd().split('\n')
    assert.ok(sealings.length > 1)
    assert.equal(new Set(sealings).size, sealings.length, 'a (key, nonce) came twice')
  }
}

export type Case = (pair: Pair, put: Put, reading: Reading) => Promise<void>

export const cases: Readonly<Record<string, Case>> = {
  async 'IT-DUR-001'(pair, put, reading) {
    // An older state than the case has, where one is asked for; one from before the handshake would be discarded.
    if (put.to === 'older') await pair.accepted('pt')
    const before = await pair.snapshot()
    await pair.accepted('pt')
    await after(pair, put, reading, put.to === 'older' ? before : await pair.snapshot())
  },

  async 'IT-DUR-002'(pair, put, reading) {
    await pair.accepted('pt')
    const first = await pair.snapshot()
    if (put.who === 'both') await pair.putBack({ ...put, to: 'newest' }, first)
    await pair.accepted('pt')
    await after(pair, put, reading, first)
  },

  async 'IT-DUR-003'(pair, put, reading) {
    await pair.accepted('pt')
    const first = await pair.snapshot()
    await pair.accepted('pt')
    await after(pair, put, reading, first)
  },

  async 'IT-DUR-004'(pair, put, reading) {
    const first = await acrossBoundary(pair)
    await pair.accepted('pt')
    await after(pair, put, reading, first)
  },

  async 'IT-DUR-005'(pair, put, reading) {
    const first = await acrossBoundary(pair)
    await pair.accepted('pt')
    await after(pair, put, reading, first, await pair.seal(pair.a, 'pt'))
  },

  async 'IT-DUR-005 without its replay set'(pair, put, reading) {
    const first = await acrossBoundary(pair)
    await pair.accepted('pt')
    const undelivered = await pair.seal(pair.a, 'pt')
    await after(pair, put, reading, first, undelivered, { without_replay_set: true })
  },
}

/** Up to the message that crosses into another epoch, which is seen to have done so; the snapshot lies before it. */
async function acrossBoundary(pair: Pair): Promise<{ readonly a: string; readonly b: string }> {
  const first = await pair.accepted('E0 boundary')
  const second = await pair.accepted('pt')
  const snapshot = await pair.snapshot()
  await pair.ping()
  const crossed = await pair.accepted('E1 boundary')
  const [one, two, three] = [first, second, crossed].map(epochOf)
  assert.equal(one, two)
  assert.ok(three !== undefined && one !== undefined && three > one, 'the boundary moves the epoch')
  return snapshot
}

/** Of the frame behind the proof that may be in front. */
function epochOf(letter: string): number {
  const bytes = Buffer.from(letter, 'base64url')
  const data = bytes[0] === 1 ? bytes.subarray(22 + bytes.readUInt32BE(18)) : bytes
  return data.readUInt32BE(10)
}

/** What holds once something was put back (S8). */
async function after(
  pair: Pair,
  put: Put,
  reading: Reading,
  older: { readonly a: string; readonly b: string },
  undelivered?: { readonly letter: string; readonly plaintext: string },
  more: object = {},
): Promise<void> {
  const outcomes = await pair.putBack(put, older, more)
  const expected = put.to === 'newest' ? 'newest' : reading === 'discard' ? 'discarded' : 'recovered'
  assert.deepEqual(
    outcomes,
    outcomes.map(() => expected),
  )
  await pair.allRejected()
  if (expected === 'discarded') return discarded(pair, put, undelivered)
  const isReceiverOlder = put.to === 'older' && put.who !== 'a'
  if (undelivered !== undefined && isReceiverOlder)
    await pair.rejected(undelivered.letter, 'of an epoch that was entered')
  else if (undelivered !== undefined)
    await pair.accepts(undelivered.letter, undelivered.plaintext, 'undelivered')
  if (isReceiverOlder && put.who === 'b') {
    // Its sender has not moved: it must hear of it first.
    await pair.rejected((await pair.seal(pair.a, 'pt')).letter, 'before the sender has heard')
    await pair.ping()
  }
  await pair.accepted('pt')
  await pair.ping()
  await pair.accepted('pt')
  await pair.allRejected()
}

/** The session is no more at whoever was put back; a new one is begun. */
async function discarded(pair: Pair, put: Put, undelivered?: { readonly letter: string }): Promise<void> {
  if (undelivered !== undefined && put.who !== 'a')
    await pair.rejected(undelivered.letter, 'of a session that is no more')
  for (const end of ['a', 'b'] as const) {
    if (put.who !== 'both' && put.who !== end) continue
    const reply = await pair[end].ask('encrypt', { session_id: pair.session, plaintext_b64: 'eA' })
    assert.ok(!reply.ok && reply.error.code === 'INVALID', JSON.stringify(reply))
  }
  await pair.shakeHands()
  await pair.accepted('pt')
  await pair.ping()
}
