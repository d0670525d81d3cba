import { BytesError, equal, hex } from '../bytes/bytes.ts'
import { asBytes, asCount, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { StateError } from './error.ts'
import type { Found } from './records.ts'
import type { Store } from './store.ts'

/** What a file says that is adopted whole, under a version that only grows: a policy, parameters. */
export type Versioned = { readonly version: number; readonly digest: Uint8Array }

export type VersionedKind<T extends Versioned> = {
  readonly path: string
  readonly name: 'policy' | 'parameters'
  /** @throws StateError EINVAL */
  parse(file: Uint8Array): T
}

/** What is in force, the file it was read from, and when and by which group it was adopted. */
export type InForce<T extends Versioned> = {
  readonly value: T
  readonly file: Uint8Array
  readonly generation: number
  /** Milliseconds since 1970; for people. */
  readonly at: number
}

/** `undefined` if nothing was adopted. @throws StateError EINTEGRITY: damaged, or of a format not known here */
export async function inForce<T extends Versioned>(
  kind: VersionedKind<T>,
  records: { get(path: string): Promise<Found> },
): Promise<InForce<T> | undefined> {
  const found = await records.get(kind.path).catch((error: unknown) => {
    if (error instanceof StateError && error.code === 'ENOENT') return undefined
    throw error
  })
  if (found === undefined) return undefined
  const { payload, generation, envelope } = found
  try {
    return { ...decode(kind, payload), generation, at: envelope.at }
  } catch (error) {
    if (error instanceof BytesError || error instanceof StateError)
      throw new StateError('EINTEGRITY', `the adopted ${kind.name} cannot be judged by: ${error.message}`, {
        cause: error,
      })
    throw error
  }
}

/** Two adoptions at one time could both find the older one, and the greater version be committed first. */
const adopting = new WeakMap<object, Promise<unknown>>()

/**
 * Puts the file in force, if its version is greater than that of the one that is; the same file again is no change.
 * @throws StateError EINVAL (no such file, or another one of the same version), EROLLBACK (a lower version); nothing has
 * changed then. Otherwise as `commit` of the store.
 */
export async function adoptFile<T extends Versioned>(
  kind: VersionedKind<T>,
  store: Pick<Store, 'get' | 'commit'>,
  bytes: Uint8Array,
): Promise<InForce<T> & { readonly isNew: boolean }> {
  const file = Uint8Array.from(bytes)
  const value = kind.parse(file)
  const before = adopting.get(store) ?? Promise.resolve()
  const mine = before.then(() => adopt(kind, store, value, file))
  adopting.set(
    store,
    mine.catch(() => {}), // whoever asked for it hears of it
  )
  return mine
}

async function adopt<T extends Versioned>(
  kind: VersionedKind<T>,
  store: Pick<Store, 'get' | 'commit'>,
  value: T,
  file: Uint8Array,
): Promise<InForce<T> & { readonly isNew: boolean }> {
  const { name, path } = kind
  const stored = await inForce(kind, store)
  if (stored !== undefined) {
    const { version, digest } = stored.value
    if (value.version < version)
      throw new StateError(
        'EROLLBACK',
        `${name} version ${value.version} is older than version ${version}, which is in force: an older ${name} cannot be put back`,
        { outcome: 'not applied' },
      )
    if (value.version === version) {
      if (equal(value.digest, digest)) return { ...stored, isNew: false }
      throw new StateError(
        'EINVAL',
        `${name} version ${version} is in force with other content; give this one version ${version + 1}`,
      )
    }
  }
  const { version, digest } = value
  const payload = encodeCbor({ format: 1, version, digest, file })
  const reason = `version ${version} sha256:${hex(digest)}`
  const by = { subject: '', reason: () => reason }
  await store.commit([{ put: path, payload, meta: { subject: 'pawl', purpose: name } }], { by })
  const adopted = await inForce(kind, store)
  if (adopted === undefined) throw new TypeError(`a ${name} that was committed is gone`)
  return { ...adopted, isNew: true }
}

/** @throws BytesError, StateError EINVAL */
function decode<T extends Versioned>(
  kind: VersionedKind<T>,
  bytes: Uint8Array,
): { value: T; file: Uint8Array } {
  const { name } = kind
  const map = decodeCborMap(bytes, ['format', 'version', 'digest', 'file'])
  if (map.format !== 1) throw new BytesError(`${name} record of an unknown format`)
  const file = asBytes(map.file)
  const value = kind.parse(file)
  if (asCount(map.version) !== value.version || !equal(asBytes(map.digest, 32), value.digest))
    throw new BytesError(`${name} record whose version or digest is not that of its file`)
  return { value, file }
}
