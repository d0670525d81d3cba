import { asCount, type CborMap } from '../bytes/cbor.ts'
import type { Store } from '../state/store.ts'
import type { Given } from './command.ts'
import { askHolder, inHome } from './control.ts'

type Adoption = { readonly generation: number; readonly isNew: boolean }

/** Has a file put in force, by this process or by the one that holds the home: `request` asks that one. */
export function adoptInHome(
  given: Given,
  request: CborMap,
  adopt: (store: Store) => Promise<Adoption>,
): Promise<Adoption> {
  return inHome(given, adopt, async holder => {
    const answer = await askHolder(holder, request, ['generation', 'isNew'])
    return { generation: asCount(answer.generation), isNew: answer.isNew === true }
  })
}
