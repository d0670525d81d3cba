/** Two ends in memory, and the smallest driver that keeps the promises of `handshake.ts`. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { after, before } from 'node:test'
import { gcm } from '@noble/ciphers/aes.js'
import { concat, equal } from '../../src/bytes/bytes.ts'
import type { Positions } from '../../src/channel/block.ts'
import { encodeHeader, type FrameType, headerBytes, nonceOf } from '../../src/channel/frame.ts'
import {
  type Action,
  afterCommit,
  afterHeard,
  type ClientConfig,
  dispose,
  type Ending,
  type Event,
  FrameReader,
  type LocalConfig,
  type Memory,
  nothingRemembered,
  step as realStep,
  type State,
  type Step,
  secretsOf,
  startClient,
  startServer,
  type Verdict,
} from '../../src/channel/index.ts'
import type { Traffic } from '../../src/channel/traffic.ts'
import { recordSealings } from '../../src/crypto/aead.ts'
import type { Secret } from '../../src/crypto/secret.ts'
import { type Suite, suites } from '../../src/crypto/suite.ts'
import { type Identity, newIdentity } from '../../src/signature/identity.ts'

export const entropy = { bytes: (length: number): Uint8Array => new Uint8Array(randomBytes(length)) }

export type AnyStep = (state: State, event: Event) => Step
/** The overloads keep `send` from a handshake; here every pair is tried. */
export const step: AnyStep = (state, event) => realStep(state as never, event as never)

export const alice = newIdentity('classical').identity
export const bob = newIdentity('classical').identity
export const carol = newIdentity('classical').identity

export const start: Positions = {
  nextSend: 1,
  headBeforeSend: new Uint8Array(32),
  nextExpected: 1,
  headBeforeExpected: new Uint8Array(32),
  firstKept: 1,
  headBeforeKept: new Uint8Array(32),
  amendment: new Uint8Array(32),
}

/** Stands for the signatures, which have tests of their own: anyone can make it, but for one identity and payload. */
export function fakeSignature(identity: Identity, purpose: string, payload: Uint8Array): Uint8Array {
  return new Uint8Array(
    createHash('sha512').update(identity.id).update(purpose).update('\0').update(payload).digest(),
  )
}

/** What an end holds between sessions. */
export type Home = {
  readonly identity: Identity
  memory: Memory<Secret>
  positions: Positions
  verdict: Verdict
}

export function home(identity: Identity): Home {
  return { identity, memory: nothingRemembered, positions: start, verdict: 'ok' }
}

export function copied(memory: Memory<Secret>): Memory<Secret> {
  return { ...memory, secrets: memory.secrets.map(({ id, res }) => ({ id, res: res.copy() })) }
}

export type Options = {
  readonly suite?: Suite
  readonly peerId?: Uint8Array
  readonly limits?: LocalConfig['limits']
  /** Actions that are left unanswered. */
  readonly hold?: readonly Action['kind'][]
  readonly step?: AnyStep
  readonly verify?: (
    identity: Identity,
    purpose: string,
    payload: Uint8Array,
    signature: Uint8Array,
  ) => boolean
}

export class End {
  state: State
  readonly home: Home
  readonly options: Options
  readonly log: Action[] = []
  readonly held: Action[] = []
  readonly received: Uint8Array[] = []
  /** What waits to be carried to the other end, a frame each. */
  sent: Uint8Array[] = []
  ending: Ending | undefined
  superseded = false
  /** Every secret that was the channel's at some time. */
  readonly secrets = new Set<Secret>()
  readonly reader = new FrameReader()

  constructor(first: Step, home: Home, options: Options) {
    this.home = home
    this.options = options
    this.state = first.state
    this.note(secretsOf(first.state))
    this.perform(first.actions)
  }

  give(event: Event): this {
    const next = (this.options.step ?? step)(this.state, event)
    this.state = next.state
    this.note(secretsOf(next.state))
    this.perform(next.actions)
    return this
  }

  note(secrets: readonly Secret[]): void {
    for (const secret of secrets) this.secrets.add(secret)
  }

  arrive(bytes: Uint8Array): this {
    for (const event of this.reader.feed(bytes)) this.give(event)
    return this
  }

  send(...plaintexts: readonly Uint8Array[]): this {
    for (const plaintext of plaintexts) this.give({ kind: 'send', plaintext })
    return this
  }

  count(kind: Action['kind']): number {
    return this.log.filter(action => action.kind === kind).length
  }

  perform(actions: readonly Action[]): void {
    for (const action of actions) {
      this.log.push(action)
      if (this.options.hold?.includes(action.kind)) this.held.push(action)
      else this.answer(action)
      // A superseded session: what its first frame brought is not taken.
      if (action.kind === 'peer-heard' && this.superseded) return
    }
  }

