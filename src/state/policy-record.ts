import { BytesError, equal, hex } from '../bytes/bytes.ts'
import { asBytes, asCount, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { StateError } from './error.ts'
import { policyPath } from './path.ts'
import type { Policy } from './policy.ts'
import { parsePolicy } from './policy-file.ts'
import type { Found } from './records.ts'
import type { Store } from './store.ts'

/** The policy in force, the file it was read from, and when and by which group it was adopted. */
export type Adopted = {
  readonly policy: Policy
  readonly file: Uint8Array
  readonly generation: number
  /** Milliseconds since 1970; for people. */
  readonly at: number
}

/**
 * The policy that the store has adopted; `undefined` if none, and then everything is denied.
 * @throws StateError EINTEGRITY: it is damaged, or of a format that this version does not know
 */
export async function storedPolicy(records: {
  get(path: string): Promise<Found>
}): Promise<Adopted | undefined> {
  const found = await records.get(policyPath).catch((error: unknown) => {
    if (error instanceof StateError && error.code === 'ENOENT') return undefined
    throw error
  })
  if (found === undefined) return undefined
  const { payload, generation, envelope } = found
  try {
    return { ...decodePolicy(payload), generation, at: envelope.at }
  } catch (error) {
    if (error instanceof BytesError || error instanceof StateError)
      throw new StateError('EINTEGRITY', `the adopted policy cannot be judged by: ${error.message}`, {
        cause: error,
      })
    throw error
  }
}

/** Two adoptions at one time could both find the older policy, and the greater version be committed first. */
const adopting = new WeakMap<object, Promise<unknown>>()

/**
 * Makes the file the policy in force, if its version is greater than that of the one that is; the same file again is
 * no change.
 * @throws StateError EINVAL (no policy, or another one of the same version), EROLLBACK (a lower version); nothing has
 * changed then. Otherwise as `commit` of the store.
 */
export async function adoptPolicy(
  store: Pick<Store, 'get' | 'commit'>,
  bytes: Uint8Array,
): Promise<Adopted & { readonly isNew: boolean }> {
  const file = Uint8Array.from(bytes)
  const policy = parsePolicy(file)
  const before = adopting.get(store) ?? Promise.resolve()
  const mine = before.then(() => adopt(store, policy, file))
  adopting.set(
    store,
    mine.catch(() => {}), // whoever asked for it hears of it
  )
  return mine
}

async function adopt(
  store: Pick<Store, 'get' | 'commit'>,
  policy: Policy,
  file: Uint8Array,
): Promise<Adopted & { readonly isNew: boolean }> {
  const stored = await storedPolicy(store)
  if (stored !== undefined) {
    const { version, digest } = stored.policy
    if (policy.version < version)
      throw new StateError(
        'EROLLBACK',
        `policy version ${policy.version} is older than version ${version}, which is in force: an older policy cannot be put back`,
        { outcome: 'not applied' },
      )
    if (policy.version === version) {
      if (equal(policy.digest, digest)) return { ...stored, isNew: false }
      throw new StateError(
        'EINVAL',
        `policy version ${version} is in force with other content; give this one version ${version + 1}`,
      )
    }
  }
  const payload = encodePolicy(policy, file)
  const reason = `version ${policy.version} sha256:${hex(policy.digest)}`
  const by = { subject: '', reason: () => reason }
  await store.commit([{ put: policyPath, payload, meta: { subject: 'pawl', purpose: 'policy' } }], { by })
  const adopted = await storedPolicy(store)
  if (adopted === undefined) throw new TypeError('a policy that was committed is gone')
  return { ...adopted, isNew: true }
}

function encodePolicy({ version, digest }: Policy, file: Uint8Array): Uint8Array {
  return encodeCbor({ format: 1, version, digest, file })
}

/** @throws BytesError, StateError EINVAL */
function decodePolicy(bytes: Uint8Array): { readonly policy: Policy; readonly file: Uint8Array } {
  const map = decodeCborMap(bytes, ['format', 'version', 'digest', 'file'])
  if (map.format !== 1) throw new BytesError('policy record of an unknown format')
  const file = asBytes(map.file)
  const policy = parsePolicy(file)
  if (asCount(map.version) !== policy.version || !equal(asBytes(map.digest, 32), policy.digest))
    throw new BytesError('policy record whose version or digest is not that of its file')
  return { policy, file }
}
