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
import { type Column, type EventName, events, type Outcome, table } from '../../src/channel/table.ts'
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

const columns = Object.keys(table) as Column[]

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

for (const column of columns) {
  test(`every event in ${column} does what the table says`, () => {
    for (const event of events) assert.equal(drive(column, event), table[column][event], event)
  })
}

/** The outcome of one event in one state, through the real reducer and on a state of its own. */
function drive(column: Column, event: EventName): Outcome | string {
  const { end, traffic, due } = reach(column)
  const name = end.state.name
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
function reach(column: Column): Reached {
  const name = (column.startsWith('established') ? 'established' : column) as StateName
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
  /** A rekey, until an end waits for that answer. */
  const rekeyingUntil = (kind: Action['kind'], who: 'client' | 'server'): Reached => {
    const hold: Action['kind'][] = []
    const other = who === 'client' ? 'server' : 'client'
    const made = run({
      client: client(home(alice), who === 'client' ? { hold } : {}),
      server: server(home(bob), who === 'server' ? { hold } : {}),
    })
    assert.equal(made[other].state.name, 'established')
    hold.push(kind)
    made.server.give({ kind: 'rekey-requested' })
    return at(run(made), made[who])
  }
  /** A rekey in which so many frames were carried, the server's first one to begin with. */
  const rekeyedBy = (frames: number, who: 'client' | 'server'): Reached => {
    const made = connected()
    made.server.give({ kind: 'rekey-requested' })
    for (let i = 0; i < frames; i++) {
      if (i % 2 === 0) made.client.arrive(take(made.server))
      else made.server.arrive(take(made.client))
    }
    return at(made, made[who], take(made[who === 'client' ? 'server' : 'client']))
  }
  switch (column) {
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
    case 'established, client':
      return rekeyedBy(0, 'client')
    case 'established, server': {
      const made = connected()
      made.client.give({ kind: 'rekey-requested' })
      return at(made, made.server, take(made.client))
    }
    case 'client-waits-init': {
      const made = connected()
      made.client.give({ kind: 'rekey-requested' })
      made.server.arrive(take(made.client))
      return at(made, made.client, take(made.server))
    }
    case 'client-signing-ack':
      return rekeyingUntil('sign', 'client')
    case 'client-waits-commit':
      return rekeyedBy(2, 'client')
    case 'client-verifying-commit':
      return rekeyingUntil('verify', 'client')
    case 'client-committing-rekey':
      return rekeyingUntil('commit-rekey', 'client')
    case 'server-waits-ack':
      return rekeyedBy(1, 'server')
    case 'server-verifying-ack':
      return rekeyingUntil('verify', 'server')
    case 'server-signing-commit':
      return rekeyingUntil('sign', 'server')
    case 'server-committing-rekey':
      return rekeyingUntil('commit-rekey', 'server')
    case 'server-waits-switch':
      return rekeyedBy(3, 'server')
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

/** The type that is due, or one that is always taken. */
function badType(name: StateName, due: Uint8Array | undefined): FrameType {
  if (due?.[0] === frameTypes.handshake) return frameTypes.handshake
  return due?.[0] === frameTypes.rekey || name === 'established' ? frameTypes.data : frameTypes.close
}

function eventOf(
  event: EventName,
  name: StateName,
  traffic: Traffic | undefined,
  due: Uint8Array | undefined,
): Event {
  switch (event) {
    case 'handshake':
      return due?.[0] === frameTypes.handshake
        ? arrived(due)
        : framed(frameTypes.handshake, traffic, bytesOf('x'))
    case 'data':
      return framed(frameTypes.data, traffic, bytesOf('x'))
    case 'rekey':
      return due?.[0] === frameTypes.rekey ? arrived(due) : framed(frameTypes.rekey, traffic, bytesOf('x'))
    case 'close':
      return framed(frameTypes.close, traffic, encodeClose({ reason: 0, lastReceived: 0, text: '' }))
    case 'bad frame': {
      if (traffic === undefined) return arrived(plainFrame(bytesOf('no message')))
      const type = badType(name, due)
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
    case 'rekey-requested':
      return { kind: 'rekey-requested' }
    case 'close-requested':
      return { kind: 'close-requested', reason: 0, text: '' }
    case 'wire-ended':
      return { kind: 'wire-ended' }
    case 'timeout: handshake':
      return { kind: 'timeout', timer: 'handshake' }
    case 'timeout: age':
      return { kind: 'timeout', timer: 'age' }
    case 'timeout: rekey':
      return { kind: 'timeout', timer: 'rekey' }
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
