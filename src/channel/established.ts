import type { Secret } from '../crypto/secret.ts'
import { closedByPeer, end, parseClose, unexpected } from './close.ts'
import { type Frame, frameTypes } from './frame.ts'
import { channelLimits } from './limits.ts'
import { ChannelError } from './reasons.ts'
import { askForRekey, readInit } from './rekey-client.ts'
import { beginRekey, readPlease } from './rekey-server.ts'
import { exportSecret } from './schedule.ts'
import { hear, send, stepStanding, takeFrame } from './standing.ts'
import type { Closed, Closing, Established, SessionEvent, Standing, Step } from './state.ts'
import { admit, open, type Traffic } from './traffic.ts'

/** A session between rekeys (C1, C2, C6, C7; docs/spec/channel.md sections 5 and 6). */
export function stepEstablished(state: Established, event: SessionEvent): Step {
  switch (event.kind) {
    case 'frame-arrived':
      return takeFrame(state, event.frame, state.role === 'server' ? readPlease : readInit, rekeyIfDue)
    case 'send': {
      const sent = send(state, event.plaintext)
      if (sent.state.name !== 'established') return sent
      const next = rekeyIfDue(sent.state)
      return { state: next.state, actions: [...sent.actions, ...next.actions] }
    }
    case 'rekey-requested':
      return rekey(state)
    case 'timeout':
      return event.timer === 'age' ? rekey(state) : stepStanding(state, event)
    default:
      return stepStanding(state, event)
  }
}

/** After our CLOSE 0: nothing is delivered any more, and the peer's CLOSE is awaited for a while. */
export function stepClosing(state: Closing, event: SessionEvent): Step {
  switch (event.kind) {
    case 'frame-arrived':
      return arrivedClosing(state, event.frame)
    case 'frame-refused':
      return closed(state, 'a bad frame after our CLOSE')
    case 'send':
      throw new ChannelError('channel/CLOSED', 'the channel is closing')
    case 'wire-ended':
      return closed(state, 'the stream ended after our CLOSE')
    case 'timeout':
      return event.timer === 'close' ? closed(state, 'no answer to our CLOSE') : { state, actions: [] }
    // A rekey that was under way is given up: what was asked for it is answered late.
    case 'close-requested':
    case 'rekey-requested':
    case 'signed':
    case 'verified':
    case 'committed':
      return { state, actions: [] }
  }
}

function rekey(state: Established): Step {
  return state.role === 'server' ? beginRekey(state) : askForRekey(state)
}

function rekeyIfDue(state: Established): Step {
  const isDue = reachesLimit(state, state.send) || reachesLimit(state, state.receive)
  // Past its last seq an end has nothing to ask with: what is sent next says so.
  const canAsk = state.send.seq < channelLimits.seqMax
  return isDue && canAsk ? rekey(state) : { state, actions: [] }
}

function reachesLimit({ config: { limits } }: Established, { seq, blocks }: Traffic): boolean {
  return seq >= limits.epochFramesMax || blocks >= limits.epochBlocksMax
}

function arrivedClosing(state: Closing, frame: Frame): Step {
  admit(state.receive, frame)
  if (frame.type !== frameTypes.data && frame.type !== frameTypes.close) return unexpected(state)
  const { plaintext, traffic } = open(state.suite.aead, state.receive, frame)
  const next = hear({ ...state, receive: traffic })
  if (frame.type === frameTypes.data) return next
  return closedByPeer(next.state, parseClose(plaintext), true, next.actions)
}

export function closed(state: Closing, text: string): Step<Closed> {
  return end(state, { reason: 0, by: 'us', trusted: true, text })
}

/** A secret bound to this session and the epoch it seals in, its label and its context, the same at both ends (section 4). */
export function exportFrom(state: Standing, label: string, context: Uint8Array, length: number): Secret {
  return exportSecret(state.suite.kdf, state.exporter, label, context, length)
}
