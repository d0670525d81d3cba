import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { encodeClose } from '../../src/channel/close.ts'
import { encodeHeader, type FrameType, frameTypes, headerBytes, plainFrame } from '../../src/channel/frame.ts'
import {
  type Action,
  ChannelError,
  type Event,
  FrameReader,
  type StateName,
} from '../../src/channel/index.ts'
import { type EventName, events, type Outcome, table } from '../../src/channel/table.ts'
import { newTraffic, type Traffic } from '../../src/channel/traffic.ts'
import { Secret } from '../../src/crypto/secret.ts'
import {
  alice,
  bob,
  bytesOf,
  client,
  connected,
  copied,
  type End,
  flipped,
  forged,
  home,
  type Pair,
  pair,
  run,
  server,
  start,
  step,
  watchSealings,
} from './ends.ts'

watchSealings()

const stateNames = Object.keys(table) as StateName[]

test('the page and the code have the same table, whole', () => {
  const page = readFileSync(new URL('../../docs/spec/channel.md', import.meta.url), 'utf8')
  const seen: Record<string, Record<string, string>> = {}
  let columns: string[] = []
  for (const line of page.slice(page.indexOf('## 7.')).split('\n')) {
    if (!line.startsWith('|')) columns = []
    const [first = '', ...rest] = line
      .split('|')
      .slice(1, -1)
      .map(cell => cell.trim())
    if (first === 'event') columns = rest
    else if (columns.length > 0 && !first.startsWith('---')) {
      for (const [i, name] of columns.entries()) seen[name] = { ...seen[name], [first]: rest[i] ?? '' }
    }
  }
  assert.deepEqual(seen, table)
  for (const row of Object.values(table)) assert.deepEqual(Object.keys(row).sort(), [...events].sort())
})

for (const name of stateNames) {
  test(`every event in ${name} does what the table says`, () => {
    for (const event of events) assert.equal(drive(name, event), table[name][event], event)
  })
}

/** The outcome of one event in one state, through the real reducer and on a state of its own. */
function drive(name: StateName, event: EventName): Outcome | string {
  const { end, traffic, due } = reach(name)
  const state = end.state
  const given = eventOf(event, name, traffic, due)
  let actions: readonly Action[]
  try {
    const next = step(state, given)
    actions = next.actions
    if (next.state.name === name) return 'stay'
    if (next.state.name !== 'closed') return next.state.name
  } catch (error) {
    if (error instanceof ChannelError) return error.code === 'channel/CLOSED' ? 'CLOSED' : error.code
    if (error instanceof TypeError) return 'misuse'
    throw error
  }
  const ended = actions.find(action => action.kind === 'closed')
  const sent = actions.some(action => action.kind === 'send')
  assert.ok(ended?.kind === 'closed' && actions.some(action => action.kind === 'end-wire'))
  if (ended.by === 'peer' || name === 'closing') return 'closed'
  return `${sent ? 'close' : 'drop'} ${ended.reason}`
}

type Reached = {
  readonly end: End
  readonly traffic: Traffic | undefined
  readonly due: Uint8Array | undefined
}

/** An end in a state, how the other end would seal its next frame, and the flight due next if there is one. */
function reach(name: StateName): Reached {
  const at = (made: Pair, end: End, due?: Uint8Array): Reached => {
    assert.equal(end.state.name, name)
    const { state } = end
    if (!('receive' in state)) return { end, traffic: undefined, due }
    const { key, sessionId, epoch, seq } = state.receive
    // A copy of the key, so that frames can be made that the real other end has not sealed.
    assert.ok(made)
    return { end, traffic: newTraffic(key.copy(), sessionId, epoch, seq), due }
  }
  const holding = (kind: Action['kind'], who: 'client' | 'server'): Reached => {
    const honest = {}
    const hold = { hold: [kind] }
    const made = run({
      client: client(home(alice), who === 'client' ? hold : honest),
      server: server(home(bob), who === 'server' ? hold : honest),
    })
    return at(made, made[who])
  }
  switch (name) {
    case 'client-waits-hello': {
      const made = pair({ hold: ['sign'] })
      made.server.arrive(take(made.client))
      return at(made, made.client, take(made.server))
    }
    case 'client-waits-proof': {
      const made = pair()
      made.server.arrive(take(made.client))
      made.client.arrive(take(made.server))
      return at(made, made.client, take(made.server))
    }
    case 'client-verifying':
      return holding('verify', 'client')
    case 'client-signing':
      return holding('sign', 'client')
    case 'client-waits-done': {
      const made = pair()
      made.server.arrive(take(made.client))
      made.client.arrive(take(made.server)).arrive(take(made.server))
      made.server.arrive(take(made.client))
      return at(made, made.client, take(made.server))
    }
    case 'client-judging':
      return holding('judge-positions', 'client')
    case 'client-committing':
      return holding('commit', 'client')
    case 'server-waits-hello': {
      const made = pair()
      return at(made, made.server, take(made.client))
    }
    case 'server-signing':
      return holding('sign', 'server')
    case 'server-waits-proof': {
      const made = pair()
      made.server.arrive(take(made.client))
      made.client.arrive(take(made.server)).arrive(take(made.server))
      return at(made, made.server, take(made.client))
    }
    case 'server-verifying':
      return holding('verify', 'server')
    case 'server-deciding':
      return holding('decide', 'server')
    case 'server-committing':
      return holding('commit', 'server')
    case 'established': {
      const made = connected()
      return at(made, made.server)
    }
    case 'closing': {
      const made = connected()
      made.server.give({ kind: 'close-requested', reason: 0, text: '' })
      return at(made, made.server)
    }
    case 'closed': {
      const made = connected()
      made.server.give({ kind: 'wire-ended' })
      return at(made, made.server)
    }
  }
}

