import { policyPath } from './path.ts'
import type { Policy } from './policy.ts'
import { parsePolicy } from './policy-file.ts'
import type { Found } from './records.ts'
import type { Store } from './store.ts'
import { adoptFile, type InForce, inForce, type VersionedKind } from './versioned-record.ts'

/** The policy in force, the file it was read from, and when and by which group it was adopted. */
export type Adopted = Omit<InForce<Policy>, 'value'> & { readonly policy: Policy }

const kind: VersionedKind<Policy> = { path: policyPath, name: 'policy', parse: parsePolicy }

/**
 * The policy that the store has adopted; `undefined` if none, and then everything is denied.
 * @throws StateError EINTEGRITY: it is damaged, or of a format that this version does not know
 */
export async function storedPolicy(records: {
  get(path: string): Promise<Found>
}): Promise<Adopted | undefined> {
  const found = await inForce(kind, records)
  return found && named(found)
}

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
  return named(await adoptFile(kind, store, bytes))
}

function named<T extends InForce<Policy>>({
  value,
  ...rest
}: T): Omit<T, 'value'> & { readonly policy: Policy } {
  return { policy: value, ...rest }
}
