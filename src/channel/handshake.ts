/**
 * The channel, for whoever drives it (session/). Pure: `start...` and `step` give the next state and the actions that
 * the driver performs, in order, before the next event. What the driver owes:
 *
 * - **Wire.** It feeds what arrives to a `FrameReader`, and each of its events to `step`; at the end of the stream
 *   `wire-ended`. It reads no further while an answer is owed (`sign`, `verify`, `decide`, `judge-positions`,
 *   `commit`): the other end's frames wait in the stream. Timeouts, `close-requested` and the end of the stream may
 *   come at any time; an answer that arrives after `closed` is given all the same, and is ignored.
 * - **sign** -> `signed`: `signAs(keys, record, purpose, payload)`. The signature module frames the payload.
 * - **verify** -> `verified`: good only if `verifyIdentity` and `verifyFrom(identity.current, ...)` both say yes. A
 *   verified identity that goes back behind what is remembered of it (number or record): `close-requested` 70.
 * - **decide** (server) -> `decided`, with copies of what is remembered of this peer as a client of ours
 *   (`nothingRemembered` at first), our positions, and the verdict of the mailbox on theirs. A peer that is not ours
 *   to serve: `close-requested` 51.
 * - **judge-positions** (client) -> `positions-judged`.
 * - **commit** -> `committed` once `afterCommit(memory, commit)` over what is remembered *now* is durable and marked.
 *   If that gives nothing: `close-requested` 72. If it cannot be made durable: 71 or 90. A commit closes every other
 *   live session of the same (own identity, peer, who is client): it is superseded. `secret.res` is the driver's.
 * - **peer-heard** comes once, before the first `deliver`: `afterHeard` is made durable, and what comes after is
 *   acknowledged only then. If it gives nothing the session is superseded: `close-requested` 72, and the actions behind
 *   it are not performed.
 * - **A session that stands** goes on while `sign`, `verify` and `commit-rekey` of a rekey are under way: frames, `send`
 *   and all else may come before their answer, but no frame while the state is `client-verifying-commit`.
 * - **commit-rekey** -> `committed`, as `commit`, but that no other session is closed; with `alone`, `afterHeard` of the
 *   same secret is in the same commit.
 * - **One at a time.** At most one handshake as client per memory is under way; a state is given to `step` once.
 * - **Secrets.** Those in a config or an event become the channel's, those in an action the driver's. A driver that
 *   drops a channel before `closed` calls `dispose`.
 */
import { checkPositions } from './block.ts'
import { checkMemory } from './continuity.ts'
import { plainFrame } from './frame.ts'
import { encodeClientHello, randomBytes, version } from './hello.ts'
import { lowered } from './limits.ts'
import { modeStream } from './schedule.ts'
import type { ClientConfig, ClientWaitsHello, LocalConfig, ServerWaitsHello, Step } from './state.ts'

/** Calls `config.peerId`. @throws TypeError on a configuration that cannot be */
export function startClient(config: ClientConfig): Step<ClientWaitsHello> {
  const limits = lowered(config.limits)
  checkPositions(config.positions)
  checkMemory(config.memory)
  if (config.peerId.length !== 32) throw new TypeError('an identity is 32 bytes')
  const [best] = config.suites
  if (best === undefined) throw new TypeError('a client offers a suite')
  // One key share: the suites offered are those it serves.
  const offered = config.suites.filter(({ kem }) => kem.name === best.kem.name)
  const pair = best.kem.generate()
  const hello = encodeClientHello(
    {
      versions: [version],
      suites: offered.map(({ id }) => id),
      modes: [modeStream],
      random: config.entropy.bytes(randomBytes),
      publicKey: pair.publicKey,
    },
    config.peerId,
  )
  return {
    state: {
      name: 'client-waits-hello',
      config: { ...config, limits },
      pair,
      offered,
      transcript: [hello],
    },
    actions: [
      { kind: 'start-timer', timer: 'handshake', ms: limits.handshakeMsMax },
      { kind: 'send', parts: [plainFrame(hello)] },
    ],
  }
}

/** Serves one stream that was just accepted. @throws TypeError on a configuration that cannot be */
export function startServer(config: LocalConfig): Step<ServerWaitsHello> {
  const limits = lowered(config.limits)
  if (config.suites.length === 0) throw new TypeError('a server speaks a suite')
  return {
    state: { name: 'server-waits-hello', config: { ...config, limits } },
    actions: [{ kind: 'start-timer', timer: 'handshake', ms: limits.handshakeMsMax }],
  }
}