function take(end: End): Uint8Array {
  const frame = end.sent.shift()
  assert.ok(frame)
  return frame
}

function eventOf(
  event: EventName,
  name: StateName,
  traffic: Traffic | undefined,
  due: Uint8Array | undefined,
): Event {
  switch (event) {
    case 'handshake':
      return due ? arrived(due) : framed(frameTypes.handshake, traffic, bytesOf('x'))
    case 'data':
      return framed(frameTypes.data, traffic, bytesOf('x'))
    case 'rekey':
      return framed(frameTypes.rekey, traffic, bytesOf('x'))
    case 'close':
      return framed(frameTypes.close, traffic, encodeClose({ reason: 0, lastReceived: 0, text: '' }))
    case 'bad frame': {
      if (traffic === undefined) return arrived(plainFrame(bytesOf('no message')))
      const type =
        due === undefined ? frameTypes.close : name === 'established' ? frameTypes.data : frameTypes.handshake
      return framed(type, traffic, new Uint8Array(6), true)
    }
    case 'frame-refused': {
      const header = { type: frameTypes.data, sessionId: new Uint8Array(8), epoch: 1, seq: 1 }
      return only(encodeHeader({ ...header, payloadBytes: 65_553 }))
    }
    case 'signed':
      return { kind: 'signed', signature: bytesOf('signature') }
    case 'verified: good':
    case 'verified: bad':
      return { kind: 'verified', good: event === 'verified: good' }
    case 'decided':
    case 'decided: refused': {
      const memory = copied(home(bob).memory)
      const verdict = event === 'decided' ? 'ok' : 'refused'
      return { kind: 'decided', memory, positions: start, verdict }
    }
    case 'judged: ok':
    case 'judged: refused':
      return { kind: 'positions-judged', verdict: event === 'judged: ok' ? 'ok' : 'refused' }
    case 'committed':
      return { kind: 'committed' }
    case 'send':
      return { kind: 'send', plaintext: bytesOf('x') }
    case 'close-requested':
      return { kind: 'close-requested', reason: 0, text: '' }
    case 'wire-ended':
      return { kind: 'wire-ended' }
    case 'timeout: handshake':
      return { kind: 'timeout', timer: 'handshake' }
    case 'timeout: age':
      return { kind: 'timeout', timer: 'age' }
    case 'timeout: close':
      return { kind: 'timeout', timer: 'close' }
  }
}

/** A frame with a good header, sealed as the other end would; where nothing is sealed yet, under a key of nobody's. */
function framed(type: FrameType, traffic: Traffic | undefined, plaintext: Uint8Array, spoilt = false): Event {
  const bytes = forged(traffic ?? nobody, { type, plaintext })
  return arrived(spoilt ? flipped(bytes, (headerBytes + 1) * 8) : bytes)
}

const nobody = newTraffic(new Secret(new Uint8Array(32)), new Uint8Array(8), 0, 0)

function arrived(bytes: Uint8Array): Event {
  return only(bytes)
}

function only(bytes: Uint8Array): Event {
  const [event] = [...new FrameReader().feed(bytes)]
  assert.ok(event)
  return event
}
