import { BytesError, text as fromUtf8, utf8 } from '../bytes/bytes.ts'
import { Writer } from '../bytes/writer.ts'
import type { Secret } from '../crypto/secret.ts'
import type { Suite } from '../crypto/suite.ts'
import { frameTypes } from './frame.ts'
import { channelLimits } from './limits.ts'
import { decode } from './message.ts'
import { type ChannelCode, type CloseReason, codeOf, isCloseReason, refusal } from './reasons.ts'
import type { Action, Closed, Ending, Standing, State, Step } from './state.ts'
import { seal, type Traffic } from './traffic.ts'

/** The end of a channel (C7; docs/spec/channel.md section 6): what CLOSE says, and that nothing is left after it. */
export type CloseMessage = {
  readonly reason: CloseReason
  readonly lastReceived: number
  readonly text: string
}

/** The text is escaped, and cut to what fits. */
export function encodeClose(message: CloseMessage): Uint8Array {
  const text = cut(utf8(escaped(message.text)))
  return new Writer(64).u16(message.reason).u32(message.lastReceived).bytes(text).done()
}

/** @throws ChannelError 13 */
export function parseClose(plaintext: Uint8Array): CloseMessage {
  return decode(plaintext, reader => {
    const reason = reader.u16()
    if (!isCloseReason(reason)) throw new BytesError(`close reason ${reason}`)
    const lastReceived = reader.u32()
    if (reader.left > channelLimits.closeTextBytesMax) throw new BytesError('a long text')
    return { reason, lastReceived, text: escaped(fromUtf8(reader.rest())) }
  })
}

/** So that a peer's words can be printed and logged on one line. */
export function escaped(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
    mark => `\\u{${mark.codePointAt(0)?.toString(16)}}`,
  )
}

/** At most the limit, and never within a character. */
function cut(text: Uint8Array): Uint8Array {
  let end = Math.min(text.length, channelLimits.closeTextBytesMax)
  while (end < text.length && ((text[end] ?? 0) & 0xc0) === 0x80) end--
  return text.subarray(0, end)
}

export type EndingWithoutCode = Omit<Ending, 'code'> & { readonly code?: ChannelCode }

/** Wipes all that the state holds; whatever comes later is ignored. */
export function end(state: State, ending: EndingWithoutCode, before: readonly Action[] = []): Step<Closed> {
  dispose(state)
  const whole = { ...ending, code: ending.code ?? codeOf(ending.reason) }
  return {
    state: { name: 'closed', ending: whole },
    actions: [...before, ...timersOf(state), { kind: 'end-wire' }, { kind: 'closed', ...whole }],
  }
}

/** Refuses the other end: says why if there is a key to say it under, and is closed. */
export function refuse(state: State, reason: CloseReason, text: string, told = ''): Step<Closed> {
  const ending: EndingWithoutCode = { reason, by: 'us', text, trusted: true }
  if (!('send' in state)) return end(state, ending)
  const { parts } = sealClose(state.suite, state.send, {
    reason,
    lastReceived: state.receive.seq,
    text: told,
  })
  return end(state, ending, [{ kind: 'send', parts }])
}

export function sealClose(
  suite: Suite,
  send: Traffic,
  message: CloseMessage,
): { readonly parts: readonly Uint8Array[]; readonly traffic: Traffic } {
  return seal(suite.aead, send, frameTypes.close, encodeClose(message))
}

/** The peer's CLOSE ends it. */
export function closedByPeer(
  state: State,
  message: CloseMessage,
  trusted: boolean,
  before: readonly Action[] = [],
): Step<Closed> {
  const { reason, text, lastReceived } = message
  return end(state, { reason, by: 'peer', text, trusted, peerReceived: lastReceived }, before)
}

/** Wipes every secret of a state. For a driver that drops a channel without a word. */
export function dispose(state: State): void {
  for (const secret of secretsOf(state)) secret[Symbol.dispose]()
}

/** Every secret that a state owns. */
export function secretsOf(state: State): readonly Secret[] {
  const secrets: Secret[] = []
  if ('keys' in state) secrets.push(state.keys.hs, state.keys.clientFinished, state.keys.serverFinished)
  if ('send' in state) secrets.push(state.send.key)
  if ('receive' in state) secrets.push(state.receive.key)
  if ('previous' in state && state.previous) secrets.push(state.previous.key)
  if ('exporter' in state) secrets.push(state.exporter, state.chain.secret)
  if ('following' in state) secrets.push(state.following.key)
  if ('next' in state) {
    const { clientKey, serverKey, exporter, chain } = state.next
    secrets.push(clientKey, serverKey, exporter, chain.secret)
  }
  if ('commit' in state) secrets.push(state.commit.secret.res)
  if ('config' in state && 'memory' in state.config)
    secrets.push(...state.config.memory.secrets.map(({ res }) => res))
  return secrets
}

/** Stops the timers that a state has running. */
export function timersOf(state: State): readonly Action[] {
  switch (state.name) {
    case 'closed':
      return []
    case 'closing':
      return [{ kind: 'stop-timer', timer: 'close' }]
    default:
      if (!isStanding(state)) return [{ kind: 'stop-timer', timer: 'handshake' }]
      return [
        { kind: 'stop-timer', timer: 'age' },
        { kind: 'stop-timer', timer: 'rekey' },
      ]
  }
}

/** Whether a session stands: it seals and opens, and is not being closed. */
export function isStanding(state: State): state is Standing {
  return 'exporter' in state
}

/** A frame that its state does not take. */
export function unexpected(state: State): never {
  throw refusal(14, `a frame that ${state.name} does not take`)
}
