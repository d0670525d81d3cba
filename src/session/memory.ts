import { BytesError, base64url, equal } from '../bytes/bytes.ts'
import { asArray, asBytes, asCount, asMap, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { type Memory, nothingRemembered } from '../channel/continuity.ts'
import type { Role } from '../channel/state.ts'
import { Secret } from '../crypto/secret.ts'
import type { Store } from '../state/store.ts'

/**
 * What survives of a session with one peer (S1): the secrets that the next handshake may go on from, and how far the
 * epochs went. No key that seals is in it: those die with the process, so nothing that a restore brings back can
 * seal under an old key. One for each (peer, who is client).
 */
export class SessionMemory {
  readonly #store: Store
  readonly #path: string
  readonly #scope: string
  #memory: Memory<Secret>
  #turn: Promise<unknown> = Promise.resolve()
  #held: Promise<void> = Promise.resolve()

  private constructor(store: Store, path: string, scope: string, memory: Memory<Secret>) {
    this.#store = store
    this.#path = path
    this.#scope = scope
    this.#memory = memory
  }

  static async open(store: Store, peer: Uint8Array, ownRole: Role): Promise<SessionMemory> {
    const path = sessionPath(ownRole, peer)
    const scope = `session:${base64url(peer)}`
    await store.makeScope(scope)
    if (!store.has(path)) return new SessionMemory(store, path, scope, nothingRemembered)
    using payload = await store.getSecret(path)
    return new SessionMemory(store, path, scope, decodeMemory(payload.bytes))
  }

  /** The highest epoch committed with this peer; every session made since has raised it. */
  get epoch(): number {
    return this.#memory.highestEpoch
  }

  /**
   * From looking at what is remembered until what follows from it is committed, one handshake at a time: else an
   * honest peer that tries twice in a row is taken for two. Answers with what lets the next one in.
   */
  async hold(): Promise<() => void> {
    const before = this.#held
    let release = () => {}
    this.#held = new Promise(resolve => {
      release = resolve
    })
    await before
    return release
  }

  /** Copies, for the channel to own. */
  copy(): Memory<Secret> {
    const secrets = this.#memory.secrets.map(({ id, res }) => ({ id, res: res.copy() }))
    return { ...this.#memory, secrets }
  }

  /**
   * Applies a rule to what is remembered now and makes the outcome durable and marked before it answers true. False:
   * the rule gave nothing, and nothing was changed.
   */
  async update(rule: (memory: Memory<Secret>) => Memory<Secret> | undefined): Promise<boolean> {
    const turn = this.#turn.then(() => this.#update(rule))
    this.#turn = turn.catch(() => undefined)
    return turn
  }

  dispose(): void {
    for (const { res } of this.#memory.secrets) res[Symbol.dispose]()
    this.#memory = nothingRemembered
  }

  async #update(rule: (memory: Memory<Secret>) => Memory<Secret> | undefined): Promise<boolean> {
    const before = this.#memory
    const next = rule(before)
    if (next === undefined) return false
    if (sameMemory(before, next)) return true
    using payload = new Secret(encodeMemory(next))
    await this.#store.commit([{ put: this.#path, payload: payload.bytes, scope: this.#scope }])
    this.#memory = next
    for (const { id, res } of before.secrets)
      if (!next.secrets.some(kept => equal(kept.id, id))) res[Symbol.dispose]()
    return true
  }
}

/** Where that is kept. `sessionPrefix` is of all of them. */
export function sessionPath(ownRole: Role, peer: Uint8Array): string {
  return `${sessionPrefix}${ownRole}/${base64url(peer)}`
}

export const sessionPrefix = '/pawl/session/'

function sameMemory(a: Memory<Secret>, b: Memory<Secret>): boolean {
  const ids = (memory: Memory<Secret>) => memory.secrets.map(({ id }) => base64url(id)).join()
  return a.highestEpoch === b.highestEpoch && a.noneAllowed === b.noneAllowed && ids(a) === ids(b)
}

function encodeMemory(memory: Memory<Secret>): Uint8Array {
  return encodeCbor({
    format: 1,
    epoch: memory.highestEpoch,
    none: memory.noneAllowed,
    secrets: memory.secrets.map(({ id, res }) => ({ id, res: res.bytes })),
  })
}

/** The secrets are the caller's to wipe. @throws BytesError */
export function decodeMemory(bytes: Uint8Array): Memory<Secret> {
  const map = decodeCborMap(bytes, ['format', 'epoch', 'none', 'secrets'])
  if (map.format !== 1 || typeof map.none !== 'boolean') throw new BytesError('session of an unknown format')
  const secrets = asArray(map.secrets, 2).map(value => {
    const held = asMap(value, ['id', 'res'])
    return { id: asBytes(held.id, 16), res: new Secret(Uint8Array.from(asBytes(held.res))) }
  })
  return { secrets, noneAllowed: map.none, highestEpoch: asCount(map.epoch) }
}
