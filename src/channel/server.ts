import { equal } from '../bytes/bytes.ts'
import type { Entropy } from '../host/entropy.ts'
import { parseContinue } from './block.ts'
import { end } from './close.ts'
import { decide } from './done.ts'
import { type Frame, noSession, plainFrame, sessionIdBytes } from './frame.ts'
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
  sealFlight,
  withShare,
} from './handshaking.ts'
import {
  encodeAbort,
  encodeServerHello,
  type Hint,
  isForServer,
  offeredVersions,
  parseClientHello,
  randomBytes,
  version,
} from './hello.ts'
import { parseFlight } from './message.ts'
import {
  checkSelection,
  checkSignature,
  clientProof,
  encodeIdentity,
  encodeServerParameters,
  parseClientParameters,
  parseIdentityMessage,
} from './proof.ts'
import { refusal } from './reasons.ts'
import { modeStream, purposes } from './schedule.ts'
import type {
  HandshakeEvent,
  ServerHandshaking,
  ServerSigning,
  ServerWaitsHello,
  ServerWaitsProof,
  Step,
} from './state.ts'
import type { Traffic } from './traffic.ts'

/** The server's half of the handshake (docs/spec/channel.md section 3). */
export function stepServer(state: ServerHandshaking, event: HandshakeEvent): Step {
  switch (state.name) {
    case 'server-waits-hello':
      if (event.kind === 'frame-arrived') return readHello(state, event.frame)
      break
    case 'server-signing':
      if (event.kind === 'signed') return sendProof(state, event.signature)
      break
    case 'server-waits-proof':
      if (event.kind === 'frame-arrived')
        return receive(state, event.frame, (plaintext, traffic) => readProof(state, plaintext, traffic))
      break
    case 'server-verifying':
      if (event.kind === 'verified') {
        if (!event.good) throw refusal(50, 'the client did not prove its identity')
        const { peer, block } = state
        const offered = block.offers.map(({ id }) => id)
        return {
          state: { ...state, name: 'server-deciding', authenticated: true },
          actions: [{ kind: 'decide', peer, offered, theirs: block.positions }],
        }
      }
      break
    case 'server-deciding':
      if (event.kind === 'decided') return decide(state, event)
      break
    case 'server-committing':
      if (event.kind === 'committed') return establish(state, sealFlight(state, [state.done]).parts)
      break
  }
  return otherwise(state, event)
}

function readHello(state: ServerWaitsHello, frame: Frame): Step {
  const { config } = state
  const payload = plainPayload(frame)
  if (!isForServer(payload, config.identity.id)) throw refusal(13, 'not a CHLO for this server')
  if (!offeredVersions(payload).includes(version)) return abort(state, 11)
  const message = parseFlight(payload, ['CHLO'])('CHLO')
  const hello = parseClientHello(message.body)
  const suite = hello.suites
    .map(id => config.suites.find(known => known.id === id))
    .find(known => known?.kem.publicBytes === hello.publicKey.length)
  if (suite === undefined || !hello.modes.includes(modeStream)) return abort(state, 12)
  const { ciphertext, shared } = withShare(() => suite.kem.encapsulate(hello.publicKey))
  const sessionId = newSessionId(config.entropy)
  const random = config.entropy.bytes(randomBytes)
  const answer = encodeServerHello({
    version,
    suite: suite.id,
    mode: modeStream,
    random,
    sessionId,
    ciphertext,
  })
  const transcript = [message.whole, answer]
  const keyed = keyedBy('server', suite, transcript, shared, sessionId)
  const flight = [
    encodeServerParameters(config.limits.dataBytesMax),
    encodeIdentity('SIDENT', config.identity),
  ]
  return {
    state: { name: 'server-signing', config, ...keyed, flight },
    actions: [
      { kind: 'send', parts: [plainFrame(answer)] },
      { kind: 'sign', purpose: purposes.server, payload: hashOf(keyed, ...flight) },
    ],
  }
}

/** Only to a client that knows our identity, and worth no more to it than a hint. */
function abort(state: ServerWaitsHello, reason: Hint): Step {
  const text = reason === 11 ? 'no version in common' : 'no suite or mode in common'
  const ending = { reason, by: 'us', trusted: false, text } as const
  return end(state, ending, [{ kind: 'send', parts: [plainFrame(encodeAbort(reason))] }])
}

function newSessionId(entropy: Entropy): Uint8Array {
  const id = entropy.bytes(sessionIdBytes)
  if (equal(id, noSession)) throw new TypeError('entropy gave eight zero bytes')
  return id
}

function sendProof(state: ServerSigning, signature: Uint8Array): Step<ServerWaitsProof> {
  const { flight: _, ...rest } = state
  const { parts, ...said } = prove(state, signature, state.keys.serverFinished, ['SSIG', 'SFIN'])
  return { state: { ...rest, ...said, name: 'server-waits-proof' }, actions: [{ kind: 'send', parts }] }
}

function readProof(state: ServerWaitsProof, plaintext: Uint8Array, traffic: Traffic): Step {
  const flight = parseFlight(plaintext, clientProof)
  const [parameters, selection, continued] = [flight('CPARAMS'), flight('QKDSEL'), flight('CONTINUE')]
  const [named, signed, mac] = [flight('CIDENT'), flight('CSIG'), flight('CFIN')]
  const peerDataBytesMax = parseClientParameters(parameters.body)
  checkSelection(selection.body)
  const block = parseContinue(continued.body, state.suite.kdf.hashBytes)
  const signature = checkSignature(signed.body)
  const said = [parameters.whole, selection.whole]
  const stated = [...said, continued.whole, named.whole]
  checkMac(finished(state, state.keys.clientFinished, ...stated, signed.whole), mac.body, 'CFIN')
  const peer = parseIdentityMessage(named.body)
  return {
    state: {
      ...state,
      name: 'server-verifying',
      receive: traffic,
      transcript: [...state.transcript, ...stated, signed.whole, mac.whole],
      peer,
      peerDataBytesMax,
      block,
      before: hashOf(state, ...said),
    },
    actions: [
      {
        kind: 'verify',
        identity: peer,
        purpose: purposes.client,
        payload: hashOf(state, ...stated),
        signature,
      },
    ],
  }
}