  answer(action: Action): void {
    const { home } = this
    switch (action.kind) {
      case 'send':
        this.sent.push(concat(...action.parts))
        break
      case 'deliver':
        this.received.push(action.plaintext)
        break
      case 'closed':
        this.ending = action
        break
      case 'sign':
        this.give({
          kind: 'signed',
          signature: fakeSignature(home.identity, action.purpose, action.payload),
        })
        break
      case 'verify': {
        const { identity, purpose, payload, signature } = action
        const honest = () => equal(fakeSignature(identity, purpose, payload), signature)
        const good = this.options.verify?.(identity, purpose, payload, signature) ?? honest()
        this.give({ kind: 'verified', good })
        break
      }
      case 'decide': {
        const memory = copied(home.memory)
        this.note(memory.secrets.map(({ res }) => res))
        this.give({
          kind: 'decided',
          memory,
          positions: home.positions,
          verdict: home.verdict,
        })
        break
      }
      case 'judge-positions':
        this.give({ kind: 'positions-judged', verdict: home.verdict })
        break
      case 'commit': {
        // From here on it is the driver's.
        this.secrets.delete(action.secret.res)
        const kept = afterCommit(home.memory, action)
        if (kept === undefined) this.give({ kind: 'close-requested', reason: 72, text: 'superseded' })
        else {
          home.memory = kept
          this.give({ kind: 'committed' })
        }
        break
      }
      case 'commit-rekey': {
        this.secrets.delete(action.secret.res)
        const both = afterCommit(home.memory, action)
        const kept = both && action.alone ? afterHeard(both, action.secret.id) : both
        if (kept === undefined) this.give({ kind: 'close-requested', reason: 72, text: 'superseded' })
        else {
          home.memory = kept
          this.give({ kind: 'committed' })
        }
        break
      }
      case 'peer-heard': {
        const kept = afterHeard(home.memory, action.secretId)
        this.superseded = kept === undefined
        if (kept === undefined) this.give({ kind: 'close-requested', reason: 72, text: 'superseded' })
        else home.memory = kept
        break
      }
      default:
        break
    }
  }

  /** The stream breaks, or the process dies: nothing of the state is left. */
  drop(): void {
    dispose(this.state)
  }
}

export function client(home: Home, options: Options = {}): End {
  const config: ClientConfig = {
    suites: [options.suite ?? suites[0]],
    entropy,
    identity: home.identity,
    limits: options.limits ?? {},
    peerId: options.peerId ?? bob.id,
    memory: copied(home.memory),
    positions: home.positions,
  }
  return new End(startClient(config), home, options)
}

export function server(home: Home, options: Options = {}): End {
  const config: LocalConfig = {
    suites: [options.suite ?? suites[0]],
    entropy,
    identity: home.identity,
    limits: options.limits ?? {},
  }
  return new End(startServer(config), home, options)
}

export type Pair = { readonly client: End; readonly server: End }

export function pair(both: Options = {}, homes: { client?: Home; server?: Home } = {}): Pair {
  return {
    client: client(homes.client ?? home(alice), both),
    server: server(homes.server ?? home(bob), both),
  }
}

export type Direction = 'to server' | 'to client'
/** What becomes of the nth frame (from 0) of a direction; the same bytes unless it says otherwise. */
export type Path = (direction: Direction, index: number, frame: Uint8Array) => readonly Uint8Array[]

/** Carries frames both ways until nobody has anything to say. */
export function run({ client, server }: Pair, path: Path = (_direction, _index, frame) => [frame]): Pair {
  const counts = { 'to server': 0, 'to client': 0 }
  const carry = (from: End, to: End, direction: Direction): boolean => {
    const frames = from.sent
    from.sent = []
    for (const frame of frames)
      for (const bytes of path(direction, counts[direction]++, frame)) to.arrive(bytes)
    return frames.length > 0
  }
  for (let turn = 0; turn < 100; turn++) {
    const moved = [carry(client, server, 'to server'), carry(server, client, 'to client')]
    if (!moved.includes(true)) return { client, server }
  }
  throw new Error('the ends never come to rest')
}

export function connected(options: Options = {}, homes: { client?: Home; server?: Home } = {}): Pair {
  const made = run(pair(options, homes))
  assert.equal(made.client.state.name, 'established')
  assert.equal(made.server.state.name, 'established')
  return made
}

/** The oracle of every test that seals: in one process no (key, nonce) pair comes twice. */
export function watchSealings(): void {
  const seen = new Set<string>()
  before(() =>
    recordSealings(({ keyFingerprint, nonce }) => {
      const pair = Buffer.concat([keyFingerprint, nonce]).toString('hex')
      assert.ok(!seen.has(pair), 'a (key, nonce) pair was used twice')
      seen.add(pair)
    }),
  )
  after(() => {
    recordSealings(undefined)
    assert.ok(seen.size > 0, 'nothing was sealed')
  })
}

/**
 * A frame as the holder of a key could make it, with any header. Sealed by noble: the oracle watches what the channel
 * seals, and an attacker's frames may well repeat a nonce.
 */
export function forged(
  traffic: Traffic,
  frame: { type: FrameType; plaintext: Uint8Array; sessionId?: Uint8Array; epoch?: number; seq?: number },
): Uint8Array {
  const { sessionId = traffic.sessionId, epoch = traffic.epoch, seq = traffic.seq + 1 } = frame
  const { type, plaintext } = frame
  const header = encodeHeader({ type, sessionId, epoch, seq, payloadBytes: plaintext.length + 16 })
  return concat(header, gcm(traffic.key.bytes, nonceOf(epoch, seq), header).encrypt(plaintext))
}

/** What the holder of a key reads in a frame. */
export function opened(traffic: Traffic, frame: Uint8Array): Uint8Array {
  const header = frame.subarray(0, headerBytes)
  return gcm(traffic.key.bytes, nonceOf(traffic.epoch, traffic.seq + 1), header).decrypt(
    frame.subarray(headerBytes),
  )
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

export function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(bytes)
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return copy
}
