import type { CborMap } from '../bytes/cbor.ts'
import type { Change } from './change.ts'
import { encodeEnvelope, verify } from './envelope.ts'
import { StateError } from './error.ts'
import type { PastChange } from './history.ts'
import { checkStatePath, statePrefix } from './path.ts'
import { judge, type Policy, type PolicyOperation } from './policy.ts'
import { decodeRequest, protocolLimits, type Request, type WireChange } from './protocol.ts'
import type { Asked, Visit } from './server.ts'
import type { Store } from './store.ts'

/** What a page of paths or of the past may take, at most. */
const listBytesMax = 320 * 1024

/** Where one subject is answered: judged by the policy of the moment, done by the store, told to the audit trail. */
export class Desk {
  readonly #store: Store
  readonly #policy: () => Policy | undefined
  readonly subject: string
  #reading: Promise<void> = Promise.resolve()

  /** `subject` is empty for the owner of the home, who may do everything. */
  constructor(store: Store, subject: string, policy: () => Policy | undefined) {
    this.#store = store
    this.subject = subject
    this.#policy = policy
  }

  get greeting(): CborMap {
    return {
      pawl: 'state',
      version: 1,
      subject: this.subject,
      store: this.#store.storeId,
      payloadMax: this.#store.budgets.payloadBytes,
      inFlightMax: protocolLimits.inFlightMax,
    }
  }

  /** One connection. */
  visit(): Visit {
    return {
      greeting: this.greeting,
      read: frame => {
        const { id, request } = decodeRequest(frame)
        return this.take(id, request, frame.length)
      },
      leave() {},
    }
  }

  /** A request of so many bytes. */
  take(id: number, request: Request, bytes: number): Asked {
    const weight = bytes + this.weightOf(request)
    return { id, weight, answer: isWanted => this.answer(request, isWanted) }
  }

  /** How large the answer may become, in bytes. */
  weightOf(request: Request): number {
    if (request.op === 'get') return this.#store.sizeOf(request.path)
    return request.op === 'list' || request.op === 'history' ? listBytesMax : 0
  }

  /** `isWanted`: whether who asked is still there. @throws StateError */
  async answer(request: Request, isWanted: () => boolean = () => true): Promise<CborMap> {
    switch (request.op) {
      case 'change':
        return { generation: await this.#change(request.changes, request.deadline) }
      case 'get': {
        this.#refuseUnlessAllowed('get', checkStatePath(request.path))
        const { generation, envelope, payload } = await this.#store.get(request.path, {
          fresh: request.fresh,
        })
        return { generation, envelope: encodeEnvelope(envelope), payload }
      }
      case 'list':
        return this.#list(request.prefix, request.after)
      case 'history': {
        this.#refuseUnlessAllowed('history', checkStatePath(request.path))
        const changes = await this.#oneByOne(isWanted, () => this.#store.history(request.path))
        return { changes: changes.slice(-protocolLimits.historyMax).map(past) }
      }
      case 'figures':
        this.#refuseUnlessOwner()
        return { figures: { ...this.#store.figures() } }
      case 'compact':
        this.#refuseUnlessOwner()
        await this.#store.compact()
        return {}
    }
  }

  /** The whole journal is read for it: a subject may ask for one at a time. */
  #oneByOne<T>(isWanted: () => boolean, read: () => Promise<T>): Promise<T> {
    const turn = this.#reading.then(() => {
      if (!isWanted()) throw new StateError('EDAEMON', 'who asked is gone')
      return read()
    })
    this.#reading = turn.then(
      () => {},
      () => {},
    )
    return turn
  }

  async #change(changes: readonly WireChange[], deadlineMs: number | undefined): Promise<number> {
    if (changes.length === 0) throw new StateError('EINVAL', 'a batch has at least one change')
    const rules = new Map<string, string>()
    const wanted: Change[] = []
    for (const change of changes) {
      checkStatePath(change.path)
      const operation = 'payload' in change ? 'put' : 'delete'
      rules.set(change.path, this.#allowed(operation, change.path))
      if (!('payload' in change)) {
        wanted.push({ delete: change.path })
        continue
      }
      const { subject } = verify(change.envelope, change.payload)
      if (this.subject !== '' && subject !== this.subject) {
        this.#note(operation, 'deny', change.path, 'another subject in the envelope')
        throw new StateError('EPERM', `the envelope names another subject than ${this.subject}`)
      }
      wanted.push({ put: change.path, payload: change.payload, envelope: change.envelope })
    }
    const by =
      this.subject === ''
        ? undefined
        : { subject: this.subject, reason: (path: string) => rules.get(path) ?? '' }
    return this.#store.commit(wanted, { by, deadlineMs })
  }

  #list(prefix: string, after: string): CborMap {
    if (!prefix.startsWith(statePrefix))
      throw new StateError('EINVAL', `prefixes begin with ${statePrefix}: ${prefix.slice(0, 255)}`)
    this.#refuseUnlessAllowed('list', prefix)
    const paths = this.#store.list(prefix, after, protocolLimits.pathsMax + 1)
    const more = paths.length > protocolLimits.pathsMax
    return { paths: paths.slice(0, protocolLimits.pathsMax), more }
  }

  #refuseUnlessOwner(): void {
    if (this.subject !== '') throw new StateError('EPERM', 'only the owner of the home may ask this')
  }

  /** Reads are told whatever the answer. @throws StateError EPERM */
  #refuseUnlessAllowed(operation: 'get' | 'list' | 'history', path: string): void {
    const why = this.#allowed(operation, path)
    if (this.subject !== '') this.#note(operation, 'allow', path, why)
  }

  /** Why it is allowed. @throws StateError EPERM, which is told */
  #allowed(operation: PolicyOperation, path: string): string {
    if (this.subject === '') return 'owner'
    const verdict = judge(this.#policy(), this.subject, operation, path)
    if (verdict.allowed) return `rule ${verdict.rule}`
    this.#note(operation, 'deny', path, verdict.reason)
    throw new StateError('EPERM', `${this.subject} may not ${operation} this: ${verdict.reason}`)
  }

  #note(action: PolicyOperation, decision: 'allow' | 'deny', path: string, reason: string): void {
    this.#store.note({
      action,
      decision,
      path: path.slice(0, 255).toWellFormed(),
      reason,
      subject: this.subject,
    })
  }
}

function past({ generation, kind, envelope }: PastChange): CborMap {
  return { generation, kind, ...(envelope !== undefined && { envelope: encodeEnvelope(envelope) }) }
}
