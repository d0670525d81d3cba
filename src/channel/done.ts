import { concat } from '../bytes/bytes.ts'
import { equalSecrets } from '../crypto/secret.ts'
import { encodeResults, parseDone } from './block.ts'
import { refuse } from './close.ts'
import { accepts, checkMemory, choose } from './continuity.ts'
import { checkMac, hashOf } from './handshaking.ts'
import { channelLimits } from './limits.ts'
import { encodeMessage, parseFlight } from './message.ts'
import { refusal } from './reasons.ts'
import { binder, confirmation, epochKeys, mainSecret, secretId } from './schedule.ts'
import type { ClientWaitsDone, HandshakeEvent, ServerDeciding, Step } from './state.ts'
import type { Traffic } from './traffic.ts'

/** The last message, at both ends: what the session goes on from, and its keys (docs/spec/channel.md, Continuity). */
type Decision = Extract<HandshakeEvent, { kind: 'decided' }>

/** Settles what the session goes on from, and asks for it to be durable before SDONE commits the client. */
export function decide(state: ServerDeciding, decision: Decision): Step {
  const memory = checkMemory(decision.memory)
  using _remembered = disposing(memory.secrets.map(({ res }) => res))
  const { suite, keys, peer, peerDataBytesMax, block, before } = state
  const { kdf } = suite
  if (decision.verdict === 'refused') throw refusal(70, 'positions that cannot be: an end was turned back')
  if (memory.highestEpoch >= channelLimits.epochMax) throw refusal(31, 'no epoch is left')
  const choice = choose(memory, block.offers, (held, offer) =>
    equalSecrets(binder(kdf, held.res, before), offer.binder),
  )
  if (choice.kind === 'refused') throw refusal(72, 'the client shows no secret that we hold')
  const held = choice.kind === 'secret' ? choice.held : undefined
  const firstEpoch = memory.highestEpoch + 1
  const encoded = encodeResults({ chosen: held?.id, positions: decision.positions, firstEpoch })
  const proofs = hashOf(state)
  using main = mainSecret(kdf, keys.hs, held?.res, proofs, encoded)
  const done = encodeMessage('SDONE', concat(encoded, confirmation(kdf, main, proofs, encoded)))
  const { res, ...derived } = epochKeys(kdf, main, hashOf(state, done))
  const id = secretId(kdf, res)
  return {
    state: {
      name: 'server-committing',
      config: state.config,
      suite,
      transcript: [],
      keys,
      send: state.send,
      receive: state.receive,
      authenticated: true,
      next: { ...derived, suite, peer, peerDataBytesMax, made: { id, firstEpoch } },
      done,
    },
    actions: [
      {
        kind: 'commit',
        peer,
        proved: held?.id,
        secret: { id, res },
        firstEpoch,
        theirs: block.positions,
      },
    ],
  }
}

/** The client's side: judges the answer, and asks for the mailbox's judgement of the positions in it. */
export function readDone(state: ClientWaitsDone, plaintext: Uint8Array, traffic: Traffic): Step {
  const { config, suite, keys, peer, peerDataBytesMax } = state
  const { kdf } = suite
  const message = parseFlight(plaintext, ['SDONE'])('SDONE')
  const { results, encoded, confirmation: claimed } = parseDone(message.body, kdf.hashBytes)
  const choice = accepts(config.memory, results)
  if (choice.kind === 'refused') {
    const { state: closed, actions } = refuse(state, 72, 'the server does not go on from what we hold')
    return { state: closed, actions: [{ kind: 'peer-refused', theirs: results.positions }, ...actions] }
  }
  const proofs = hashOf(state)
  const held = choice.kind === 'secret' ? choice.held : undefined
  using main = mainSecret(kdf, keys.hs, held?.res, proofs, encoded)
  checkMac(confirmation(kdf, main, proofs, encoded), claimed, 'SCONF')
  const { res, ...derived } = epochKeys(kdf, main, hashOf(state, message.whole))
  for (const { res } of config.memory.secrets) res[Symbol.dispose]()
  const { firstEpoch, positions: theirs } = results
  const id = secretId(kdf, res)
  const { memory: _, ...local } = config
  return {
    state: {
      name: 'client-judging',
      config: local,
      suite,
      transcript: [],
      keys,
      send: state.send,
      receive: traffic,
      authenticated: true,
      next: { ...derived, suite, peer, peerDataBytesMax, made: { id, firstEpoch } },
      commit: { peer, proved: held?.id, secret: { id, res }, firstEpoch, theirs },
    },
    actions: [{ kind: 'judge-positions', theirs }],
  }
}

function disposing(secrets: readonly Disposable[]): Disposable {
  return {
    [Symbol.dispose]() {
      for (const secret of secrets) secret[Symbol.dispose]()
    },
  }
}
