import { closedByPeer, end, parseClose, refuse, sealClose, secretsOf, timersOf, unexpected } from './close.ts'
import { type Frame, frameTypes } from './frame.ts'
import { channelLimits } from './limits.ts'
import { ChannelError, type CloseReason, refusal } from './reasons.ts'
import type { Action, Closing, SessionEvent, Standing, Step } from './state.ts'
import { admit, blocksOf, open, seal, type Traffic } from './traffic.ts'

/** What a session that stands does, whether it is being rekeyed or not (docs/spec/channel.md sections 5 and 6). */
type Outcome<S> = { readonly state: S; readonly actions: readonly Action[] }

/** Every event that has nothing to do with a rekey. */
export function stepStanding(state: Standing, event: SessionEvent): Step {
  switch (event.kind) {
    case 'frame-arrived':
      return takeFrame(state, event.frame, unexpected)
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
      // Timers that fired before they were stopped.
      if (event.timer !== 'close') return { state, actions: [] }
      throw new TypeError(`timer close in ${state.name}`)
    case 'rekey-requested':
      return { state, actions: [] }
    case 'signed':
    case 'verified':
    case 'committed':
      throw new TypeError(`${event.kind} in ${state.name}: nobody asked`)
  }
}

/** The next frame of the other end. `takeRekey` is given a REKEY of it, opened. */
export function takeFrame<S extends Standing>(
  state: S,
  frame: Frame,
  takeRekey: (state: S, plaintext: Uint8Array) => Step,
  took: (state: S) => Step = state => ({ state, actions: [] }),
): Step {
  if (isRefusalOfDone(state, frame)) return refusedDone(state, frame)
  admit(state.receive, frame)
  switch (frame.type) {
    case frameTypes.data: {
      const limit = hardLimit(state, state.receive, Math.max(0, frame.payload.length - 16))
      if (limit !== undefined) throw refusal(limit, 'a frame past the limits of its epoch')
      const { plaintext, ...heard } = openNext(state, frame)
      if (plaintext.length > state.config.limits.dataBytesMax) throw refusal(15, 'more than we said we take')
      return after({ ...heard, actions: [...heard.actions, { kind: 'deliver', plaintext }] }, took)
    }
    case frameTypes.close: {
      const { plaintext, ...heard } = openNext(state, frame)
      return peerCloses(heard.state, plaintext, heard.actions)
    }
    case frameTypes.rekey: {
      if (state.receive.seq >= channelLimits.seqMax) throw refusal(31, 'a frame past the last of its epoch')
      const { plaintext, ...heard } = openNext(state, frame)
      return after(heard, next => takeRekey(next, plaintext))
    }
    case frameTypes.handshake:
      return unexpected(state)
  }
}

export function send<S extends Standing>(state: S, plaintext: Uint8Array): Step {
  const most = Math.min(state.peerDataBytesMax, state.config.limits.dataBytesMax)
  if (plaintext.length > most)
    throw new ChannelError('channel/TOO_LARGE', `${plaintext.length} bytes in a frame of ${most}`)
  const limit = hardLimit(state, state.send, plaintext.length)
  if (limit !== undefined) return refuse(state, limit, 'the limits of the epoch are reached')
  const { parts, traffic } = seal(state.suite.aead, state.send, frameTypes.data, plaintext)
  return { state: { ...state, send: traffic }, actions: [{ kind: 'send', parts }] }
}

/** First what was done, then what follows from it. */
export function after<S extends Standing>({ state, actions }: Outcome<S>, follow: (state: S) => Step): Step {
  const next = follow(state)
  return { state: next.state, actions: [...actions, ...next.actions] }
}

/** The peer's first frame of an epoch that a handshake began: it has the new secret, and the handshake's last key is wiped. */
export function hear<S extends Standing | Closing>(state: S): Outcome<S> {
  if (state.heard) return { state, actions: [] }
  state.previous?.key[Symbol.dispose]()
  return {
    state: { ...state, heard: true, previous: undefined },
    actions: [{ kind: 'peer-heard', secretId: state.secretId }],
  }
}

function openNext<S extends Standing>(
  state: S,
  frame: Frame,
): Outcome<S> & { readonly plaintext: Uint8Array } {
  const { plaintext, traffic } = open(state.suite.aead, state.receive, frame)
  return { plaintext, ...hear({ ...state, receive: traffic }) }
}

function peerCloses(state: Standing, plaintext: Uint8Array, before: readonly Action[]): Step {
  const message = parseClose(plaintext)
  if (message.reason !== 0) return closedByPeer(state, message, true, before)
  const answer = sealClose(state.suite, state.send, { reason: 0, lastReceived: state.receive.seq, text: '' })
  return closedByPeer(state, message, true, [...before, { kind: 'send', parts: answer.parts }])
}

/** A client that cannot go on with SDONE says so under the key of the handshake. */
function isRefusalOfDone(state: Standing, frame: Frame): boolean {
  return state.previous !== undefined && frame.epoch === 0 && frame.type === frameTypes.close
}

function refusedDone(state: Standing, frame: Frame): Step {
  if (state.previous === undefined) return unexpected(state)
  admit(state.previous, frame)
  const { plaintext } = open(state.suite.aead, state.previous, frame)
  return closedByPeer(state, parseClose(plaintext), true)
}

function beginClose(state: Standing, text: string): Step<Closing> {
  const { config, role, suite, receive, previous, secretId, heard } = state
  const { parts } = sealClose(suite, state.send, { reason: 0, lastReceived: receive.seq, text })
  const closing: Closing = { name: 'closing', config, role, suite, receive, previous, secretId, heard }
  const kept = new Set(secretsOf(closing))
  for (const secret of secretsOf(state)) if (!kept.has(secret)) secret[Symbol.dispose]()
  return {
    state: closing,
    actions: [
      { kind: 'send', parts },
      ...timersOf(state),
      { kind: 'start-timer', timer: 'close', ms: config.limits.closeMsMax },
    ],
  }
}

/** Whether one more frame would pass what a key may do. The last seq is kept for CLOSE. */
function hardLimit(state: Standing, traffic: Traffic, plaintextBytes: number): CloseReason | undefined {
  const { limits } = state.config
  if (traffic.seq >= channelLimits.seqMax) return 31
  if (traffic.seq >= limits.hardFramesMax) return 22
  return traffic.blocks + blocksOf(plaintextBytes) > limits.hardBlocksMax ? 22 : undefined
}
