import { equal, hex, utf8 } from '../../bytes/bytes.ts'
import { sha256 } from '../../crypto/hash.ts'
import { Secret } from '../../crypto/secret.ts'
import type { SessionMark } from '../../keeper/session-marks.ts'
import { judgeAdvance, type Mark, MarkError } from '../../mark/mark.ts'
import type { LetterStore } from '../../session/letter-endpoint.ts'
import type { Change } from '../../state/change.ts'
import { StateError } from '../../state/error.ts'

export type Marks = LetterStore['sessionMarks']

/** All that a session of the actor is, in the clear: what a snapshot has of it. */
export type Contents = {
  readonly id: Uint8Array
  readonly key: Uint8Array
  readonly generation: number
  readonly records: readonly Entry[]
}

export type Entry = { readonly path: string; readonly scope: string; readonly payload: Uint8Array }

const ownMark = 'store'

/**
 * What a letter session of the actor is kept in: memory, under a mark that lies elsewhere and is advanced with every
 * commit, so that a snapshot that is put back is known for what it is (S3).
 */
export class ActorStore implements LetterStore {
  readonly openedAs: 'newest' | 'maybe older'
  readonly sessionMarks: Marks
  readonly #id: Uint8Array
  readonly #key: Secret
  readonly #mark: SessionMark
  #held: Mark
  #records: ReadonlyMap<string, Entry>

  private constructor(
    contents: Contents,
    marks: Marks,
    mark: SessionMark,
    held: Mark,
    openedAs: ActorStore['openedAs'],
  ) {
    this.#id = contents.id
    this.#key = new Secret(contents.key)
    this.sessionMarks = marks
    this.#mark = mark
    this.#held = held
    this.openedAs = openedAs
    this.#records = new Map(contents.records.map(entry => [entry.path, entry]))
  }

  static async begin(marks: Marks, id: Uint8Array, key: Uint8Array): Promise<ActorStore> {
    const contents = { id, key, generation: 0, records: [] }
    const first = { domain: id, number: 0, head: headOf([]) }
    const mark = await marks.begin(ownMark, new Secret(Uint8Array.from(key)), first)
    return new ActorStore(contents, marks, mark, first, 'newest')
  }

  /** @throws MarkError EINTEGRITY (no mark), EROLLBACK (the mark went back, or is of another history) */
  static async restore(marks: Marks, contents: Contents): Promise<ActorStore> {
    const { id, key, generation, records } = contents
    const mark = await marks.open(ownMark, new Secret(Uint8Array.from(key)), id)
    const held = await mark.read()
    const isSame = held.number === generation && equal(held.head, headOf(records))
    if (isSame || held.number > generation)
      return new ActorStore(contents, marks, mark, held, isSame ? 'newest' : 'maybe older')
    await mark.close()
    throw new MarkError('EROLLBACK', 'the mark in QSL_DUR_STORE_DIR is not of this snapshot')
  }

  get contents(): Contents {
    const records = [...this.#records.values()]
    return { id: this.#id, key: Uint8Array.from(this.#key.bytes), generation: this.#held.number, records }
  }

  async commit(changes: readonly Change[]): Promise<number> {
    const next = new Map(this.#records)
    for (const change of changes)
      if ('put' in change) {
        const payload = Uint8Array.from(change.payload)
        next.set(change.put, { path: change.put, scope: change.scope ?? '', payload })
      } else next.delete(change.delete)
    return this.#replace(next)
  }

  async get(path: string): Promise<{ readonly payload: Uint8Array }> {
    const found = this.#records.get(path)
    if (found === undefined) throw new StateError('ENOENT', `nothing at ${path}`)
    return { payload: Uint8Array.from(found.payload) }
  }

  async getSecret(path: string): Promise<Secret> {
    return new Secret((await this.get(path)).payload)
  }

  has(path: string): boolean {
    return this.#records.has(path)
  }

  list(prefix: string): string[] {
    return [...this.#records.keys()].filter(path => path.startsWith(prefix)).sort()
  }

  async makeScope(): Promise<void> {}

  async shred(scope: string): Promise<void> {
    const kept = [...this.#records].filter(([, entry]) => entry.scope !== scope)
    if (kept.length === this.#records.size) throw new StateError('ENOENT', `no scope ${scope}`)
    await this.#replace(new Map(kept))
  }

  async close(): Promise<void> {
    this.#key[Symbol.dispose]()
    await this.#mark.close()
  }

  async #replace(records: ReadonlyMap<string, Entry>): Promise<number> {
    const number = this.#held.number + 1
    const next = { domain: this.#id, number, head: headOf([...records.values()]) }
    await this.#mark.advance(this.#held, next)
    this.#held = next
    this.#records = records
    return number
  }
}

/** Marks for an actor that has nowhere to keep them: a snapshot of it is put back to nothing. */
export function marksInMemory(): Marks {
  const held = new Map<string, Mark>()
  const markOf = (name: string): SessionMark => {
    const read = async () => {
      const mark = held.get(name)
      if (mark === undefined) throw new MarkError('EINTEGRITY', 'the mark of the session is gone')
      return mark
    }
    return {
      kind: 'file',
      read,
      async advance(expected, next) {
        const verdict = judgeAdvance(await read(), expected, next)
        if (verdict === 'refuse') throw new MarkError('EROLLBACK', 'the mark is another')
        if (verdict === 'advance') held.set(name, next)
      },
      async close() {},
    }
  }
  return {
    async begin(name, _, first) {
      if (!equal(held.get(name)?.domain ?? new Uint8Array(0), first.domain)) held.set(name, first)
      return markOf(name)
    },
    async open(name, _, domain) {
      const mark = markOf(name)
      if (!equal((await mark.read()).domain, domain))
        throw new MarkError('EINTEGRITY', 'the mark of another session')
      return mark
    },
    async remove(name) {
      held.delete(name)
    },
  }
}

function headOf(records: readonly Entry[]): Uint8Array {
  const lines = records.map(({ path, scope, payload }) => `${path} ${scope} ${hex(sha256(payload))}`)
  return sha256(utf8(lines.sort().join('\n')))
}
