import type { Secret } from '../crypto/secret.ts'
import { closedByPeer, end, parseClose, refuse, sealClose, unexpected } from './close.ts'
import { type Frame, frameTypes } from './frame.ts'
import { channelLimits } from './limits.ts'
import { ChannelError, type CloseReason, refusal } from './reasons.ts'
import { exportSecret } from './schedule.ts'
import type { Action, Closed, Closing, Established, EstablishedEvent, Step } from './state.ts'
import { admit, blocksOf, open, seal, type Traffic } from './traffic.ts'

/** A session (C1, C2, C7; docs/spec/channel.md sections 5 and 6). */
export function stepEstablished(state: Established, event: EstablishedEvent): Step {
  switch (event.kind) {
    case 'frame-arrived':
      return arrived(state, event.frame)
    case 'frame-refused':
      return refuse(state, event.reason, 'a frame refused by its header')
    case 'send':
      return send(state, event.plaintext)
    case 'close-requested':
      return event.reason === 0
        ? beginClose(state, event.text)
        : refuse(state, event.reason, event.text, event.text)
    case 'wire-ended':
      return end(state, { reason: 23, by: 'wire', trusted: false, text: 'the stream ended without CLOSE' })
    case 'timeout':
      if (event.timer === 'close') throw new TypeError('timer close in established')
      // A handshake timer that fired before it was stopped.
      if (event.timer === 'handshake') return { state, actions: [] }
      return report(state, [], 'age')
  }
}

/** After our CLOSE 0: nothing is delivered any more, and the peer's CLOSE is awaited for a while. */
export function stepClosing(state: Closing, event: EstablishedEvent): Step {
  switch (event.kind) {
    case 'frame-arrived':
      return arrivedClosing(state, event.frame)
    case 'frame-refused':
      return closed(state, 'a bad frame after our CLOSE')
    case 'send':
      throw new ChannelError('channel/CLOSED', 'the channel is closing')
    case 'close-requested':
      return { state, actions: [] }
    case 'wire-ended':
      return closed(state, 'the stream ended after our CLOSE')
    case 'timeout':
      return event.timer === 'close' ? closed(state, 'no answer to our CLOSE') : { state, actions: [] }
  }
}

function arrived(state: Established, frame: Frame): Step {
  if (isRefusalOfDone(state, frame)) return refusedDone(state, frame)
  admit(state.receive, frame)
  switch (frame.type) {
    case frameTypes.data:
      return deliver(state, frame)
    case frameTypes.close:
      return peerCloses(state, frame)
    case frameTypes.rekey:
      throw refusal(10, 'a REKEY, which this version does not know')
    case frameTypes.handshake:
      return unexpected(state)
  }
}

function deliver(state: Established, frame: Frame): Step {
  const limit = hardLimit(state, state.receive, Math.max(0, frame.payload.length - 16))
  if (limit !== undefined) throw refusal(limit, 'a frame past the limits of its epoch')
  const { plaintext, traffic } = open(state.suite.aead, state.receive, frame)
  if (plaintext.length > state.config.limits.dataBytesMax) throw refusal(15, 'more than we said we take')
  const next = hear({ ...state, receive: traffic })
  return report(next.state, [...next.actions, { kind: 'deliver', plaintext }], softLimit(next.state, traffic))
}

function peerCloses(state: Established, frame: Frame): Step {
  const { plaintext, traffic } = open(state.suite.aead, state.receive, frame)
  const message = parseClose(plaintext)
  const next = hear({ ...state, receive: traffic })
  if (message.reason !== 0) return closedByPeer(next.state, message, true, next.actions)
  const answer = sealClose(state.suite, state.send, { reason: 0, lastReceived: traffic.seq, text: '' })
  return closedByPeer(next.state, message, true, [...next.actions, { kind: 'send', bytes: answer.bytes }])
}

/** A client that cannot go on with SDONE says so under the key of the handshake. */
function isRefusalOfDone(state: Established, frame: Frame): boolean {
  return state.previous !== undefined && frame.epoch === 0 && frame.type === frameTypes.close
}

function refusedDone(state: Established, frame: Frame): Step {
  if (state.previous === undefined) return unexpected(state)
  admit(state.previous, frame)
  const { plaintext } = open(state.suite.aead, state.previous, frame)
  return closedByPeer(state, parseClose(plaintext), true)
}

function send(state: Established, plaintext: Uint8Array): Step {
  const most = Math.min(state.peerDataBytesMax, state.config.limits.dataBytesMax)
  if (plaintext.length > most)
    throw new ChannelError('channel/TOO_LARGE', `${plaintext.length} bytes in a frame of ${most}`)
  const limit = hardLimit(state, state.send, plaintext.length)
  if (limit !== undefined) return refuse(state, limit, 'the limits of the epoch are reached')
  const { bytes, traffic } = seal(state.suite.aead, state.send, frameTypes.data, plaintext)
  const next = { ...state, send: traffic }
  return report(next, [{ kind: 'send', bytes }], softLimit(next, traffic))
}

function beginClose(state: Established, text: string): Step<Closing> {
  const { peer: _, peerDataBytesMax: __, limitReported: ___, send, exporter, ...rest } = state
  const { bytes } = sealClose(state.suite, send, { reason: 0, lastReceived: state.receive.seq, text })
  send.key[Symbol.dispose]()
  exporter[Symbol.dispose]()
  return {
    state: { ...rest, name: 'closing' },
    actions: [
      { kind: 'send', bytes },
      { kind: 'stop-timer', timer: 'age' },
      { kind: 'start-timer', timer: 'close', ms: state.config.limits.closeMsMax },
    ],
  }
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

/** The peer's first frame of the epoch: it has the new secret, and the handshake's last key is wiped. */
function hear<S extends Established | Closing>(state: S): Step<S> {
  if (state.heard) return { state, actions: [] }
  state.previous?.key[Symbol.dispose]()
  return {
    state: { ...state, heard: true, previous: undefined },
    actions: [{ kind: 'peer-heard', secretId: state.secretId }],
  }
}

type Soft = 'frames' | 'blocks' | 'age'

function softLimit(state: Established, traffic: Traffic): Soft | undefined {
  const { limits } = state.config
  if (traffic.seq >= limits.epochFramesMax) return 'frames'
  return traffic.blocks >= limits.epochBlocksMax ? 'blocks' : undefined
}

function report(state: Established, actions: readonly Action[], limit: Soft | undefined): Step {
  if (limit === undefined || state.limitReported) return { state, actions }
  return {
    state: { ...state, limitReported: true },
    actions: [...actions, { kind: 'limit-reached', limit }],
  }
}

/** Whether one more frame would pass what a key may do. The last seq is kept for CLOSE. */
function hardLimit(state: Established, traffic: Traffic, plaintextBytes: number): CloseReason | undefined {
  const { limits } = state.config
  if (traffic.seq >= channelLimits.seqMax) return 31
  if (traffic.seq >= limits.hardFramesMax) return 22
  return traffic.blocks + blocksOf(plaintextBytes) > limits.hardBlocksMax ? 22 : undefined
}

/** A secret bound to this session, its label and its context, the same at both ends (section 4). */
export function exportFrom(state: Established, label: string, context: Uint8Array, length: number): Secret {
  return exportSecret(state.suite.kdf, state.exporter, label, context, length)
}
