import { BytesError, hex, text, utf8 } from '../bytes/bytes.ts'
import { type Json, parseJson } from '../bytes/json.ts'
import { WireError } from '../host/wire.ts'
import { rollbackError } from '../mark/mark.ts'
import { HttpClient } from '../node/https.ts'
import { credentialsIn } from './credentials.ts'
import { type EtcdPlace, parseEtcdPlace } from './etcd-place.ts'
import type { OutsideParts } from './outside.ts'
import { AwayError, type Held, type Register, RemoteKeeper } from './remote.ts'
import { signedMarkBytesMax } from './signed-mark.ts'

/** A keeper on a cluster of etcd, over its JSON gateway: docs/spec/keepers.md, "etcd". @throws PlaceError, MarkError EKEEPER */
export async function openEtcdKeeper(parts: OutsideParts): Promise<RemoteKeeper> {
  const place = parseEtcdPlace(parts.place)
  const { ca, cert, key } = place.tls
  const credentials = ca === undefined ? undefined : await credentialsIn({ ca, cert, key })
  const register = new EtcdRegister(place, new HttpClient(credentials), parts.domain)
  const name = `etcd at ${place.endpoints.map(({ host }) => host).join(', ')}`
  const { boundMs = parts.boundMs } = place
  return new RemoteKeeper({ ...parts, kind: 'etcd', name, register, ...(boundMs && { boundMs }) })
}

type Members = ReadonlyMap<string, Json>

/** One endpoint may take this share of the time there is, so that the next one is tried, too. */
const shareOfTime = 0.5

class EtcdRegister implements Register {
  readonly #place: EtcdPlace
  readonly #http: HttpClient
  readonly #key: string
  /** The endpoint that answered last. */
  #at = 0
  /** The newest revision of the whole cluster that any answer named. */
  #revision = 0n

  constructor(place: EtcdPlace, http: HttpClient, domain: Uint8Array) {
    this.#place = place
    this.#http = http
    this.#key = base64(utf8(`pawl/mark/${hex(domain)}`))
  }

  async read(ms: number): Promise<{ readonly instance: string; readonly held: Held | undefined }> {
    // Without "serializable" a quorum is asked.
    return this.#ask('range', { key: this.#key }, ms, (answer, header) => ({
      instance: `etcd ${digitsOf(header, 'cluster_id')}`,
      held: heldIn(answer.get('kvs')),
    }))
  }

  create(value: Uint8Array, ms: number): Promise<Held | undefined> {
    return this.#put([{ key: this.#key, target: 'CREATE', result: 'EQUAL', create_revision: '0' }], value, ms)
  }

  swap(held: Held, value: Uint8Array, ms: number): Promise<Held | undefined> {
    const same = { key: this.#key, result: 'EQUAL' }
    const compare = [
      { ...same, target: 'MOD', mod_revision: held.revision },
      { ...same, target: 'VALUE', value: base64(held.value) },
    ]
    return this.#put(compare, value, ms)
  }

  async close(): Promise<void> {
    this.#http.close()
  }

  async #put(compare: readonly object[], value: Uint8Array, ms: number): Promise<Held | undefined> {
    const success = [{ request_put: { key: this.#key, value: base64(value) } }]
    return this.#ask('txn', { compare, success }, ms, (answer, header) =>
      answer.get('succeeded') === true ? { value, revision: digitsOf(header, 'revision') } : undefined,
    )
  }

  /** Each endpoint in turn, from the one that answered last. @throws AwayError, MarkError EROLLBACK */
  async #ask<T>(
    what: 'range' | 'txn',
    question: object,
    ms: number,
    read: (answer: Members, header: Members) => T,
  ): Promise<T> {
    const { endpoints } = this.#place
    const known = this.#revision
    const at = this.#at
    const endpoint = endpoints[at % endpoints.length]
    if (endpoint === undefined) throw new TypeError('there is an endpoint')
    try {
      const share = endpoints.length > 1 ? Math.max(1, ms * shareOfTime) : ms
      const { status, body } = await this.#http.post(
        new URL(`/v3/kv/${what}`, endpoint),
        JSON.stringify(question),
        share,
      )
      if (status !== 200) throw new AwayError(`${endpoint.host} says ${status}${reasonIn(body)}`)
      const answer = membersOf(parseJson(text(body)))
      const header = membersOf(answer.get('header'))
      this.#refuseOlder(known, BigInt(digitsOf(header, 'revision')))
      return read(answer, header)
    } catch (error) {
      if (this.#at === at) this.#at++
      if (error instanceof WireError) throw new AwayError(error.message, { cause: error })
      if (error instanceof BytesError)
        throw new AwayError(`${endpoint.host} does not answer as etcd does: ${error.message}`, {
          cause: error,
        })
      throw error
    }
  }

  /** The revision of a cluster only goes up: one that went down was put back from a copy. */
  #refuseOlder(known: bigint, revision: bigint): void {
    if (revision < known)
      throw rollbackError('the keeper went back', `etcd is at revision ${revision}, and was at ${known}`)
    if (revision > this.#revision) this.#revision = revision
  }
}

function heldIn(kvs: Json | undefined): Held | undefined {
  if (kvs === undefined) return undefined
  if (!Array.isArray(kvs) || kvs.length !== 1) throw new BytesError('one value was expected')
  const found = membersOf(kvs[0])
  const value = Uint8Array.from(Buffer.from(stringOf(found, 'value'), 'base64'))
  return { value: value.subarray(0, signedMarkBytesMax + 1), revision: digitsOf(found, 'mod_revision') }
}

function membersOf(value: Json | undefined): Members {
  if (!(value instanceof Map)) throw new BytesError('an object was expected')
  return value
}

function stringOf(members: Members, name: string): string {
  const value = members.get(name)
  if (typeof value !== 'string') throw new BytesError(`${name} is missing`)
  return value
}

function digitsOf(members: Members, name: string): string {
  const digits = stringOf(members, name)
  if (!/^[0-9]{1,20}$/.test(digits)) throw new BytesError(`${name} is no number`)
  return digits
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

/** What etcd says of an error; nothing that it does not say as expected. */
function reasonIn(body: Uint8Array): string {
  try {
    const said = membersOf(parseJson(text(body))).get('message')
    return typeof said === 'string' ? `: ${said.replace(/[^ -~]/g, '?').slice(0, 200)}` : ''
  } catch {
    return ''
  }
}
