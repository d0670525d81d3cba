import type { Clock } from '../host/clock.ts'
import { type Operation, operationBytes } from './block.ts'
import type { Budgets } from './budget.ts'
import type { Change } from './change.ts'
import type { Batch } from './committer.ts'
import type { Carried } from './compaction.ts'
import { wrap } from './envelope.ts'
import { StateError } from './error.ts'
import { encodeJournalStart } from './journal.ts'
import { limits } from './limits.ts'
import { checkPath, journalPath, ownPrefix } from './path.ts'
import { defaultScope, type Scope, type Scopes } from './scopes.ts'

export type OperationParts = {
  readonly scopes: Scopes
  readonly clock: Clock
  readonly budgets: Pick<Budgets, 'payloadBytes'>
}

/** A change as the journal takes it; the keys of its scope must be at hand. @throws StateError EINVAL, E2BIG, ENOENT */
export function operationOf(change: Change, { scopes, clock, budgets }: OperationParts): Operation {
  if ('delete' in change) return { kind: 'delete', path: checkPath(change.delete) }
  const { meta } = change
  // A copy: what the caller does with its bytes while the group waits must not part them from their hash.
  const payload = Buffer.from(change.payload)
  const isOurs = change.put.startsWith(ownPrefix)
  const most = isOurs ? limits.payloadBytesMax : budgets.payloadBytes
  if (payload.length > most)
    throw new StateError('E2BIG', `a payload is at most ${most} bytes; this is ${payload.length}`)
  const scope = scopes.find(change.scope ?? defaultScope)
  if (scope === undefined) throw new StateError('ENOENT', `no scope ${change.scope}`)
  const key = scopes.keyAtHand(scope)
  if (key === undefined) throw new StateError('ENOENT', 'the scope is being destroyed')
  const full = {
    subject: meta?.subject ?? '',
    purpose: meta?.purpose ?? '',
    at: meta?.at ?? clock.now(),
  }
  return {
    kind: 'put',
    path: checkPath(change.put),
    scope: key,
    envelope: change.envelope ?? wrap(payload, full),
    payload,
  }
}

/** What a batch of these counts. */
export function bytesOf(operations: readonly Operation[]): number {
  return operations.reduce((sum, operation) => sum + operationBytes(operation), 0)
}

/**
 * What takes live records along, sealed under the key that their scope has now; and with the last of a segment, where
 * the journal begins from then on.
 */
export async function carrying(
  carried: readonly Carried[],
  begin: number | undefined,
  parts: OperationParts & { readonly isGone: (scope: Pick<Scope, 'slot' | 'id'>) => boolean },
): Promise<Batch> {
  const { scopes } = parts
  const keys = () => new Set(carried.flatMap(({ scope }) => scopes.successor(scope) ?? []))
  for (const scope of keys()) await scopes.key(scope)
  // From here to where it is queued nothing is waited for: no scope goes or is replaced in between.
  const isWanted = new Map<Operation, () => boolean>()
  // First, since the record that said so until now may be among what is carried: of two for a path the first is taken.
  if (begin !== undefined) {
    const start = operationOf({ put: journalPath, payload: encodeJournalStart(begin) }, parts)
    isWanted.set(start, () => true)
  }
  for (const { put, scope, isLive } of carried) {
    const successor = scopes.successor(scope)
    const key = successor && scopes.keyAtHand(successor)
    if (key !== undefined && !parts.isGone(key)) isWanted.set({ ...put, scope: key }, isLive)
  }
  const operations = [...isWanted.keys()]
  return {
    operations,
    bytes: bytesOf(operations),
    use: 'all',
    isWanted: operation => isWanted.get(operation)?.() ?? false,
  }
}
