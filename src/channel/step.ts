import { stepClient } from './client.ts'
import { refuse } from './close.ts'
import { closed, stepClosing, stepEstablished } from './established.ts'
import { ChannelError } from './reasons.ts'
import { stepClientRekeying } from './rekey-client.ts'
import { stepServerRekeying } from './rekey-server.ts'
import { stepServer } from './server.ts'
import type {
  Closed,
  Closing,
  Event,
  HandshakeEvent,
  RekeyEvent,
  SendEvent,
  SessionEvent,
  Standing,
  State,
  Step,
} from './state.ts'

/**
 * The channel: the next state, and what the driver is to do, in order (`handshake.ts` says what it owes). Total: each
 * (state, event) is decided as in docs/spec/channel.md section 7. Types keep `send` from a state without keys.
 * @throws ChannelError without a reason when a call is out of place (`channel/CLOSED`, `channel/TOO_LARGE`); the state
 * given is then still good
 * @throws TypeError on an event that the driver cannot lawfully give; nothing was sealed, but the channel is done for
 */
export function step(state: State, event: HandshakeEvent): Step
export function step(state: Standing | Closing | Closed, event: SendEvent | RekeyEvent): Step
export function step(state: State, event: Event): Step {
  try {
    return reduce(state, event)
  } catch (error) {
    // What a peer did wrong ends the channel; only our own mistakes go on as exceptions.
    if (!(error instanceof ChannelError) || error.reason === undefined) throw error
    if (state.name === 'closing') return closed(state, error.message)
    return refuse(state, error.reason, error.message)
  }
}

function reduce(state: State, event: Event): Step {
  switch (state.name) {
    case 'established':
      return stepEstablished(state, sessionEvent(state, event))
    case 'server-waits-ack':
    case 'server-verifying-ack':
    case 'server-signing-commit':
    case 'server-committing-rekey':
    case 'server-waits-switch':
      return stepServerRekeying(state, sessionEvent(state, event))
    case 'client-waits-init':
    case 'client-signing-ack':
    case 'client-waits-commit':
    case 'client-verifying-commit':
    case 'client-committing-rekey':
      return stepClientRekeying(state, sessionEvent(state, event))
    case 'closing':
      return stepClosing(state, sessionEvent(state, event))
    case 'closed':
      return ignore(state, event)
    case 'client-waits-hello':
    case 'client-waits-proof':
    case 'client-verifying':
    case 'client-signing':
    case 'client-waits-done':
    case 'client-judging':
    case 'client-committing':
      return stepClient(state, handshakeEvent(state, event))
    case 'server-waits-hello':
    case 'server-signing':
    case 'server-waits-proof':
    case 'server-verifying':
    case 'server-deciding':
    case 'server-committing':
      return stepServer(state, handshakeEvent(state, event))
  }
}

function handshakeEvent(state: State, event: Event): HandshakeEvent {
  if (event.kind === 'send' || event.kind === 'rekey-requested')
    throw new TypeError(`${event.kind} in ${state.name}: there is no key yet`)
  return event
}

function sessionEvent(state: State, event: Event): SessionEvent {
  switch (event.kind) {
    case 'decided':
    case 'positions-judged':
      throw new TypeError(`${event.kind} in ${state.name}: nobody asked`)
    default:
      return event
  }
}

/** Answers and frames may come late. */
function ignore(state: Closed, event: Event): Step<Closed> {
  if (event.kind === 'send') throw new ChannelError('channel/CLOSED', 'the channel is closed')
  if (event.kind === 'decided') for (const { res } of event.memory.secrets) res[Symbol.dispose]()
  return { state, actions: [] }
}
