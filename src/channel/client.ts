import { equal } from '../bytes/bytes.ts'
import { encodeContinue } from './block.ts'
import { end } from './close.ts'
import { readDone } from './done.ts'
import type { Frame } from './frame.ts'
import {
  checkMac,
  establish,
  finished,
  hashOf,
  keyedBy,
  otherwise,
  plainPayload,
  prove,
  receive,
  withShare,
} from './handshaking.ts'
import { parseAbort, parseServerHello, version } from './hello.ts'
import { parseFlight } from './message.ts'
import {
  checkSignature,
  encodeClientParameters,
  encodeIdentity,
  encodeSelection,
  parseIdentityMessage,
  parseServerParameters,
  serverProof,
} from './proof.ts'
import { refusal } from './reasons.ts'
import { binder, modeStream, purposes } from './schedule.ts'
import type {
  ClientHandshaking,
  ClientSigning,
  ClientVerifying,
  ClientWaitsDone,
  ClientWaitsHello,
  ClientWaitsProof,
  HandshakeEvent,
  Step,
} from './state.ts'
import type { Traffic } from './traffic.ts'

/** The client's half of the handshake (docs/spec/channel.md section 3). */
export function stepClient(state: ClientHandshaking, event: HandshakeEvent): Step {
  switch (state.name) {
    case 'client-waits-hello':
      if (event.kind === 'frame-arrived') return readHello(state, event.frame)
      break
    case 'client-waits-proof':
      if (event.kind === 'frame-arrived')
        return receive(state, event.frame, (plaintext, traffic) => readProof(state, plaintext, traffic))
      break
    case 'client-verifying':
      if (event.kind === 'verified') return event.good ? askSignature(state) : unverified()
      break
    case 'client-signing':
      if (event.kind === 'signed') return sendProof(state, event.signature)
      break
    case 'client-waits-done':
      if (event.kind === 'frame-arrived')
        return receive(state, event.frame, (plaintext, traffic) => readDone(state, plaintext, traffic))
      break
    case 'client-judging':
      if (event.kind === 'positions-judged') {
        if (event.verdict === 'refused') throw refusal(70, 'positions that cannot be: an end was turned back')
        const { commit, ...rest } = state
        return {
          state: { ...rest, name: 'client-committing' },
          actions: [{ kind: 'commit', ...commit }],
        }
      }
      break
    case 'client-committing':
      if (event.kind === 'committed') return establish(state, undefined)
      break
  }
  return otherwise(state, event)
}

function unverified(): never {
  throw refusal(50, 'the server did not prove its identity')
}

function readHello(state: ClientWaitsHello, frame: Frame): Step {
  const payload = plainPayload(frame)
  const hint = parseAbort(payload)
  if (hint !== undefined) {
    const text = `the server may not speak our ${hint === 11 ? 'version' : 'suites'}: an untrusted hint`
    return end(state, { reason: hint, by: 'peer', trusted: false, hint, text })
  }
  const message = parseFlight(payload, ['SHLO'])('SHLO')
  const hello = parseServerHello(message.body)
  const suite = state.offered.find(({ id }) => id === hello.suite)
  if (hello.version !== version || hello.mode !== modeStream || suite === undefined)
    throw refusal(52, 'an answer that was not offered')
  const transcript = [...state.transcript, message.whole]
  const shared = withShare(() => suite.kem.decapsulate(state.pair, hello.ciphertext))
  const keyed = keyedBy('client', suite, transcript, shared, hello.sessionId)
  return { state: { name: 'client-waits-proof', config: state.config, ...keyed }, actions: [] }
}

function readProof(state: ClientWaitsProof, plaintext: Uint8Array, traffic: Traffic): Step {
  const flight = parseFlight(plaintext, serverProof)
  const [parameters, named] = [flight('SPARAMS'), flight('SIDENT')]
  const [signed, mac] = [flight('SSIG'), flight('SFIN')]
  const peerDataBytesMax = parseServerParameters(parameters.body)
  const signature = checkSignature(signed.body)
  const proven = [parameters.whole, named.whole, signed.whole]
  checkMac(finished(state, state.keys.serverFinished, ...proven), mac.body, 'SFIN')
  const peer = parseIdentityMessage(named.body)
  if (!equal(peer.id, state.config.peerId)) throw refusal(51, 'the server has another identity')
  const payload = hashOf(state, parameters.whole, named.whole)
  return {
    state: {
      ...state,
      name: 'client-verifying',
      peer,
      peerDataBytesMax,
      receive: traffic,
      transcript: [...state.transcript, ...proven, mac.whole],
    },
    actions: [{ kind: 'verify', identity: peer, purpose: purposes.server, payload, signature }],
  }
}

function askSignature(state: ClientVerifying): Step<ClientSigning> {
  const { config, suite } = state
  const said = [encodeClientParameters(config.limits.dataBytesMax), encodeSelection()]
  const before = hashOf(state, ...said)
  const offers = config.memory.secrets.map(({ id, res }) => ({ id, binder: binder(suite.kdf, res, before) }))
  const block = encodeContinue({ offers, positions: config.positions })
  const flight = [...said, block, encodeIdentity('CIDENT', config.identity)]
  return {
    state: { ...state, name: 'client-signing', authenticated: true, flight },
    actions: [{ kind: 'sign', purpose: purposes.client, payload: hashOf(state, ...flight) }],
  }
}

function sendProof(state: ClientSigning, signature: Uint8Array): Step<ClientWaitsDone> {
  const { flight: _, ...rest } = state
  const { parts, ...said } = prove(state, signature, state.keys.clientFinished, ['CSIG', 'CFIN'])
  return { state: { ...rest, ...said, name: 'client-waits-done' }, actions: [{ kind: 'send', parts }] }
}
