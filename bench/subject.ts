import { Desk } from '../src/state/desk.ts'
import { wrap } from '../src/state/envelope.ts'
import { parsePolicy } from '../src/state/policy-file.ts'
import type { Store } from '../src/state/store.ts'

const subject = 'bench'

const policy = parsePolicy(
  new TextEncoder().encode(
    JSON.stringify({
      format: 'pawl-policy-1',
      version: 1,
      subjects: { [subject]: { uid: 1001 }, other: { uid: 1002 } },
      rules: [
        { subject: 'other', allow: ['get', 'list'], prefix: '/state/' },
        { subject, allow: ['get', 'put', 'delete', 'list'], prefix: '/state/' },
      ],
    }),
  ),
)

/** Puts as a client of the daemon and the daemon do, without the socket: wrapped, judged by a policy, verified, told. */
export function putAsSubject(store: Store): (path: string, payload: Uint8Array) => Promise<unknown> {
  const desk = new Desk(store, subject, () => policy)
  return (path, payload) => {
    const envelope = wrap(payload, { subject, purpose: 'bench', at: Date.now() })
    return desk.answer({ op: 'change', changes: [{ path, envelope, payload }], deadline: undefined })
  }
}
